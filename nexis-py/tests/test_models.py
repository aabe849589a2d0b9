"""`nexis.models`: what is known, and models fetched by the hub's own client from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nexis
import pytest
from nexis import models
from test_verify import models as models_arguments

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "maker/small"
WEIGHTS = bytes(range(256)) * 400
TOKEN = "hf_nobody-may-see-this"


def registry(more: str = "") -> str:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    return f"""
[[model]]
id = "{REPOSITORY}"
kind = "clip"
licence = "MIT"
note = "of a test"
{more}
[model.hub]
repository = "{REPOSITORY}"
revision = "main"
files = [
    {{ name = "config.json" }},
    {{ name = "model.safetensors", bytes = {len(WEIGHTS)}, sha256 = "{digest}" }},
]

[[model]]
id = "by/hand"
kind = "clip"
licence = "MIT"
note = "in the root"
directory = "hand"
"""


@dataclass
class Hub:
    """Answers as the hub does, and counts."""

    files: dict[str, bytes] = field(
        default_factory=lambda: {"config.json": b'{"model_type": "clip"}', "model.safetensors": WEIGHTS}
    )
    commit: str = COMMIT
    asked: list[str] = field(default_factory=list)
    endpoint: str = ""

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        self.asked.append(f"{request.command} {request.path}")
        prefix = f"/{REPOSITORY}/resolve/"
        revision, _, name = request.path.removeprefix(prefix).partition("/")
        content = self.files.get(name)
        if not request.path.startswith(prefix) or revision not in ("main", self.commit) or content is None:
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("X-Repo-Commit", self.commit)
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if body:
            request.wfile.write(content[start:])


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self, body=True)

        def do_HEAD(self) -> None:
            hub.answer(self, body=False)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


@dataclass
class Desk:
    """Runs Python with an environment of its own: the hub's client reads it once, when it is imported."""

    folder: Path
    hub: Hub

    @property
    def environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "NEXIS_"))}
        given |= {
            "HF_HOME": str(self.folder / "hf"),
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NEXIS_HOME": str(self.folder / "home"),
            "NEXIS_MODELS": str(self.folder / "root"),
        }
        return given

    def python(self, code: str, **more: str) -> tuple[int, str, str]:
        command = [sys.executable, "-c", f"import json\nfrom nexis import models\n{code}"]
        environment = self.environment | more
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert TOKEN not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    def fetch(self, **more: str) -> tuple[int, str, str]:
        return self.python(f'print(models.fetch("{REPOSITORY}").to_json())', **more)


@pytest.fixture
def desk(tmp_path: Path, hub: Hub) -> Desk:
    (tmp_path / "root" / "hand").mkdir(parents=True)
    (tmp_path / "root" / "registry.toml").write_text(registry())
    (tmp_path / "root" / "hand" / "config.json").write_text("{}")
    return Desk(tmp_path, hub)


def test_the_list_is_the_programs(binary: Path) -> None:
    command = [str(binary), "models", "list", "--json", *models_arguments()]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    known = models.known(models_dir=models_arguments()[1])
    assert [model.to_dict() for model in known] == listed
    demo = models.find("demo", models_dir=models_arguments()[1])
    assert demo.demonstration and demo.runs and demo.present and demo.card is not None
    with pytest.raises(nexis.ModelUnavailable, match="known ids are: demo"):
        models.find("nobody/knows", models_dir=models_arguments()[1])


def test_what_was_fetched_holds_and_needs_no_connection(desk: Desk, hub: Hub, binary: Path) -> None:
    status, out, said = desk.fetch()
    assert status == 0, said
    model = json.loads(out)
    assert (model["present"], model["place"], model["commit"]) == (True, "hub", COMMIT)
    assert (Path(model["directory"]) / "model.safetensors").read_bytes() == WEIGHTS
    asked = len(hub.asked)
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        status, _, said = desk.fetch(**more)
        assert status == 0, said
    assert len(hub.asked) == asked, hub.asked[asked:]
    # The program goes by the same record.
    command = [str(binary), "models", "verify", REPOSITORY]
    done = subprocess.run(command, capture_output=True, text=True, env=desk.environment, check=False)
    assert done.returncode == 0 and done.stdout.count("as on record") == 2, done.stdout + done.stderr
    status, out, _ = desk.python(f'print([check.state for check in models.verify("{REPOSITORY}")])')
    assert (status, out.strip()) == (0, "['same', 'same']")


def test_a_branch_that_moves_moves_nothing(desk: Desk, hub: Hub) -> None:
    assert desk.fetch()[0] == 0
    hub.commit, hub.files["config.json"] = "f" * 40, b'{"model_type": "clip", "projection_dim": 1}'
    status, out, said = desk.fetch()
    assert status == 0, said
    assert json.loads(out)["commit"] == COMMIT


def test_removed_is_what_was_fetched(desk: Desk) -> None:
    assert desk.fetch()[0] == 0
    remove = f'gone = models.remove("{REPOSITORY}"); print(json.dumps([len(gone.files), gone.bytes, gone.why]))'
    status, out, said = desk.python(remove)
    assert status == 0, said
    files, size, why = json.loads(out)
    assert files >= 4 and size > len(WEIGHTS) and why is None
    status, out, _ = desk.python(remove)
    assert json.loads(out) == [0, 0, "it is not here"]
    status, out, _ = desk.python('print(models.remove("by/hand").why)')
    assert "by hand" in out
    assert (desk.folder / "root" / "hand" / "config.json").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda hub: hub.files.update({"config.json": b" " * (65 << 20)}), "where the registry allows"),
        (lambda hub: hub.files.update({"model.safetensors": WEIGHTS[1:]}), "where the registry states"),
        (lambda hub: hub.files.update({"model.safetensors": WEIGHTS[::-1]}), "SHA-256"),
        (lambda hub: hub.files.pop("config.json"), "no such file"),
    ],
)
def test_what_is_not_what_it_has_to_be_is_refused(desk: Desk, hub: Hub, change: object, expected: str) -> None:
    assert callable(change)
    change(hub)
    status, _, said = desk.fetch()
    assert status != 0 and "ModelUnavailable" in said and expected in said, said
    assert not (desk.folder / "home" / "models.lock").exists()
    if "registry" in expected:
        assert not any(line.startswith("GET") and "safetensors" in line for line in hub.asked)
    status, _, said = desk.python(f'import nexis; nexis.Verifier("{REPOSITORY}")')
    assert "ModelUnavailable" in said
    # Once the hub has the right files again, so has whoever fetches again.
    hub.files = Hub().files
    status, _, said = desk.fetch()
    assert status == 0, said


def test_a_wrong_file_does_not_stay_where_a_later_one_failed(desk: Desk, hub: Hub) -> None:
    listed = registry().splitlines()
    first = next(i for i, line in enumerate(listed) if '"config.json"' in line)
    listed[first], listed[first + 1] = listed[first + 1], listed[first]
    (desk.folder / "root" / "registry.toml").write_text("\n".join(listed))
    hub.files = {"model.safetensors": WEIGHTS[::-1]}
    status, _, said = desk.fetch()
    assert status != 0 and "config.json" in said and "no such file" in said, said
    assert any(line.startswith("GET") and "safetensors" in line for line in hub.asked)
    hub.files = Hub().files
    status, _, said = desk.fetch()
    assert status == 0, said


def test_offline_without_the_files_says_so_and_asks_nobody(desk: Desk, hub: Hub) -> None:
    status, _, said = desk.fetch(HF_HUB_OFFLINE="1")
    assert status != 0 and "ModelUnavailable" in said and "HF_HUB_OFFLINE" in said, said
    assert hub.asked == []
    status, _, said = desk.fetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert "ModelUnavailable" in said and "127.0.0.1:9" not in said, said


def test_a_model_that_cannot_run_is_fetched_where_it_is_meant(desk: Desk) -> None:
    (desk.folder / "root" / "registry.toml").write_text(registry('obstacle = "it is a pickle"'))
    status, _, said = desk.fetch()
    assert status != 0 and "ValueError" in said and "it is a pickle" in said, said
    status, out, said = desk.python(f'print(models.fetch("{REPOSITORY}", anyway=True).present)')
    assert (status, out.strip()) == (0, "True"), said


def test_imports(desk: Desk) -> None:
    stick = desk.folder / "stick"
    stick.mkdir()
    (stick / "config.json").write_text('{"model_type": "clip"}')
    (stick / "model.safetensors").write_bytes(WEIGHTS)
    show = f'model = models.import_folder({str(stick)!r}, "own/copy"); print(model.place, model.directory)'
    status, out, said = desk.python(show)
    assert status == 0, said
    assert out.split() == ["imported", str(desk.folder / "home" / "models" / "own" / "copy")]
    for code, error in [
        ('models.import_folder("/nowhere")', "FileNotFoundError"),
        (f'models.import_folder({str(desk.folder)!r}, "own/other")', "ValueError"),
        (f'models.import_folder({str(stick)!r}, "../other")', "ValueError"),
        (f'models.import_folder({str(stick)!r}, "{REPOSITORY}")', "registry"),
    ]:
        if error == "registry":
            (stick / "model.safetensors").write_bytes(WEIGHTS[1:])
        status, _, said = desk.python(code)
        assert status != 0 and error in said, said
