"""Every public name at work, on one package.

Run it as `python every_name.py FOLDER`: an interval's folder: manifest.json, dataset.parquet, clips/, frames/.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nexis
import numpy as np
from nexis import protocol
from nexis.compat import CaptionSemanticChecker, NatureCategoryChecker


def what_a_validator_says(folder: Path) -> list[nexis.Row]:
    """A package judged row by row, and why."""
    report: nexis.Report = nexis.verify(folder, all_rows=True, progress=False)
    environment: nexis.Environment = report.environment
    model: nexis.Model | None = environment.model
    print(f"nexis {nexis.__version__}, {model and model.id} on {environment.device}, {environment.decoder}")
    helped(environment.ensemble, environment.judge)
    rows: list[nexis.Row] = []
    for submission in report.submissions:
        say(submission)
        rows.extend(submission.rows)
    for row in rows:
        explain(row.alignment, row.category, row.probe)
    return rows


def helped(second: nexis.Encoder | None, judge: nexis.Judge | None) -> None:
    """What decided beside the model; here nothing, for `verify` was given no `ensemble` and no `judge`."""
    if second is not None:
        print(f"together with {second.model.id}")
    if judge is not None:
        identity: nexis.JudgeIdentity = judge.identity
        print(f"in doubt {identity.model.id} is asked, at most {judge.budget} times")


def say(submission: nexis.Submission) -> None:
    """The decision on one package, and a sentence on each thing that is wrong with it."""
    print(submission.miner_hotkey, submission.verdict)
    reasons: tuple[nexis.Violation, ...] = (*submission.reasons, *submission.warnings)
    for violation in reasons:
        print(f"  {violation.code}: {violation.detail}")


def explain(
    alignment: nexis.Alignment | None, category: nexis.Category | None, stream: nexis.Probe | None
) -> None:
    """What lies behind a row's verdict; an earlier phase may have stopped it."""
    if stream is not None:
        print(f"  {stream.width}x{stream.height} {stream.codec}")
    if alignment is not None:
        weakest: nexis.Unit = min(alignment.units, key=lambda unit: unit.similarity)
        print(f"  fits least: {weakest.text!r}")
        print(
            f"  P(match) {alignment.probability:.3f} against {alignment.threshold:.3f}: {alignment.verdict}"
        )
        decided(alignment.cascade, alignment.ensemble)
    if category is not None:
        print(f"  {winners(category.frames)}: {category.decision}")
        decided(category.cascade, category.ensemble)


def decided(
    by: nexis.Decision | None, both: nexis.AlignmentEnsemble | nexis.CategoryEnsemble | None
) -> None:
    """What decided, where it was not the threshold of one model, and what a second model said."""
    if by is not None:
        print(f"  decided by: {by.decided_by}", "" if by.yes is None else f"P(yes) {by.yes:.3f}")
    if both is not None:
        print(f"  log-odds of the two: {both.log_odds}")


def winners(frames: Iterable[nexis.FrameCategory]) -> str:
    """The label of each frame."""
    return ", ".join(frame.winner for frame in frames)


def one_clip(clip: Path, caption: str) -> None:
    """A clip and a caption outside any package."""
    score: nexis.Score = nexis.score(clip, caption)
    labels: nexis.Classification = nexis.classify(clip)
    print(f"{clip.name}: {score.verdict}; its frames show {winners(labels.labels)}")
    judged: tuple[nexis.FrameTime, ...] = score.frames
    print("judged at", [round(frame.pts_seconds, 2) for frame in judged])
    assert nexis.probe(clip) == score.probe

    # The pixels that were judged, and the space in which pictures and texts are compared.
    frames = nexis.decode(clip)
    likeness = nexis.encode_image(frames) @ nexis.encode_text([caption, "an empty room"]).T
    print("cosines per frame:", np.round(likeness.astype(float), 2).tolist())

    # A verifier with settings of its own, kept for many calls. The number of threads changes no number.
    verifier = nexis.Verifier("demo", threads=2)
    again = verifier.score_many([clip, clip], [caption, caption])
    assert all(s.alignment == score.alignment for s in again)
    assert verifier.score_frames(frames, caption).alignment == score.alignment
    assert verifier.classify_frames(frames).nature_score == labels.nature_score


def what_goes_wrong(row: nexis.Row) -> None:
    """Each exception, and what it is about. All are `nexis.NexisError`."""
    try:
        protocol.validate_row({"clip_id": row.clip_id})
    except nexis.InvalidRow as error:
        print("a row:", error.field, error.reason)
    try:
        protocol.parse_manifest("{}")
    except nexis.InvalidManifest as error:
        print("a manifest:", error.field, error.reason)
    try:
        nexis.decode(b"no clip")
    except nexis.UndecodableClip as error:
        print("a clip:", error)
    try:
        nexis.Verifier("no-such-model")
    except nexis.ModelUnavailable as error:
        print("a model:", error)
    try:
        nexis.Verifier(device="cuda:99")
    except nexis.DeviceUnavailable as error:
        print("a device:", error)
    try:
        CaptionSemanticChecker(local_model="no-such-model").load()
    except nexis.CouldNotCheck as error:
        print("a check, for a reason of ours:", error)
    # Raised in a child made by fork after its parent used nexis: start workers with "spawn" instead.
    assert issubclass(nexis.ForkedProcess, nexis.NexisError)


def the_networks_checks(row: nexis.Row, pictures: list[Path]) -> None:
    """The two checks of the network's validators, decided here."""
    captions, categories = CaptionSemanticChecker(), NatureCategoryChecker()
    frames = {row.clip_id: pictures}
    print("codes:", captions.check(sampled=[row], frame_paths_by_clip_id=frames))
    print("codes:", categories.check(sampled=[row], frame_paths_by_clip_id=frames))


def repack(clip: Path, caption: str, url: str, hotkey: str, interval: int) -> None:
    """A package of one clip, checked as it is made, and what would have to be mended."""
    item = {"clip": clip, "caption": caption, "source_video_url": url, "clip_start_sec": 0.0}
    with tempfile.TemporaryDirectory() as out:
        made: nexis.PackReport = nexis.pack([item], out, hotkey=hotkey, interval=interval, progress=False)
    rows: tuple[nexis.PackedRow, ...] = made.rows
    problems: list[nexis.Problem] = [*made.problems, *(p for row in rows for p in row.problems)]
    print("packed:", rows[0].treatment, made.accepted, *(problem.remedy for problem in problems))


def models_on_judged_pairs(rows: list[nexis.Row], clips: Path) -> None:
    """What a model's score is worth: each clip with its own caption, which fits, and with another's, which does not."""
    model = nexis.models.find("demo")
    print(model.id, "is no judge of real footage" if model.demonstration else model.note)
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        with pairs.open("w") as lines:
            for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
                for caption, label in ((row.caption, 1), (other.caption, 0)):
                    pair = {"clip": f"{row.clip_id}.mp4", "caption": caption, "label": label, "group": row.clip_id}
                    print(json.dumps(pair), file=lines)
        found: nexis.BenchResult = nexis.bench(pairs, [model.id], root=clips, resamples=20, progress=False)
        print(found)
        try:
            made: nexis.Calibration = nexis.calibrate(pairs, model.id, root=clips, resamples=20, progress=False)
            print(made)
        except ValueError as error:
            print("a card takes more pairs:", error)


def draws(interval: int, hotkeys: list[str], rows: int) -> list[int]:
    """Who and what is looked at in an interval: the same for everybody."""
    block = interval + 250
    assert protocol.current_interval_start(block) == interval + 200
    assert protocol.latest_eligible_interval(block) == interval + 100
    seed = protocol.interval_seed(interval)
    miners = protocol.select_miners(hotkeys, seed)
    return protocol.select_row_indices(rows, miners[0], seed)


def sources(url: str, video: str) -> None:
    """How a source is named, and where two clips of it overlap."""
    assert protocol.is_allowed_source(url)
    assert protocol.source_identity_key(url, video) in protocol.overlap_index_keys(url, video)
    known = protocol.parse_record_info('{"video_v1": {}}')
    known[protocol.record_info_key(url)] = [12.0]
    assert protocol.parse_record_info(protocol.serialize_record_info(known)) == known
    made = {"manifest_last_modified": "2026-04-10T12:00:00Z"}
    rows = [
        {
            "clip_id": protocol.clip_id(video, start, 5.0),
            "source_video_id": video,
            "source_video_url": url,
            "clip_start_sec": start,
        }
        for start in (10.0, 30.0)
    ]
    pruned = protocol.prune_overlaps([{"hotkey": "5abc", "records": rows, **made}], known)
    print("dropped, because they are known:", pruned["global_pruned"])


def rules(caption: str, record: dict[str, object]) -> None:
    """The rules that need neither a model nor a clip."""
    assert protocol.hard_checks([protocol.validate_row(record)]) == []
    assert not protocol.has_injection_keyword(caption)
    labels = ("nature", "people", "animal", "vehicle", "urban", "indoor")
    frame = {"winner": "nature", **{f"{label}_score": float(label == "nature") for label in labels}}
    decided = protocol.category_decision([frame] * 3)
    print("middle three of six:", protocol.middle_three(6), decided and decided["decision"])


def pay(hotkeys: list[str]) -> None:
    """Scores to weights, and the credentials that a miner commits."""
    scores = [
        {"miner_hotkey": hotkey, "accepted": True, "passed_sample_count": 3, "score": protocol.score(3)}
        for hotkey in hotkeys
    ]
    weights = protocol.weights({hotkey: True for hotkey in hotkeys}, scores)
    dense = protocol.dense_weights(hotkeys, list(range(len(hotkeys))), weights)
    print("weights:", json.dumps(dense))
    commitment = protocol.encode_commitment("a" * 32, "b" * 32, "c" * 64)
    assert protocol.decode_commitment(commitment) is not None


def record_of(row: nexis.Row, url: str, video: str) -> dict[str, object]:
    """A row as it stands in a dataset."""
    return {
        "clip_id": row.clip_id,
        "clip_uri": f"clips/{row.clip_id}.mp4",
        "clip_sha256": "0" * 64,
        "first_frame_uri": f"frames/{row.clip_id}.jpg",
        "first_frame_sha256": "0" * 64,
        "source_video_id": video,
        "split_group_id": f"{video}:0",
        "split": "train",
        "clip_start_sec": 0.0,
        "duration_sec": 5.0,
        "width": 1280,
        "height": 720,
        "fps": 30.0,
        "num_frames": 150,
        "has_audio": False,
        "caption": row.caption,
        "source_video_url": url,
        "source_proof": {},
    }


def main() -> None:
    folder = Path(sys.argv[1])
    manifest = protocol.parse_manifest((folder / "manifest.json").read_text())
    rows = what_a_validator_says(folder)
    row = rows[0]
    url, video = "https://www.youtube.com/watch?v=dQw4w9WgXcQ", "dQw4w9WgXcQ"
    clip = folder / "clips" / f"{row.clip_id}.mp4"
    one_clip(clip, row.caption)
    what_goes_wrong(row)
    the_networks_checks(row, [folder / "frames" / f"{row.clip_id}.jpg"])
    hotkeys = [manifest["miner_hotkey"], "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"]
    print("rows drawn:", draws(manifest["interval_id"], hotkeys, manifest["record_count"]))
    repack(clip, row.caption, url, manifest["miner_hotkey"], manifest["interval_id"])
    sources(url, video)
    models_on_judged_pairs(rows, folder / "clips")
    rules(row.caption, record_of(row, url, video))
    pay(hotkeys)


if __name__ == "__main__":
    main()
