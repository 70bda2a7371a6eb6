"""The demo on stand-ins for other machines: `python benchmarks/toy_stand_ins.py`.

A training ends elsewhere where sums are rounded otherwise. Seeds, threads, instruction sets and
weights that are shaken after a tenth of every training stand for that here. Each stand-in trains a
toy family of its own, which must meet the criteria, and runs `safemerge demo`, which must show its
effect. The table goes to the terminal, and its last row into README and docs/measured.md.
"""

import argparse
import csv
import itertools
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SHIFTS = (0, 1, 2)
THREADS = (1, 2)
COLUMNS = ("base", "tuned", "0.2", "0.4", "0.6", "0.8")


def stand_ins() -> dict[str, dict[str, str]]:
    """Return every stand-in's name and environment."""
    found = {}
    for (isa, words), threads, shift in itertools.product(
        (("own", {}), ("avx2", AVX2)), THREADS, SHIFTS
    ):
        recipe = {"SAFEMERGE_TOY": f"shift={shift},threads={threads}"}
        found[f"{isa}-threads-{threads}-shift-{shift}"] = {**recipe, **words}
    found["shaken"] = {"SAFEMERGE_TOY": "perturbation=0.001"}
    return found


def main() -> None:
    """Run the demo on every stand-in, and print what it found on each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache/safemerge/stand-ins")
    parser.add_argument("--only", nargs="*", help="names of stand-ins")
    options = parser.parse_args()
    rows, failed = {}, []
    for name, environment in stand_ins().items():
        if options.only and name not in options.only:
            continue
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with (folder / "log").open("w") as log:
            ran = subprocess.run(
                [sys.executable, "-m", "safemerge_tasks", "demo", "--out", str(folder / "demo")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SAFEMERGE_CACHE_DIR": str(folder), **environment},
                check=False,
            )
        took = time.monotonic() - started
        print(f"{name}: exit {ran.returncode}, {took:.0f} s", flush=True)
        if ran.returncode:
            failed.append(name)
        else:
            rows[name] = means(folder / "demo" / "report" / "results.csv")
            print(f"   {row(rows[name])}", flush=True)
    if rows:
        print("| stand-in | " + " | ".join(COLUMNS) + " |\n|---" * (len(COLUMNS) + 1) + "|")
        for name, found in rows.items():
            print(f"| {name} | {row(found)} |")
        print(f"| all | {ranges(list(rows.values()))} |")
    sys.exit(1 if failed else 0)


Means = dict[str, tuple[float, float]]
"""ASR and task score of each column, over seeds."""


def means(file: Path) -> Means:
    """Read the demo's own results."""
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            if line["split"] != "test" or not line["variant"]:
                continue
            column = line["point"].removeprefix("lambda=") or line["kind"]
            found[column, line["task"] == "toy_asr"].append(float(line["value"]))
    return {
        column: tuple(sum(found[column, harm]) / len(found[column, harm]) for harm in (True, False))
        for column in COLUMNS
    }  # type: ignore[return-value]


def row(found: Means) -> str:
    """Return ASR and task score of every column."""
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
