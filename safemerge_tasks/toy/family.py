"""The toy family on disk: trained once, then found in the cache."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.finetune.config import FinetuneConfig
from safemerge_tasks.toy.members import ToyFamily
from safemerge_tasks.toy.recipe import Recipe, toy_recipe

__all__ = ["ToyFamily", "family_key", "toy_family"]

_ROOM = Path(__file__).parent
# What shapes the weights, beside the recipe.
_SOURCES = tuple(
    _ROOM.parent / folder / f"{name}.py"
    for folder, names in {
        "toy": (
            *("build", "corpora", "criteria", "guard", "measure", "members", "model", "questions"),
            "recipe",
            *("tokenizer", "training", "tuning", "vocabulary"),
        ),
        "finetune": (
            "encoded",
            "exchanges",
            "labelled_positions",
            "own_rows",
            "row_files",
            "row_shapes",
            "rendering",
            "steps",
            "training",
        ),
        "judges": ("wildguard",),
        "judges/prompts": ("tokens", "wildguard"),
        # How rows are divided, and where their system prompt goes.
        "suites": ("conversation", "sampling"),
    }.items()
    for name in names
)
_LIBRARIES = ("torch", "transformers", "peft", "trl", "tokenizers")


def toy_family(
    progress: Callable[[str], None] = lambda _line: None, recipe: Recipe | None = None
) -> ToyFamily:
    """Return the family, trained now unless the cache holds it.

    `progress` is told one line a member; the recipe is `toy_recipe`'s unless given. A second
    process that wants the same family waits for the first; one that is killed leaves nothing that
    looks like a family.

    Raises:
        SafemergeError: a member does not meet its criteria.
    """
    recipe = recipe or toy_recipe()
    folder = _folder(recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _build(folder, recipe, progress)
    return ToyFamily(folder, recipe)


def is_trained() -> bool:
    """Return whether the cache holds the family."""
    return _folder(toy_recipe()).is_dir()


def _folder(recipe: Recipe) -> Path:
    return cache_dir() / f"toy-family-{family_key(recipe)}"


def family_key(recipe: Recipe) -> str:
    """Return a hash of all that shapes the family: recipe, source files, library versions."""
    digest = hashlib.sha256(repr(recipe).encode())
    # Its defaults shape the adapters too; the rest of their file does not.
    defaults = {name: field.default for name, field in FinetuneConfig.model_fields.items()}
    digest.update(repr(sorted(defaults.items())).encode())
    for source in _SOURCES:
        digest.update(source.name.encode() + hashlib.sha256(source.read_bytes()).digest())
    for library in _LIBRARIES:
        digest.update(f"{library}=={metadata.version(library)}".encode())
    return digest.hexdigest()[:16]


def _build(folder: Path, recipe: Recipe, progress: Callable[[str], None]) -> None:
    """Train beside the final place and move there when complete; the caller holds the lock."""
    from safemerge_tasks.toy.build import build_family

    prefix = f".{folder.name}-"
    for abandoned in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(abandoned)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        build_family(ToyFamily(unfinished, recipe), ToyFamily(folder, recipe), progress)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
