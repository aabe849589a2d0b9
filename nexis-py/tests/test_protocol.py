"""Every published input and output pair of the protocol, through `nexis.protocol`."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from typing import Any

import nexis
import pytest
from conftest import REPOSITORY, VECTORS
from nexis import protocol


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def cases(name: str) -> list[dict[str, Any]]:
    found = vector(name)
    assert isinstance(found, list) and found, f"{name} has no cases"
    return found


def test_intervals() -> None:
    for case in cases("intervals"):
        assert protocol.current_interval_start(case["block"]) == case["current_interval_start"]
        latest = protocol.latest_eligible_interval(case["block"])
        assert latest == case["latest_eligible_validation_interval"], case


def test_manifest_validation() -> None:
    for case in cases("manifest_validation"):
        text = json.dumps(case["input"])
        if not case["valid"]:
            with pytest.raises(nexis.InvalidManifest) as caught:
                protocol.parse_manifest(text)
            assert caught.value.reason and isinstance(caught.value.field, str), case
            continue
        before = datetime.now(timezone.utc).replace(microsecond=0)
        parsed = protocol.parse_manifest(text)
        expected = dict(case["parsed"])
        if expected["created_at"] == "<now>":
            made = datetime.fromisoformat(parsed["created_at"].replace("Z", "+00:00"))
            assert before <= made <= datetime.now(timezone.utc)
            expected["created_at"] = parsed["created_at"]
        assert parsed == expected, case
        assert protocol.parse_manifest(json.dumps(parsed)) == parsed, case


def test_record_validation() -> None:
    pairs = vector("record_validation")
    base = pairs["base"]
    assert protocol.validate_row(base)["clip_id"] == base["clip_id"]
    assert pairs["mutations"]
    for mutation in pairs["mutations"]:
        row = dict(base)
        if mutation.get("missing"):
            del row[mutation["field"]]
        else:
            row[mutation["field"]] = mutation["value"]
        if mutation["valid"]:
            assert set(protocol.validate_row(row)) == set(base), mutation
            continue
        with pytest.raises(nexis.InvalidRow) as caught:
            protocol.validate_row(row)
        assert caught.value.field == mutation["field"], mutation
        assert caught.value.reason


def test_clip_ids() -> None:
    for case in cases("clip_id"):
        made = protocol.clip_id(case["source_video_id"], case["clip_start_sec"], case["duration_sec"])
        assert made == case["clip_id"], case


def test_miner_sampling() -> None:
    for case in cases("miner_sampling"):
        seed = protocol.interval_seed(case["interval_id"])
        assert seed == case["interval_seed"]
        assert protocol.select_miners(case["hotkeys"], seed) == case["selected"]


def test_row_sampling() -> None:
    for case in cases("row_sampling"):
        drawn = protocol.select_row_indices(
            case["total_rows"],
            case["miner_hotkey"],
            case["interval_seed"],
            validator_hotkey=case["validator_hotkey"],
        )
        assert drawn == case["indices"], case


def test_hard_checks() -> None:
    for case in cases("hard_checks"):
        assert protocol.hard_checks(case["records"]) == case["failures"]


def test_injection() -> None:
    for case in cases("injection"):
        assert protocol.has_injection_keyword(case["caption"]) is case["injection"], case


def test_middle_three() -> None:
    for case in cases("middle_three"):
        found = protocol.middle_three(case["n"])
        assert (None if found is None else list(found)) == case["indices"], case


def test_category_strict() -> None:
    for case in cases("category_strict"):
        decided = protocol.category_decision(case["input"]["frames"])
        assert decided is not None
        # To the last bit.
        expected = {key: case[key] for key in ("decision", "nature_score", "rival_score", "margin")}
        assert {key: decided[key] for key in expected} == expected
    assert protocol.category_decision(cases("category_strict")[0]["input"]["frames"][:2]) is None


def test_source_urls() -> None:
    for case in cases("source_urls"):
        url, video = case["url"], case["source_video_id"]
        assert protocol.is_allowed_source(url) is case["allowed"], url
        assert protocol.source_identity_key(url, video) == case["source_identity_key"], url
        assert protocol.record_info_key(url) == case["record_info_key"], url
        assert protocol.overlap_index_keys(url, video) == case["overlap_index_keys"], url


def test_record_info() -> None:
    for case in cases("record_info"):
        parsed = protocol.parse_record_info(case["raw"])
        assert parsed == case["parsed"], case
        written = protocol.serialize_record_info(parsed)
        assert written == case["serialized"], case
        assert protocol.parse_record_info(written) == parsed, case


def test_overlap_pruning() -> None:
    for case in cases("overlap_pruning"):
        pruned = protocol.prune_overlaps(case["submissions"], case["global_index"])
        for key in ("global_pruned", "kept_after_global", "cross_miner_pruned", "kept"):
            assert pruned[key] == case[key], key


def test_scoring_weights() -> None:
    for case in cases("scoring_weights"):
        for score in case["scores"]:
            expected = protocol.score(score["passed_sample_count"]) if score["accepted"] else 0.0
            assert expected == score["score"]
        weights = protocol.weights(case["previous_interval_accepted"], case["scores"])
        assert weights == case["weights"]
        metagraph = case["metagraph"]
        dense = protocol.dense_weights(metagraph["hotkeys"], metagraph["uids"], weights)
        assert dense == case["dense"]


def test_commitments() -> None:
    for case in cases("commitments"):
        decoded = protocol.decode_commitment(case["payload"])
        assert decoded == case["decoded"], case["payload"]
        if decoded is not None:
            encoded = protocol.encode_commitment(**decoded)
            assert encoded.lower() == case["payload"].lower()
            assert protocol.decode_commitment(encoded) == decoded


def test_every_vector_file_has_its_test() -> None:
    read = set(re.findall(r'(?:cases|vector)\("(\w+)"\)', open(__file__, encoding="utf-8").read()))
    assert read == {path.stem for path in VECTORS.glob("*.json")}


@pytest.mark.parametrize("name", ["rows", "python_rows"])
def test_rows_are_judged_as_pydantic_judges_them(name: str) -> None:
    fixture = json.loads((REPOSITORY / "tests" / "fixtures" / "protocol" / f"{name}.json").read_text())
    base, differences = fixture["base"], []
    for case in fixture["cases"]:
        field, row = case["field"], {**base, case["field"]: case["value"]}
        try:
            got: dict[str, Any] = {"valid": True, "parsed": protocol.validate_row(row)[field]}
        except nexis.InvalidRow as error:
            assert error.field == field
            got = {"valid": False}
        # As text: 0.0 and -0.0, and 1 and True, are not the same here.
        if any(repr(got.get(key)) != repr(case.get(key)) for key in ("valid", "parsed")):
            differences.append((case, got))
    assert len(fixture["cases"]) > 20 and not differences


def test_infinite_numbers_are_taken_wherever_rows_are() -> None:
    row = {**vector("record_validation")["base"], "clip_start_sec": float("inf"), "width": 10**30}
    held = protocol.validate_row(row)
    assert (held["clip_start_sec"], held["width"]) == (sys.float_info.max, 2**63 - 1)
    assert protocol.hard_checks([row]) == protocol.hard_checks([held])
    submission = {"hotkey": "a", "created_at": "2026-04-10T12:00:00Z", "records": [row]}
    assert protocol.prune_overlaps([submission], {})["kept"] == {"a": [row["clip_id"]]}
    proof = {"deep": [{"x": float("-inf"), "y": -(10**30), "z": float("nan")}]}
    held = protocol.validate_row({**row, "source_proof": proof})
    assert held["source_proof"] == {"deep": [{"x": -sys.float_info.max, "y": -(2**63), "z": None}]}


def test_endless_and_deep_values_are_refused() -> None:
    row = vector("record_validation")["base"]
    endless: dict[str, Any] = {}
    endless["again"] = [endless]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for proof in (endless, {"deep": deep}):
        with pytest.raises(ValueError, match="row: nested deeper"):
            protocol.validate_row({**row, "source_proof": proof})
        with pytest.raises(ValueError, match="rows: nested deeper"):
            protocol.hard_checks([{**row, "source_proof": proof}])
    # Freeing it piece by piece, since Python frees nested lists by recursion too.
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize(
    "call",
    [
        lambda: protocol.interval_seed(-1),
        lambda: protocol.interval_seed("100"),
        lambda: protocol.current_interval_start(2**64),
        lambda: protocol.latest_eligible_interval(-1),
        lambda: protocol.interval_seed(10**5000),
        lambda: protocol.middle_three(-1),
        lambda: protocol.score(2**32),
        lambda: protocol.select_row_indices(-1, "miner", "seed"),
        lambda: protocol.dense_weights(["a"], [65536], {}),
        lambda: protocol.weights({}, [{"miner_hotkey": "m", "accepted": True, "passed_sample_count": 2**70}]),
        lambda: protocol.select_miners("5abc", "seed"),
        lambda: protocol.select_miners([b"5abc"], "seed"),
        lambda: protocol.select_row_indices(2**62, "miner", "seed"),
        lambda: protocol.validate_row([1, 2]),
        lambda: protocol.validate_row({1: 2}),
        lambda: protocol.validate_row({"clip_id": object()}),
        lambda: protocol.hard_checks([{"clip_id": "c"}]),
        lambda: protocol.hard_checks(3),
        lambda: protocol.category_decision([{"winner": "nature"}] * 3),
        lambda: protocol.weights({}, [{"miner_hotkey": 3}]),
        lambda: protocol.weights({}, [{"miner_hotkey": "m", "accepted": True, "passed_sample_count": -1}]),
        lambda: protocol.dense_weights(["a"], [1, 2], {}),
        lambda: protocol.dense_weights(["a"], [-1], {}),
        lambda: protocol.encode_commitment("short", "a" * 32, "b" * 64),
        lambda: protocol.prune_overlaps([{"hotkey": "m", "records": []}], {}),
        lambda: protocol.prune_overlaps({}, {}),
        lambda: protocol.parse_manifest("[]"),
        lambda: protocol.parse_manifest(b"\xff\xfe"),
        lambda: protocol.parse_manifest(3),
        lambda: protocol.parse_manifest("[" * 100_000),
    ],
)
def test_what_makes_no_sense_is_refused_with_words(call: Any) -> None:
    # An error of the package, or of the caller in Python's own terms; never a panic, never a crash.
    with pytest.raises((ValueError, TypeError, nexis.NexisError)) as caught:
        call()
    assert str(caught.value)
