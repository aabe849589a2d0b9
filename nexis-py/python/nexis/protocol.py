"""The protocol's pure functions, so that a miner's own code agrees with every validator's.

Nothing here needs a model or a clip. Arguments and results have the shapes of the network's published input and
output pairs.
"""

from __future__ import annotations

from ._nexis import (
    category_decision,
    clip_id,
    current_interval_start,
    decode_commitment,
    dense_weights,
    encode_commitment,
    hard_checks,
    has_injection_keyword,
    interval_seed,
    is_allowed_source,
    latest_eligible_interval,
    middle_three,
    overlap_index_keys,
    parse_manifest,
    parse_record_info,
    prune_overlaps,
    record_info_key,
    score,
    select_miners,
    select_row_indices,
    serialize_record_info,
    source_identity_key,
    validate_row,
    weights,
)

__all__ = [
    "category_decision",
    "clip_id",
    "current_interval_start",
    "decode_commitment",
    "dense_weights",
    "encode_commitment",
    "hard_checks",
    "has_injection_keyword",
    "interval_seed",
    "is_allowed_source",
    "latest_eligible_interval",
    "middle_three",
    "overlap_index_keys",
    "parse_manifest",
    "parse_record_info",
    "prune_overlaps",
    "record_info_key",
    "score",
    "select_miners",
    "select_row_indices",
    "serialize_record_info",
    "source_identity_key",
    "validate_row",
    "weights",
]
