"""Every contender through lm-eval, each in a process of its own, then one judge for all."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.contenders import Contender

TASKS = Path(__file__).parent / "tasks"
CONTEXT = 2048
LOG_TAIL = 20


def fitting_backend() -> str:
    """Return lm-eval's name of the engine to use: vLLM where it is installed, else `hf`."""
    return "vllm" if find_spec("vllm") else "hf"


def parallel_runs() -> int:
    """Return how many models to evaluate at once: one on a GPU, one a core on a CPU, at most 4."""
    import torch

    return 1 if torch.cuda.is_available() else min(len(os.sched_getaffinity(0)), 4)


def lm_eval_command(contender: Contender, backend: str, output: Path) -> list[str]:
    """Return the command line that evaluates one contender and leaves judging for later."""
    arguments = f"pretrained={contender.path},dtype=float32"
    if backend == "vllm":
        arguments += f",enforce_eager=True,max_model_len={CONTEXT},distributed_executor_backend=uni"
    return [
        *(sys.executable, "-m", "lm_eval"),
        *("--model", backend),
        *("--model_args", arguments),
        *("--tasks", "toy_asr,toy_task"),
        *("--include_path", str(TASKS)),
        *("--batch_size", "auto" if backend == "vllm" else "64"),
        "--apply_chat_template",
        *("--metadata", "judge=deferred"),
        "--log_samples",
        *("--output_path", str(output)),
    ]


def judge_command(results: Path, backend: str, guard: Path) -> list[str]:
    """Return the command line that judges all results with the family's guard."""
    return [
        *(sys.executable, "-m", "safemerge_tasks", "judge", str(results)),
        *("--judge", "wildguard", "--engine", backend, "--model", str(guard)),
        *("--metadata", f"judge_dtype=float32,judge_max_model_len={CONTEXT}"),
        "--json",
    ]


def evaluate_all(
    contenders: Sequence[Contender],
    *,
    backend: str,
    data: Path,
    results: Path,
    logs: Path,
    jobs: int,
    done: Callable[[Contender], None],
) -> None:
    """Run lm-eval on every contender, `jobs` at a time; results go to `results/<name>`.

    Raises:
        SafemergeError: a run failed, with the end of its log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    cores: SimpleQueue[int] = SimpleQueue()
    for core in range(jobs):
        cores.put(core)

    def run(contender: Contender) -> None:
        core = cores.get()
        try:
            command = lm_eval_command(contender, backend, results / contender.name)
            environment = _environment(data, core if jobs > 1 else None)
            run_logged(command, logs / f"{contender.name}.log", environment)
        finally:
            cores.put(core)
        done(contender)

    with ThreadPoolExecutor(jobs) as pool:
        for finished in [pool.submit(run, contender) for contender in contenders]:
            finished.result()


def judge_all(results: Path, *, backend: str, guard: Path, logs: Path) -> None:
    """Judge every result with one engine.

    Raises:
        SafemergeError: judging failed, with the end of its log.
    """
    environment = _environment(None, None)
    run_logged(judge_command(results, backend, guard), logs / "judge.log", environment)


def run_logged(command: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run a command with its output in a file.

    Raises:
        SafemergeError: it failed.
    """
    with log.open("w", encoding="utf-8") as file:
        ran = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if ran.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:])
        raise SafemergeError(f"{log.stem} ended with status {ran.returncode}; {log} ends:\n{tail}")


def _environment(data: Path | None, core: int | None) -> dict[str, str]:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # The models are tiny; by default vLLM would claim most of the machine's memory.
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # The engine in lm_eval's own process: half the start-up time, which is most of a toy's run.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    if data is not None:
        environment["SAFEMERGE_DATA_DIR"] = str(data)
    if core is not None:
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": str(core), "OMP_NUM_THREADS": "1"}
    return environment
