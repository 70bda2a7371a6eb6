"""What the documentation tells people to type."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from lm_eval._cli.harness import HarnessCLI

from merge.methods import methods
from safemerge_tasks.attacks import AttackSettings, make_attack
from safemerge_tasks.cli.suite import new
from safemerge_tasks.finetune.config import load_config
from safemerge_tasks.harness.command_line import read_arguments
from safemerge_tasks.judges import JudgeSettings, judge_responses, make_judge
from safemerge_tasks.metrics.bertscore.settings import BertScoreSettings
from safemerge_tasks.sweep.spec import load_spec
from tests.commands import COMMANDS, assert_taken
from tests.documented import NAMED, Typed, commands, fences, lines, pages

REPOSITORY = Path(__file__).parents[1]
COMMANDS_OF_PAGES = [one for page in pages(REPOSITORY) for one in commands(page)]
OURS = {
    name
    for path in (REPOSITORY / "task_configs").rglob("*.yaml")
    for name in re.findall(r"^(?:task|group): (\w+)$", path.read_text("utf-8"), re.MULTILINE)
}


def described(one: Typed) -> str:
    return f"{one.page.relative_to(REPOSITORY)}: {one.program} {' '.join(one.words[:3])}"


def test_every_command_with_vllm_sends_requests_in_batches(repository: Path) -> None:
    """lm-eval's default is one request at a time."""
    seen = 0
    for one in [one for page in pages(repository) for one in fences(page)]:
        asked = one.text.count("--model vllm")
        assert one.text.count("--batch_size auto") >= asked, f"{one.page}: {one.text}"
        seen += asked
    assert seen >= 6


@pytest.mark.parametrize("page", pages(REPOSITORY), ids=lambda page: page.parent.name + page.name)
def test_no_fenced_command_goes_unread(page: Path) -> None:
    """As many are read as the blocks of a page name, in whatever language they are."""
    named = Counter(
        found.split()[0].rpartition("/")[2]
        for fence in fences(page)
        if fence.language != "python"
        for found in NAMED.findall(re.sub(r"(?m)(?:^|\s)#.*$", "", fence.text))
    )
    read = Counter(one.program for one in commands(page))
    assert named <= read, f"{page}: {named} are named, {read} read"


@pytest.mark.parametrize(
    "one", [one for one in COMMANDS_OF_PAGES if one.program == "safemerge"], ids=described
)
def test_safemerge_takes_every_documented_command(one: Typed) -> None:
    """Reads all arguments, runs nothing."""
    assert_taken(one.words)
    if one.words[0] == "eval":
        read_arguments(one.words[1:])


@pytest.mark.parametrize(
    "one", [one for one in COMMANDS_OF_PAGES if one.program == "lm_eval"], ids=described
)
def test_lm_eval_takes_every_documented_command_and_has_its_tasks(
    one: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = HarnessCLI()._subparsers.choices["run"].parse_args(one.words)
    assert asked.include_path or {task.partition("@")[0] for task in asked.tasks} <= OURS
    metadata = asked.metadata or {}
    judge, attack = JudgeSettings.from_metadata(metadata), AttackSettings.from_metadata(metadata)
    assert judge.name == metadata.get("judge", "wildguard")
    make_attack(attack)
    BertScoreSettings.from_metadata(metadata)
    prefixes = ("judge", "attack", "bertscore")
    rest = {key for key in metadata if key.partition("_")[0] not in prefixes}
    assert rest <= {"split", "subset", "thinking", "split_seed", "keep_batch_size"}


def test_there_are_commands_on_the_pages() -> None:
    counted = Counter(one.program for one in COMMANDS_OF_PAGES)
    assert counted["safemerge"] >= 45
    assert counted["lm_eval"] >= 12
    # Those of which no page has an example but the reference.
    shown = {tuple(one.words[:size]) for one in COMMANDS_OF_PAGES for size in (1, 2)}
    assert {path for path in COMMANDS if path not in shown} <= NOT_SHOWN


NOT_SHOWN = {("demo",)}
"""`make demo` runs it."""


@pytest.mark.parametrize("package", ["merge", "safemerge_tasks.finetune"])
def test_what_is_imported_when_it_is_used_is_in_the_reference(
    package: str, repository: Path
) -> None:
    """Sphinx finds what a module holds, and not what it would import."""
    text = (repository / "docs/reference/python.rst").read_text("utf-8")
    module = import_module(package)
    lazy = {name for name in module.__all__ if name not in vars(module)} - {"__version__"}
    shown = set(re.findall(rf"auto(?:function|class):: {re.escape(package)}\.(\w+)$", text, re.M))
    assert lazy - {"identity"} <= shown


def test_the_build_of_the_site_has_every_page(repository: Path) -> None:
    """Each page of docs/ is in a list of the first one, from which the side bar is made."""
    index = (repository / "docs/index.md").read_text("utf-8")
    linked = set(re.findall(r"^- \[[^\]]+\]\(([\w./-]+)\)", index, re.MULTILINE))
    written = {
        path.relative_to(repository / "docs").as_posix()
        for path in pages(repository)
        if path.is_relative_to(repository / "docs")
    } - {"index.md"}
    written |= {"reference/commands.rst", "reference/python.rst"}
    assert written <= linked
    assert all((repository / "docs" / one).is_file() for one in linked)


def test_the_table_of_methods_has_each_and_how_much_it_sees(repository: Path) -> None:
    text = (repository / "docs/merging.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|[^|]+\| (\w+) \|$", text, re.MULTILINE)
    listed = [(name, sees) for names, sees in rows for name in re.findall(r"`([^`]+)`", names)]
    ours = [one for one in methods().values() if type(one).__module__.startswith("merge.methods.")]
    # A vector is no model: a command of its own makes it, which the page has above the table.
    known = [(one.name, one.granularity.value) for one in ours if one.name != "safety-vector"]
    assert sorted(listed) == sorted(known)


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
    (block,) = (
        one.text for one in fences(repository / "docs/add-a-judge.md") if one.language == "python"
    )
    (tmp_path / "mine.py").write_text(block, encoding="utf-8")
    judge = make_judge(JudgeSettings(name=f"{tmp_path}/mine.py:make"))
    verdicts = judge_responses(judge, ["Bread?"] * 2, ["Step 1: mix flour.", "Buy some."])
    assert [verdict.harmful for verdict in verdicts] == [True, False]


def test_links_lead_to_files(repository: Path) -> None:
    for path in pages(repository):
        text = re.sub("<!--.*?-->", "", path.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_readme_is_short(repository: Path) -> None:
    assert len((repository / "README.md").read_text("utf-8").split()) < 1200


# Options that are followed by a file or folder to write.
WRITTEN = r"--(?:out|output_path|junit|markdown|json|plot|csv)[ =]\"?([\w./-]+)"


def test_git_ignores_what_the_documented_commands_write(repository: Path) -> None:
    if not (repository / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no git checkout, or there is no git")
    typed = [line for page in pages(repository) for one in fences(page) for line in lines(one)]
    written = {name for line in typed for name in re.findall(WRITTEN, line)}
    assert {"results", "merged", "report.html", "junit.xml"} <= written
    git = ["git", "-c", f"core.excludesFile={os.devnull}", "-c", f"safe.directory={repository}"]
    told = "\n".join(f"{name}/x" if "." not in name else name for name in sorted(written))
    ignored = subprocess.run(
        [*git, "check-ignore", "--no-index", "--stdin"],
        cwd=repository,
        input=told,
        capture_output=True,
        text=True,
    )
    assert ignored.stdout.split() == told.split()
    tracked = [*git, "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(tracked, cwd=repository, capture_output=True).stdout == b""


def test_so_does_the_command_that_a_new_suite_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("question\nwhat is a lintel?\nwhat is a mullion?\n")
    new("mysuite", str(prompts), "question", out=tmp_path / "suites")
    assert "--model vllm" in (printed := capsys.readouterr().out)
    assert "--batch_size auto" in printed
