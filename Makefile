# `make demo` and `make test` are the two commands. Both first install what is missing (.ci/setup).
# CARGO_BUILD_JOBS, CARGO_TARGET_DIR and RUST_TEST_THREADS mean to cargo here what they mean anywhere.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-python demo test bench bench-garage bench-peers fmt lint check-format clippy dependencies \
    rust-tests doc-tests wheel test-python test-sdk test-hub test-serve test-serve-page test-garage \
    cuda-deps cuda cuda-kernels cuda-check gpu-check

TARGET := $(or $(CARGO_TARGET_DIR),target)
heading = @printf '\n== %s ==\n' "$(1)"

help:
	@echo 'make demo    build, write and judge demonstration packages; leaves demo-out/report.html'
	@echo 'make test    everything that must pass: format, clippy, dependencies, tests, doc tests, the Python wheel'
	@echo 'make wheel   the Python wheel, with FFmpeg and the demonstration model inside'
	@echo 'make test-python   build the wheel for tests, install it into a fresh environment, run the tests in Python'
	@echo 'make test-sdk   compare the chain client with the official Python SDK, which it fetches'
	@echo 'make test-hub   compare the model cache with that of the official hub client, which it fetches'
	@echo 'make test-serve   the server against OpenAI'\''s client, schemathesis and 200 clients at once, which it fetches'
	@echo 'make test-garage   the contract of object stores on Garage, which is built once (about ten minutes)'
	@echo 'make test-serve-page   the page of nexis serve in Chromium, which it installs where it may'
	@echo 'make cuda    the program and the wheel with the CUDA path, on a machine without a GPU too; make cuda-deps first'
	@echo 'make cuda-check   compile the kernels and check the sources with the CUDA path, in a few minutes'
	@echo 'make gpu-check   pack what a machine with a GPU needs for parity and bench: target/cuda/gpu-check.tar.xz'
	@echo 'make bench   benchmarks'
	@echo 'make bench-garage   35 submissions of 50 rows from Garage: time, bytes, memory'
	@echo 'make bench-peers   ours beside PyTorch, ONNX Runtime, torchcodec, PyAV and ffmpeg; installs several GB once'
	@echo 'make fmt     format the sources'
	@echo 'make lint    format check, clippy and the dependency assertion alone'
	@echo 'make setup   install what the build needs, or say what is missing'

setup:
	@.ci/setup

setup-python:
	@.ci/setup --python

demo: setup
	$(call heading,Building nexis)
	cargo build --release --locked -p nexis-node
	$(call heading,Demonstration)
	"$(TARGET)/release/nexis" demo --out demo-out

test: lint rust-tests doc-tests test-python
	@printf '\nmake test: everything passed\n'

lint: check-format clippy dependencies

fmt: setup
	cargo fmt --all

# The figures mean nothing without the machine, so it is named first.
bench: setup
	$(call heading,Machine)
	@uname -srm; rustc --version; { pkg-config --modversion libavcodec || true; } | sed 's/^/libavcodec /'
	@lscpu 2>/dev/null | grep -E '^(Model name|CPU\(s\)|L3 cache)' || sysctl -n machdep.cpu.brand_string hw.ncpu
	$(call heading,Benchmarks)
	cargo bench --locked -p nexis-tests -p nexis-node

# PEERS holds options: `make bench-peers PEERS="--runs 9 --json peers.json"`.
bench-peers: setup
	$(call heading,Beside others)
	tests/peers/bench_peers $(PEERS)

check-format: setup
	$(call heading,Format)
	cargo fmt --all --check

clippy: setup
	$(call heading,Clippy)
	cargo clippy --locked --workspace --all-targets -- -D warnings

dependencies: setup
	$(call heading,Dependencies)
	.ci/check-dependencies

# Libraries, programs, examples and integration tests; benchmarks are only compiled, by clippy above.
rust-tests: setup
	$(call heading,Tests)
	cargo test --locked --workspace --lib --bins --examples --tests

doc-tests: setup
	$(call heading,Documentation tests)
	cargo test --locked --workspace --doc

# The official Python SDK is asked again for what is recorded in nexis-node/tests/sdk, and meets the node's own client at
# the same JSON-RPC fixture.
test-sdk: setup
	$(call heading,Official Python SDK)
	python3 -m venv "$(TARGET)/sdk"
	"$(TARGET)/sdk/bin/pip" install --quiet bittensor==11.3.0
	NEXIS_SDK_PYTHON="$(abspath $(TARGET))/sdk/bin/python" \
	    cargo test --locked --workspace --test chain_sdk --test timelock -- --include-ignored

# The official client of the Hugging Face hub and the program's own fetch from the same local server, and find what the
# other fetched.
test-hub: setup
	$(call heading,Official hub client)
	python3 -m venv "$(TARGET)/hub"
	"$(TARGET)/hub/bin/pip" install --quiet huggingface_hub==2.4.0
	NEXIS_HUB_PYTHON="$(abspath $(TARGET))/hub/bin/python" \
	    cargo test --locked --workspace --test hub -- --include-ignored

# Programs that somebody else wrote ask the server. The load goes to a release build, for its figures are printed.
test-serve: setup
	$(call heading,Programs of others against the server)
	cargo build --release --locked -p nexis-node
	python3 -m venv "$(TARGET)/serve-peers"
	"$(TARGET)/serve-peers/bin/pip" install --quiet -r nexis-node/tests/serve_peers/requirements.txt
	NEXIS_PEERS_PYTHON="$(abspath $(TARGET))/serve-peers/bin/python" NEXIS_BINARY="$(abspath $(TARGET))/release/nexis" \
	    cargo test --locked --workspace --test serve -- --ignored --nocapture --test-threads 1

# FFMPEG_DIR names an FFmpeg to take; without it, a small one is built from Debian's sources (nexis-py/ffmpeg/build).
wheel: setup-python
	$(call heading,Wheel)
	nexis-py/wheel

# The same wheel in cargo's dev profile, whose dependences the Rust tests have built already, but for a few that know
# FFmpeg or Python. The tests compare with the program, which is built as the Rust tests build it: with fewer crates
# chosen, cargo would choose other features and compile much anew.
test-python: setup-python
	$(call heading,Tests in Python)
	cargo build --locked --workspace --bins --tests
	nexis-py/test

# Garage is an S3 server that somebody else wrote. Not part of `make test`, for the time that it takes to build.
test-garage: setup
	$(call heading,Contract of object stores on Garage)
	.ci/garage

bench-garage: setup
	$(call heading,35 submissions of 50 rows from Garage)
	.ci/garage cargo bench --locked -p nexis-tests -p nexis-node --bench submissions

# The page that `nexis serve` shows to people, in a browser. Not part of `make test`, which needs none.
test-serve-page: setup
	$(call heading,Page of nexis serve in Chromium)
	cargo build --locked --workspace --bins --tests
	nexis-node/tests/serve_page/run

# nvcc and headers, into target/cuda. Everything below computes on no GPU: it builds.
cuda-deps: setup-python
	$(call heading,nvcc)
	@.ci/cuda-deps

# The kernels alone, for every device that is supported: seconds.
cuda-kernels: cuda-deps
	$(call heading,Kernels)
	.ci/cuda-kernels

cuda-check: cuda-kernels
	$(call heading,Sources with the CUDA path)
	CUDA_HOME="$$(.ci/cuda-deps)" cargo clippy --locked --workspace --all-targets \
	    --features nexis-node/cuda,nexis-py/cuda,nexis-tests/cuda -- -D warnings

# Beside the artefacts for the processor, never in their place.
cuda: cuda-deps
	$(call heading,FFmpeg that keeps decoders)
	nexis-py/ffmpeg/check/run
	$(call heading,Program with the CUDA path)
	FFMPEG_DIR="$$(nexis-py/ffmpeg/build --nvdec)" CUDA_HOME="$$(.ci/cuda-deps)" CARGO_TARGET_DIR="$(TARGET)/cuda/build" \
	    cargo build --release --locked -p nexis-node --features cuda,static-ffmpeg
	cp "$(TARGET)/cuda/build/release/nexis" "$(TARGET)/cuda/nexis"
	"$(TARGET)/cuda/nexis" doctor
	$(call heading,Wheel with the CUDA path)
	FFMPEG_DIR="$$(nexis-py/ffmpeg/build --nvdec)" CUDA_HOME="$$(.ci/cuda-deps)" nexis-py/wheel --cuda

gpu-check: cuda-deps
	$(call heading,What a machine with a GPU needs)
	.ci/gpu-check
