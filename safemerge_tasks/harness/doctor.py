"""What works on this machine: each check is one line that says what was found, and what to do."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.common.local_data import DATA_DIR, data_dir
from safemerge_tasks.suites.places import lm_eval_folder, packaged_folder

State = Literal["works", "missing", "broken"]

ENOUGH_DISK = 20 * 2**30
"""A judge of seven billion parameters, with room to merge a small model."""

_A_TASK = "advbench_asr"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        what: is looked at.
        state: it works; it is missing, which is needed for some jobs only; or it is broken.
        says: what was found, and what to do where it does not work.
    """

    what: str
    state: State
    says: str


def examine() -> list[Finding]:
    """Look at everything that safemerge's jobs need; nothing is fetched."""
    return [_guarded(what, check) for what, check in _CHECKS.items()]


def link_tasks() -> Path:
    """Put links to the packaged task files where the lm-eval in use looks; return that folder.

    lm-eval does not follow linked folders, so each file is a link of its own. What is there already
    is ours, since the folder carries our name, and is replaced.

    Raises:
        SafemergeError: lm-eval is not installed, or its folder cannot be written.
    """
    folder = lm_eval_folder()
    if folder is None:
        raise SafemergeError("lm_eval is not installed here; run pip install 'lm-eval>=0.4.13'.")
    packaged = packaged_folder()
    if _contents(folder) == _contents(packaged):
        return folder
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(packaged, folder, copy_function=os.symlink)
    except OSError as error:
        raise SafemergeError(
            f"{folder} cannot be written ({error.strerror}); give lm_eval --include_path "
            f"{packaged} instead."
        ) from error
    return folder


def _contents(folder: Path) -> dict[Path, bytes]:
    """Return all files below a folder; none where it does not exist."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def _guarded(what: str, check: Callable[[], tuple[State, str]]) -> Finding:
    try:
        return Finding(what, *check())
    except Exception as error:
        return Finding(what, "broken", brief(error))


def _python() -> tuple[State, str]:
    return "works", f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _lm_eval() -> tuple[State, str]:
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        return "broken", "not installed; run pip install 'lm-eval>=0.4.13'"
    refuse_unknown("lm_eval")
    return "works", f"{version('lm_eval')} in {Path(found.origin).parent}"


def _tasks() -> tuple[State, str]:
    from lm_eval.tasks import TaskManager

    if _A_TASK in TaskManager().all_tasks:
        return "works", f"lm_eval --tasks {_A_TASK} finds them"
    return "broken", (
        f"lm_eval does not find {_A_TASK}; run safemerge doctor --fix, or give lm_eval "
        f"--include_path {packaged_folder()}"
    )


def _vllm() -> tuple[State, str]:
    try:
        number = version("vllm")
    except PackageNotFoundError:
        return (
            "missing",
            "not installed; models run with --model hf, or pip install safemerge[vllm]",
        )
    refuse_unknown("vllm")
    import vllm  # noqa: F401 - a build for another machine fails here

    return "works", number


def _gpu() -> tuple[State, str]:
    import torch

    if not torch.cuda.is_available():
        return "missing", f"none that torch {torch.__version__} can use; models run on the CPU"
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return "works", ", ".join(f"{one.name}, {one.total_memory / 2**30:.0f} GiB" for one in devices)


def _sandbox() -> tuple[State, str]:
    from safemerge_tasks.sandbox import SandboxSettings, SandboxUnavailableError, check_isolation

    try:
        found = check_isolation(SandboxSettings())
    except SandboxUnavailableError as error:
        return "missing", f"humaneval_pass10 refuses: {error}"
    return "works", f"{found['isolation']}, kernel {found['kernel']}"


def _wildguard() -> tuple[State, str]:
    from huggingface_hub import try_to_load_from_cache

    from safemerge_tasks.judges.wildguard import DEFAULT_MODEL

    if isinstance(try_to_load_from_cache(DEFAULT_MODEL, "config.json"), str):
        return "works", f"{DEFAULT_MODEL} is in the cache"
    return "missing", (
        f"{DEFAULT_MODEL} is not in the cache: accept its terms on the Hub and log in, or name a "
        "copy with --metadata judge_model=DIR, or use judge=keywords, which needs no weights"
    )


def _questions() -> tuple[State, str]:
    from safemerge_tasks.suites.catalogue import list_suites

    suites = list_suites()
    broken = [one.problem for one in suites if one.problem]
    if broken:
        return "broken", str(broken[0])
    here = sum(one.available in ("local", "cached") for one in suites)
    named = data_dir()
    where = f"{DATA_DIR} is {named}" if named else f"{DATA_DIR} is not set"
    says = f"{here} of {len(suites)} suites are on this machine; {where}"
    return ("works" if here else "missing"), says + ("" if here else "; others are fetched on use")


def _disk() -> tuple[State, str]:
    folder = cache_dir()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / 2**30:.0f} GiB free for {folder}"
    if not os.access(there, os.W_OK):
        return "broken", f"{there} cannot be written; set SAFEMERGE_CACHE_DIR to a folder that can"
    if free < ENOUGH_DISK:
        return "missing", f"{says}; a judge's weights take 15: set HF_HOME and SAFEMERGE_CACHE_DIR"
    return "works", says


_CHECKS: dict[str, Callable[[], tuple[State, str]]] = {
    "Python": _python,
    "lm-eval": _lm_eval,
    "tasks": _tasks,
    "vLLM": _vllm,
    "GPU": _gpu,
    "sandbox": _sandbox,
    "WildGuard": _wildguard,
    "questions": _questions,
    "disk": _disk,
}
