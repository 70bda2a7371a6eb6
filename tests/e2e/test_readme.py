"""What the README tells people to type is typed, in a folder where its names are toy models."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.question_sets import write_every_suite

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

# Run by .ci/run itself, or by tests/e2e/test_packaging.py with a wheel of this checkout.
ELSEWHERE = ("make demo", "make test", "pip install 'safemerge[vllm] @ git+")
# Gates end with 1 or 2 where toy answers say so; tests/e2e/test_gate.py compares real models.
STATUS = {"safemerge check --baseline": {0, 1, 2}}


def commands(readme: Path) -> list[str]:
    """Return the lines after `$`, without comments and with long ones joined."""
    blocks = re.findall(r"```console\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s#.*", "", line)[2:] for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def folder(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which every model and result that the README names lies."""
    place = tmp_path_factory.mktemp("readme")
    for name, model in {
        "HuggingFaceTB/SmolLM2-135M-Instruct": family.aligned,
        "allenai/wildguard": family.guard,
        "aligned-model": family.aligned,
        "my-tuned-model": family.tuned_full,
    }.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(model)
    write_every_suite(place / "data")
    return place


@pytest.mark.vllm
def test_every_command_runs_as_it_stands(folder: Path, repository: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # An engine in a process of its own imports vLLM once more.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Compiling a toy model's graph takes longer than all of its answers.
        "TORCH_COMPILE_DISABLE": "1",
        "SAFEMERGE_CACHE_DIR": str(folder / "cache"),
        "SAFEMERGE_DATA_DIR": str(folder / "data"),
    }
    ran = []
    for command in commands(repository / "README.md"):
        if command.startswith(ELSEWHERE):
            continue
        if command.startswith("safemerge check freeze"):
            # The README's earlier release and its candidate are the run that it has just made.
            for name in ("release-1.4", "candidate"):
                shutil.copytree(newest(folder / "results"), folder / "results" / name)
        words = shlex.split(command)
        if words[0] == "lm_eval" and "--limit" not in words:
            # All questions of all its tasks are thousands; test_main_job.py and
            # test_whole_suites.py ask whole ones.
            words += ["--limit", "40"]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        known = next((codes for start, codes in STATUS.items() if command.startswith(start)), {0})
        assert done.returncode in known, f"{command}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
        ran.append(command.split()[0])
    assert set(ran) == {"lm_eval", "safemerge"}
    for made in ("merged", "baseline.json", "policy.yaml", "junit.xml", "report.md", "report.json"):
        assert (folder / made).exists()


def newest(results: Path) -> Path:
    return max(results.iterdir(), key=lambda path: path.stat().st_mtime)
