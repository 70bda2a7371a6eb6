from collections.abc import Callable
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.suite_inspection import inspect_suite
from safemerge_tasks.suites.scaffold import new_suite

Change = Callable[[str, str], None]


@pytest.fixture
def suites(tmp_path: Path) -> Path:
    """Return a folder with one suite that has nothing to mend."""
    (tmp_path / "prompts.csv").write_text("prompt,kind\nBake?,Rye\nPaint?,Oat\n")
    made = new_suite(
        "bakery", str(tmp_path / "prompts.csv"), question="prompt", out=tmp_path / "suites"
    )
    readme = made.folder / "README.md"
    readme.write_text(readme.read_text().replace("Licence: TODO", "Licence: MIT"))
    return tmp_path / "suites"


@pytest.fixture
def change(suites: Path) -> Change:
    """Return a function that replaces text in the suite's YAML."""

    def replace(old: str, new: str) -> None:
        path = suites / "bakery/bakery_asr.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return replace


@pytest.mark.parametrize("name", ["bakery", "bakery_asr"])
def test_nothing_to_mend(suites: Path, name: str) -> None:
    assert inspect_suite(name, suites) == []


@pytest.mark.parametrize(
    "name", ["catqa", "catqa_asr", "catqa_asr_vi", "xstest", "hexphi_asr", "safemerge_safety"]
)
def test_packaged_suites_have_nothing_to_mend(every_suite: Path, name: str) -> None:
    assert inspect_suite(name) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("task:", "task: [", "line 3 is not YAML"),
        ("task: bakery_asr\n", "", "has neither `task` nor `group`"),
        ("metadata:", "metdata:", "metdata is not a key of lm-eval; did you mean metadata?"),
        ("metadata: {version: 1.0}", "metadata: {}", "has no version; add"),
        # lm-eval takes the last.
        ("metadata:", "metadata: {version: 2.0}\nmetadata:", "metadata is given twice"),
        ("question: prompt", "question: kind\n  question: prompt", "question is given twice"),
        ("version: 1.0", "version: 2026-13-45", "is not YAML (month must be in 1..12)"),
        ("suite: bakery", "siute: bakery", "siute is not a key of a suite; did you mean suite?"),
        ("question: prompt", "question: text", "no column 'text'; its columns are prompt, kind"),
        ("harness.HarmfulQuestions", "harness.Harmful", "cannot be imported"),
        ("metadata:", "generation_kwargs: {}\nmetadata:", "has no `until`"),
        ("metadata:", "num_fewshot: 3\nmetadata:", "`num_fewshot: 3` has no effect here"),
        ("metadata:", "include: ../absent\nmetadata:", "includes ../absent, which does not exist"),
        ("metadata:", "include: bakery_asr.yaml\nmetadata:", "includes itself"),
        ("prompts.csv", "absent.csv", "absent.csv, the questions of bakery, does not exist"),
    ],
)
def test_one_thing_to_mend(suites: Path, change: Change, old: str, new: str, sentence: str) -> None:
    change(old, new)
    assert any(sentence in problem for problem in inspect_suite("bakery", suites))


def test_everything_at_once_and_no_prompt_quoted(suites: Path, change: Change) -> None:
    (suites.parent / "prompts.csv").write_text("prompt,kind\nBake?,Rye\n,Rye\nBake?,Oat\n ,Oat\n")
    (suites / "bakery/README.md").write_text("# bakery\n\nLicence: TODO\n")
    change("metadata: {version: 1.0}", "metadata: {}")
    change("task: bakery_asr", "task: bakery_asr\nmetric_lst: []")
    problems = inspect_suite("bakery", suites)
    expected = (
        "did you mean metric_list?",
        "has no version",
        "rows 3, 5: the question is empty",
        "row 4: the question stands further up already",
        "README.md names no licence",
    )
    assert all(any(part in problem for problem in problems) for part in expected)
    assert len(problems) == len(expected)
    assert "Bake" not in " ".join(problems)


def test_repeated_questions_may_be_meant(suites: Path, change: Change) -> None:
    (suites.parent / "prompts.csv").write_text("prompt,kind\nBake?,Rye\nBake?,Oat\n")
    assert len(inspect_suite("bakery", suites)) == 1
    change("question: prompt", "question: prompt\n  duplicates: true")
    assert inspect_suite("bakery", suites) == []


def test_a_file_that_lm_eval_does_not_see(suites: Path) -> None:
    (suites / "bakery/bakery_asr.yaml").rename(suites / "bakery/bakery_asr.yml")
    (suites / "compose.yml").write_text("services: {}\n")
    (problem, *_) = inspect_suite("bakery", suites)
    assert "bakery_asr.yml is not seen by lm-eval; rename it to .yaml" in problem
    with pytest.raises(SafemergeError):
        inspect_suite("compose", suites)


def test_two_tasks_of_one_name(suites: Path) -> None:
    text = (suites / "bakery/bakery_asr.yaml").read_text()
    (suites / "bakery/other.yaml").write_text(text)
    assert any(
        "are both called bakery_asr" in problem for problem in inspect_suite("bakery", suites)
    )


def test_a_group_with_a_task_that_is_not_there(suites: Path) -> None:
    (suites / "bakery/all.yaml").write_text(
        "group: all_bread\ntask: [bakery_asr, cake_asr]\nagregate_metric_list: []\n"
    )
    problems = inspect_suite("all_bread", suites)
    assert any("there is no task 'cake_asr'" in problem for problem in problems)
    assert any("did you mean aggregate_metric_list?" in problem for problem in problems)


def test_a_readme_is_missing(suites: Path) -> None:
    (suites / "bakery/README.md").unlink()
    assert any("does not exist; add one" in problem for problem in inspect_suite("bakery", suites))


def test_a_group_is_checked_with_its_members(every_suite: Path) -> None:
    (every_suite / "dangerousqa.json").write_text('["Why?"]')
    (problem,) = inspect_suite("safemerge_safety")
    assert "dangerousqa.json has 1 questions, expected 200" in problem


def test_a_source_out_of_reach_is_said_once() -> None:
    (problem,) = inspect_suite("hexphi")
    assert "category_1.csv" in problem


def test_no_such_suite(suites: Path) -> None:
    with pytest.raises(SafemergeError, match="no suite bakry .* did you mean bakery"):
        inspect_suite("bakry", suites)
    with pytest.raises(SafemergeError, match="absent is not a folder"):
        inspect_suite("bakery", suites / "absent")
