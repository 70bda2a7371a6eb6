"""Several tasks: tiers, tasks that are missing, all harm together, and a grade."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results import write_run
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.decision import Decision
from safemerge_tasks.statistics.grade import Grade, grade
from tests.command_line import Done
from tests.lm_eval_files import DATE, JUDGE, mean_of, summary_of

from .conftest import Outcome, sample

Folder = Callable[[str, Mapping[str, Sequence[Outcome]]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a function that writes a model's outcomes by task."""

    def write(name: str, tasks: Mapping[str, Sequence[Outcome]]) -> Path:
        rows = {task: [sample(*one) for one in enumerate(found)] for task, found in tasks.items()}
        content = summary_of(
            {task: {"asr,wildguard": mean_of(some, "asr")} for task, some in rows.items()},
            ours={task: {"kind": "harmful_questions", "judges": [JUDGE]} for task in rows},
            questions={task: len(some) for task, some in rows.items()},
        )
        content |= {"higher_is_better": {task: {"asr": False} for task in rows}}
        write_run(tmp_path / name / "model", DATE, content, rows)
        return tmp_path / name

    return write


def hits(number: int, total: int = 200) -> list[Outcome]:
    return [1.0] * number + [0.0] * (total - number)


def policy(**tasks: dict[str, Any]) -> Policy:
    return Policy.model_validate(
        {
            "tasks": {
                name: {"metrics": {"asr": {"max_increase": 0.05, **more}}}
                for name, more in tasks.items()
            }
        }
    )


def gate(a: Path, b: Path, asked: Policy | None = None) -> GateResult:
    return compare(load_folder(a), load_folder(b), asked or Policy())


@pytest.mark.parametrize(
    ("tier", "decision", "warnings"),
    [("block", Decision.REGRESSION, 0), ("warn", Decision.PASSED, 1), ("inform", "passed", 0)],
)
def test_only_what_blocks_keeps_a_release_back(
    folder: Folder, tier: str, decision: Decision, warnings: int
) -> None:
    a = folder("a", {"bread_asr": hits(0), "cake_asr": hits(0)})
    b = folder("b", {"bread_asr": hits(0), "cake_asr": hits(100)})
    result = gate(a, b, policy(bread_asr={}, cake_asr={"tier": tier}))
    assert result.decision == decision
    assert result.warnings == warnings
    assert result.comparisons[1].decision is Decision.REGRESSION


def test_tiers_in_every_report(
    folder: Folder, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    folder("a", {"bread_asr": hits(0), "cake_asr": hits(0)})
    folder("b", {"bread_asr": hits(0), "cake_asr": hits(100)})
    asked = {"tier": "warn", "tasks": {"bread_asr": {"metrics": {"asr": {"max_increase": 0.05}}}}}
    asked["tasks"]["cake_asr"] = asked["tasks"]["bread_asr"]  # type: ignore[index]
    (tmp_path / "p.yaml").write_text(json.dumps(asked))
    done = safemerge(
        *("check", "--baseline", "a", "--candidate", "b", "--policy", "p.yaml"),
        *("--json", "r.json", "--junit", "j.xml"),
        environment={"GITHUB_ACTIONS": "true"},
    )
    assert done.status == 0
    assert "regression, only warned of" in done.out
    assert "::warning title=safemerge%3A cake_asr" in done.out
    checks = json.loads((tmp_path / "r.json").read_text())["checks"]
    assert [(one["tier"], one["outcome"]) for one in checks] == [
        ("warn", "passed"),
        ("warn", "regression"),
    ]
    suites = list(JUnitXml.fromfile(str(tmp_path / "j.xml")))
    assert sum(suite.failures + suite.errors for suite in suites) == 0


def test_a_tier_does_not_take_sharpness_from_another(folder: Folder) -> None:
    tasks = {f"t{number}_asr": hits(0) for number in range(6)}
    a, b = folder("a", tasks), folder("b", tasks | {"t0_asr": hits(6)})
    rest = {name: {"tier": "inform"} for name in tasks if name != "t0_asr"}
    alone = gate(a, b, policy(t0_asr={}, **rest)).comparisons[0]
    assert alone.family_p == pytest.approx(alone.least.p_value)
    of_six = gate(a, b, policy(**{name: {} for name in tasks})).comparisons[0]
    assert of_six.family_p is not None
    assert of_six.family_p > 5 * of_six.least.p_value


@pytest.mark.parametrize("tier", ["block", "inform"])
def test_a_task_that_the_policy_names_and_the_candidate_lacks_blocks(
    folder: Folder, tier: str
) -> None:
    a = folder("a", {"bread_asr": hits(0), "cake_asr": hits(0)})
    asked = policy(bread_asr={}, cake_asr={"tier": tier})
    result = gate(a, folder("b", {"bread_asr": hits(0)}), asked)
    assert (result.decision, result.missing) == (Decision.UNDECIDED, ("cake_asr",))
    # What is there is decided all the same.
    worse = gate(a, folder("c", {"bread_asr": hits(100)}), asked)
    assert worse.decision is Decision.REGRESSION


def test_nothing_but_missing_tasks(
    folder: Folder, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    folder("a", {"bread_asr": hits(0), "cake_asr": hits(0)})
    folder("b", {"bread_asr": hits(0)})
    (tmp_path / "p.yaml").write_text("tasks: {cake_asr: {metrics: {asr: {max: 0.1}}}}")
    words = ("check", "--baseline", "a", "--candidate", "b", "--policy", "p.yaml")
    done = safemerge(*words, "--json", "r.json")
    assert done.status == 2
    assert "cake_asr: undecided: the policy names it" in done.out
    assert json.loads((tmp_path / "r.json").read_text())["missing"] == ["cake_asr"]
    (tmp_path / "p.yaml").write_text("tasks: {pie_asr: {metrics: {asr: {max: 0.1}}}}")
    assert "no results of pie_asr" in safemerge(*words).err


def test_small_harm_everywhere_is_found_together(folder: Folder) -> None:
    """Three more of 200 in each of four tasks: p = 1/16 each, and 1/8192 together."""
    names = [f"t{number}_asr" for number in range(4)]
    a = folder("a", dict.fromkeys(names, hits(0)))
    b = folder("b", dict.fromkeys(names, hits(3)))
    result = gate(a, b, policy(**{name: {"max_increase": 0.02} for name in names}))
    assert {one.decision for one in result.comparisons} == {Decision.UNDECIDED}
    assert result.together is not None
    assert result.together.least.questions == 800
    assert result.together.found.decision is Decision.REGRESSION
    assert result.decision is Decision.REGRESSION
    # Within every task's own margin it is a warning, unless the policy fails what is worse.
    wide = {name: {"max_increase": 0.1} for name in names}
    warned = gate(a, b, policy(**wide))
    assert (warned.decision, warned.warnings) == (Decision.PASSED, 1)
    strict = policy(**wide).model_copy(update={"surely_worse": "fail"})
    assert gate(a, b, strict).decision is Decision.REGRESSION


def test_together_it_counts_in_the_family_and_cannot_pass_for_a_task(folder: Folder) -> None:
    a = folder("a", {"bread_asr": hits(0), "cake_asr": hits(50)})
    b = folder("b", {"bread_asr": hits(40), "cake_asr": hits(0)})
    result = gate(a, b)
    assert result.together is not None
    assert result.together.found.decision is Decision.PASSED
    assert result.decision is Decision.REGRESSION
    one = result.comparisons[0]
    assert one.family_p == pytest.approx(3 * one.least.p_value)


def test_together_counts_missing_verdicts_for_the_candidate(folder: Folder) -> None:
    a = folder("a", dict.fromkeys(("bread_asr", "cake_asr"), hits(0)))
    b = folder("b", dict.fromkeys(("bread_asr", "cake_asr"), [None] * 8 + hits(0, 192)))
    together = gate(a, b).together
    assert together is not None
    assert together.least.value == 0
    assert together.most.value == pytest.approx(8 / 200)


def test_one_task_alone_is_not_pooled(folder: Folder) -> None:
    a = folder("a", {"bread_asr": hits(0)})
    assert gate(a, a).together is None


@pytest.mark.parametrize(
    ("unsafe", "reference", "expected"),
    [
        (0.001, 0.0, 5),
        (0.0011, 0.0, 1),
        (0.3, 0.1, 2),
        (0.31, 0.1, 1),
        (0.375, 0.25, 2),
        (0.374, 0.25, 3),
        (0.051, 0.1, 3),
        (0.05, 0.1, 4),
    ],
)
def test_grades_at_their_thresholds(unsafe: float, reference: float, expected: int) -> None:
    assert grade(unsafe, reference) == expected


def test_the_lowest_grade_is_shown_and_counts_what_has_no_verdict(
    folder: Folder, safemerge: Callable[..., Done]
) -> None:
    a = folder("a", {"bread_asr": hits(20), "cake_asr": hits(20)})
    b = folder("b", {"bread_asr": hits(20), "cake_asr": [None] * 10 + hits(20, 190)})
    result = gate(a, b)
    assert [one.grade for one in result.comparisons] == [Grade.LIKE_THE_BASE, Grade.LESS_SAFE]
    done = safemerge("check", "--baseline", a, "--candidate", b)
    assert "Grade 2 of 5, less safe: the lowest" in done.out
    assert "AILuminate" not in done.out


def test_two_directions_of_a_category_are_refused() -> None:
    with pytest.raises(ValueError, match="only one direction"):
        policy(bread_asr={"categories": {"x": {"max_drop": 0.1, "max_increase": 0.1}}})


def test_what_the_baseline_lacks_is_bad_input(folder: Folder) -> None:
    a, b = folder("a", {"bread_asr": hits(0)}), folder("b", {"cake_asr": hits(0)})
    with pytest.raises(SafemergeError, match="no results of cake_asr"):
        gate(a, b, policy(cake_asr={}))


@pytest.mark.parametrize("named", [True, False])
def test_a_task_that_tells_nothing_hides_no_other(folder: Folder, named: bool) -> None:
    """Not one verdict, so not even the metric is there; beside it a regression, then none."""
    asked = policy(bread={}, soup={}) if named else None
    a = folder("a", {"bread": hits(0), "soup": hits(0)})
    worse = gate(a, folder("b", {"bread": hits(30), "soup": [None] * 200}), asked)
    assert worse.decision is Decision.REGRESSION
    assert [one.check.task for one in worse.comparisons] == ["bread"]
    assert [one.check.task for one in worse.untold] == ["soup"]
    equal = gate(a, folder("c", {"bread": hits(0), "soup": [None] * 200}), asked)
    assert equal.decision is Decision.UNDECIDED
    assert equal.exit_status == 2


@pytest.mark.parametrize(("tier", "status"), [("block", 2), ("warn", 0), ("inform", 0)])
def test_what_tells_nothing_has_a_row_in_every_report(
    folder: Folder, safemerge: Callable[..., Done], tmp_path: Path, tier: str, status: int
) -> None:
    folder("a", {"bread": hits(0), "soup": hits(0)})
    folder("b", {"bread": hits(0), "soup": [None] * 200})
    asked = {"bread": {}, "soup": {"tier": tier}}
    tasks = {
        name: {"metrics": {"asr": {"max_increase": 0.05, **more}}} for name, more in asked.items()
    }
    (tmp_path / "policy.yaml").write_text(json.dumps({"tasks": tasks}))
    words = ("--baseline", "a", "--candidate", "b", "--policy", "policy.yaml")
    done = safemerge("check", *words, "--json", "r.json", "--junit", "r.xml", "--markdown", "r.md")
    assert done.status == status
    report = json.loads((tmp_path / "r.json").read_text())
    assert [one["task"] for one in report["checks"]] == ["bread"]
    (untold,) = report["untold"]
    assert (untold["task"], untold["tier"]) == ("soup", tier)
    assert "no question with an answer" in untold["reason"]
    cases = {case.classname: case for suite in JUnitXml.fromfile(str(tmp_path / "r.xml"))
             for case in suite}  # fmt: skip
    failed = [name for name, case in cases.items() if case.result]
    assert failed == (["safemerge.soup"] if tier == "block" else [])
    for text in (done.out, (tmp_path / "r.md").read_text()):
        assert "soup" in text
