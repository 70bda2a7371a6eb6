"""Compare what `safemerge merge` and mergekit write, for the methods on which they agree.

    python benchmarks/merge_agreement.py [--root DIR]

Both compute in float32, on a tiny float32 Llama whose fine-tuned models have part of their change
in common. The largest difference is given in units of the largest change that the merge makes.
Where the two differ on purpose (docs/decisions.md) the models are such that it hardly shows: few
entries of a delta are equally large, and no two deltas point away from each other.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from merge_bench import BENCH, SAFEMERGE, install_mergekit
from merge_models import config, tensor_shapes
from safetensors.torch import load_file, save_file

ALLOWED = 1e-4
# TIES: we keep all entries that are equally large at the threshold, mergekit as many as it counts.
# There is one pair of them among these 3.5 million entries.
ALLOWED_SHARE = 1e-6
# Arcee Fusion: mergekit computes divergences of a few millionths in float32, and of large tensors
# draws the entries whose quartiles it takes. SCE with a selection: variances of two models in
# float32, which order a few entries otherwise.
ALLOWED_SHARES = {"arcee_fusion": 0.02, "sce, a selection": 1e-4}


def recipes(models: Path) -> dict[str, dict[str, object]]:
    """Return recipes that both tools read and understand alike."""
    base, one, two, three = (str(models / name) for name in ("base", "tuned1", "tuned2", "tuned3"))
    return (
        _methods(base, one, two, three)
        | _parameters(base, one, two, three)
        | _published(base, one, two, three)
    )


def entry(path: str, **parameters: object) -> dict[str, object]:
    """Return a model of a recipe."""
    return {"model": path} | ({"parameters": parameters} if parameters else {})


def source(path: str, span: list[int], **parameters: object) -> dict[str, object]:
    """Return a model of a slice."""
    return entry(path, **parameters) | {"layer_range": span}


def _methods(base: str, one: str, two: str, three: str) -> dict[str, dict[str, object]]:
    """Return every method that both have, DARE at density 1, where nothing is random."""
    pair = [entry(one, weight=0.6), entry(two, weight=0.4)]
    whole = {"density": 1.0}
    return {
        "linear": {
            "merge_method": "linear",
            "models": [entry(base, weight=0.4), entry(one, weight=0.6)],
        },
        "slerp": {
            "merge_method": "slerp",
            "base_model": base,
            "models": [{"model": base}, {"model": one}],
            "parameters": {"t": [0.2, 0.9]},
        },
        "task_arithmetic": {
            "merge_method": "task_arithmetic",
            "base_model": base,
            "models": [entry(one, weight=0.7), entry(two, weight=-0.2)],
            "parameters": {"lambda": 0.8},
        },
        "dare_linear": {
            "merge_method": "dare_linear",
            "base_model": base,
            "models": pair,
            "parameters": whole | {"lambda": 0.7},
        },
        "dare_ties": {
            "merge_method": "dare_ties",
            "base_model": base,
            "models": pair,
            "parameters": whole,
        },
        "ties": {
            "merge_method": "ties",
            "base_model": base,
            "models": [entry(one, weight=1.0, density=0.5), entry(two, weight=0.5, density=0.5)],
            "parameters": {"normalize": True},
        },
        "model_stock": {
            "merge_method": "model_stock",
            "base_model": base,
            "models": [{"model": one}, {"model": two}, {"model": three}],
        },
    } | _on_spheres_and_thinned(base, one, two, three)


def _on_spheres_and_thinned(
    base: str, one: str, two: str, three: str
) -> dict[str, dict[str, object]]:
    """Return the methods on spheres, and those that keep a part of each delta."""
    pair = [entry(one, weight=0.7), entry(two, weight=0.5)]
    both = {"base_model": base, "models": pair}
    thinned = [
        entry(one, weight=0.7, density=0.6, gamma=0.02),
        entry(two, weight=0.5, density=0.95, gamma=0.2),
    ]
    rows = {"nuslerp_flatten": False}
    return {
        "karcher": {
            "merge_method": "karcher",
            "models": [entry(one), entry(two), entry(three)],
        },
        "karcher, a base": {
            "merge_method": "karcher",
            "base_model": base,
            "models": [entry(one), entry(two)],
            "parameters": {"max_iter": 2, "tol": 1e-7},
        },
        "nuslerp": {"merge_method": "nuslerp"} | both,
        "nuslerp, no base": {"merge_method": "nuslerp", "models": pair},
        "nuslerp, rows": {"merge_method": "nuslerp", "parameters": rows} | both,
        "nuslerp, columns": {
            "merge_method": "nuslerp",
            "parameters": rows | {"nuslerp_row_wise": True},
        }
        | both,
        "multislerp": {
            "merge_method": "multislerp",
            "base_model": base,
            "models": [*pair, entry(three, weight=0.4)],
        },
        "multislerp, no base": {
            "merge_method": "multislerp",
            "models": pair,
            "parameters": {"normalize_weights": False, "eps": 1e-5},
        },
        "nearswap": {
            "merge_method": "nearswap",
            "base_model": base,
            "models": [entry(one)],
            "parameters": {"t": [0.0005, 0.003]},
        },
        "breadcrumbs": {
            "merge_method": "breadcrumbs",
            "base_model": base,
            "models": thinned,
            "parameters": {"rescale": True, "normalize": True, "lambda": 0.8},
        },
        "breadcrumbs_ties": {
            "merge_method": "breadcrumbs_ties",
            "base_model": base,
            "models": thinned,
        },
        "della": {"merge_method": "della"} | both,
        "della_linear": {"merge_method": "della_linear", "parameters": {"lambda": 0.6}} | both,
        "sce": {
            "merge_method": "sce",
            "base_model": base,
            "models": [entry(one), entry(two), entry(three)],
        },
        "sce, a selection": {
            "merge_method": "sce",
            "base_model": base,
            "models": [entry(one), entry(two)],
            "parameters": {"select_topk": 0.3},
        },
        "arcee_fusion": {
            "merge_method": "arcee_fusion",
            "base_model": base,
            "models": [entry(one)],
        },
    }


def _parameters(base: str, one: str, two: str, three: str) -> dict[str, dict[str, object]]:
    """Return parameters away from their defaults, and slices with parameters of their own."""
    pair = [entry(one, weight=0.6), entry(two, weight=0.9)]
    ranges = ([0, 3], [3, 4])
    return {
        "linear, a base beside": {
            "merge_method": "linear",
            "base_model": three,
            "models": [entry(one), entry(two)],
            "parameters": {"weight": 0.5},
        },
        "linear, no mean": {
            "merge_method": "linear",
            "models": pair,
            "parameters": {"normalize": False},
        },
        "dare_linear, a mean": {
            "merge_method": "dare_linear",
            "base_model": base,
            "models": pair,
            "parameters": {"normalize": True, "density": 1},
        },
        "dare_ties, a mean": {
            "merge_method": "dare_ties",
            "base_model": base,
            "models": pair,
            "parameters": {"normalize": True, "rescale": False},
        },
        "ties, one model": {
            "merge_method": "ties",
            "base_model": base,
            "models": [entry(one, weight=0.5)],
        },
        "slerp, slices": {
            "merge_method": "slerp",
            "base_model": base,
            "slices": [
                {"sources": [source(base, span), source(one, span)], "parameters": {"t": t}}
                for span, t in zip(ranges, ([0.2, 0.6], [0.7, 0.1]), strict=True)
            ],
        },
        "task_arithmetic, slices": {
            "merge_method": "task_arithmetic",
            "base_model": base,
            "parameters": {"lambda": [1.0, 0.5], "weight": 0.3},
            "slices": [
                {"sources": [source(base, span), source(one, span, weight=w), source(two, span)]}
                for span, w in zip(ranges, (0.9, [0.2, 0.4]), strict=True)
            ],
        },
    }


def _published(base: str, one: str, two: str, three: str) -> dict[str, dict[str, object]]:
    """Return the recipes of mergekit's own examples, documentation and tests that are taken here.

    Its names of models are ours; `layer_range` is these models'.
    """
    gradients = [
        {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
        {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
        {"value": 0.5},
    ]
    uneven = [{"filter": "mlp", "value": 0.5}, {"value": 0}]
    tested = [entry(one, weight=0.6), entry(two, weight=0.4)]
    return {
        "examples/linear": {
            "merge_method": "linear",
            "models": [entry(one, weight=1.0), entry(two, weight=0.3), entry(three, weight=0.5)],
        },
        "examples/gradient-slerp": {
            "merge_method": "slerp",
            "base_model": one,
            "slices": [{"sources": [source(one, [0, 4]), source(two, [0, 4])]}],
            "parameters": {"t": gradients},
        },
        "examples/bio-merge": {
            "merge_method": "ties",
            "base_model": base,
            "models": [entry(each, density=0.5, weight=0.5) for each in (one, two)],
            "parameters": {"normalize": False, "int8_mask": True},
        },
        "examples/ties": {
            "merge_method": "ties",
            "base_model": base,
            "models": [
                entry(one, density=[1, 0.7, 0.1], weight=1.0),
                entry(two, density=0.5, weight=[0, 0.3, 0.7, 1]),
                entry(three, density=0.33, weight=uneven),
            ],
            "parameters": {"normalize": True, "int8_mask": True},
        },
        "docs/multimerge, first": {
            "merge_method": "linear",
            "models": [entry(one), entry(two)],
            "parameters": {"weight": 0.5},
        },
        "docs/multimerge, second": {
            "merge_method": "slerp",
            "base_model": base,
            "models": [entry(one)],
            "parameters": {"t": 0.5},
        },
        "tests: linear": {"merge_method": "linear", "models": tested},
        "tests: task_arithmetic": {
            "merge_method": "task_arithmetic",
            "base_model": three,
            "models": tested,
        },
        "tests: ties": {
            "merge_method": "ties",
            "base_model": base,
            "models": tested,
            "parameters": {"density": 0.3},
        },
    }


def make_models(models: Path) -> None:
    """Write a base and three fine-tuned models in float32."""
    for seed in range(4):
        folder = models / ("base" if seed == 0 else f"tuned{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config("tiny") | {"torch_dtype": "float32"}))
        tensors = {}
        for number, (name, shape) in enumerate(tensor_shapes("tiny").items()):
            parts = [
                torch.randn(shape, generator=torch.Generator().manual_seed(key * 1000 + number))
                for key in (0, 9, seed)
            ]
            tensors[name] = 0.02 * parts[0] + (0.002 * (parts[1] + parts[2]) if seed else 0)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a folder."""
    tensors: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return {name: tensor.double() for name, tensor in tensors.items()}


def main() -> None:
    """Merge with both, print the differences, and fail if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=BENCH)
    parser.add_argument("--only", default="", help="recipes whose names begin like one of these")
    arguments = parser.parse_args()
    root: Path = arguments.root
    make_models(root / "agreement")
    mergekit = install_mergekit(root)
    base = load(root / "agreement/base")
    failed = False
    print(f"| method | largest difference | share above {ALLOWED:g} |\n|---|---|---|")
    for name, recipe in recipes(root / "agreement").items():
        if not name.startswith(tuple(arguments.only.split(","))):
            continue
        outputs = []
        for tool in ([str(SAFEMERGE), "merge", "--recipe"], [str(mergekit)]):
            out = root / "out"
            shutil.rmtree(out, ignore_errors=True)
            path = root / "recipe.yaml"
            path.write_text(yaml.safe_dump(recipe | {"dtype": "float32"}))
            target = ["--out", str(out)] if "--recipe" in tool else [str(out)]
            subprocess.run([*tool, str(path), *target], check=True, capture_output=True)
            outputs.append(load(out))
        ours, theirs = outputs
        change = max(float((theirs[key] - base[key]).abs().max()) for key in base)
        differences = torch.cat([(ours[key] - theirs[key]).abs().flatten() for key in base])
        beyond = float((differences > ALLOWED * change).double().mean())
        print(f"| {name} | {float(differences.max()) / change:.1e} | {beyond:.5%} |", flush=True)
        failed |= beyond > ALLOWED_SHARES.get(name, ALLOWED_SHARE)
    shutil.rmtree(root / "out", ignore_errors=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
