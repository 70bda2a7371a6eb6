"""Steps: pieces of work whose results are kept under a key of everything that shapes them."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from safemerge_tasks.sweep.store import Store

Kind = Literal["finetune", "merge", "answer", "score", "judge"]

KINDS: tuple[Kind, ...] = ("finetune", "merge", "answer", "score", "judge")

LIBRARIES: Mapping[Kind, tuple[str, ...]] = {
    "finetune": ("torch", "transformers", "peft", "trl"),
    "merge": ("safemerge", "torch"),
    "answer": ("torch", "transformers", "peft", "lm-eval", "vllm"),
    "score": ("safemerge", "lm-eval", "transformers", "bert-score"),
    "judge": ("safemerge", "transformers", "vllm"),
}
"""What else shapes a step's result. A new version of one of them makes a new key."""

_SOURCES: Mapping[Kind, tuple[str, ...]] = {
    "finetune": ("safemerge_tasks.finetune",),
    "merge": ("merge",),
    "answer": ("safemerge_tasks.sweep.serving",),
    "score": (
        *("safemerge_tasks.sweep.serving", "safemerge_tasks.harness", "safemerge_tasks.metrics"),
        *("safemerge_tasks.suites", "safemerge_tasks.attacks", "safemerge_tasks.verdicts"),
        *("safemerge_tasks.humaneval", "safemerge_tasks.sandbox"),
    ),
    "judge": ("safemerge_tasks.judges", "safemerge_tasks.metrics", "safemerge_tasks.verdicts"),
}
"""Our own code that shapes a step's result: a version stays the same from commit to commit."""

_STEP = "step:"


@dataclass(frozen=True)
class Step:
    """One piece of work with a result of its own.

    Attributes:
        key: hash of everything that shapes the result.
        kind: what is done.
        name: for people.
        group: steps of a group are done by one process, once all their inputs are there.
        inputs: keys of the steps whose results are read.
        work: what to do, as JSON; `step:KEY/…` stands for a place in another step's result.
        nbytes: size of the checkpoint that is written.
    """

    key: str
    kind: Kind
    name: str
    group: str
    inputs: tuple[str, ...] = ()
    work: Mapping[str, Any] = field(default_factory=dict)
    nbytes: int = 0


def make_key(kind: Kind, shaped_by: Mapping[str, Any], inputs: Sequence[str] = ()) -> str:
    """Return a step's key.

    Args:
        kind: of step.
        shaped_by: what shapes the result, without places and names.
        inputs: keys of the steps whose results are read, in their order.
    """
    content = {
        "kind": kind,
        "shaped by": shaped_by,
        "inputs": list(inputs),
        "libraries": {name: version_of(name) for name in LIBRARIES[kind]},
        "code": [source_hash(package) for package in _SOURCES[kind]],
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


@cache
def version_of(library: str) -> str | None:
    """Return a library's version; None if it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@cache
def source_hash(package: str) -> str:
    """Return a hash of all of a package's modules, or of a module that is no package."""
    found = importlib.util.find_spec(package)
    digest = hashlib.sha256()
    if found and found.origin and found.submodule_search_locations is None:
        digest.update(Path(found.origin).read_bytes())
    for folder in map(Path, (found and found.submodule_search_locations) or ()):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def place_of(key: str, part: str) -> str:
    """Return what stands for a place in a step's result."""
    return f"{_STEP}{key}/{part}"


def located(work: Any, store: Store) -> Any:
    """Return work with the places of other steps' results as paths."""
    if isinstance(work, str) and work.startswith(_STEP):
        key, _, part = work.removeprefix(_STEP).partition("/")
        return str(store.folder(key) / Path(part))
    if isinstance(work, Mapping):
        return {name: located(value, store) for name, value in work.items()}
    if isinstance(work, list | tuple):
        return [located(value, store) for value in work]
    return work
