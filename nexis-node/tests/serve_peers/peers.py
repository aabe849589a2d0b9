"""The server asked by programs that somebody else wrote: OpenAI's own client.

Only `OPENAI_BASE_URL` and a key are set, as a validator's operator would. The verdicts have to be those of `nexis score`
on the same frames.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from openai import AuthenticationError, BadRequestError, OpenAI

LABELS = ["nature", "people", "animal", "vehicle", "urban", "indoor", "other"]

MATCHING = [
    'You verify captions of five-second clips. Reject what is contradicted, unsupported or generic.\n\nCaption: {c}\n\n'
    'Return ONLY JSON: {{"match": true}} or {{"match": false}}.',
    'Compare the caption with the seven frames. Caption:\n"{c}"\n\nAnswer with one JSON object with a boolean key `match`: '
    'true if every detail is supported by the frames, otherwise false.',
    '<caption>{c}</caption>\nDoes it describe these images, specifically and without speculation? Output {{"match": '
    'true|false}} and nothing else.',
    'Does the caption "{c}" fit the frames? Set the field match to true or false in your JSON response.',
]

LABELLING = [
    'Classify each of the three frames. Return ONLY JSON: {"frames": [{"frame_index": 0, "winner": "nature", '
    + ", ".join(f'"{label}_score": 0.0' for label in LABELS)
    + "}]}",
    "For every image give a score from 0 to 1 for nature, people, animal, vehicle, urban, indoor and other, and the winner.",
    "You judge scenery. Per frame report frame_index, winner, and " + ", ".join(f"{label}_score" for label in LABELS) + ".",
    "Which label wins in each picture: nature, people, animal, vehicle, urban, indoor, other? Reply with JSON under the key "
    '"frames": [] holding winner and <label>_score of all seven labels.',
]


def data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def content(text: str, frames: list[Path]) -> list[dict]:
    pictures = [{"type": "image_url", "image_url": {"url": data_uri(frame)}} for frame in frames]
    return [{"type": "text", "text": text}, *pictures]


def score(nexis: str, frames: list[Path], caption: str) -> dict:
    """What the program says by itself."""
    command = [nexis, "score", "--json", "--caption", caption]
    for frame in frames:
        command += ["--frame", str(frame)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def main(nexis: str, folder: Path) -> None:
    clips = json.loads((folder / "clips.json").read_text())
    client = OpenAI(max_retries=0)
    assert [model.id for model in client.models.list()] == ["demo"]

    asked = 0
    seen = set()
    for of in clips:
        frames = [folder / name for name in of["frames"]]
        for said in clips:
            expected = score(nexis, frames, said["caption"])["alignment"]["verdict"] == "accept"
            seen.add(expected)
            for prompt in MATCHING:
                text = prompt.format(c=said["caption"])
                answer = client.chat.completions.create(
                    model="gpt-4o-mini",
                    messages=[{"role": "user", "content": content(text, frames)}],
                    response_format={"type": "json_object"},
                    temperature=0,
                )
                got = json.loads(answer.choices[0].message.content)
                assert got == {"match": expected}, (prompt, got, expected)
                assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
                asked += 1
    assert seen == {True, False}, "the clips do not tell a judge from a coin"

    for of in clips:
        middle = [folder / name for name in of["frames"][2:5]]
        expected = score(nexis, middle, of["caption"])["category"]["frames"]
        for prompt in LABELLING:
            answer = client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "system", "content": "JSON only."}, {"role": "user", "content": content(prompt, middle)}],
            )
            got = json.loads(answer.choices[0].message.content)["frames"]
            assert [frame["winner"] for frame in got] == [frame["winner"] for frame in expected], prompt
            for mine, theirs in zip(got, expected, strict=True):
                assert {label: mine[f"{label}_score"] for label in LABELS} == theirs["scores"], prompt
            asked += 1

    text = MATCHING[0].format(c=clips[0]["caption"])
    frames = [folder / name for name in clips[0]["frames"]]
    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": content(text, frames)}],
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces = list(stream)
    assert json.loads("".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)) == {"match": True}
    assert pieces[-1].usage.total_tokens > 0

    try:
        client.chat.completions.create(model="x", messages=[{"role": "user", "content": "Write a poem."}])
    except BadRequestError as refused:
        assert refused.code == "not_answerable", refused
    else:
        raise AssertionError("a poem was written")
    try:
        OpenAI(api_key="sk-wrong-key-of-nobody", max_retries=0).models.list()
    except AuthenticationError as refused:
        assert refused.code == "invalid_api_key", refused
    else:
        raise AssertionError("a wrong key opened the server")
    print(f"openai: {asked} questions answered as `nexis score` decides, {os.environ['OPENAI_BASE_URL']}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
