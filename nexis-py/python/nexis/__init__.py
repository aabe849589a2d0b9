"""Check captioned video packages of the NexisGen subnet on your own machine.

>>> import nexis
>>> report = nexis.verify("my-bucket/7756900")  # doctest: +SKIP
>>> report.accepted  # doctest: +SKIP
True
>>> nexis.protocol.clip_id("dQw4w9WgXcQ", 0.0, 5.0)
'23d0e0f285b4129298c9c41c'
"""

from __future__ import annotations

import logging as _logging

from . import models, protocol
from ._nexis import __version__
from .benching import BenchResult, Calibration, bench, calibrate
from .errors import (
    CouldNotCheck,
    DeviceUnavailable,
    ForkedProcess,
    InvalidManifest,
    InvalidRow,
    ModelUnavailable,
    NexisError,
    UndecodableClip,
)
from .media import decode, probe
from .packing import PackedRow, PackReport, Problem, pack
from .results import (
    Alignment,
    AlignmentEnsemble,
    Category,
    CategoryEnsemble,
    Classification,
    Decision,
    Encoder,
    Environment,
    FrameCategory,
    FrameTime,
    Judge,
    JudgeIdentity,
    Model,
    Probe,
    Report,
    Row,
    Score,
    Submission,
    Unit,
    Violation,
)
from .verifier import Verifier, classify, encode_image, encode_text, score, verify

__all__ = [
    "Alignment",
    "AlignmentEnsemble",
    "BenchResult",
    "Calibration",
    "Category",
    "CategoryEnsemble",
    "Classification",
    "CouldNotCheck",
    "Decision",
    "DeviceUnavailable",
    "Encoder",
    "Environment",
    "ForkedProcess",
    "FrameCategory",
    "FrameTime",
    "InvalidManifest",
    "InvalidRow",
    "Judge",
    "JudgeIdentity",
    "Model",
    "ModelUnavailable",
    "NexisError",
    "PackReport",
    "PackedRow",
    "Probe",
    "Problem",
    "Report",
    "Row",
    "Score",
    "Submission",
    "UndecodableClip",
    "Unit",
    "Verifier",
    "Violation",
    "__version__",
    "bench",
    "calibrate",
    "classify",
    "decode",
    "encode_image",
    "encode_text",
    "models",
    "pack",
    "probe",
    "protocol",
    "score",
    "verify",
]

# A library is silent unless its user asks.
_logging.getLogger("nexis").addHandler(_logging.NullHandler())
