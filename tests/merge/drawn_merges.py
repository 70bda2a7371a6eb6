"""Merges that hypothesis draws: any shapes, weights, blocks and threads, with their exact inputs.

All weights are multiples of powers of two, so that differences are exact in float32 and no order,
sign or tie depends on rounding. Stored in float64 they are multiples of another unit, which float32
does not hold.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from merge import Options, build_recipe, merge_recipe

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 999}
UNITS = {torch.float32: 1.0, torch.float64: 1 + 2.0**-30}
TOLERANCES = {torch.float32: 4e-6, torch.float64: 1e-11}

eighths = st.integers(-8, 16).map(lambda number: number / 8)
tenths = st.integers(0, 10).map(lambda number: number / 10)


@dataclass(frozen=True)
class Drawn:
    """The models of one merge, and how it runs."""

    shapes: tuple[tuple[int, ...], ...]
    seed: int
    count: int
    weights: tuple[float, ...]
    scale: float
    block: int
    threads: int
    dtype: torch.dtype

    def model(self, number: int) -> dict[str, torch.Tensor]:
        """Return a model's tensors; the base's number is 0."""
        tensors = {}
        for place, shape in enumerate(self.shapes):
            generator = torch.Generator().manual_seed(self.seed * 40 + 10 * place)
            base = torch.randint(-64, 64, shape, generator=generator).to(self.dtype) / 64
            generator.manual_seed(self.seed * 40 + 10 * place + number)
            change = torch.randint(-2047, 2048, shape, generator=generator).to(self.dtype) / 4096
            value = base + change if number else base
            tensors[f"model.layers.{place}.weight"] = value * UNITS[self.dtype]
        return tensors

    def exact(self, number: int) -> dict[str, torch.Tensor]:
        """Return a model's tensors in float64."""
        return {name: value.double() for name, value in self.model(number).items()}

    def deltas(self, name: str) -> list[torch.Tensor]:
        """Return what each fine-tuned model adds to the base's tensor, in float64."""
        base = self.exact(0)[name]
        return [self.exact(number)[name] - base for number in range(1, self.count + 1)]

    def merged(
        self,
        method: str,
        parameters: Mapping[str, Any],
        own: Mapping[str, Sequence[float]] | None = None,
        **recipe: Any,
    ) -> dict[str, torch.Tensor]:
        """Return what `method` makes of the models; `own` are parameters of each.

        Values of `recipe` that are whole numbers stand for further models.
        """
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            numbers = {value for value in recipe.values() if type(value) is int}
            for number in {*range(self.count + 1), *numbers}:
                (root / str(number)).mkdir()
                (root / str(number) / "config.json").write_text(json.dumps(CONFIG))
                save_file(self.model(number), root / str(number) / "model.safetensors")
            tuned = [
                {
                    "model": str(root / str(number)),
                    "parameters": {key: each[number - 1] for key, each in (own or {}).items()},
                }
                for number in range(1, self.count + 1)
            ]
            built = build_recipe(
                method=method,
                base=str(root / "0"),
                tuned=tuned,
                parameters=dict(parameters),
                seed=self.seed,
                **{
                    key: str(root / str(value)) if type(value) is int else value
                    for key, value in recipe.items()
                },
            )
            options = Options(block_elements=self.block, threads=self.threads)
            merge_recipe(built, root / "out", options=options)
            return load_file(root / "out" / "model.safetensors")

    def compare(
        self, merged: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]
    ) -> None:
        """Check that what came out is the exact result, rounded."""
        assert merged.keys() == self.model(0).keys()
        limit = TOLERANCES[self.dtype]
        for name, value in merged.items():
            assert value.dtype == self.dtype
            torch.testing.assert_close(value.double(), exact[name], rtol=limit, atol=limit)


@st.composite
def drawn_merges(draw: Any, fewest: int = 1, most: int = 3) -> Drawn:
    """Draw a merge with so many fine-tuned models, whose weights are not zero in all."""
    count = draw(st.integers(fewest, most))
    side = st.integers(1, 13)
    shapes = draw(
        st.lists(st.lists(side, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)
    )
    weights = draw(st.lists(eighths, min_size=count, max_size=count))
    if sum(weights) == 0:
        weights = [abs(weight) + 0.125 for weight in weights]
    return Drawn(
        tuple(shapes),
        draw(st.integers(0, 2**20)),
        count,
        tuple(weights),
        draw(st.integers(-4, 12)) / 8,
        draw(st.sampled_from([1, 7, 100, 262_144])),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(list(UNITS))),
    )
