"""Real commands on the toy family, which is trained once and cached."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

# Executor and worker in the engine's process: each process of its own imports vLLM anew.
VLLM = "dtype=float32,enforce_eager=True,max_model_len=2048,distributed_executor_backend=uni"
NEAR_LM_EVAL = Path(__file__).with_name("near_lm_eval.py")
OWN_ENGINE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
"""Has the engine be a process of its own, as it is outside tests; else it is in its command's."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where no vLLM can be had its tests are skipped, but never in CI."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
        if item.get_closest_marker("vllm") and not find_spec("vllm") and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason="no vLLM fits this machine"))


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    status: int
    out: str
    err: str
    engines: frozenset[int]
    """Process ids of all vLLM engine cores seen."""
    most_engines: int
    """The most engine cores alive at one moment."""


@pytest.fixture(scope="session")
def family() -> "ToyFamily":
    """Return the trained toy family."""
    from safemerge_tasks.toy.family import toy_family

    return toy_family()


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Return a function that runs a module's command line and watches its engines.

    Without a module that is lm_eval's, without the tasks that come with it.
    """
    cache = tmp_path_factory.mktemp("cache")

    def run(
        *arguments: str | Path,
        module: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ran:
        program = ["-m", module] if module else ["-P", str(NEAR_LM_EVAL)]
        process = start([sys.executable, *program, *map(str, arguments)], cache, environment)
        engines: set[int] = set()
        most = 0
        while process.poll() is None:
            alive = engine_cores(process.pid)
            engines |= alive
            most = max(most, len(alive))
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        out, err = (Path(name).read_text() for name in (process.args_out, process.args_err))  # type: ignore[attr-defined]
        return Ran(process.returncode, out, err, frozenset(engines), most)

    return run


def start(
    words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command with its output in files, so that a full pipe never stops it."""
    number = len(list(folder.glob("*.out")))
    out, err = folder / f"{number}.out", folder / f"{number}.err"
    settings = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "SAFEMERGE_CACHE_DIR": str(folder),
    }
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            list(words),
            stdout=out_file,
            stderr=err_file,
            env={**os.environ, **settings, **(environment or {})},
        )
    process.args_out, process.args_err = out, err  # type: ignore[attr-defined]
    return process


def engine_cores(pid: int) -> set[int]:
    """Return the live vLLM engine cores below a process."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return set()
    return {child.pid for child in below if _is_engine_core(child)}


def _is_engine_core(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return "EngineCore" in process.name() or "EngineCore" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
