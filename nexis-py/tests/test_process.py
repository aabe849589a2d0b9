"""Beside other code: exceptions that travel, forks, Ctrl-C, the interpreter's lock."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nexis
import nexis.errors
import pytest

ERRORS = [
    value
    for value in vars(nexis.errors).values()
    if isinstance(value, type) and issubclass(value, nexis.NexisError)
]


def raised(call: Any) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_exceptions_are_those_promised() -> None:
    also = {
        "InvalidManifest": ValueError,
        "InvalidRow": ValueError,
        "UndecodableClip": ValueError,
        "ModelUnavailable": RuntimeError,
        "DeviceUnavailable": RuntimeError,
        "CouldNotCheck": RuntimeError,
        "ForkedProcess": RuntimeError,
    }
    assert {error.__name__ for error in ERRORS} == {"NexisError", *also}
    for name, builtin in also.items():
        error = getattr(nexis, name)
        assert issubclass(error, nexis.NexisError) and issubclass(error, builtin)


def test_raised_exceptions_pickle() -> None:
    for error in (
        raised(lambda: nexis.protocol.validate_row({})),
        raised(lambda: nexis.protocol.parse_manifest("{}")),
        raised(lambda: nexis.decode(b"garbage")),
        raised(lambda: nexis.Verifier("no-such-model")),
        raised(lambda: nexis.Verifier(device="cuda:0")),
    ):
        assert isinstance(error, nexis.NexisError)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(error, protocol))
            assert type(again) is type(error)
            assert str(again) == str(error) and str(error)
            assert vars(again) == vars(error)
            assert again.args == error.args


@pytest.mark.parametrize(
    "error", [e for e in ERRORS if not issubclass(e, (nexis.InvalidRow, nexis.InvalidManifest))]
)
def test_plain_exceptions_pickle(error: type[Exception]) -> None:
    made = error("why")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error and str(again) == "why"


def test_an_invalid_row_says_field_and_reason() -> None:
    error = raised(lambda: nexis.protocol.validate_row({}))
    assert isinstance(error, nexis.InvalidRow)
    assert error.field == "clip_id" and error.reason == "missing"
    assert error.field in str(error) and error.reason in str(error)


def _refused_in_a_worker(_: int) -> int:
    nexis.decode(b"garbage")
    return 0


def test_an_exception_comes_home_from_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(nexis.UndecodableClip):
            pool.submit(_refused_in_a_worker, 0).result(timeout=120)


def script(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


FORK = """
    import os, sys
    import nexis

    clip, caption = sys.argv[1], "A lake."
    verifier = nexis.Verifier()
    verifier.score(clip, caption)
    calls = [
        lambda: verifier.score(clip, caption),
        lambda: verifier.encode_text([caption]),
        lambda: verifier.verify(sys.argv[2], progress=False),
        lambda: nexis.Verifier(),
        lambda: nexis.score(clip, caption),
    ]
    for number, call in enumerate(calls):
        child = os.fork()
        if child == 0:
            try:
                call()
            except nexis.ForkedProcess as error:
                os._exit(7 if "spawn" in str(error) else 8)
            except BaseException:
                os._exit(9)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(number, os.waitstatus_to_exitcode(status))
    # The parent goes on, and pure functions work anywhere.
    verifier.score(clip, caption)
    child = os.fork()
    if child == 0:
        os._exit(0 if nexis.protocol.middle_three(6) else 1)
    print("pure", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_forked_child_is_refused_instead_of_hanging(clip: Path, honest: Path) -> None:
    done = script(FORK, clip, honest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:6] == ["0 7", "1 7", "2 7", "3 7", "4 7", "pure 0"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_child_may_be_the_first_to_use_it(clip: Path) -> None:
    first = """
        import os, sys
        import nexis
        child = os.fork()
        if child == 0:
            nexis.Verifier().score(sys.argv[1], "A lake.")
            os._exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = script(first, clip)
    assert done.stdout.split() == ["5"], done.stderr


INTERRUPTED = """
    import signal, sys
    import nexis

    # Whoever was started in the background ignores Ctrl-C, and so do those that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    clip, what = sys.argv[1:]
    verifier = nexis.Verifier(threads=1)
    calls = {
        # Hours of work, were it not stopped.
        "score_many": lambda: verifier.score_many([clip] * 20_000, ["A lake."] * 20_000),
        "encode_text": lambda: verifier.encode_text([f"a lake with {i} boats" for i in range(60_000)]),
    }
    print("ready", flush=True)
    try:
        calls[what]()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    # Afterwards it works as before.
    print(verifier.encode_text(["a lake"]).shape[0])
"""


@pytest.mark.parametrize("what", ["score_many", "encode_text"])
def test_ctrl_c_stops_a_long_call(clip: Path, what: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(clip), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        timer = threading.Timer(1.0, process.send_signal, [signal.SIGINT])
        timer.start()
        try:
            out, _ = process.communicate(timeout=240)
        finally:
            timer.cancel()
            process.kill()
    assert out.split() == ["interrupted", "1"]


def test_other_threads_run_while_clips_are_scored(clip: Path) -> None:
    verifier = nexis.Verifier(threads=1)
    inside = threading.Event()
    done = threading.Event()

    def work() -> None:
        inside.set()
        verifier.score_many([clip] * 20, ["A lake."] * 20)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait()
    # With the lock held by the call, the first of these would not come back before the call's end.
    for _ in range(3):
        time.sleep(0.02)
        assert not done.is_set()
    worker.join()
    assert done.is_set()


def test_the_version_and_the_names() -> None:
    assert nexis.__version__
    for name in nexis.__all__:
        assert getattr(nexis, name) is not None
    promised = {
        "verify", "score", "classify", "encode_image", "encode_text", "decode", "probe", "Verifier", "Report",
        "Submission", "Row", "Score", "Classification", "Alignment", "Category", "FrameCategory", "Environment",
        "Probe", "protocol", "NexisError",
    }  # fmt: skip
    assert promised <= set(nexis.__all__)
