"""Rounds of measurements, ours and theirs in turn, and a table of medians. Called by `bench_peers`."""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
CORES = os.cpu_count()
# Pictures of one call: three squares of each of six frames.
BATCH = 18
# Clips side by side, enough that the last ones to finish weigh little.
MANY = 4 * CORES
# How far rows of unit length may be from transformers', as for every model here (tests/tests/parity_model.rs).
PARITY = 1e-4


def call(*command):
    """Runs one of our programs, which answers with its last line."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Peer:
    """One of the others, in a process of its own, which sleeps while it is not asked."""

    def __init__(self):
        command = [sys.executable, str(HERE / "peer.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *request):
        request = [str(part) if isinstance(part, Path) else part for part in request]
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"no answer to {request}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def machine():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.M)
    flags = set((re.search(r"^flags\s*: (.*)$", text, re.M) or ["", ""])[1].split())
    wanted = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"]
    return {
        "processor": name[1] if name else platform.processor(),
        "cores": CORES,
        "instructions": [flag for flag in wanted if flag in flags],
        "system": platform.platform(),
    }


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.ours = Path(arguments.examples)
        self.folder = folder
        self.peers = {}
        self.failures = []
        self.notes = []

    def our(self, *command):
        return call(self.ours / "peers", *command)

    def their(self, name, *request):
        """What the process of this name answers: one for each library, so that none meets another's copy of FFmpeg."""
        if name not in self.peers:
            self.peers[name] = Peer()
        return self.peers[name].ask(*request)

    def end(self):
        for peer in self.peers.values():
            peer.end()

    def prepare(self):
        self.model, self.onnx = self.folder / "model", self.folder / "model.onnx"
        self.pictures, self.clip = self.folder / "pictures.rgb", self.folder / "clip.mp4"
        self.our("model", self.model)
        self.our("pictures", BATCH, self.pictures)
        self.clip_bytes = self.our("clip", self.clip)["bytes"]
        self.their("torch", "export", self.model, self.onnx)
        self.frames = self.our("frames", self.clip, self.folder / "ours.rgb")
        self.times = self.frames["pts_seconds"]
        self.precisions = self.our("precisions", self.model)["precisions"]

    def agree(self, what, passed, detail):
        self.notes.append({"what": what, "passed": passed, "detail": detail})
        if not passed:
            self.failures.append(what)

    def check(self):
        """That everybody computes the same thing, before it is timed."""
        theirs = {
            name: np.array(self.their(name, "embed", name, self.model, self.onnx, self.pictures)["embeddings"])
            for name in ["torch", "torch-bf16", "onnx"]
        }
        ours = {
            precision: np.array(self.our("embed", self.model, BATCH, precision)["embeddings"])
            for precision in self.precisions
        }
        others = {OURS[name]: rows for name, rows in ours.items()}
        others |= {"PyTorch bf16": theirs["torch-bf16"], "ONNX Runtime f32": theirs["onnx"]}
        for name, rows in others.items():
            most = float(np.abs(rows - theirs["torch"]).max())
            cosine = float((rows * theirs["torch"]).sum(1).min())
            is_f32 = "bf16" not in name and "fast" not in name
            passed = most <= PARITY if is_f32 else cosine > 0.99
            detail = f"largest difference {most:.1e}, least cosine {cosine:.7f}"
            self.agree(f"embeddings of {name} and PyTorch f32", passed, detail)

        width, height = self.frames["size"]
        shape = (-1, height, width, 3)
        ours = np.fromfile(self.folder / "ours.rgb", np.uint8).reshape(shape)
        equal = self.their("pyav", "planes", self.clip, self.times)["sha256"]
        equal = sum(hashlib.sha256(a.tobytes()).hexdigest() == b for a, b in zip(ours, equal))
        detail = f"{equal} of {len(ours)} frames equal to the byte"
        self.agree("frames of nexis and PyAV, colours by the written formula", equal == len(ours), detail)
        for name, title in DECODERS.items():
            file = self.folder / f"{name}.rgb"
            self.their(name, "frames", name, self.clip, self.times, file)
            theirs = np.fromfile(file, np.uint8).reshape(shape).astype(np.int16)
            apart = np.array([[np.abs(a - b).mean() for a in ours.astype(np.int16)] for b in theirs])
            # They interpolate chroma, and JPEG loses some; but each frame is nearest to ours of the same time.
            mean, nearest = float(apart.diagonal().mean()), (apart.argmin(1) == np.arange(len(ours))).all()
            detail = f"mean difference {mean:.2f} of 255, least to another frame {apart[~np.eye(len(ours), dtype=bool)].min():.2f}"
            self.agree(f"frames of nexis and {title}, colours by swscale", nearest and mean < 5, detail)
        theirs = np.array(self.their("judge-f32", "squares", self.model, self.clip, self.times)["embeddings"])
        ours = np.array(self.our("squares", self.model, self.clip, "exact")["embeddings"])
        cosine = float((ours * theirs).sum(1).min())
        detail = f"least cosine {cosine:.5f}"
        self.agree("embeddings of the clip, nexis and torchcodec + PyTorch f32", cosine > 0.99, detail)


    def lines(self):
        """Groups of (title, where the measured values are, [(name, measurement)]); the first line is what others are held against."""
        seconds, threads = self.arguments.seconds, CORES

        def encoder(precision):
            options = ["--dir", self.model, "--seconds", seconds, "--runs", 1, "--threads", threads, "--batch", BATCH]
            return lambda: call(self.ours / "encoder_rate", "--precision", precision, *options)

        def peer(name):
            return lambda: self.their(name, "encode", name, self.model, self.onnx, self.pictures, seconds, threads)

        def our_clips(clips):
            return lambda: self.our("decode", self.clip, seconds, clips)

        def clips(name, threads, clips):
            return lambda: self.their(name, "decode", name, self.clip, self.times, seconds, threads, clips)

        def judge(precision, clips):
            return lambda: self.our("judge", self.model, self.clip, precision, seconds, clips)

        def peers_judge(precision, clips):
            # Threads of the decoder: all for a clip alone, one each where clips fill the cores.
            threads = CORES if clips == 1 else 1
            request = [precision, self.model, self.clip, self.times, seconds, clips, threads]
            return lambda: self.their(f"judge-{precision}", "judge", *request)

        yield (
            f"Pictures encoded per second: ViT-B/32, {BATCH} at a time, {threads} threads",
            "images_per_s",
            [
                ("ONNX Runtime f32", peer("onnx")),
                ("PyTorch f32", peer("torch")),
                ("PyTorch bf16", peer("torch-bf16")),
                *((OURS[precision], encoder(precision)) for precision in self.precisions),
            ],
        )
        for count, title in [(1, "one thread"), (threads, f"{threads} threads for theirs")]:
            yield (
                f"Clips decoded per second, six frames of each, one at a time, {title}",
                "seconds_per_clip",
                [
                    ("torchcodec", clips("torchcodec", count, 1)),
                    ("PyAV", clips("pyav", count, 1)),
                    ("ffmpeg, JPEG, Pillow", clips("ffmpeg", count, 1)),
                    ("nexis, one thread", our_clips(1)),
                ],
            )
        yield (
            f"Clips decoded per second, six frames of each, {MANY} over {CORES} cores, one thread each",
            "seconds_per_clip",
            [("torchcodec", clips("torchcodec", 1, MANY)), ("nexis", our_clips(MANY))],
        )
        for count, title in [(1, "one at a time"), (MANY, f"{MANY} side by side")]:
            yield (
                f"Clips per second from file to six embeddings, {title}, {threads} threads",
                "seconds_per_clip",
                [
                    ("torchcodec + PyTorch f32", peers_judge("f32", count)),
                    ("torchcodec + PyTorch bf16", peers_judge("bf16", count)),
                    *((OURS[precision], judge(precision, count)) for precision in self.precisions if precision != "f32"),
                ],
            )

    def measure(self):
        groups = [(title, key, engines, {name: [] for name, _ in engines}) for title, key, engines in self.lines()]
        for run in range(self.arguments.runs):
            for title, key, engines, found in groups:
                for name, work in engines:
                    print(f"round {run + 1} of {self.arguments.runs}: {title}: {name}", file=sys.stderr)
                    values = work()[key]
                    rate = median(values) if key == "images_per_s" else 1 / median(values)
                    found[name].append(rate)
        return [
            {
                "title": title,
                "lines": [
                    {"name": name, "median": median(rates), "least": min(rates), "most": max(rates), "rates": rates}
                    for name, rates in found.items()
                ],
            }
            for title, _, _, found in groups
        ]


OURS = {"f32": "candle f32", "exact": "nexis exact-f32", "fast": "nexis fast-bf16"}
DECODERS = {"torchcodec": "torchcodec", "pyav": "PyAV", "ffmpeg": "ffmpeg, JPEG and Pillow"}


def table(bench, groups, about, versions):
    out = [
        f"{about['processor']}, {about['cores']} cores ({', '.join(about['instructions'])}); {about['system']}",
        f"nexis {bench.arguments.commit}, decoder {bench.frames['decoder']}",
        ", ".join(f"{name} {value}" for name, value in versions.items() if isinstance(value, str)),
        f"clip: drawn, 5 s of 1280x720 at 30 frames/s, H.264, {bench.clip_bytes} bytes; "
        f"{bench.arguments.runs} rounds of {bench.arguments.seconds} s for each line",
    ]
    for group in groups:
        first = group["lines"][0]
        wide = max(len(line["name"]) for line in group["lines"])
        out += ["", group["title"], f"| {'':{wide}} | median | least to most | to {first['name']} |"]
        out.append(f"| {'-' * wide} | ---: | ---: | ---: |")
        for line in group["lines"]:
            ratio = line["median"] / first["median"]
            spread = f"{line['least']:.2f} to {line['most']:.2f}"
            out.append(f"| {line['name']:{wide}} | {line['median']:.2f} | {spread} | {ratio:.2f} |")
    out += ["", "Agreement"]
    out += [f"- {'' if note['passed'] else 'NOT: '}{note['what']}: {note['detail']}" for note in bench.notes]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(prog="bench_peers", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="rounds; the table shows their medians")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--json", type=Path, help="also write everything that was measured here")
    parser.add_argument("--examples", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--commit", required=True, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        try:
            versions, about = bench.their("torchcodec", "versions"), machine()
            bench.prepare()
            bench.check()
            groups = bench.measure()
        finally:
            bench.end()
    print(table(bench, groups, about, versions))
    if arguments.json:
        everything = {
            "machine": about,
            "versions": versions,
            "commit": arguments.commit,
            "decoder": bench.frames["decoder"],
            "seconds": arguments.seconds,
            "groups": groups,
            "agreement": bench.notes,
        }
        arguments.json.write_text(json.dumps(everything, indent=2) + "\n")
    if bench.failures:
        sys.exit("bench_peers: no agreement: " + "; ".join(bench.failures))


if __name__ == "__main__":
    main()
