"""Measure several recipes of one fine-tuned model in one pass, against a pass for each.

    python benchmarks/merge_together.py [--root DIR] [--size 0.5b] [--runs 3]

Linear, SLERP and DARE of two λ each, of a whole fine-tuned model and of a LoRA adapter, as a sweep
merges them. Whole processes are timed, in turns; bytes read are the kernel's count.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from pathlib import Path

from merge_bench import BENCH, Run, timed, warm
from merge_models import make_apart

WORK = """
import json, sys
from merge import build_recipe, merge_recipe, merge_recipes

how, base, tuned, out, counts = sys.argv[1:]
models = dict(base=base, tuned=[{"model": tuned}], lambdas=[0.3, 0.6])
recipes = {
    "linear": build_recipe(method="linear", **models),
    "slerp": build_recipe(method="slerp", **models),
    "dare": build_recipe(method="dare-linear", parameters={"drop_rate": 0.3}, **models),
}
if how == "together":
    merge_recipes(recipes, out)
else:
    for name, recipe in recipes.items():
        merge_recipe(recipe, f"{out}/{name}")
io = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
json.dump(int(io["rchar"]), open(counts, "w"))
"""


def main() -> None:
    """Make the models, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=BENCH)
    parser.add_argument("--size", default="0.5b")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    models = make_apart(arguments.root, arguments.size, tuned=1)
    warm(models)
    out, counts = arguments.root / "out", arguments.root / "counts.json"
    rows = []
    for tuned in ("tuned1", "adapter"):
        runs: dict[str, list[Run]] = {"together": [], "one by one": []}
        read: dict[str, int] = {}
        for _ in range(arguments.runs):
            for how, found in runs.items():
                shutil.rmtree(out, ignore_errors=True)
                place = [str(models / "base"), str(models / tuned), str(out), str(counts)]
                found.append(timed([sys.executable, "-c", WORK, how, *place]))
                read[how] = json.loads(counts.read_text())
                print(tuned, how, found[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
        rows += [(tuned, how, found, read[how]) for how, found in runs.items()]
    shutil.rmtree(out, ignore_errors=True)
    counts.unlink()
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {arguments.runs} runs, medians\n")
    print("| fine-tuned model | passes | wall | read | peak |")
    print("|---|---|---|---|---|")
    for tuned, how, found, count in rows:
        seconds = statistics.median(run.seconds for run in found)
        memory = statistics.median(run.memory_mb for run in found)
        passes = 1 if how == "together" else 3
        what = "LoRA adapter" if tuned == "adapter" else "whole model"
        print(f"| {what} | {passes} | {seconds:.1f} s | {count / 1e9:.1f} GB | {memory:.0f} MB |")


if __name__ == "__main__":
    main()
