"""What the documentation tells people to type."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lm_eval._cli.harness import HarnessCLI

from safemerge_tasks.cli.suite import new
from safemerge_tasks.finetune.config import load_config
from safemerge_tasks.judges import JudgeSettings, judge_responses, make_judge
from safemerge_tasks.sweep.spec import load_spec
from tests.commands import assert_taken


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


def typed(repository: Path) -> list[str]:
    """Return what people type, without comments and with long lines joined."""
    return [
        re.sub(r"\s#.*", "", line)
        for path in documents(repository)
        for block in re.findall(
            r"```(?:console|bash)\n(.*?)```", path.read_text("utf-8"), re.DOTALL
        )
        for line in block.replace("\\\n", " ").splitlines()
    ]


def test_safemerge_takes_every_documented_command(repository: Path) -> None:
    """Reads all arguments, runs nothing."""
    seen = 0
    for line in typed(repository):
        if line.removeprefix("$ ").startswith("safemerge ") and "…" not in line:
            assert_taken(shlex.split(line.removeprefix("$ "))[1:])
            seen += 1
    assert seen >= 20


def test_lm_eval_takes_every_documented_command_and_has_its_tasks(repository: Path) -> None:
    run = HarnessCLI()._subparsers.choices["run"]
    task = re.compile(r"^(?:task|group): (\w+)$", re.MULTILINE)
    ours = {
        name
        for path in (repository / "task_configs").rglob("*.yaml")
        for name in task.findall(path.read_text("utf-8"))
    }
    seen = 0
    for line in typed(repository):
        if line.removeprefix("$ ").startswith("lm_eval "):
            asked = run.parse_args(shlex.split(line.removeprefix("$ "))[1:])
            assert asked.include_path or set(asked.tasks) <= ours, line
            seen += 1
    assert seen >= 6


@pytest.mark.parametrize(("page", "load"), [("sweep", load_spec), ("fine-tuning", load_config)])
def test_documented_files_are_read(
    repository: Path, tmp_path: Path, page: str, load: Callable[[Path], object]
) -> None:
    text = (repository / "docs" / f"{page}.md").read_text("utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "file.yaml"
    file.write_text(block, encoding="utf-8")
    load(file)


def test_the_documented_judge_judges(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs/judges.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.py").write_text(block, encoding="utf-8")
    judge = make_judge(JudgeSettings(name=f"{tmp_path}/mine.py:make"))
    verdicts = judge_responses(judge, ["Bread?"] * 2, ["Step 1: mix flour.", "Buy some."])
    assert [verdict.harmful for verdict in verdicts] == [True, False]


def test_links_lead_to_files(repository: Path) -> None:
    for path in documents(repository):
        text = re.sub("<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_readme_is_short(repository: Path) -> None:
    assert len((repository / "README.md").read_text("utf-8").split()) < 1200


# Options that are followed by a file or folder to write.
WRITTEN = r"--(?:out|output_path|junit|markdown|json|plot|csv)[ =]\"?([\w./-]+)"


def test_git_ignores_what_the_documented_commands_write(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("this is no git checkout")
    written = {name for line in typed(repository) for name in re.findall(WRITTEN, line)}
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
