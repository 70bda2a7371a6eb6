"""What the documentation tells people to type."""

import re
import subprocess
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


# Options that are followed by a file or folder to write.
WRITTEN = r"--(?:out|output_path|junit|markdown|json|plot|csv)[ =]\"?([\w./-]+)"


def test_git_ignores_what_the_documented_commands_write(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("this is no git checkout")
    commands = [
        re.sub(r"\s#.*", "", block)
        for path in documents(repository)
        for block in re.findall(
            r"```(?:console|bash)\n(.*?)```", path.read_text("utf-8"), re.DOTALL
        )
    ]
    written = {name for block in commands for name in re.findall(WRITTEN, block)}
    assert {"results", "merged", "report.html", "junit.xml"} <= written
    git = ["git", "check-ignore", "--no-index", "--stdin"]
    told = "\n".join(f"{name}/x" if "." not in name else name for name in sorted(written))
    ignored = subprocess.run(git, cwd=repository, input=told, capture_output=True, text=True)
    assert ignored.stdout.split() == told.split()
    tracked = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(tracked, cwd=repository, capture_output=True).stdout == b""


def test_so_does_the_command_that_a_new_suite_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("question\nwhat is a lintel?\nwhat is a mullion?\n")
    new("mysuite", str(prompts), "question", out=tmp_path / "suites")
    assert "--model vllm" in (printed := capsys.readouterr().out)
    assert "--batch_size auto" in printed
