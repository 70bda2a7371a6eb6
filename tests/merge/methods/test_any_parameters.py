"""Any method, parameters, weights, λ, models, shapes and blocks against float64 references.

All values are multiples of powers of two, so that differences of weights are exact in float32 and
no threshold, sign or tie depends on rounding. Stored in float64 they are multiples of another unit,
which float32 does not hold.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_references import (
    reference_dare,
    reference_elect,
    reference_slerp,
    reference_stock,
    reference_trim,
)
from safetensors.torch import load_file, save_file

from merge import Options, build_recipe, merge_recipe

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 999}
UNITS = {torch.float32: 1.0, torch.float64: 1 + 2.0**-30}
TOLERANCES = {torch.float32: 2e-6, torch.float64: 1e-12}
DROP_RATES = (0.0, 0.25, 0.5, 0.75)


@dataclass
class Case:
    """One merge: what is merged and how."""

    method: str
    shapes: list[tuple[int, ...]]
    seed: int
    weights: list[float]
    rates: list[float]
    densities: list[float]
    scale: float = 1.0
    common: dict[str, Any] = field(default_factory=dict)
    block: int = 100
    threads: int = 1
    dtype: torch.dtype = torch.float32


@st.composite
def cases(draw):
    method = draw(
        st.sampled_from(
            [
                "linear", "slerp", "task-arithmetic", "dare-linear", "dare-ties", "ties",
                "model-stock", "resta",
            ]
        )
    )  # fmt: skip
    fewest, most = {"slerp": (1, 2), "resta": (1, 1), "model-stock": (2, 3)}.get(method, (1, 3))
    count = draw(st.integers(fewest, most))
    eighths = st.integers(-8, 16).map(lambda number: number / 8)
    weights = draw(st.lists(eighths, min_size=count, max_size=count))
    if method in ("linear", "ties", "dare-ties") or sum(weights) == 0:
        weights = [abs(weight) + 0.125 for weight in weights]
    common: dict[str, Any] = {}
    if method == "slerp":
        common["on_deltas"] = count == 2
    if method in ("linear", "task-arithmetic", "dare-linear"):
        common["normalize"] = draw(st.booleans())
    if method in ("ties", "dare-ties"):
        common["normalize"] = draw(st.sampled_from([None, True, False]))
    if method.startswith("dare"):
        common["rescale"] = draw(st.booleans())
    if method == "ties":
        common["whole_model"] = draw(st.booleans())
    if method == "resta":
        common["gamma"] = draw(eighths)
    low, high = (0, 8) if method in ("linear", "slerp") else (-4, 12)
    side = st.integers(1, 13)
    return Case(
        method,
        draw(st.lists(st.lists(side, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)),
        draw(st.integers(0, 2**20)),
        weights,
        draw(st.lists(st.sampled_from(DROP_RATES), min_size=count, max_size=count)),
        draw(st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=count, max_size=count)),
        draw(st.integers(low, high)) / 8,
        common,
        draw(st.sampled_from([1, 7, 100, 262_144])),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(list(UNITS))),
    )


def model(case, number):
    """Return a model's tensors; the base's number is 0."""
    tensors = {}
    for place, shape in enumerate(case.shapes):
        generator = torch.Generator().manual_seed(case.seed * 40 + 10 * place)
        base = torch.randint(-64, 64, shape, generator=generator).to(case.dtype) / 64
        generator.manual_seed(case.seed * 40 + 10 * place + number)
        change = torch.randint(-2047, 2048, shape, generator=generator).to(case.dtype) / 4096
        value = base + change if number else base
        tensors[f"model.layers.{place}.weight"] = value * UNITS[case.dtype]
    return tensors


def flat(tensors):
    return torch.cat([value.flatten() for value in tensors.values()])


def expected(case, base, tuned, unaligned):
    """Return the exact result of a case."""
    deltas = [{name: each[name] - base[name] for name in base} for each in tuned]
    trimmed = []
    for delta, density in zip(deltas, case.densities, strict=True):
        kept = delta
        if case.common.get("whole_model"):
            whole = reference_trim(flat(delta), density)
            edge = whole[whole != 0].abs().min() if whole.any() else torch.inf
            kept = {name: torch.where(v.abs() >= edge, v, 0.0) for name, v in delta.items()}
        elif case.method == "ties":
            kept = {name: reference_trim(value, density) for name, value in delta.items()}
        trimmed.append(kept)
    result = {}
    for name, start in base.items():
        own = [delta[name] for delta in deltas]
        weights = case.weights
        total = sum(weight * delta for weight, delta in zip(weights, own, strict=True))
        match case.method:
            case "linear":
                share = sum(weights) if case.common["normalize"] else 1
                change = case.scale * (total + (sum(weights) - share) * start) / share
            case "slerp" if case.common["on_deltas"]:
                change = reference_slerp(own[0], own[1], case.scale)
            case "slerp":
                change = reference_slerp(start, tuned[0][name], case.scale) - start
            case "task-arithmetic":
                change = case.scale * total / (sum(weights) if case.common["normalize"] else 1)
            case "model-stock":
                change = reference_stock(own)
            case "ties":
                change = case.scale * elected(case, [each[name] for each in trimmed])
            case _:
                change = dropped(case, name, own, start - unaligned[name])
        result[name] = start + change
    return result


def elected(case, deltas):
    normalize = case.common["normalize"]
    return reference_elect(
        deltas, case.weights, len(deltas) > 1 if normalize is None else normalize
    )


def dropped(case, name, deltas, vector):
    """Return what the methods that drop entries at random add to the base."""
    kept = [
        reference_dare({name: delta}, case.seed, rate, stream)[name]
        * (1.0 if case.common.get("rescale", True) else 1 - rate)
        for stream, (delta, rate) in enumerate(zip(deltas, case.rates, strict=True))
    ]
    if case.method == "resta":
        return kept[0] + case.common["gamma"] * vector
    if case.method == "dare-ties":
        return case.scale * elected(case, kept)
    total = sum(weight * delta for weight, delta in zip(case.weights, kept, strict=True))
    return case.scale * total / (sum(case.weights) if case.common["normalize"] else 1)


def recipe(case, root):
    """Write a case's models and return its recipe."""
    names = ["base", "unaligned", *(f"tuned{number}" for number in range(len(case.weights)))]
    for number, name in enumerate(names):
        (root / name).mkdir()
        (root / name / "config.json").write_text(json.dumps(CONFIG))
        save_file(model(case, number), root / name / "model.safetensors")
    own: dict[str, list[float]] = {}
    if case.method not in ("slerp", "model-stock", "resta"):
        own["weight"] = case.weights
    if case.method.startswith("dare"):
        own["drop_rate"] = case.rates
    if case.method == "ties":
        own["density"] = case.densities
    extra: dict[str, Any] = {"lambdas": (case.scale,)}
    common = {key: value for key, value in case.common.items() if value is not None}
    if case.method == "resta":
        common["drop_rate"] = case.rates[0]
        extra = {"unaligned": str(root / "unaligned")}
    if case.method == "model-stock":
        extra = {}
    return build_recipe(
        method=case.method,
        base=str(root / "base"),
        tuned=[
            {
                "model": str(root / f"tuned{number}"),
                "parameters": {key: values[number] for key, values in own.items()},
            }
            for number in range(len(case.weights))
        ],
        parameters=common,
        seed=case.seed,
        **extra,
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=cases())
def test_every_method_equals_its_formula(case):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        merge_recipe(
            recipe(case, root),
            root / "out",
            options=Options(block_elements=case.block, threads=case.threads),
        )
        merged = load_file(root / "out" / "model.safetensors")
    base, unaligned, *tuned = (
        {name: value.double() for name, value in model(case, number).items()}
        for number in range(2 + len(case.weights))
    )
    exact = expected(case, base, tuned, unaligned)
    assert merged.keys() == exact.keys()
    for name, value in merged.items():
        assert value.dtype == case.dtype
        limit = TOLERANCES[case.dtype]
        torch.testing.assert_close(value.double(), exact[name], rtol=limit, atol=limit)
