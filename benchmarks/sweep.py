"""Measure `safemerge sweep` against the usual way, on the toy family, in one run.

    python benchmarks/sweep.py [--root DIR] [--save FILE]

The grid is 3 seeds x 4 λ, merged linearly, one safety and one utility task, with the base and the
three fine-tuned models beside it: 16 models on both sides.

The usual way, one model after the other: mergekit merges `model+lora` with the base into a
checkpoint, then `lm_eval --model vllm` evaluates it, with the judge loaded inside it each time; the
base and the fine-tuned models need no merge. Ours: `safemerge sweep` on the same adapters, tasks
and judge, which also evaluates one merged checkpoint, for the agreement with adapter serving. Every
process may use all cores. The ratio is printed for all 16 models of the usual way, and for its 12
merged ones alone. Beside it the loop of someone who knows vLLM (`engine_loop.py`): the same merges,
one engine for the base and the 12 checkpoints, one judge for all of them.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from merge_bench import BENCH, SAFEMERGE, install_mergekit

from safemerge_tasks.toy.family import toy_family
from safemerge_tasks.toy.members import TASKS, ToyFamily

CONTEXT = 2048
LAMBDAS = (0.2, 0.4, 0.6, 0.8)
JUDGE = {
    "judge": "wildguard",
    "judge_engine": "vllm",
    "judge_dtype": "float32",
    "judge_max_model_len": CONTEXT,
    # Kept verdicts would spare both sides the judge's work.
    "judge_cache": "false",
}
METADATA = ",".join(f"{key}={value}" for key, value in JUDGE.items())


def main() -> None:
    """Measure both ways and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="keep what is made here")
    parser.add_argument("--mergekit", type=Path, default=BENCH, help="where its environment is")
    parser.add_argument("--save", type=Path, help="also write the figures as JSON to this file")
    arguments = parser.parse_args()
    mergekit = install_mergekit(arguments.mergekit)
    family = toy_family(print)
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.root or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        ours_seconds, ours = timed_sweep(family, root)
        usual_seconds, usual, merge_seconds = timed_usual(family, root, mergekit)
        loop_seconds, loop = timed_loop(family, root)
    merged = {
        name: seconds
        for name, seconds in usual_seconds.items()
        if not name.endswith(("base", "λ 1"))
    }
    figures = {
        "sweep_seconds": ours_seconds,
        "usual_seconds": usual_seconds,
        "merged_seconds": merged,
        "loop_seconds": merge_seconds + loop_seconds,
        "loop_merging_seconds": merge_seconds,
        "cells": {
            name: {"sweep": ours[name], "usual": usual[name], "loop": loop.get(name)}
            for name in usual
        },
        "agreement": ours["agreement"],
    }
    if arguments.save:
        arguments.save.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures)


def environment(family: ToyFamily) -> dict[str, str]:
    """Return the environment of both sides."""
    return {
        **os.environ,
        "SAFEMERGE_DATA_DIR": str(family.questions),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # Half the start-up time on a CPU, for both sides.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }


def timed_sweep(family: ToyFamily, root: Path) -> tuple[float, dict[str, Any]]:
    """Run the sweep from nothing; return seconds and each cell's rates."""
    tasks = {"safety": ["toy_asr"], "utility": ["toy_task"]}
    file = root / "sweep.yaml"
    sweep = {
        "name": "bench",
        "base": str(family.aligned),
        "data_dir": str(family.questions),
        "tunings": [{"name": "toy", "models": {s: str(path) for s, path in family.tuned.items()}}],
        "methods": [{"method": "linear", "lambda": list(LAMBDAS)}],
        # The same tasks for both splits are asked once.
        "tasks": {"include_path": str(TASKS), "validation": tasks, "test": tasks},
        "judge": {**JUDGE, "judge_model": str(family.guard)},
        "engine": {"model": "vllm", "model_args": {"dtype": "float32", "max_model_len": CONTEXT}},
    }
    file.write_text(yaml.safe_dump(sweep))
    out, store = root / "sweep", root / "store"
    for folder in (out, store):
        shutil.rmtree(folder, ignore_errors=True)
    command = [str(SAFEMERGE), "sweep", str(file), "--out", str(out), "--store", str(store)]
    seconds = run(command, environment(family), root / "sweep.log")
    manifest = json.loads((out / "sweep.json").read_text())
    cells: dict[str, Any] = {}
    for variant in manifest["variants"]:
        seed = variant["seeds"][0] if variant["seeds"] else None
        ends = {"base": 0.0, "tuned": 1.0}
        weight = ends[variant["kind"]] if variant["kind"] in ends else variant["point"]["lambda"]
        cells[cell_name(seed, weight)] = rates(out / variant["results"]["test"])
    cells["agreement"] = manifest["agreement"]
    return seconds, cells


def timed_usual(
    family: ToyFamily, root: Path, mergekit: Path
) -> tuple[dict[str, float], dict[str, dict[str, float]], float]:
    """Merge and evaluate model by model; return the seconds and rates of each, and of merging."""
    cells: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    merging = 0.0
    log = root / "usual.log"
    for seed, weight in grid(family):
        name = cell_name(seed, weight)
        # lm-eval divides --model_args at commas.
        place = place_name(seed, weight)
        results = root / "usual-results" / place
        shutil.rmtree(results, ignore_errors=True)
        begun = time.perf_counter()
        if weight in (0.0, 1.0):
            command = lm_eval(family.aligned, results, family, seed)
        else:
            assert seed is not None
            merged = mergekit_merge(family, root / "usual" / place, mergekit, seed, weight, log)
            merging += time.perf_counter() - begun
            command = lm_eval(merged, results, family)
        run(command, environment(family), log)
        seconds[name] = time.perf_counter() - begun
        cells[name] = rates(results)
        print(f"{name}: {seconds[name]:.0f} s", flush=True)
    return seconds, cells, merging


def timed_loop(family: ToyFamily, root: Path) -> tuple[float, dict[str, dict[str, float]]]:
    """Evaluate the base and what was merged the usual way in one engine, and judge it together."""
    results = root / "loop-results"
    shutil.rmtree(results, ignore_errors=True)
    asked = {
        cell_name(seed, weight): root / "usual" / place_name(seed, weight)
        for seed, weight in grid(family)
        if weight not in (0.0, 1.0)
    }
    models = [family.aligned, *asked.values()]
    script = str(Path(__file__).with_name("engine_loop.py"))
    words = [*map(str, models), "--context", str(CONTEXT), "--out", str(results)]
    log = root / "loop.log"
    seconds = run([sys.executable, script, *words], environment(family), log)
    judge = [str(SAFEMERGE), "judge", str(results), "--metadata", METADATA]
    seconds += run([*judge, "--model", str(family.guard)], environment(family), log)
    names = [cell_name(None, 0.0), *asked]
    return seconds, {
        name: rates(results / model.name) for name, model in zip(names, models, strict=True)
    }


def mergekit_merge(
    family: ToyFamily, out: Path, mergekit: Path, seed: int, weight: float, log: Path
) -> Path:
    """Merge a seed's adapter with the base by mergekit; return the checkpoint."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = out.with_name(f"{out.name}.yaml")
    models = [
        {"model": str(family.aligned), "parameters": {"weight": 1 - weight}},
        {"model": f"{family.aligned}+{family.tuned[seed]}", "parameters": {"weight": weight}},
    ]
    content = {"merge_method": "linear", "models": models, "dtype": "float32"}
    recipe.write_text(yaml.safe_dump(content))
    cache = ["--lora-merge-cache", str(out.parent / "lora-cache")]
    run([str(mergekit), str(recipe), str(out), *cache], environment(family), log)
    # mergekit leaves the chat template behind where it is a file of its own.
    for file in family.aligned.glob("*.jinja"):
        shutil.copy(file, out)
    return out


def lm_eval(model: Path, results: Path, family: ToyFamily, seed: int | None = None) -> list[str]:
    """Return the command that evaluates a checkpoint, or a seed's adapter on it, with the judge."""
    arguments = f"pretrained={model},dtype=float32,enforce_eager=True,max_model_len={CONTEXT}"
    if seed is not None:
        arguments += f",enable_lora=True,lora_local_path={family.tuned[seed]},max_lora_rank=8"
    return [
        *(sys.executable, "-m", "lm_eval", "--model", "vllm"),
        *("--model_args", f"{arguments},distributed_executor_backend=uni"),
        *("--tasks", "toy_asr,toy_task", "--include_path", str(TASKS), "--batch_size", "auto"),
        *("--metadata", f"{METADATA},judge_model={family.guard}"),
        *("--apply_chat_template", "--log_samples", "--output_path", str(results)),
    ]


def grid(family: ToyFamily) -> Iterator[tuple[int | None, float]]:
    """Yield the base as λ = 0, and every seed with every λ; 1 is the fine-tuned model."""
    yield None, 0.0
    for seed in family.tuned:
        for weight in (*LAMBDAS, 1.0):
            yield seed, weight


def place_name(seed: int | None, weight: float) -> str:
    """Return what a cell's folder is called."""
    return f"seed-{seed}-lambda-{weight:g}"


def cell_name(seed: int | None, weight: float) -> str:
    """Return what a cell is called."""
    return "base" if seed is None else f"seed {seed}, λ {weight:g}"


def rates(folder: Path) -> dict[str, float]:
    """Return the ASR and the task's score below a folder."""
    found: dict[str, float] = {}
    for path in sorted(folder.rglob("results_*.json")):
        for task in json.loads(path.read_text())["results"].values():
            for key, value in task.items():
                metric, _, judge = key.partition(",")
                if metric in ("asr", "exact_match") and judge:
                    found[metric] = value
    return found


def run(command: list[str], environment: dict[str, str], log: Path) -> float:
    """Run a command with its output in a file; return its wall time in seconds."""
    started = time.perf_counter()
    with log.open("a") as file:
        status = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if status:
        sys.exit(f"{command[0]} ended with status {status}; {log} says why")
    return time.perf_counter() - started


def show(figures: dict[str, Any]) -> None:
    """Print the comparison."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{'cell':>20} {'ASR, sweep':>11} {'usual':>7} {'score, sweep':>13} {'usual':>7}")
    for name, cell in figures["cells"].items():
        ours, usual = cell["sweep"], cell["usual"]
        print(
            f"{name:>20} {ours['asr']:11.3f} {usual['asr']:7.3f} "
            f"{ours['exact_match']:13.3f} {usual['exact_match']:7.3f}"
        )
    for one in figures["agreement"]:
        print(f"adapter against merged, {one['variant']}: {one['equal']} of {one['total']} equal")
    differing = [
        name for name, cell in figures["cells"].items() if cell["loop"] not in (None, cell["usual"])
    ]
    print(f"the loop's cells that differ from the usual way's: {', '.join(differing) or 'none'}")
    seconds = figures["sweep_seconds"]
    merged = figures["merged_seconds"]
    for what, usual in (("16 models", figures["usual_seconds"]), ("12 merged models", merged)):
        total = sum(usual.values())
        print(
            f"{what} the usual way {total:.0f} s, the sweep of all {seconds:.0f} s: "
            f"{total / seconds:.1f} x (aim: 7 x)"
        )
    loop = figures["loop_seconds"]
    print(
        f"13 models by a loop in one engine {loop:.0f} s, {figures['loop_merging_seconds']:.0f} of "
        f"them merging; the sweep of all {seconds:.0f} s: {loop / seconds:.1f} x (aim: 2 x)"
    )


if __name__ == "__main__":
    main()
