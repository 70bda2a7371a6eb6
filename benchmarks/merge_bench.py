"""Measure `safemerge merge` against mergekit on the same files, and write the table.

    python benchmarks/merge_bench.py [--root DIR] [--runs 3] [--methods linear,slerp] [--cold]

mergekit is installed into an environment of its own below the root. Runs alternate between the two
tools and the table shows medians of whole processes: wall time, CPU time of ours, and the peak
resident memory the kernel counted. Files are read once beforehand, so that both find them in the
page cache; with `--cold` they are dropped from it before every run.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from merge_models import make_apart

from safemerge_tasks.common.cache import cache_dir

HERE = Path(__file__).parent
MERGEKIT = "mergekit==0.1.5"
# Models, and mergekit's environment.
BENCH = cache_dir() / "bench"
SAFEMERGE = Path(sys.executable).with_name("safemerge")


@dataclass
class Case:
    """One row: our arguments, mergekit's recipe, and what the row has to stay below."""

    name: str
    arguments: list[str]
    recipe: dict[str, object] | None
    ratio: float | None
    memory_mb: int


@dataclass
class Run:
    """One process: wall and CPU time in seconds, peak memory in MB."""

    seconds: float
    cpu_seconds: float
    memory_mb: float


def cases(models: Path) -> list[Case]:
    """Return the rows of the table."""
    base, one, two, three = (str(models / name) for name in ("base", "tuned1", "tuned2", "tuned3"))

    def ours(method: str, *tuned: str, **options: object) -> list[str]:
        arguments = ["--method", method, "--base", base]
        for model in tuned:
            arguments += ["--tuned", model]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        return arguments

    def theirs(method: str, *models_: dict[str, object], **parameters: object) -> dict[str, object]:
        return {
            "merge_method": method,
            "base_model": base,
            "models": list(models_),
            "parameters": parameters,
            "dtype": "bfloat16",
        }

    def model(path: str, **parameters: object) -> dict[str, object]:
        return {"model": path, "parameters": parameters}

    half = theirs("linear", model(base, weight=0.5), model(one, weight=0.5))
    half.pop("base_model")
    return [
        Case("linear", ours("linear", one, **{"lambda": 0.5}), half, 1 / 5, 700),
        Case(
            "slerp",
            ours("slerp", one, **{"lambda": 0.5}),
            theirs("slerp", model(base), model(one), t=0.5),
            1 / 5,
            700,
        ),
        Case(
            "dare-linear",
            ours("dare-linear", one, drop_rate=0.3, **{"lambda": 0.5}),
            theirs("dare_linear", model(one, weight=0.5, density=0.7)),
            1 / 6,
            700,
        ),
        Case(
            "model-stock, 3 tuned",
            ours("model-stock", one, two, three),
            theirs("model_stock", model(one), model(two), model(three)),
            1 / 4,
            1000,
        ),
        Case(
            "ties, 2 tuned",
            ours("ties", one, two, density=0.5),
            theirs("ties", model(one, weight=1.0), model(two, weight=1.0), density=0.5),
            1 / 15,
            1000,
        ),
        Case("linear, 4 λ", ours("linear", one, **{"lambda": "0.2,0.4,0.6,0.8"}), None, None, 900),
        Case(
            "LoRA, 4 λ",
            ours("linear", str(models / "adapter"), **{"lambda": "0.2,0.4,0.6,0.8"}),
            None,
            None,
            900,
        ),
        Case(
            "LoRA on q and v, 4 λ",
            ours("linear", str(models / "adapter-qv"), **{"lambda": "0.2,0.4,0.6,0.8"}),
            None,
            None,
            900,
        ),
        Case(
            "LoRA, 4 λ as adapters",
            [
                *ours("linear", str(models / "adapter"), **{"lambda": "0.2,0.4,0.6,0.8"}),
                "--as",
                "adapter",
            ],
            None,
            None,
            700,
        ),
    ]


def timed(command: list[str]) -> Run:
    """Run a command; its output is shown only if it fails.

    What earlier runs wrote is flushed first, so that none pays for another's disk.
    """
    os.sync()
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"merge-bench-{os.getpid()}.log"
    begun = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    log.unlink()
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def warm(folder: Path) -> None:
    """Read every file once."""
    for path in folder.rglob("*.safetensors"):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def cool(folder: Path) -> None:
    """Drop every file from the page cache, as far as it is on the disk."""
    os.sync()
    for path in folder.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def copy_time(models: Path, out: Path) -> float:
    """Read two checkpoints and write one, as cat and cp do; the least a merge has to do."""
    begun = time.perf_counter()
    files = sorted((models / "tuned1").glob("*.safetensors"))
    subprocess.run(f"cat {' '.join(map(str, files))} | cat > /dev/null", shell=True, check=True)
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run(["cp", "-r", str(models / "base"), str(out)], check=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    return seconds


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def install_mergekit(root: Path) -> Path:
    """Return mergekit's command, from an environment of its own with our version of torch."""
    environment = root / "mergekit"
    command = environment / "bin" / "mergekit-yaml"
    if not command.exists():
        from importlib.metadata import version

        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = str(environment / "bin" / "pip")
        subprocess.run([pip, "install", "-q", f"torch=={version('torch')}", MERGEKIT], check=True)
    return command


def measure(
    case: Case,
    root: Path,
    mergekit: Path | None,
    runs: tuple[int, int],
    note: Callable[[str], None],
    before: Callable[[], None],
) -> dict[str, object]:
    """Alternate the two tools, with something done before each run; return a row."""
    own: list[Run] = []
    other: list[Run] = []
    out = root / "out"
    for number in range(runs[0]):
        shutil.rmtree(out, ignore_errors=True)
        before()
        own.append(timed([str(SAFEMERGE), "merge", *case.arguments, "--out", str(out)]))
        note(f"{case.name} {number}: ours {own[-1]}")
        if mergekit is None or case.recipe is None or number >= runs[1]:
            continue
        shutil.rmtree(out)
        recipe = root / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(case.recipe))
        before()
        other.append(timed([str(mergekit), str(recipe), str(out)]))
        note(f"{case.name} {number}: mergekit {other[-1]}")
    shutil.rmtree(out, ignore_errors=True)
    row: dict[str, object] = {
        "case": case.name,
        "seconds": statistics.median(run.seconds for run in own),
        "cpu_seconds": statistics.median(run.cpu_seconds for run in own),
        "memory_mb": statistics.median(run.memory_mb for run in own),
        "allowed_memory_mb": case.memory_mb,
        "allowed_ratio": case.ratio,
    }
    if other:
        row["mergekit_seconds"] = statistics.median(run.seconds for run in other)
        row["mergekit_memory_mb"] = statistics.median(run.memory_mb for run in other)
    return row


def table(rows: list[dict[str, object]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| method | ours | our CPU time | mergekit | ours / mergekit | allowed | our peak | "
        "mergekit's peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, other = float(str(row["seconds"])), row.get("mergekit_seconds")
        ratio = "" if other is None else f"1/{float(str(other)) / seconds:.1f}"
        allowed = row["allowed_ratio"]
        lines.append(
            f"| {row['case']} | {seconds:.1f} s | {_number(row['cpu_seconds'], 's')} | "
            f"{_number(other, 's')} | {ratio} | "
            f"{'' if allowed is None else f'1/{1 / float(str(allowed)):.0f}'} | "
            f"{_number(row['memory_mb'], 'MB')} | {_number(row.get('mergekit_memory_mb'), 'MB')} |"
        )
    return "\n".join(lines)


def _number(value: object, unit: str) -> str:
    if value is None:
        return ""
    return f"{float(str(value)):.1f} s" if unit == "s" else f"{float(str(value)):.0f} MB"


def log(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def main() -> None:
    """Make the models, measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=BENCH)
    parser.add_argument("--size", default="1.1b")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--mergekit-runs", type=int, help="fewer of mergekit's slow runs")
    parser.add_argument("--methods", help="only rows whose name starts with one of these")
    parser.add_argument("--without-mergekit", action="store_true")
    parser.add_argument("--cold", action="store_true", help="inputs from the disk in every run")
    parser.add_argument("--save", type=Path, help="also write the rows as JSON to this file")
    arguments = parser.parse_args()
    models = make_apart(arguments.root, arguments.size, tuned=3)
    mergekit = None if arguments.without_mergekit else install_mergekit(arguments.root)
    warm(models)
    wanted = tuple((arguments.methods or "").split(","))
    theirs = arguments.runs if arguments.mergekit_runs is None else arguments.mergekit_runs
    rows: list[dict[str, object]] = []
    copies: list[float] = []
    for case in cases(models):
        if case.name.startswith(wanted):
            # What the disk and the page cache can do changes with time, so it is asked in between.
            copies.append(copy_time(models, arguments.root / "out"))
            log(f"copy {copies[-1]:.1f} s, load {os.getloadavg()[0]:.1f}")
            before = (lambda: cool(models)) if arguments.cold else (lambda: None)
            runs = (arguments.runs, theirs)
            rows.append(measure(case, arguments.root, mergekit, runs, log, before))
    copied = statistics.median(copies)
    disk = "dropped from the page cache" if arguments.cold else "in the page cache"
    print(
        f"\n{processor()}, {os.cpu_count()} cores, inputs {disk}, {arguments.runs} runs, medians\n"
    )
    print(table(rows))
    print(f"\nReading two checkpoints and writing one with cat and cp: {copied:.1f} s")
    if arguments.save:
        arguments.save.write_text(json.dumps({"rows": rows, "copy_seconds": copied}, indent=1))


if __name__ == "__main__":
    main()
