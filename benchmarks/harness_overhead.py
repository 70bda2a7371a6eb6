"""Measure what judging inside lm-eval costs beyond lm-eval's and vLLM's own work.

    python benchmarks/harness_overhead.py [--runs 1]

1. `lm_eval --tasks advbench_asr --model vllm` with WildGuard's prompt on vLLM, on the toy family
   and 520 harmless questions in AdvBench's shape, with a clock around every call into safemerge
   and one around what vLLM does inside it: ending the model's engine, starting the judge's,
   generating. What remains is ours.
2. The same prompts, of the model and of its judge, through plain `vllm.LLM.generate`, one after the
   other in a process: what users would wait for without a harness. lm-eval's answering, engine
   start apart, is held against it; `--batch_size` is left out, so the task raises it from 1.
3. `safemerge judge` on 3 x 550 saved responses, the first time and with every verdict kept.
"""

import argparse
import csv
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
QUESTIONS = 520
SAVED = (3, 550)
CONTEXT = 2048


def main() -> None:
    """Measure and print; the parts run in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--save", type=Path, help="also write the figures as JSON to this file")
    parser.add_argument("--part", choices=("evaluation", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "evaluation":
        evaluation(arguments.folder)
    elif arguments.part == "plain":
        plain(arguments.folder)
    else:
        figures = [measure() for _ in range(arguments.runs)]
        middle = {key: statistics.median(each[key] for each in figures) for key in figures[0]}
        show(middle)
        if arguments.save:
            arguments.save.write_text(json.dumps(middle, indent=1))


def show(figures: dict[str, float]) -> None:
    """Print the figures."""
    ours, wall = figures["ours"], figures["evaluation"]
    print(f"lm_eval, start to end           {wall:7.1f} s")
    print(f"  of it vLLM, for the judge     {figures['judge_engine']:7.1f} s")
    print(f"  of it our own                 {ours:7.2f} s = {ours / wall:.1%} (aim: 5 % and 2 s)")
    print(f"plain vLLM, both models         {figures['plain']:7.1f} s")
    asked, bare = figures["answering"], figures["plain_answering"]
    print(
        f"answering alone, lm_eval        {asked:7.2f} s = {asked / bare:.2f} x plain (aim: 1.15)"
    )
    count = SAVED[0] * SAVED[1]
    print(f"safemerge judge, {count} new    {figures['judge_new']:7.1f} s")
    print(f"safemerge judge, {count} kept   {figures['judge_kept']:7.1f} s (aim: 3 s)")


def measure() -> dict[str, float]:
    """Run every part once."""
    from safemerge_tasks.toy.corpora import task_tuning
    from safemerge_tasks.toy.family import toy_family
    from safemerge_tasks.toy.vocabulary import splits

    family = toy_family(progress=print)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = [one.question for one in task_tuning(7, splits()[0], QUESTIONS)]
        with (folder / "advbench_harmful_behaviors.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("goal", "target"), *((question, "") for question in questions)])
        models = {"aligned": str(family.aligned), "guard": str(family.guard)}
        (folder / "models.json").write_text(json.dumps(models))
        environment = {
            **os.environ,
            "SAFEMERGE_DATA_DIR": name,
            "SAFEMERGE_CACHE_DIR": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
        seconds = {part: run_part(part, folder, environment) for part in ("evaluation", "plain")}
        clocks: dict[str, float] = json.loads((folder / "clocks.json").read_text())
        clocks |= json.loads((folder / "plain-clocks.json").read_text())
        return {**seconds, **clocks, **judging(folder, models["guard"], environment)}


def run_part(part: str, folder: Path, environment: dict[str, str]) -> float:
    """Run a part in a process of its own; return its wall time in seconds."""
    return timed([sys.executable, str(HERE), "--part", part, "--folder", str(folder)], environment)


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return a command's wall time; what it says is shown only if it fails."""
    begun = time.perf_counter()
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return time.perf_counter() - begun


class Clock:
    """Seconds spent in some functions, calls within calls counted once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def around(self, owner: Any, *names: str) -> None:
        """Time these functions of a class or module."""
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - begun

        return call


def evaluation(folder: Path) -> None:
    """Run lm_eval's command line in this process, with clocks."""
    models = json.loads((folder / "models.json").read_text())
    import datasets  # noqa: F401 - as lm-eval does for any task
    from lm_eval._cli import HarnessCLI
    from lm_eval.api.task import ConfigurableTask  # noqa: F401
    from lm_eval.models.vllm_causallms import VLLM

    ours, engine, answering = Clock(), Clock(), Clock()
    answering.around(VLLM, "generate_until")
    begun = time.perf_counter()
    from safemerge_tasks.harness import harmful_questions
    from safemerge_tasks.judges.engines import vllm as vllm_engine
    from safemerge_tasks.judges.kinds import model_judge

    ours.seconds += time.perf_counter() - begun
    ours.around(
        harmful_questions.HarmfulQuestions,
        *("__init__", "fewshot_context", "apply_filters", "process_results"),
        *("aggregation", "higher_is_better", "dump_config"),
    )
    engine.around(model_judge, "open_engine")
    engine.around(vllm_engine, "shut_down")
    engine.around(vllm_engine.VllmEngine, "answer")
    sys.argv = [
        "lm_eval",
        *("--model", "vllm", "--tasks", "advbench_asr", "--apply_chat_template"),
        "--model_args",
        f"pretrained={models['aligned']},dtype=float32,enforce_eager=True,max_model_len={CONTEXT},"
        "distributed_executor_backend=uni",
        "--metadata",
        f"judge_model={models['guard']},judge_dtype=float32,judge_max_model_len={CONTEXT},"
        "judge_cache=false",
        *("--log_samples", "--output_path", str(folder / "results")),
    ]
    cli = HarnessCLI()
    cli.execute(cli.parse_args())
    clocks = {
        "ours": ours.seconds - engine.seconds,
        "judge_engine": engine.seconds,
        "answering": answering.seconds,
    }
    (folder / "clocks.json").write_text(json.dumps(clocks))


def plain(folder: Path) -> None:
    """Generate with both models, without a harness."""
    from transformers import AutoTokenizer
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    from safemerge_tasks.judges.engines.vllm import shut_down
    from safemerge_tasks.judges.wildguard import judge_template

    models = json.loads((folder / "models.json").read_text())
    samples = next((folder / "results").rglob("samples_*.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in samples]

    def generate(model: str, prompts: list[list[int]], longest: int, penalty: float) -> float:
        llm = LLM(model=model, dtype="float32", max_model_len=CONTEXT, enforce_eager=True)
        settings = SamplingParams(temperature=0, max_tokens=longest, repetition_penalty=penalty)
        begun = time.perf_counter()
        llm.generate([TokensPrompt(prompt_token_ids=ids) for ids in prompts], settings)
        took = time.perf_counter() - begun
        shut_down(llm)
        return took

    tokenizer = AutoTokenizer.from_pretrained(models["aligned"])
    asked = [row["arguments"]["gen_args_0"]["arg_0"] for row in rows]
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    clocks = {"plain_answering": generate(models["aligned"], ids, 512, 1.2)}
    (folder / "plain-clocks.json").write_text(json.dumps(clocks))
    guard = AutoTokenizer.from_pretrained(models["guard"])
    template = judge_template()
    judged = [
        template.tokenise(guard, row["doc"]["question"], row["resps"][0][0], CONTEXT - 128).ids
        for row in rows
    ]
    generate(models["guard"], judged, 128, 1.0)


def judging(folder: Path, guard: str, environment: dict[str, str]) -> dict[str, float]:
    """Judge saved responses twice, as a user would from the shell."""
    from safemerge_tasks.results import find_runs, write_run

    run = find_runs(folder / "results")[-1]
    row, summary = run.rows("advbench_asr")[0], run.summary()
    config = summary["configs"]["advbench_asr"]
    tasks = [f"saved_{number}" for number in range(SAVED[0])]
    summary |= {
        "results": {task: {"name": task, "alias": task} for task in tasks},
        "configs": dict.fromkeys(tasks, config),
    }
    samples = {
        task: [
            row | {"doc_id": n, "resps": [[f"Sorry, I can not help you there. {task} {n}"]]}
            for n in range(SAVED[1])
        ]
        for task in tasks
    }
    write_run(folder / "saved", "2020-01-01T00-00-00", summary, samples)
    command = [
        *(sys.executable, "-m", "safemerge_tasks", "judge", str(folder / "saved"), "--json"),
        *("--judge", "wildguard", "--model", guard),
        *("--metadata", f"judge_dtype=float32,judge_max_model_len={CONTEXT}"),
    ]
    return {
        "judge_new": timed(command, environment),
        "judge_kept": timed(command, environment),
    }


if __name__ == "__main__":
    main()
