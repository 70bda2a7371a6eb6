"""A chat template that raises while prompts are built costs the question, not the run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import suite_task
from safemerge_tasks.humaneval.saved_results import rescore_folder
from safemerge_tasks.humaneval.settings import HumanEvalSettings
from safemerge_tasks.judges import JudgeSettings
from safemerge_tasks.judges.judging.saved_results import judge_folder
from tests.safemerge_tasks.harness import test_human_eval, test_reference_answers
from tests.safemerge_tasks.harness.test_harmful_questions import (
    Answers,
    SpyJudge,
    run,
    saved_by_lm_eval,
    spy,
    suite,
    verdicts_of,
)

__all__ = ["spy", "suite"]  # fixtures
advice = test_reference_answers.suite

REASON = "the response was never asked for, because no prompt could be made: "


class Picky(Answers):
    """A chat template that refuses some questions, and remembers those that are asked."""

    refuses: Callable[[str], bool] = staticmethod(lambda text: "Recipe 4" in text)
    error: Exception = jinja2.exceptions.TemplateError("a loaf\nof \ud83d bread")

    asked: Sequence[int] = ()

    def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
        if type(self).refuses(messages[-1]["content"]):
            raise self.error
        return super().apply_chat_template(messages, **given)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        self.asked = [request.doc_id for request in requests]
        return super().generate_until(requests)


@pytest.mark.parametrize(
    "error", [Picky.error, TypeError("can only concatenate str"), KeyError("content")]
)
def test_one_question_without_a_prompt_is_unscored_with_its_reason(
    suite: Path,
    spy: type[SpyJudge],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    model = Picky()
    monkeypatch.setattr(Picky, "error", error)
    results = run(suite, tmp_path / "out", model=model)
    assert model.asked == [0, 1, 2, 3, 5]
    reasons = [one.get("unscored", "") for one in verdicts_of(results)]
    assert reasons[4].startswith(f"{REASON}{type(error).__name__}: ")
    row = results["results"]["kitchen_asr"]
    assert row["unscored_rate,spy"] == 1 / 3  # beside the unfinished thinking
    assert row["empty_rate,spy"] == 1 / 6
    assert "kitchen_asr: 1 of 6 questions are not put to the model" in caplog.text
    # lm-eval's own file holds every row, and judging it again says the same.
    saved = saved_by_lm_eval(tmp_path / "out")
    assert {one["doc_id"] for one in saved.rows("kitchen_asr")} == set(range(6))
    judge_folder(tmp_path / "out" / "table", JudgeSettings(name="spy"))
    assert saved.summary()["results"]["kitchen_asr"]["unscored_rate,spy"] == 1 / 3
    (copy,) = (tmp_path / "out").rglob("responses_*")
    judge_folder(copy, JudgeSettings(name="spy"))


def test_where_lm_eval_takes_thinking_off_the_reason_stays(
    suite: Path, spy: type[SpyJudge]
) -> None:
    metadata = {"judge": "spy", "think_end_token": "</think>"}
    verdicts = verdicts_of(run(suite, model=Picky(), metadata=metadata))
    assert verdicts[4]["unscored"].startswith(REASON)


@pytest.mark.parametrize("command_line", [True, False])
def test_no_prompt_for_any_question_stops_before_generation(
    suite: Path, spy: type[SpyJudge], monkeypatch: pytest.MonkeyPatch, command_line: bool
) -> None:
    model = Picky()
    monkeypatch.setattr(Picky, "refuses", lambda _: True)
    monkeypatch.setattr(Picky, "error", ValueError("no roles here"))
    monkeypatch.setattr(model, "generate_until", lambda *_: pytest.fail("it was asked"))
    monkeypatch.setattr(suite_task, "under_command_line", lambda: command_line)
    said = r"kitchen_asr: the chat template fails on every question \(ValueError: no roles here\)"
    with pytest.raises(SystemExit if command_line else SafemergeError, match=said):
        run(suite, model=model)


def test_a_template_that_refuses_the_system_role_alone_leaves_it_out(
    suite: Path, spy: type[SpyJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSystem(Picky):
        def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
            if messages[0]["role"] == "system":
                raise jinja2.exceptions.TemplateError("System role not supported")
            return Answers.apply_chat_template(self, messages, **given)

    model = NoSystem()
    results = run(suite, model=model)
    assert model.asked == list(range(6))
    stored = results["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    assert stored["system_prompt"] == "omitted: the chat template has no system role"


def test_requests_that_lm_eval_keeps_for_the_next_run_are_left_out_again(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path / "requests"))
    for _ in range(2):
        model = Picky()
        results = run(suite, model=model, cache_requests=True)
        assert model.asked == [0, 1, 2, 3, 5]
        assert verdicts_of(results)[4]["unscored"].startswith(REASON)


class PickyProgrammer(test_human_eval.Programs):
    def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
        if test_human_eval.PROBLEMS[1]["prompt"] in messages[-1]["content"]:
            raise jinja2.exceptions.TemplateError("no such problem")
        return super().apply_chat_template(messages, **given)


@pytest.mark.parametrize("metadata", [{}, {"humaneval_seed": 5}])
def test_a_problem_without_a_prompt_has_as_many_samples_as_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any]
) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    results = test_human_eval.run(
        tmp_path / "out", model=PickyProgrammer(), apply_chat_template=True, metadata=metadata
    )
    assert len(test_human_eval.Programs.seen) == 20
    (row,) = [row for row in results["samples"][test_human_eval.TASK] if row["doc_id"] == 1]
    outcomes = [one for text in row["filtered_resps"] for one in json.loads(text)]
    assert outcomes == [f"no answer: {REASON}TemplateError: no such problem"] * 10
    once = results["results"][test_human_eval.TASK]["pass@1,python_block"]
    assert once == pytest.approx(0.3 / 3)
    rescore_folder(tmp_path / "out", HumanEvalSettings())
    saved = test_human_eval.saved_by_lm_eval(tmp_path / "out").summary()["results"]
    assert saved[test_human_eval.TASK]["pass@1,python_block"] == pytest.approx(once)


class PickyAdvisor(test_reference_answers.Answers):
    def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
        if "What 1?" in messages[-1]["content"]:
            raise jinja2.exceptions.TemplateError("not this one")
        return super().apply_chat_template(messages, **given)


def test_a_question_with_a_reference_is_unscored_and_no_poor_answer(
    advice: Path, minilm: Path
) -> None:
    encoder = {"bertscore_model": str(minilm), "bertscore_layer": 6, "bertscore_device": "cpu"}
    manager = TaskManager(include_path=str(advice), include_defaults=False, metadata=encoder)
    results = lm_eval.simple_evaluate(
        model=PickyAdvisor(), tasks=["advice"], task_manager=manager, apply_chat_template=True
    )
    assert results is not None
    row = results["results"]["advice"]
    assert row["unscored_rate,bertscore"] == 1 / 4
    assert row["empty_rate,bertscore"] == 2 / 4
    (sample,) = [one for one in results["samples"]["advice"] if one["doc_id"] == 1]
    assert "bertscore_f1" not in sample
    assert "call_match" not in sample
    assert json.loads(sample["filtered_resps"][0])["unscored"].startswith(REASON)
