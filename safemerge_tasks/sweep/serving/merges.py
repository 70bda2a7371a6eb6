"""Merges that are made when they are needed: for an engine, for a reference, or in a folder."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safemerge_tasks.sweep.merge_words import in_sweep_words, merge_errors

if TYPE_CHECKING:
    import torch

    from merge import Options, Plan, Recipe


@dataclass(frozen=True)
class Merge:
    """One merged model that may be nowhere yet.

    Attributes:
        recipe: fields of `merge.build_recipe`, with one λ at most.
        allow_nonfinite: merge weights that hold NaN or infinity.
    """

    recipe: Mapping[str, Any]
    allow_nonfinite: bool = False

    @classmethod
    def of(cls, work: Mapping[str, Any]) -> Self:
        """Return the merge that a step's work describes."""
        weight = work["lambda"]
        lambdas = [] if weight is None else [weight]
        return cls({**work["recipe"], "lambdas": lambdas}, work["allow_nonfinite"])

    @property
    def name(self) -> str:
        """Tells it from other merges."""
        return json.dumps(asdict(self), sort_keys=True)

    def tensors(self) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Yield its tensors by the names that files have, in whatever order they are ready.

        Raises:
            SafemergeError: the merge cannot be done.
        """
        from merge import merge_tensors

        with merge_errors(words=in_sweep_words):
            yield from merge_tensors(self._recipe(), options=self._options())

    def write(self, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write it into a folder, which must not exist.

        Raises:
            SafemergeError: the merge cannot be done.
        """
        from merge import merge_recipe

        with merge_errors(words=in_sweep_words):
            merge_recipe(self._recipe(), out, options=self._options(), progress=progress)

    @contextmanager
    def written(self, out: Path) -> Iterator[Path]:
        """Yield a folder with all of it, for as long as the context lasts. See `write`."""
        try:
            self.write(out)
            yield out
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def write_all_but_weights(self, out: Path) -> "Plan":
        """Write configuration, tokenizer and code into a new folder; return what the weights are.

        Raises:
            SafemergeError: the merge could not be done.
        """
        from merge import check
        from merge.models.checkpoint import CONFIG
        from merge.output.companion_files import copy_companions, write_config

        with merge_errors(words=in_sweep_words):
            plan = check(self._recipe(), options=self._options())
        out.mkdir(parents=True)
        copy_companions(plan, out)
        write_config(plan.config, out / CONFIG)
        return plan

    def _recipe(self) -> "Recipe":
        from merge import build_recipe

        return build_recipe(**self.recipe)

    def _options(self) -> "Options":
        from merge import Options

        return Options(allow_nonfinite=self.allow_nonfinite)
