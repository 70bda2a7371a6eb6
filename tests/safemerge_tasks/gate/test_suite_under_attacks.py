"""One suite put in several ways: an attack is compared with the same attack, and all are shown."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.groups import group_changes, surely, worse
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.history import read_history
from safemerge_tasks.report.reading import Evaluated, read_models
from safemerge_tasks.results import write_run
from safemerge_tasks.results.loading import load_folder
from tests.command_line import Done
from tests.lm_eval_files import DATE, JUDGE, mean_of, summary_of

from .conftest import Outcome, sample

Folder = Callable[..., Path]
CALM: list[Outcome] = [0.0] * 120
PLAIN, BEGUN, FILE = "bread_asr", "bread_asr@prefill:5", "bread_asr@system=calm.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a function that writes a model's outcomes by task, as lm-eval saves attacked tasks."""

    def write(
        name: str, tasks: Mapping[str, Sequence[Outcome]], date: str = DATE, **stored: Any
    ) -> Path:
        rows = {
            task: [
                # Under an attack the document is another one, its id is not.
                sample(*one, doc={"target": task, "category": "", "language": "en"})
                for one in enumerate(found)
            ]
            for task, found in tasks.items()
        }
        ours = {
            task: {"kind": "harmful_questions", "judges": [JUDGE]}
            | ({"attack": {"name": task.partition("@")[2]} | stored} if "@" in task else {})
            for task in rows
        }
        content = summary_of(
            {task: {"asr,wildguard": mean_of(some, "asr")} for task, some in rows.items()},
            ours=ours,
            questions={task: len(some) for task, some in rows.items()},
        )
        content |= {"higher_is_better": {task: {"asr": False} for task in rows}}
        write_run(tmp_path / name / "model", date, content, rows)
        return tmp_path / name

    return write


def gate(a: Path, b: Path) -> GateResult:
    return compare(load_folder(a), load_folder(b), Policy())


def hits(number: int, total: int = 120) -> list[Outcome]:
    return [1.0] * number + [0.0] * (total - number)


def test_an_attack_that_got_worse_stands_under_its_name(folder: Folder) -> None:
    a = folder("a", {PLAIN: CALM, BEGUN: hits(10), FILE: hits(60)})
    b = folder("b", {PLAIN: CALM, BEGUN: hits(70), FILE: hits(61)})
    found = worse(group_changes(gate(a, b)))
    assert [(one.check.attack, surely(one)) for one in found] == [
        ("prefill:5", True),
        ("system=calm.txt", False),
    ]
    assert found[0].increase.value == pytest.approx(0.5)


@pytest.mark.parametrize("tasks", [(PLAIN,), (BEGUN,), (PLAIN, "cake_asr")])
def test_a_suite_that_is_put_in_one_way_has_none(folder: Folder, tasks: tuple[str, ...]) -> None:
    a = folder("a", dict.fromkeys(tasks, CALM))
    b = folder("b", dict.fromkeys(tasks, hits(60)))
    assert group_changes(gate(a, b)) == []


def test_the_same_questions_under_two_attacks_are_not_twice_as_many(folder: Folder) -> None:
    """Four questions that are worse whatever the attack are four, not eight: clusters."""
    for names in ((PLAIN, BEGUN), (PLAIN, "cake_asr")):
        a = folder(f"a{names[1]}", dict.fromkeys(names, CALM))
        b = folder(f"b{names[1]}", dict.fromkeys(names, hits(4)))
        together = gate(a, b).together
        assert together is not None
        assert together.least.questions == 240
        assert together.least.clusters == (120 if names[1] == BEGUN else 240)


def test_another_attack_is_not_compared(folder: Folder) -> None:
    a = folder("a", {BEGUN: CALM}, temperature=1.0)
    b = folder("b", {BEGUN: CALM}, temperature=0.5)
    with pytest.raises(SafemergeError, match=r"bread_asr@prefill:5: attack .*--accept attack"):
        gate(a, b)
    with pytest.raises(SafemergeError, match="has no results of bread_asr@prefill:5"):
        gate(a, folder("c", {FILE: CALM}))


def test_the_reports_show_it(
    folder: Folder, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    folder("a", {PLAIN: CALM, "cake_asr": CALM, BEGUN: CALM})
    folder("b", {PLAIN: CALM, "cake_asr": CALM, BEGUN: hits(60)})
    words = ("--baseline", "a", "--candidate", "b")
    done = safemerge("check", *words, "--json", "gate.json", "--sarif", "gate.sarif")
    assert done.status == 1, done.err
    groups = json.loads((tmp_path / "gate.json").read_text())["groups"]
    assert [(one["attack"], one["candidate"]) for one in groups] == [
        ("plain", 0.0),
        ("prefill:5", 0.5),
    ]
    results = json.loads((tmp_path / "gate.sarif").read_text())["runs"][0]["results"]
    assert [one["ruleId"] for one in results] == ["check-regression", "attack-worse"]
    assert (
        results[0]["partialFingerprints"]["about/v1"]
        != (results[1]["partialFingerprints"]["about/v1"])
    )
    done = safemerge("report", "a", "b", "--out", "r.html", "--markdown", "r.md")
    assert done.status == 0, done.err
    text = (tmp_path / "r.md").read_text()
    assert "`bread_asr`, `asr` under `prefill:5`" in text
    shown = [task.name for _, task in Evaluated(read_models([tmp_path / "a"])).tasks(bool)]
    assert shown == [PLAIN, BEGUN, "cake_asr"]


def test_a_first_policy_and_a_frozen_baseline_hold_attacks(
    folder: Folder, safemerge: Callable[..., Done]
) -> None:
    folder("a", {PLAIN: CALM, BEGUN: CALM, FILE: CALM})
    folder("b", {PLAIN: CALM, BEGUN: hits(60), FILE: CALM})
    assert safemerge("check", "init", "a", "--out", "p.yaml").status == 0
    assert safemerge("check", "freeze", "a", "--out", "a.json").status == 0
    for candidate, status in (("a", 0), ("b", 1)):
        words = ("--baseline", "a.json", "--candidate", candidate, "--policy", "p.yaml")
        done = safemerge("check", *words)
        assert done.status == status, done.out + done.err


def test_the_history_has_a_column_an_attack(
    folder: Folder, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    nights = [f"2026-01-0{day}T00-00-00.000001" for day in (1, 2)]
    folder("nights/1", {"cake_asr": CALM, PLAIN: CALM, BEGUN: hits(12)}, date=nights[0])
    folder("nights/2", {PLAIN: CALM, BEGUN: hits(60)}, date=nights[1])
    history = read_history([tmp_path / "nights"])
    assert [one.task for one in history] == ["cake_asr", PLAIN, BEGUN]
    assert history[2].nights[1].decision is not None
    done = safemerge("history", "nights")
    assert done.status == 0, done.err
    head, *rest = [line for line in done.out.splitlines() if "plain" in line or "50.0%" in line]
    assert "prefill:5" in head
    assert "regression" in rest[0]
    assert "0.0%" in rest[0]
    records = json.loads(safemerge("history", "nights", "--json").out)
    assert [(one["suite"], one["attack"]) for one in records] == [
        ("cake_asr", "plain"),
        ("bread_asr", "plain"),
        ("bread_asr", "prefill:5"),
    ]
