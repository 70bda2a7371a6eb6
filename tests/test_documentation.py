"""What the documentation tells people to type."""

import re
from pathlib import Path

import pytest

from safemerge_tasks.suite_command import new


def documents(repository: Path) -> list[Path]:
    folders = (repository, repository / "docs", *(repository / "task_configs").glob("**/"))
    return sorted(path for folder in folders for path in folder.glob("*.md"))


def test_every_command_with_vllm_sends_requests_in_batches(repository: Path) -> None:
    """lm-eval's default is one request at a time."""
    seen = 0
    for path in documents(repository):
        for block in re.findall(r"```.*?\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            asked = block.count("--model vllm")
            assert block.count("--batch_size auto") >= asked, f"{path}: {block}"
            seen += asked
    assert seen >= 6


def test_so_does_the_command_that_a_new_suite_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("question\nwhat is a lintel?\nwhat is a mullion?\n")
    new("mysuite", str(prompts), "question", out=tmp_path / "suites")
    assert "--model vllm" in (printed := capsys.readouterr().out)
    assert "--batch_size auto" in printed
