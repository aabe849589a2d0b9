"""Which models there are; fetching, checking, importing and removing them.

>>> from nexis import models
>>> models.find("demo").demonstration  # doctest: +SKIP
True

Models of the Hugging Face hub are fetched by its own client, `huggingface_hub` (`pip install "nexis-verify[hub]"`), into
its own cache; HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to it. What was fetched first is put
on record in `models.lock` and holds from then on, here as for the `nexis` program.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

from . import _nexis
from ._progress import looked_at
from .errors import ModelUnavailable
from .results import _Result
from .verifier import PathLike, _models_roots

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["FileCheck", "KnownModel", "Removed", "fetch", "find", "import_folder", "known", "remove", "verify"]

State = Union[Literal["same"], Literal["missing"], Literal["differs"], Literal["unrecorded"]]


@dataclass(frozen=True)
class KnownModel(_Result):
    """A model that is known, wherever its files are."""

    id: str
    #: What it is: `clip`, `siglip`, `mobileclip`, `qwen3-vl` and others.
    kind: str
    #: `encoder` or `judge`.
    role: str
    #: Whether this version can run it, and else why not.
    runs: bool
    obstacle: str | None
    #: Whether its files are there, and where they are or would be put by hand.
    present: bool
    directory: Path
    #: `unlisted`, `root`, `imported` or `hub`.
    place: str | None
    #: The commit, in the cache of the hub's clients.
    commit: str | None
    card: Path | None
    bytes: int | None
    licence: str | None
    note: str | None
    #: Whether it is a demonstration and no judge of real footage.
    demonstration: bool

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> KnownModel:
        return cls(
            raw,
            id=raw["id"],
            kind=raw["kind"],
            role=raw["role"],
            runs=raw["runs"],
            obstacle=raw["obstacle"],
            present=raw["present"],
            directory=Path(raw["directory"]),
            place=raw["place"],
            commit=raw["commit"],
            card=None if raw["card"] is None else Path(raw["card"]),
            bytes=raw["bytes"],
            licence=raw["licence"],
            note=raw["note"],
            demonstration=raw["demonstration"],
        )


@dataclass(frozen=True)
class FileCheck(_Result):
    """What was found of one file of a model. Only `differs` has `expected`; `same` and `missing` have no `found`."""

    name: str
    state: State
    expected: str | None
    found: str | None

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> FileCheck:
        return cls(
            raw, name=raw["name"], state=raw["state"], expected=raw.get("expected"), found=raw.get("found")
        )


@dataclass(frozen=True)
class Removed(_Result):
    """What was taken away. Where nothing was, `why` says it."""

    files: tuple[Path, ...]
    bytes: int
    why: str | None

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Removed:
        return cls(raw, files=tuple(map(Path, raw["removed"])), bytes=raw["bytes"], why=raw["why"])


def known(*, models_dir: PathLike | None = None) -> list[KnownModel]:
    """Every model of the registry, then those that were imported under another id.

    `models_dir` is a folder with a `registry.toml`; else that of NEXIS_MODELS, else the package's own.
    """
    return [KnownModel._from(raw) for raw in _nexis.known_models(_models_roots(models_dir))]


def find(model: str, *, models_dir: PathLike | None = None) -> KnownModel:
    """The known model of this id. Raises `ModelUnavailable`, naming the known ids, where there is none."""
    models = known(models_dir=models_dir)
    for each in models:
        if each.id == model:
            return each
    ids = ", ".join(each.id for each in models) or "none"
    raise ModelUnavailable(f"model {model} is not known; the known ids are: {ids}")


def verify(model: str, *, models_dir: PathLike | None = None) -> list[FileCheck]:
    """Reads a model's files and compares them with what the registry states and what is on record."""
    return [FileCheck._from(raw) for raw in _nexis.verify_model(model, _models_roots(models_dir))]


def import_folder(folder: PathLike, model: str | None = None, *, models_dir: PathLike | None = None) -> KnownModel:
    """Copies a model's folder to the user's own models and puts its digests on record.

    `model` is the id to find it by, the folder's name where it is None; where the registry knows the id, the files have
    to be what it states. Raises `ValueError` where the folder is no model's, and `ModelUnavailable` where a file is
    another than it has to be.
    """
    name = os.path.basename(os.path.realpath(folder)) if model is None else model
    _nexis.import_model(os.fspath(folder), name, _models_roots(models_dir))
    return find(name, models_dir=models_dir)


def remove(model: str, *, forget: bool = False, models_dir: PathLike | None = None) -> Removed:
    """Takes away what was fetched or imported, and nothing that was there before or that another commit needs.

    What is on record stays and holds for the next fetch, unless `forget`.
    """
    return Removed._from(_nexis.remove_model(model, _models_roots(models_dir), forget))


def fetch(
    model: str, *, anyway: bool = False, progress: bool | None = None, models_dir: PathLike | None = None
) -> KnownModel:
    """Brings a model of the registry into the hub's cache; what is there already is not asked for.

    `anyway`: also what this version cannot run. `progress`: False for no bar, True for one in any case; by default it
    shows on a terminal or in a notebook. Raises `ModelUnavailable` where a file cannot be had or is another than it has
    to be, and `ValueError` where the model cannot be run.
    """
    roots = _models_roots(models_dir)
    before = find(model, models_dir=models_dir)
    if before.present and before.place != "hub":
        return before
    if before.obstacle is not None and not anyway:
        raise ValueError(
            f"model {model}: this version cannot run it: {before.obstacle}; anyway=True fetches it all the same"
        )
    wanted = _nexis.wanted_files(model, roots)
    fetched: dict[str, str] = {}
    try:
        commit = _bring(_client(), model, wanted, progress, fetched)
        _nexis.record_model(model, roots, commit, list(fetched))
    except BaseException:
        # What came now and is another than it has to be would else be found in the cache for ever, also where a later
        # file could not be had or somebody stopped it.
        for check in _nexis.verify_model(model, roots) if fetched else ():
            if check["state"] == "differs" and check["name"] in fetched:
                link = fetched[check["name"]]
                for path in (os.path.realpath(link), link):
                    Path(path).unlink(missing_ok=True)
        raise
    return find(model, models_dir=models_dir)


def _client() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError:
        raise ModelUnavailable(
            'fetching needs the hub\'s client: pip install "nexis-verify[hub]"; or run `nexis models fetch`'
        ) from None
    return huggingface_hub


def _bring(
    hub: ModuleType, model: str, wanted: Mapping[str, Any], progress: bool | None, fetched: dict[str, str]
) -> str:
    """Fetches what is missing and gives the commit. `fetched` gets the paths of the files that were not there before, by
    name, each as it comes."""
    bars: Any = importlib.import_module("huggingface_hub.utils")
    repository, revision, cache = wanted["repository"], wanted["revision"], wanted["cache"]
    silent = bars.are_progress_bars_disabled()
    shown = looked_at() if progress is None else progress
    if not shown and not silent:
        bars.disable_progress_bars()
    try:
        for file in wanted["files"]:
            name = file["name"]
            where = {"cache_dir": cache, "revision": revision}
            missing = not isinstance(hub.try_to_load_from_cache(repository, name, **where), str)
            if missing:
                _bound(hub, model, repository, revision, file)
            path = _asked(hub, model, f"{name} of {repository}", hub.hf_hub_download, repository, name, **where)
            if missing:
                fetched[name] = path
            # A branch moves. Whatever it is at the first file, it is for all of them.
            revision = _commit(path, name)
    finally:
        if not shown and not silent:
            bars.enable_progress_bars()
    return revision


def _commit(path: str, name: str) -> str:
    """The commit in a path of the cache: `.../snapshots/<commit>/<name>`."""
    return Path(path).parts[-1 - len(Path(name).parts)]


def _bound(hub: ModuleType, model: str, repository: str, revision: str, file: Mapping[str, Any]) -> None:
    """Asks how large a file is before a byte of it comes."""
    what = f"{file['name']} of {repository}"
    url = hub.hf_hub_url(repository, file["name"], revision=revision)
    size = _asked(hub, model, what, hub.get_hf_file_metadata, url).size
    if size is None:
        raise ModelUnavailable(f"model {model}: {what}: the hub does not say how large it is; it is not fetched")
    if size > file["at_most"] or (file["bytes"] is not None and size != file["bytes"]):
        allowed = "allows" if file["bytes"] is None else "states"
        raise ModelUnavailable(
            f"model {model}: {what}: it has {size} bytes, where the registry {allowed} {file['at_most']}; it is not "
            "fetched"
        )


def _asked(hub: ModuleType, model: str, what: str, ask: Any, *arguments: Any, **named: Any) -> Any:
    """What the client says, its errors in our words: theirs hold addresses, and those may be signed."""
    from huggingface_hub import errors

    try:
        return ask(*arguments, **named)
    except errors.OfflineModeIsEnabled:
        why = "it is not in the cache, and HF_HUB_OFFLINE forbids connections"
    except errors.GatedRepoError:
        why = "its makers want their terms accepted on the hub first; then set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        why = "the hub knows no such repository, or not for this HF_TOKEN"
    except errors.RevisionNotFoundError:
        why = "the hub knows no such revision"
    except errors.LocalEntryNotFoundError:
        why = "it is not in the cache, and the hub cannot be reached (is HF_HUB_OFFLINE set?)"
    except errors.EntryNotFoundError:
        why = "the repository has no such file"
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"the hub answered with status {status}" if status else "the hub gave no answer"
    except OSError as error:
        why = f"{type(error).__name__}: {error.strerror or 'it could not be read or written'}"
    except Exception as error:  # What carries the client's connections has errors of its own.
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3", "hf_xet")):
            raise
        why = f"the hub cannot be reached ({type(error).__name__})"
    raise ModelUnavailable(f"model {model}: {what}: {why}")
