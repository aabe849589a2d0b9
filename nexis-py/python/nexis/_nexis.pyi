# Written by tools/stubs.py; change the Rust side and run it again.
from collections.abc import Callable, Mapping, Sequence
import numpy
from numpy.typing import NDArray
from os import PathLike
from typing import Any, final

__all__ = [
    "Engine",
    "MAX_CLIP_BYTES",
    "__version__",
    "bench_align",
    "calibrate_pairs",
    "category_decision",
    "clip_id",
    "current_interval_start",
    "decode",
    "decode_commitment",
    "dense_weights",
    "encode_commitment",
    "hard_checks",
    "has_injection_keyword",
    "import_model",
    "interval_seed",
    "is_allowed_source",
    "known_models",
    "latest_eligible_interval",
    "middle_three",
    "overlap_index_keys",
    "pack",
    "parse_manifest",
    "parse_record_info",
    "probe",
    "prune_overlaps",
    "record_info_key",
    "record_model",
    "remove_model",
    "score",
    "select_miners",
    "select_row_indices",
    "serialize_record_info",
    "source_identity_key",
    "validate_row",
    "verify_model",
    "wanted_files",
    "weights",
]

MAX_CLIP_BYTES: int
__version__: str

@final
class Engine:
    """
    Decoder, models, cards and threads. Everything it gives is a plain Python value.
    """
    def __new__(cls, /, model: str, models_roots: Sequence[str | PathLike[str]], device: str = "auto", batch: int = 16, threads: int = 0, max_wall_s: float = 20.0, precision: str = "exact", ensemble: str | None = None, judge: str | None = None) -> Engine:
        """
        Loads a model: `models_roots` are the folders that may hold it, `threads` is 0 for all cores. `ensemble` is a second
        one that decides together with it, `judge` decides what they leave in doubt.
        """
    def check_caption(self, /, clip_id: str, caption: str, paths: Sequence[str | PathLike[str]], first_frame_uri: str | None = None) -> dict[str, str] | None:
        """
        Phase 6 on frames in files: `{"code", "detail"}`, or `None` where nothing is wrong.
        """
    def check_category(self, /, clip_id: str, caption: str, paths: Sequence[str | PathLike[str]], first_frame_uri: str | None = None) -> dict[str, str] | None:
        """
        Phase 7 on frames in files: as `check_caption`.
        """
    def classify(self, /, clip: str | PathLike[str]) -> dict[str, Any]:
        """
        The labels of a clip's six frames, by the first model alone.
        """
    def classify_frames(self, /, frames_rgb: NDArray[numpy.uint8]) -> dict[str, Any]:
        """
        The labels of frames `[N, H, W, 3]`, by the first model alone.
        """
    def encode_image(self, /, frames_rgb: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
        """
        Embeddings of frames `[N, H, W, 3]`: float32 `[N, D]`, each row of unit length.
        """
    def encode_text(self, /, captions: Sequence[str]) -> NDArray[numpy.float32]:
        """
        Embeddings of captions: float32 `[N, D]`, each row of unit length.
        """
    def environment(self, /) -> dict[str, Any]:
        """
        What makes the results.
        """
    def score_frames(self, /, frames_rgb: NDArray[numpy.uint8], caption: str) -> dict[str, Any]:
        """
        Scores a caption against frames `[N, H, W, 3]`.
        """
    def score_many(self, /, clips: Sequence[str | PathLike[str]], captions: Sequence[str]) -> list[dict[str, Any]]:
        """
        Scores clips against captions, pair by pair. A clip that cannot be decoded gives `{"undecodable": why}`.
        """
    def verify(self, /, path: str | PathLike[str], *, interval: int | None = None, hotkey: str | None = None, validator_hotkey: str | None = None, record_info: bytes | None = None, all_rows: bool = False, policy: str = "network", evidence: str | PathLike[str] | None = None, progress: Callable[[int, int], object] | None = None, judge_budget: int | None = None) -> dict[str, Any]:
        """
        Judges the packages under a path: the report, as `nexis verify --json` prints it. `progress` is called as
        `progress(judged, rows)`. `judge_budget` needs a judge.
        """
    def verify_rows(self, /, rows: Sequence[Mapping[str, Any]], asset_root: str | PathLike[str], interval: int = 0) -> list[dict[str, Any]]:
        """
        Judges every one of these rows (dicts of the 18 columns) on the assets below `asset_root`, an interval's
        folder: phases 5 to 7, one dict a row, in their order.
        """

def bench_align(pairs: str | PathLike[str], models: Sequence[str], models_roots: Sequence[str | PathLike[str]], settings: dict[str, Any], *, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """
    Scores the pairs of a file with models: `{"report", "scores"}`, the scores as columns. `settings` are the arguments
    of `nexis.bench` by name. `progress` is called as `progress(done, pairs)`.
    """

def calibrate_pairs(pairs: str | PathLike[str], model: str, models_roots: Sequence[str | PathLike[str]], settings: dict[str, Any], *, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """
    Fits a model's card on the pairs of a file: `{"card", "fit", "report", "scores"}`, the card as TOML. `settings` are
    the arguments of `nexis.calibrate` by name, the prompts as JSON. `progress` is called as `progress(done, pairs)`.
    """

def category_decision(frames: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """
    The strict category rule on three frames' scores; `None` unless there are three.
    """

def clip_id(source_video_id: str, clip_start_sec: float, duration_sec: float) -> str:
    """
    Id of a clip: 24 hex digits that follow from its source, start and duration.
    """

def current_interval_start(block: int) -> int:
    """
    First block of the interval that holds a block.
    """

def decode(clip: str | PathLike[str], at: Sequence[float] | None = None) -> tuple[NDArray[numpy.uint8], NDArray[numpy.float64]]:
    """
    Frames at these seconds, or the verifier's six: pixels `[N, H, W, 3]`, and the time of each frame.
    """

def decode_commitment(text: str) -> dict[str, str] | None:
    """
    The parts of a commitment; `None` where the text is none.
    """

def dense_weights(hotkeys: Sequence[str], uids: Sequence[int], weights: dict[str, float]) -> dict[str, Any]:
    """
    A weight for every UID of the metagraph.
    """

def encode_commitment(account_id: str, read_access_key: str, read_secret_key: str) -> str:
    """
    The 128 characters of a commitment.
    """

def hard_checks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """
    Codes of phase 4 over validated rows, in the protocol's order.
    """

def has_injection_keyword(caption: str) -> bool:
    """
    Whether a caption has words that are meant for the judge.
    """

def import_model(folder: str | PathLike[str], model: str, models_roots: Sequence[str | PathLike[str]]) -> dict[str, Any]:
    """
    Copies a model's folder to the user's own models: `{"id", "kind", "directory", "files"}`.
    """

def interval_seed(interval_id: int) -> str:
    """
    Lower-case hex SHA-256 of `interval:{id}`.
    """

def is_allowed_source(url: str) -> bool:
    """
    Whether a URL is a source that the network takes.
    """

def known_models(models_roots: Sequence[str | PathLike[str]]) -> list[dict[str, Any]]:
    """
    Every model that is known, as `nexis models list --json` prints it.
    """

def latest_eligible_interval(block: int) -> int | None:
    """
    Latest interval that may be validated at a block; `None` before there is one.
    """

def middle_three(n: int) -> list[int] | None:
    """
    Which three of `n` frames the category is decided on; `None` below three.
    """

def overlap_index_keys(url: str, source_video_id: str) -> list[str]:
    """
    Keys under which the global index may know a source.
    """

def pack(items: Sequence[Mapping[str, Any]], out: str | PathLike[str], hotkey: str, interval: int, *, fit: str = "refuse", overwrite: bool = False, netuid: int = 70, policy: str = "network", engine: Engine | None = None, threads: int = 0, progress: Callable[[int, int], object] | None = None) -> dict[str, Any]:
    """
    Packs items (dicts) into `{out}/{interval}` and, where an engine is given, judges every row of the result. Gives
    `{"folder", "manifest", "rows", "advice", "report"}`; without an engine, the advice says what the rows alone show
    and the report is `None`. `progress` is called as `progress(done, steps)`.
    """

def parse_manifest(text: str | bytes) -> dict[str, Any]:
    """
    A manifest as the network reads it; raises `InvalidManifest` where it does not hold.
    """

def parse_record_info(text: str | bytes) -> dict[str, list[float]]:
    """
    Clip starts by source, from any shape of `record_info.json` that the network has written.
    """

def probe(clip: str | PathLike[str]) -> dict[str, Any]:
    """
    What a clip's stream is.
    """

def prune_overlaps(submissions: Sequence[Mapping[str, Any]], global_index: dict[str, list[float]] | None = None) -> dict[str, Any]:
    """
    Phase 8: rows that overlap the global index, or another miner's earlier rows, are dropped.

    A submission is `{"hotkey", "manifest_last_modified", "created_at", "records"}`; of a record only `clip_id`,
    `source_video_id`, `source_video_url` and `clip_start_sec` matter. Gives clip ids by hotkey in
    `kept_after_global` and `kept`, and counts in `global_pruned` and `cross_miner_pruned`.
    """

def record_info_key(url: str) -> str:
    """
    The key under which accepted clips of a source are written to the global index.
    """

def record_model(model: str, models_roots: Sequence[str | PathLike[str]], commit: str, fetched: Sequence[str]) -> None:
    """
    Holds what was brought to what is stated and on record, and puts on record what was not; `fetched` names the files
    that were not there before.
    """

def remove_model(model: str, models_roots: Sequence[str | PathLike[str]], forget: bool = False) -> dict[str, Any]:
    """
    Takes away what came by our doing: `{"removed", "bytes", "why"}`. With `forget`, what is on record goes too.
    """

def score(passed_sample_count: int) -> float:
    """
    Score of an accepted interval: the cube of the sampled rows that passed.
    """

def select_miners(hotkeys: Sequence[str], interval_seed: str) -> list[str]:
    """
    Miners that are validated in an interval, in the order of their draw.
    """

def select_row_indices(total_rows: int, miner_hotkey: str, interval_seed: str, validator_hotkey: str | None = None) -> list[int]:
    """
    Rows that a validator looks at, ascending; an empty `validator_hotkey` is none.
    """

def serialize_record_info(index: dict[str, list[float]]) -> str:
    """
    `record_info.json` as the network writes it, from clip starts by source.
    """

def source_identity_key(url: str, source_video_id: str = "") -> str:
    """
    The canonical key of a source: its video id where the URL has one, else the trimmed URL. The protocol derives it
    from the URL alone; `source_video_id` is taken so that calls look alike.
    """

def validate_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """
    A row as the network reads it; raises `InvalidRow` where it does not hold.
    """

def verify_model(model: str, models_roots: Sequence[str | PathLike[str]]) -> list[dict[str, Any]]:
    """
    Compares a model's files with what is on record: one dict a file.
    """

def wanted_files(model: str, models_roots: Sequence[str | PathLike[str]]) -> dict[str, Any]:
    """
    What a client of the hub is to bring for a model, and where to.
    """

def weights(previous_interval_accepted: dict[str, bool], scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """
    Weights that sum to 1 from interval scores (`miner_hotkey`, `accepted`, `passed_sample_count` each).
    """
