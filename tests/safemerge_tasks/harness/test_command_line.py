"""lm-eval's command line as `safemerge eval` runs it."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import command_line
from safemerge_tasks.harness.command_line import run_lm_eval, split_arguments
from safemerge_tasks.suites.places import packaged_folder

TASKS = ["--tasks", "advbench_asr"]
OURS = ["--include_path", str(packaged_folder())]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments that lm_eval was given."""
    seen: list[str] = []

    def run(command: list[str], check: bool) -> SimpleNamespace:
        assert not check
        seen[:] = command[3:]
        return SimpleNamespace(returncode=int("fail" in command))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(command_line, "seen_by_lm_eval", lambda: True)
    return seen


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (["--model", "vllm"], ["--batch_size", "auto"]),
        (["--model", "vllm", "--batch_size", "8"], []),
        (["--model", "vllm", "--batch_size=8"], []),
        (["--model", "hf"], []),
    ],
)
def test_vllm_gets_all_requests_at_once_unless_told(
    ran: list[str], given: list[str], added: list[str]
) -> None:
    run_lm_eval([*given, *TASKS])
    assert ran == [*given, *TASKS, *added]


def test_tasks_that_lm_eval_would_not_find_are_shown_to_it(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "seen_by_lm_eval", lambda: False)
    run_lm_eval(TASKS)
    assert ran == [*TASKS, *OURS]
    run_lm_eval([*TASKS, "--include_path=own"])
    assert ran == [*TASKS, "--include_path=own"]


def test_a_failure_is_one_sentence(ran: list[str]) -> None:
    with pytest.raises(SafemergeError, match="lm_eval ended with status 1"):
        run_lm_eval(["fail"])
    assert ran == ["fail"]


def test_the_judges_settings_are_kept_from_lm_eval() -> None:
    given = ["--metadata", "judge=keywords,split_seed=1", "judge_cache=false", "-o", "out"]
    rest, judging, output = split_arguments(given)
    assert judging == {"judge": "keywords", "judge_cache": "false"}
    assert output == Path("out")
    assert rest == ["--metadata", "split_seed=1,judge=deferred", "-o", "out", "--log_samples"]


def test_without_an_output_folder_there_is_nothing_to_judge() -> None:
    with pytest.raises(SafemergeError, match="needs --output_path DIR"):
        split_arguments(TASKS)
