"""The demo on stand-ins for other machines: `python benchmarks/toy_stand_ins.py`.

A training ends elsewhere where sums are rounded otherwise. Seeds, threads, instruction sets and
weights that are shaken after a tenth of every training stand for that here. On each stand-in
`safemerge demo` trains a family of its own, which must meet the criteria, and has to show its
effect. Stand-ins that are done already are not run again. README and docs/measured.md have the
ranges over all of them.
"""

import argparse
import csv
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
SHIFTS = (0, 1, 2)
THREADS = (1, 2)

Point = tuple[str, str]
"""Kind of model and its grid point."""

Numbers = dict[Point, tuple[float, float]]
"""ASR and task score, means over seeds on test data."""


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
    """Run the demo on every stand-in, and print what each gave and the ranges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path.home() / ".cache/safemerge/stand-ins")
    parser.add_argument("--only", nargs="*", help="names of stand-ins")
    options = parser.parse_args()
    found, failed = {}, []
    for name, environment in stand_ins().items():
        if options.only and name not in options.only:
            continue
        status = demo(options.out / name, environment)
        if status:
            failed.append(f"{name} ended with {status}")
        else:
            found[name] = numbers(options.out / name / "demo/report/results.csv")
    points = list(next(iter(found.values()), {}))
    print("| stand-in | " + " | ".join(" ".join(filter(None, point)) for point in points) + " |")
    print("|---" * (len(points) + 1) + "|")
    for name, one in found.items():
        cells = (f"{asr:.1%}, {score:.1%}" for asr, score in one.values())
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| model | ASR | task score |\n|---|---|---|")
    for point in points:
        asrs, scores = zip(*(one[point] for one in found.values()), strict=True)
        print(f"| {' '.join(filter(None, point))} | {span(asrs)} | {span(scores)} |")
    sys.exit("; ".join(failed) or 0)


def demo(folder: Path, environment: dict[str, str]) -> int:
    """Run the demo, unless it has succeeded there before; return its exit status."""
    status = folder / "status"
    if status.is_file() and status.read_text() == "0":
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "safemerge_tasks", "demo", "--out", str(folder / "demo")]
    started = time.monotonic()
    with (folder / "log").open("w") as log:
        ran = subprocess.run(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SAFEMERGE_CACHE_DIR": str(folder), **environment},
            check=False,
        )
    status.write_text(str(ran.returncode))
    print(f"{folder.name}: exit {ran.returncode}, {time.monotonic() - started:.0f} s", flush=True)
    return ran.returncode


def numbers(file: Path) -> Numbers:
    """Read the means over seeds out of a sweep's results."""
    found: dict[Point, dict[str, float]] = {}
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            pooled = row["kind"] == "base" or not row["variant"]
            if row["split"] == "test" and pooled:
                values = found.setdefault((row["kind"], row["point"]), {})
                values[row["metric"]] = float(row["value"])
    return {point: (one["asr"], one["exact_match"]) for point, one in found.items()}


def span(values: tuple[float, ...]) -> str:
    """Return the least and the most, once where they are shown alike."""
    low, high = f"{min(values):.1%}", f"{max(values):.1%}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
