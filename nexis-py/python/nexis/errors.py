"""What can go wrong, told apart by what the caller can do about it. All of these pickle.

A mistake in a call is Python's own `TypeError`, `ValueError` or `FileNotFoundError`, as anywhere.
"""

from __future__ import annotations

__all__ = [
    "CouldNotCheck",
    "DeviceUnavailable",
    "ForkedProcess",
    "InvalidManifest",
    "InvalidRow",
    "ModelUnavailable",
    "NexisError",
    "UndecodableClip",
]


class NexisError(Exception):
    """The base of all errors of this package."""


class InvalidManifest(NexisError, ValueError):
    """A manifest does not hold. `field` names what is wrong (empty for the whole document), `reason` says why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class InvalidRow(NexisError, ValueError):
    """A row does not hold. `field` names the column, `reason` says why, `index` which of several rows it was."""

    def __init__(self, field: str, reason: str, index: int | None = None) -> None:
        super().__init__(field, reason, index)
        self.field = field
        self.reason = reason
        self.index = index

    def __str__(self) -> str:
        where = "" if self.index is None else f"row {self.index}: "
        return f"{where}{self.field}: {self.reason}"


class UndecodableClip(NexisError, ValueError):
    """A clip cannot be decoded within the limits: it is broken, too large, too long, or of a kind not allowed."""


class ModelUnavailable(NexisError, RuntimeError):
    """A model is not there, or cannot be used."""


class DeviceUnavailable(NexisError, RuntimeError):
    """A device was named that cannot be used here."""


class CouldNotCheck(NexisError, RuntimeError):
    """Something on our side failed, so nothing is known about what was to be checked."""


class ForkedProcess(NexisError, RuntimeError):
    """This process was forked from one that had used nexis already; its threads stayed behind."""
