"""Merge checkpoints and adapters: weights in, a checkpoint that vLLM and transformers load out.

`merge` merges from Python as `safemerge merge` does from the command line, `verify` checks what
came out, and `MergeError` is the one exception to expect.
"""

from typing import TYPE_CHECKING, Any

from merge.errors import MergeError

if TYPE_CHECKING:
    from merge.api import (
        Merged,
        check,
        merge,
        merge_recipe,
        merge_recipes,
        merge_state_dict,
        merge_tensors,
    )
    from merge.engine.options import Options
    from merge.engine.plan import Plan
    from merge.output.verification import verify
    from merge.recipe.recipe import Recipe, build_recipe

    __version__: str

_HOMES = {
    "Merged": "merge.api",
    "Options": "merge.engine.options",
    "Plan": "merge.engine.plan",
    "Recipe": "merge.recipe.recipe",
    "build_recipe": "merge.recipe.recipe",
    "check": "merge.api",
    "merge": "merge.api",
    "merge_recipe": "merge.api",
    "merge_recipes": "merge.api",
    "merge_state_dict": "merge.api",
    "merge_tensors": "merge.api",
    "verify": "merge.output.verification",
}

__all__ = [
    "MergeError",
    "Merged",
    "Options",
    "Plan",
    "Recipe",
    "__version__",
    "build_recipe",
    "check",
    "merge",
    "merge_recipe",
    "merge_recipes",
    "merge_state_dict",
    "merge_tensors",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that the command line starts at once."""
    if name == "__version__":
        from importlib.metadata import version

        return version("safemerge")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
