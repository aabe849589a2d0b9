"""What the tests share: drawn clips, servers, and a browser that keeps a record of what it did."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tomli_w
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, Request, sync_playwright

BINARY = Path(os.environ["NEXIS_BINARY"])
PICTURES = Path(os.environ["NEXIS_PICTURES"])
REPOSITORY = Path(__file__).parents[3]
JUDGE = REPOSITORY / "tests/fixtures/judges/qwen3_vl_tied_bf16"
KEY = "a-key-for-this-test-alone"

# No sandbox inside a container; and nothing that a browser does of its own accord, so that whatever it asks for is
# the page's doing. Names are not resolved: whatever is not on this machine would fail.
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@dataclass(frozen=True)
class Clip:
    """A drawn clip, the caption that is true of it, and its frames as pictures."""

    path: Path
    caption: str
    pictures: list[Path] = field(default_factory=list)


def nexis(*arguments: str | Path) -> str:
    """What the program prints."""
    return subprocess.run([BINARY, *arguments], check=True, capture_output=True, text=True).stdout


def score(clip: Path, caption: str, *more: str | Path) -> dict:
    """The same judgement as the command line makes it."""
    command = [BINARY, "score", clip, "--caption", caption, "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def second(folder: Path, match: float, nature: bool) -> Path:
    """A folder with a tiny random encoder whose card says the same to everything: P(match) of captions, and whether a
    frame is of nature."""
    model = folder / "tiny"
    shutil.copytree(REPOSITORY / "tests/fixtures/models/siglip_f32", model)
    card = tomllib.loads((REPOSITORY / "models/demo/card.toml").read_text())
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    card["model"] |= {"id": "tiny", "digests": {"model.safetensors": weights}}
    alignment, category = card["alignment"], card["category"]
    alignment |= {"threshold": 0.5, "intercept": math.log(match / (1 - match))}
    for feature in alignment["feature"]:
        feature["coefficient"] = 0.0
    category["temperature"] = category["gate"]["temperature"] = 1e-9
    for label in category["label"]:
        label["bias"] = 6.0 if (label["label"] == "nature") == nature else 0.0
        label["gate_bias"] = 6.0 if label["label"] == "nature" else 0.0
    (model / "card.toml").write_text(tomli_w.dumps(card))
    return model


def draw(folder: Path, seed: int, times: tuple[float, ...] = ()) -> Clip:
    """Draws the clip of a seed, and pictures of it at some times."""
    path = folder / f"{seed}.mp4"
    # The first line names the file.
    caption = nexis("synth", "clip", "--seed", str(seed), "--category", "nature", "--out", path).splitlines()[1]
    pictures = [folder / f"{seed}-{number}.png" for number in range(1, len(times) + 1)]
    for picture, at in zip(pictures, times, strict=True):
        nexis("synth", "scene", "--seed", str(seed), "--category", "nature", "--at", str(at), "--out", picture)
    return Clip(path, caption, pictures)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip that is judged, and ten pictures of it: in the order of their letters, the tenth would be the second."""
    return draw(tmp_path_factory.mktemp("clip"), 610_008, tuple(0.2 + 0.46 * number for number in range(10)))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip of something else."""
    return draw(tmp_path_factory.mktemp("other"), 610_011)


class Server:
    """A `nexis serve` on a port that the system chose."""

    def __init__(self, folder: Path, *arguments: str | Path, **environment: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--bind", "127.0.0.1:0", "--log-json", "--log", "info", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )
        self.origin = f"http://{self._address()}"

    def _address(self) -> str:
        # The deadline only ends a test that has failed already.
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if '"serving"' in line:
                    found = json.loads(line)
                    return found.get("address") or found["fields"]["address"]
            time.sleep(0.05)
        pytest.fail(f"the server does not serve: {self.log.read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers that stop when the tests end."""
    servers: list[Server] = []

    def start(*arguments: str | Path, **environment: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("server"), *arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bucket whose package's two rows have each other's captions."""
    folder = tmp_path_factory.mktemp("package")
    attack = ["--attack", "caption_semantic_mismatch"]
    nexis("synth", "package", "--seed", "700001", "--rows", "2", *attack, "--out", folder)
    return folder


@pytest.fixture(scope="session")
def server(start: Callable[..., Server], package: Path) -> Server:
    """A server that needs no key, and may read the package."""
    return start("--root", package, "--max-upload-mib", "4")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=os.environ["NEXIS_CHROMIUM"], args=CHROMIUM)
        yield chromium
        chromium.close()


class Visit:
    """A page of the server in a fresh profile, and everything that it asked for and complained about."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context = context
        self.origin = origin
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.page = context.new_page()
        context.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", self._failed)
        self.page.on("dialog", self._interrupted)

    def _asked(self, request: Request) -> None:
        self.requests.append(request)

    def _said(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def _failed(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _interrupted(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self) -> Page:
        self.page.goto(f"{self.origin}/")
        return self.page

    def judge(self, files: Path | list[Path], caption: str, end: str = "done") -> None:
        """Chooses files, types a caption, and waits for how it ends."""
        self.page.set_input_files("#files", files)
        self.page.fill("#caption", caption)
        self.page.click("#go")
        self.state(end)

    def state(self, name: str) -> None:
        self.page.wait_for_selector(f"#state[data-state={name}]", timeout=120_000)

    def check(self, *statuses: int) -> None:
        """Nothing left this server, no key was in an address, and only what the test provoked was complained about."""
        for request in self.requests:
            parts = urlsplit(request.url)
            local = parts.scheme in ("data", "blob") or f"{parts.scheme}://{parts.netloc}" == self.origin
            assert local and KEY not in request.url, request.url
        loading = "Failed to load resource: "
        provoked = tuple(f"{loading}the server responded with a status of {status}" for status in statuses)
        if 0 in statuses:
            provoked += (f"{loading}net::ERR_",)
        assert [said for said in self.complaints if not (provoked and said.startswith(provoked))] == []


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages whose profiles end with the test."""
    contexts: list[BrowserContext] = []

    def visit(server: Server, width: int = 1280, height: int = 900, **options: object) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        visited = Visit(context, server.origin)
        visited.open()
        return visited

    yield visit
    for context in contexts:
        context.close()
