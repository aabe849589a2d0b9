"""Many clients at once: nothing but answers and 429, and memory that stays.

Prints requests answered per second, the time they took, and the server's resident memory. Every request brings pictures
that no other brings, so that nothing is remembered; what was told to come back comes back as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import itertools
import json
import statistics
import time
from pathlib import Path

import aiohttp


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


class Question:
    """What is asked about one clip, in bytes that differ each time: every picture's file gets a comment of its own.

    Everything but the comments is put into base64 once, for the clients share the machine with the server: what they
    take of it, the server lacks.
    """

    def __init__(self, frames: list[bytes], caption: str) -> None:
        prompt = f'Caption: {caption}\n\nReturn ONLY JSON: {{"match": true}} or {{"match": false}}.'
        pictures = [{"type": "image_url", "image_url": {"url": "PICTURE"}} for _ in frames]
        message = {"role": "user", "content": [{"type": "text", "text": prompt}, *pictures]}
        self.between = json.dumps({"model": "any", "messages": [message]}).encode().split(b"PICTURE")
        self.frames = [base64.b64encode(frame[2:]) for frame in frames]

    def body(self, numbers: "itertools.count[int]") -> bytes:
        parts = [self.between[0]]
        for frame, between in zip(self.frames, self.between[1:], strict=True):
            comment = f"{next(numbers):012d}".encode()
            # The comment follows the first marker. These are 18 bytes: base64 may be cut behind them.
            head = b"\xff\xd8" + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            parts += [b"data:image/jpeg;base64,", base64.b64encode(head), frame, between]
        return b"".join(parts)


async def client(session: aiohttp.ClientSession, url: str, question: Question, until: float,
                 numbers: "itertools.count[int]", seen: collections.Counter, took: list[float]) -> None:
    body = question.body(numbers)
    while time.monotonic() < until:
        started = time.monotonic()
        try:
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as reply:
                answer = await reply.read()
                seen[reply.status] += 1
                if reply.status == 200:
                    took.append(time.monotonic() - started)
                    content = json.loads(answer)["choices"][0]["message"]["content"]
                    assert isinstance(json.loads(content)["match"], bool)
                    body = question.body(numbers)
                elif reply.status == 429:
                    await asyncio.sleep(float(reply.headers["Retry-After"]))
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            seen[f"{type(error).__name__}: {error}"] += 1


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--key", required=True)
    arguments.add_argument("--pid", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--clients", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--name", default="load")
    given = arguments.parse_args()

    clips = json.loads((given.folder / "clips.json").read_text())
    questions = [
        Question([(given.folder / name).with_suffix(".jpg").read_bytes() for name in clip["frames"]], clip["caption"])
        for clip in clips
    ]
    seen: collections.Counter = collections.Counter()
    took: list[float] = []
    numbers = itertools.count()
    memory = [resident_mib(given.pid)]
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {given.key}"}
    timeout = aiohttp.ClientTimeout(total=120)
    started = time.monotonic()
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        until = started + given.seconds
        clients = [
            asyncio.create_task(client(session, given.url, questions[i % len(questions)], until, numbers, seen, took))
            for i in range(given.clients)
        ]
        # Once it has come to its work, memory has to stay where it is.
        for part in (0.25, 0.5, 0.75):
            await asyncio.sleep(max(0.0, started + given.seconds * part - time.monotonic()))
            memory.append(resident_mib(given.pid))
        await asyncio.gather(*clients)
    elapsed = time.monotonic() - started
    memory.append(resident_mib(given.pid))
    answered = seen[200]
    print(
        f"{given.name}: {given.clients} clients, {elapsed:.0f} s, {answered} answered, {seen[429]} told to come back, "
        f"{answered / elapsed:.2f}/s, median {statistics.median(took):.2f} s, slowest {max(took):.2f} s; memory "
        + ", ".join(f"{mib:.0f}" for mib in memory)
        + " MiB (start, quarters, end)"
    )
    unexpected = {what: count for what, count in seen.items() if what not in (200, 429)}
    assert not unexpected, unexpected
    assert answered > 0
    # Of its work: the start is before any of it.
    assert memory[-1] < 1.5 * memory[1] + 64, "memory grows"


asyncio.run(main())
