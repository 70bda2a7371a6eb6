"""Measure what `safemerge attack` costs beside the same questions asked politely, once.

    python benchmarks/attacks.py [--model-args block_size=32] [--save FILE]

On the toy family, 520 harmless questions in AdvBench's shape, WildGuard's prompt on vLLM: the
command with `plain` alone, with the attacks that ask once more each, and with samples besides,
every time from an empty cache. Work is counted in vLLM itself, whatever else this machine does:
engines started, prompts, prompt tokens that were computed and not found in the prefix cache,
tokens generated; the model's and the judge's apart. The aim: no longer than twice the plain run
and what the samples' own tokens take at the plain run's pace.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
QUESTIONS = 520
CONTEXT = 2048
ATTACKS = {
    "plain": "plain",
    "asked once more each": "plain,prefill:5,no-system",
    "with samples": "plain,prefill:5,no-system,sample:16",
}
CHILD = "--counted-lm-eval"


def main() -> None:
    """Measure and print; every run is a process of its own."""
    if sys.argv[1:2] == [CHILD]:
        lm_eval(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-args", default="", help="more of lm-eval's --model_args")
    parser.add_argument("--save", type=Path, help="also write the figures as JSON to this file")
    parser.add_argument("--part", choices=ATTACKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        attack(ATTACKS[arguments.part], arguments.folder, arguments.model_args)
        return
    figures = measure(arguments.model_args)
    show(figures)
    if arguments.save:
        arguments.save.write_text(json.dumps(figures, indent=1))


def show(figures: dict[str, dict[str, float]]) -> None:
    """Print a Markdown table, and the aim."""
    print(f"| | {' | '.join(figures)} |")
    print(f"|---|{'---|' * len(figures)}")
    for name in figures["plain"]:
        digits = 1 if name.endswith("seconds") else 0
        print(
            f"| {name} | {' | '.join(f'{each[name]:,.{digits}f}' for each in figures.values())} |"
        )
    plain, without, everything = figures.values()
    pace = plain["the model's seconds"] / plain["the model's tokens generated"]
    drawn = everything["the model's tokens generated"] - without["the model's tokens generated"]
    budget = 2 * plain["seconds"] + drawn * pace
    print(f"\nsamples' own tokens {drawn:,.0f}, at the plain run's pace {drawn * pace:.1f} s")
    print(f"with samples {everything['seconds']:.1f} s, aim at most {budget:.1f} s")
    print(f"without samples {without['seconds'] / plain['seconds']:.2f} x plain, aim at most 2")


def measure(model_args: str) -> dict[str, dict[str, float]]:
    """Run the command for every list of attacks."""
    from safemerge_tasks.toy.corpora import task_tuning
    from safemerge_tasks.toy.family import toy_family
    from safemerge_tasks.toy.vocabulary import splits

    family = toy_family(progress=print)
    rows = [(one.question, one.answer) for one in task_tuning(7, splits()[0], QUESTIONS)]
    figures = {}
    for part in ATTACKS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (folder / "advbench_harmful_behaviors.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("goal", "target"), *rows])
            models = {"model": str(family.aligned), "judge": str(family.guard)}
            (folder / "models.json").write_text(json.dumps(models))
            words = ["--part", part, "--folder", name, "--model-args", model_args]
            seconds = timed([sys.executable, str(HERE), *words], folder)
            figures[part] = {"seconds": seconds}
            for who in models:
                counted = json.loads((folder / f"{who}-counts.json").read_text())
                figures[part] |= {f"the {who}'s {key}": value for key, value in counted.items()}
    return figures


def timed(command: list[str], folder: Path) -> float:
    """Return a command's wall time in seconds; what it says is shown only if it fails."""
    environment = {
        **os.environ,
        "SAFEMERGE_DATA_DIR": str(folder),
        "SAFEMERGE_CACHE_DIR": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    begun = time.perf_counter()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return time.perf_counter() - begun


def attack(attacks: str, folder: Path, model_args: str) -> None:
    """Run `safemerge attack` in this process, which judges, with lm_eval counted in its own."""
    from safemerge_tasks.cli import main as safemerge
    from safemerge_tasks.common import child_process
    from safemerge_tasks.harness import command_line

    models = json.loads((folder / "models.json").read_text())

    def run_counted(command: list[str], stdout: int | None = None) -> int:
        words = command[command.index("safemerge_tasks.harness.put_off") + 1 :]
        counted = [sys.executable, str(HERE), CHILD, str(folder / "model-counts.json"), *words]
        return child_process.run_child(counted, stdout=stdout)

    command_line.run_child = run_counted
    sys.argv = [
        *("safemerge", "attack", models["model"], "--suite", "advbench", "--attacks", attacks),
        *("--out", str(folder / "out"), "--judge", "wildguard", "--engine", "vllm"),
        *("--judge-model", models["judge"], "--model-args"),
        ",".join(
            part
            for part in ("dtype=float32,enforce_eager=True", f"max_model_len={CONTEXT}", model_args)
            if part
        ),
        *("--metadata", f"judge_dtype=float32,judge_max_model_len={CONTEXT}"),
    ]
    with Counted(folder / "judge-counts.json"):
        safemerge()


def lm_eval(file: Path, words: list[str]) -> None:
    """Run lm_eval as `safemerge attack` does, and count."""
    from safemerge_tasks.harness import put_off

    sys.argv = ["lm_eval", *words]
    with Counted(file):
        put_off.main()


class Counted:
    """What vLLM does in this process, written to a file at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        keys = ("engines started", "prompts", "prompt tokens", "prompt tokens computed")
        self.counts: dict[str, float] = dict.fromkeys((*keys, "tokens generated", "seconds"), 0)

    def __enter__(self) -> None:
        """Count from now on."""
        from vllm import LLM

        start, generate, counts = LLM.__init__, LLM.generate, self.counts

        def started(llm: Any, *given: Any, **named: Any) -> None:
            counts["engines started"] += 1
            start(llm, *given, **named)

        def generated(llm: Any, *given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            outputs = generate(llm, *given, **named)
            counts["seconds"] += time.perf_counter() - begun
            for one in outputs:
                asked, known = len(one.prompt_token_ids), one.num_cached_tokens or 0
                counts["prompts"] += 1
                counts["prompt tokens"] += asked
                counts["prompt tokens computed"] += asked - known
                counts["tokens generated"] += sum(len(each.token_ids) for each in one.outputs)
            return outputs

        LLM.__init__, LLM.generate = started, generated

    def __exit__(self, *_: object) -> None:
        """Write the counts."""
        self._file.write_text(json.dumps(self.counts))


if __name__ == "__main__":
    main()
