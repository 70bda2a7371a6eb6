"""Show that a merge's memory does not grow with the model, and how long it takes on a device.

    python benchmarks/merge_scale.py [--root DIR] [--sizes 0.5b,1.1b,3b] [--device cpu]
    python benchmarks/merge_scale.py --memory

The second form shows the peaks of what needs more than a few blocks: TIES over 20,000 tensors, and
Safe LoRA at rank 128, each beside linear on the same models. More than 700 MB beyond linear is an
error.

With `--sparse` the models are empty files of the right size, which is enough for memory; `copy` is
the time that `cp` takes for one output of that size. With `--tensors` nothing is written: a process
takes one tensor after the other, which needs no disk for models of any size. For a machine with an
NVIDIA GPU: `--sizes 8b --device cpu`, then the same with `--device cuda`.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import torch
from merge_bench import BENCH, SAFEMERGE, timed, warm
from merge_models import config, make_all, tensor_shapes, write_adapter
from safetensors.torch import save_file

from merge.formats.safetensors import build_header

MANY = 20_000
# What a method may take beyond linear on the same models.
LIMIT_MB = 700


def make_sparse(models: Path, size: str) -> None:
    """Make a base and a fine-tuned model whose files have headers and holes."""
    header, entries = build_header(
        {name: ("BF16", shape) for name, shape in tensor_shapes(size).items()}
    )
    for name in ("base", "tuned1"):
        folder = models / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config(size)))
        with (folder / "model.safetensors").open("wb") as file:
            file.write(header)
            file.truncate(max(entry.offset + entry.nbytes for entry in entries.values()))


def make_many(models: Path) -> None:
    """Make a base and two fine-tuned models of 20,000 small tensors of random numbers."""
    for name in ("base", "tuned1", "tuned2"):
        folder = models / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config("tiny")))
        generator = torch.Generator().manual_seed(len(name) + ord(name[-1]))
        tensors = {
            f"model.layers.{index % 4}.experts.{index}.w": torch.randn(
                (40, 50), generator=generator
            ).bfloat16()
            for index in range(MANY)
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def make_models(many: Path, small: Path) -> None:
    """Make what is not there yet of the models whose peaks are measured."""
    if not many.exists():
        make_many(many)
    if not small.exists():
        make_all(small.parent, small.name, tuned=1)
        shutil.rmtree(small / "adapter")
        write_adapter(small / "adapter", small.name, rank=128)


def memory_cases(root: Path) -> dict[str, list[str]]:
    """Return each method's arguments; linear comes before what is compared with it."""
    many, small = root / "many", root / "0.15b"
    # In a process of its own: what this one holds would count in the peaks of those it starts.
    making = multiprocessing.get_context("spawn").Process(target=make_models, args=(many, small))
    making.start()
    making.join()
    on_many = ["--base", str(many / "base"), "--tuned", str(many / "tuned1")]
    ties = ["ties", *on_many, "--tuned", str(many / "tuned2"), "--density", "0.5"]
    on_small = ["--base", str(small / "base"), "--tuned", str(small / "adapter")]
    safe = ["safe-lora", *on_small, "--unaligned", str(small / "tuned1")]
    return {
        "linear, 20,000 tensors": ["linear", *on_many, "--lambda", "0.5"],
        "ties, 20,000 tensors": ties,
        "ties over the whole model, 20,000 tensors": [*ties, "--set", "whole_model=1"],
        "linear, rank 128": ["linear", *on_small, "--lambda", "0.5"],
        "safe-lora by threshold, rank 128": safe,
        "safe-lora by layers, rank 128": [*safe, "--set", "layers=40"],
    }


def show_memory(root: Path) -> bool:
    """Print each case's peak, and return whether all are within the limit."""
    print("| merge | wall | peak memory |\n|---|---|---|")
    within, linear = True, 0.0
    for name, arguments in memory_cases(root).items():
        out = root / "out"
        shutil.rmtree(out, ignore_errors=True)
        run = timed([str(SAFEMERGE), "merge", "--method", *arguments, "--out", str(out)])
        linear = run.memory_mb if name.startswith("linear") else linear
        within &= run.memory_mb <= linear + LIMIT_MB
        print(f"| {name} | {run.seconds:.1f} s | {run.memory_mb:.0f} MB |", flush=True)
    shutil.rmtree(out)
    return within


TAKING = """
import sys
from merge import Options, build_recipe, merge_tensors
base, tuned, device = sys.argv[1:]
recipe = build_recipe(method="linear", base=base, tuned=[{"model": tuned}], lambdas=[0.5])
for _ in merge_tensors(recipe, options=Options(device=device)):
    pass
"""


def command(models: Path, out: Path, device: str, tensors: bool) -> list[str]:
    """Return what merges a size's models by linear."""
    base, tuned = str(models / "base"), str(models / "tuned1")
    if tensors:
        return [sys.executable, "-c", TAKING, base, tuned, device]
    words = ["--method", "linear", "--lambda", "0.5", "--base", base, "--tuned", tuned]
    return [str(SAFEMERGE), "merge", *words, "--device", device, "--out", str(out)]


def copy_seconds(out: Path) -> float:
    """Return how long `cp` takes for an output, which is in the page cache as far as it fits."""
    copy = out.with_name(f"{out.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    run = timed(["cp", "-r", "--reflink=never", str(out), str(copy)])
    shutil.rmtree(copy)
    return run.seconds


def main() -> None:
    """Make each size's models, merge them, print a row, and remove them unless told to keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=BENCH)
    parser.add_argument("--sizes", default="0.5b,1.1b,3b")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sparse", action="store_true", help="all weights zero, no disk needed")
    parser.add_argument("--tensors", action="store_true", help="in memory, nothing is written")
    parser.add_argument("--keep", action="store_true", help="keep models made for this run")
    parser.add_argument("--memory", action="store_true", help="peaks of what needs most")
    arguments = parser.parse_args()
    if arguments.memory:
        sys.exit(not show_memory(arguments.root))
    print("| parameters | device | wall | copy | peak memory |\n|---|---|---|---|---|")
    for size in arguments.sizes.split(","):
        models = arguments.root / (f"{size}-sparse" if arguments.sparse else size)
        existed = models.exists()
        if arguments.sparse:
            make_sparse(models, size)
        else:
            make_all(arguments.root, size, tuned=1)
            warm(models)
        out = arguments.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        run = timed(command(models, out, arguments.device, arguments.tensors))
        copied = "" if arguments.tensors else f"{copy_seconds(out):.1f} s"
        print(
            f"| {size} | {arguments.device} | {run.seconds:.1f} s | {copied} | "
            f"{run.memory_mb:.0f} MB |",
            flush=True,
        )
        shutil.rmtree(out, ignore_errors=True)
        if not existed and not arguments.keep:
            shutil.rmtree(models)


if __name__ == "__main__":
    main()
