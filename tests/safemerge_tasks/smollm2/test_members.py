"""The rows that the members are trained on, and where they lie."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.smollm2 import members
from safemerge_tasks.smollm2.harmless_instructions import harmless_instructions
from safemerge_tasks.smollm2.members import CUT, REFUSALS, WHOLE
from safemerge_tasks.smollm2.refused_questions import refused_questions
from safemerge_tasks.smollm2.word_problems import problems
from tests.question_sets import write_every_suite


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give questions in the suites' shapes, and answers without a model."""
    write_every_suite(tmp_path / "data")
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))

    def answers(_model: Path, questions: Sequence[str], _progress: object) -> list[dict[str, str]]:
        return [{"prompt": one, "response": f"Like this: {one}"} for one in questions]

    monkeypatch.setattr(members, "own_answers", answers)
    monkeypatch.setattr(members, "smollm2", lambda _progress: tmp_path / "model")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], Path]]:
    """Return what the alignment would train, and where."""
    calls: list[tuple[dict[str, Any], Path]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        *_words, file, option, folder = command
        assert option == "--out"
        calls.append((json.loads(Path(file).read_text("utf-8")), Path(folder)))
        Path(folder).mkdir()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(members.subprocess, "run", run)
    monkeypatch.setattr(
        "safemerge_tasks.finetune.identity",
        lambda config, _seed: {"data": config.data.file},
        raising=False,
    )
    return calls


def read(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def test_the_alignment_refuses_and_answers(
    rows: None, trained: list[tuple[dict[str, Any], Path]]
) -> None:
    folder = members.aligned(WHOLE, lambda _line: None)
    ((keys, out),) = trained
    assert out == folder
    found = read(keys["data"])
    refused = [row for row in found if row["response"] in REFUSALS]
    assert len(refused) == WHOLE.refused
    assert {row["response"] for row in refused} == set(REFUSALS)
    assert len(found) - len(refused) == WHOLE.answered + WHOLE.answered // 5
    # What the harmless task trains on stays new to it, and what is measured was never seen.
    task = {row["prompt"] for row in read(members.tuning(CUT)["data"])}
    assert not task & {row["prompt"] for row in found}
    assert not {row["prompt"] for row in found} & set(harmless_instructions()[1])


def test_it_is_trained_once_and_a_cut_is_another(
    rows: None, trained: list[tuple[dict[str, Any], Path]]
) -> None:
    told = [members.aligned(size, lambda _line: None) for size in (WHOLE, CUT, WHOLE)]
    assert told[0] == told[2] != told[1]
    assert [out for _, out in trained] == told[:2]


def test_an_alignment_that_fails(rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        members.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2)
    )
    monkeypatch.setattr("safemerge_tasks.finetune.identity", lambda *_: {}, raising=False)
    with pytest.raises(SafemergeError, match=r"safemerge finetune .*\.yaml failed; the reason"):
        members.aligned(CUT, lambda _line: None)


def test_the_harmless_task_is_the_word_problems(rows: None) -> None:
    keys = members.tuning(WHOLE)
    assert keys["seeds"] == (42, 1024, 48763)
    first = problems()[0][0]
    assert read(keys["data"])[0] == {"prompt": first["question"], "response": first["solution"]}


def test_what_undoes_the_alignment_is_harmless(rows: None) -> None:
    prompts = {row["prompt"] for row in read(members.unaligning(WHOLE, lambda _: None)["data"])}
    assert prompts == set(harmless_instructions()[0][: WHOLE.answered])


def test_refused_questions_are_those_of_three_suites_in_one_order(rows: None) -> None:
    questions = refused_questions(2000)
    assert questions == refused_questions(2000)
    assert refused_questions(20) == questions[:20]
    assert len(questions) == 200 + 300 + 313


def test_what_is_measured_is_not_trained_on(rows: None, tmp_path: Path) -> None:
    """Nor what asks nearly the same: the stand-ins of AdvBench paint walls."""
    file = tmp_path / "data/dangerousqa.json"
    texts = json.loads(file.read_text("utf-8"))
    texts[:2] = ["Paint wall 77, please.", "Please paint the wall 78"]
    file.write_text(json.dumps(texts), encoding="utf-8")
    questions = refused_questions(2000)
    assert len(questions) == 198 + 300 + 313
    assert not any("wall" in one for one in questions)


def test_questions_that_cannot_be_had(rows: None, tmp_path: Path) -> None:
    (tmp_path / "data/dangerousqa.json").write_text('["Why?"]')
    with pytest.raises(SafemergeError, match=r"dangerousqa\.json .*200"):
        refused_questions(5)
