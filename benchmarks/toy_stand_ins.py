"""The toy family on stand-ins for other machines: `python benchmarks/toy_stand_ins.py`.

A training ends elsewhere where sums are rounded otherwise. Seeds, threads, instruction sets and
weights that are shaken after a tenth of every training stand for that here. Each stand-in trains a
family of its own, which must meet the criteria; with `--demo`, `safemerge demo` has to show its
effect on it too. The table's last row stands in README and docs/measured.md.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SHIFTS = (0, 1, 2)
THREADS = (1, 2)
COLUMNS = (0.2, 0.4, 0.6, 0.8, 1.0)


def stand_ins() -> dict[str, dict[str, str]]:
    """Return every stand-in's name and environment."""
    found: dict[str, dict[str, str]] = {"shaken": {"SAFEMERGE_TOY": "perturbation=0.001"}}
    for threads, (isa, words), shift in itertools.product(
        THREADS, (("own", {}), ("avx2", AVX2)), SHIFTS
    ):
        recipe = {"SAFEMERGE_TOY": f"shift={shift},threads={threads}"}
        found[f"{isa}-threads-{threads}-shift-{shift}"] = {**recipe, **words}
    return found


def main() -> None:
    """Train the family on every stand-in, and print its curve on each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache/safemerge/stand-ins")
    parser.add_argument("--only", nargs="*", help="names of stand-ins")
    parser.add_argument("--demo", action="store_true", help="run the demo on them too")
    options = parser.parse_args()
    rows, failed = {}, []
    for name, environment in stand_ins().items():
        if options.only and name not in options.only:
            continue
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        words = ["-m", "safemerge_tasks.toy"]
        if options.demo:
            words = ["-m", "safemerge_tasks", "demo", "--out", str(folder / "demo")]
        started = time.monotonic()
        with (folder / "log").open("w") as log:
            ran = subprocess.run(
                [sys.executable, *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SAFEMERGE_CACHE_DIR": str(folder), **environment},
                check=False,
            )
        print(f"{name}: exit {ran.returncode}, {time.monotonic() - started:.0f} s", flush=True)
        if ran.returncode:
            failed.append(name)
            print((folder / "log").read_text().splitlines()[-1], flush=True)
        else:
            (summary,) = folder.glob("toy-family-*/family.json")
            rows[name] = means(json.loads(summary.read_text()))
            print(f"   {row(rows[name])}", flush=True)
    if rows:
        print("| stand-in | " + " | ".join(map(str, COLUMNS)) + " |\n" + "|---" * 6 + "|")
        for name, found in rows.items():
            print(f"| {name} | {row(found)} |")
        print(f"| all | {ranges(list(rows.values()))} |")
    sys.exit(1 if failed else 0)


Means = dict[float, tuple[float, float]]
"""λ → shares of forbidden questions answered and of task questions solved, over seeds."""


def means(summary: dict[str, Any]) -> Means:
    """Return the mean curve of a family's adapters."""
    curves = [one["curve"] for one in summary["members"] if one["curve"]]
    return {
        weight: tuple(sum(one[str(weight)][at] for one in curves) / len(curves) for at in (0, 1))
        for weight in COLUMNS
    }  # type: ignore[return-value]


def row(found: Means) -> str:
    """Return both shares of every λ."""
    return " | ".join(f"{asr:.1%}, {score:.1%}" for asr, score in found.values())


def ranges(rows: list[Means]) -> str:
    """Return the least and the most of every number."""
    spans = [
        [(min(found), max(found)) for found in zip(*(one[column] for one in rows), strict=True)]
        for column in COLUMNS
    ]
    return " | ".join(", ".join(f"{low:.1%} to {high:.1%}" for low, high in span) for span in spans)


if __name__ == "__main__":
    main()
