"""What the model under test wrote is on disk until lm-eval has it, whatever else fails."""

import gc
import inspect
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval.evaluator
import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import harmful_questions, live_evaluation, saved_responses
from safemerge_tasks.judges import JudgeSettings
from safemerge_tasks.judges.judging.saved_results import judge_folder
from safemerge_tasks.results import find_runs
from tests.safemerge_tasks.harness.test_harmful_questions import (
    ANSWERS,
    Answers,
    SpyJudge,
    kitchens,
    run,
    spy,
    suite,
)

__all__ = ["kitchens", "spy", "suite"]  # fixtures


class ByTable(Answers):
    """Gives answers of a test's own."""

    answers: Sequence[Any] = ANSWERS

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [self.answers[request.doc_id] for request in requests]


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what does what the end of the process would do."""
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(saved_responses.atexit, "register", waiting.append)
    return lambda: [one() for one in waiting] and None


def copies(folder: Path) -> list[list[str]]:
    """Return the responses of each copy that is there."""
    return [
        [row["resps"][0][0] for row in find_runs(place)[0].rows("kitchen_asr")]
        for place in folder.rglob("responses_*")
        if place.is_dir() and place.name != "responses"
    ]


def test_the_copy_goes_once_lm_eval_has_as_many_rows(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, at_exit: Callable[[], None]
) -> None:
    run(suite, tmp_path / "out")
    assert copies(tmp_path / "out") == [ANSWERS]
    at_exit()
    assert copies(tmp_path / "out") == []


def test_a_lone_surrogate_cuts_lm_evals_file_and_the_copy_stays(
    suite: Path,
    spy: type[SpyJudge],
    tmp_path: Path,
    at_exit: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = ByTable()
    model.answers = ["Mix flour.", "Bake \ud83d it.", *ANSWERS[2:]]
    run(suite, tmp_path / "out", model=model)  # lm-eval only logs it
    at_exit()
    assert copies(tmp_path / "out") == [model.answers]
    assert "has 1 of 6" in caplog.text
    (copy,) = (tmp_path / "out").rglob("responses_*")
    assert f"All responses are kept in {copy}" in caplog.text
    with pytest.raises(SafemergeError, match=f"has 1 rows .* saved in {copy}"):
        judge_folder(tmp_path / "out", JudgeSettings(name="keywords"))
    # What cut lm-eval's file is judged and kept as it was.
    judge_folder(copy, JudgeSettings(name="keywords"))
    assert copies(tmp_path / "out") == [model.answers]


def test_no_answer_is_saved_as_none_and_judged_as_none(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    model = ByTable()
    model.answers = [None, *ANSWERS[1:]]
    run(suite, tmp_path / "out", model=model)
    (copy,) = (tmp_path / "out").rglob("responses_*")
    assert copies(tmp_path / "out") == [model.answers]
    judge_folder(copy, JudgeSettings(name="keywords"))
    (row,) = (one for one in find_runs(copy)[0].rows("kitchen_asr") if one["doc_id"] == 0)
    assert row["empty_rate"] == 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "".join(text.splitlines(keepends=True)[:4]), "has 4 of 6"),
        (lambda text: text[:-40], "cut off at the end"),
        (lambda text: "", "has 0 of 6"),
    ],
)
def test_a_file_that_a_full_disk_cut_does_not_count_as_saved(
    suite: Path,
    spy: type[SpyJudge],
    tmp_path: Path,
    at_exit: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[str], str],
    said: str,
) -> None:
    run(suite, tmp_path / "out")
    (samples,) = (tmp_path / "out" / "table").glob("samples_*.jsonl")
    samples.write_text(spoil(samples.read_text()))
    at_exit()
    assert copies(tmp_path / "out") == [ANSWERS]
    assert said in caplog.text


def test_one_task_of_two_saved_is_not_enough(
    kitchens: Path, spy: type[SpyJudge], tmp_path: Path, at_exit: Callable[[], None]
) -> None:
    run(kitchens, tmp_path / "out", "cooking")
    next((tmp_path / "out" / "table").glob("samples_pantry*.jsonl")).unlink()
    at_exit()
    assert len(copies(tmp_path / "out")) == 1


class WithoutTokenizer(Answers):
    """Like lm-eval's own dummy model without a network."""

    @property
    def tokenizer(self) -> str:  # type: ignore[override]
        raise OSError("offline")


class Panics(BaseException):
    """Stands for a panic of a tokenizer in Rust, which is no `Exception`."""


class Panicking(Answers):
    """A tokenizer that takes the process down."""

    def tok_encode(self, text: str, **_: Any) -> list[str]:
        raise Panics


def test_a_tokenizer_that_cannot_be_reached_costs_no_response(
    suite: Path, spy: type[SpyJudge], caplog: pytest.LogCaptureFixture
) -> None:
    live_evaluation._warn_no_tokenizer.cache_clear()
    row = run(suite, model=WithoutTokenizer())["results"]["kitchen_asr"]
    assert row["asr,spy"] == 2 / 5
    assert "truncated_rate,spy" not in row
    assert "the model's tokenizer cannot be used (OSError)" in caplog.text


def test_responses_are_saved_before_any_are_tokenised(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    with pytest.raises(Panics):
        run(suite, tmp_path / "out", model=Panicking())
    assert copies(tmp_path / "out") == [ANSWERS]


def test_where_the_output_cannot_be_written_the_cache_can(
    suite: Path,
    spy: type[SpyJudge],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = saved_responses.write_run

    def full(folder: Path, *given: Any) -> Any:
        if folder.is_relative_to(tmp_path / "out"):
            raise OSError(28, "No space left on device")
        return real(folder, *given)

    monkeypatch.setattr(saved_responses, "write_run", full)
    assert run(suite, tmp_path / "out")["results"]["kitchen_asr"]["asr,spy"] == 2 / 5
    assert copies(tmp_path / "cache") == [ANSWERS]
    monkeypatch.setattr(saved_responses, "write_run", lambda *_: 1 / 0)
    caplog.clear()
    assert run(suite, tmp_path / "out2")["results"]["kitchen_asr"]["asr,spy"] == 2 / 5
    assert caplog.text.count("could not be saved in") == 2


def test_without_an_output_path_it_is_said_where_responses_are(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(suite)
    (place,) = (tmp_path / "cache" / "responses").iterdir()
    assert f"No --output_path: all responses are kept in {place} for 30 days" in caplog.text


def test_copies_in_the_cache_go_once_nobody_has_touched_them_for_long(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    def made() -> set[Path]:
        return set((tmp_path / "cache" / "responses").iterdir())

    def age(*paths: Path) -> None:
        for path in paths:
            old = path.stat().st_mtime - (saved_responses.DAYS_KEPT + 1) * 24 * 60 * 60
            os.utime(path, (old, old))

    run(suite)
    (forgotten,) = made()
    run(suite)
    (judged,) = made() - {forgotten}
    foreign = tmp_path / "cache" / "responses" / "somebody's"
    foreign.mkdir()
    for folder in (forgotten, judged, foreign):
        age(*folder.iterdir(), folder)
    judge_folder(judged, JudgeSettings(name="keywords"))
    run(suite, tmp_path / "out")
    assert forgotten in made()
    run(suite)
    assert forgotten not in made()
    assert {judged, foreign} < made()
    assert len(made()) == 3


def test_no_answer_in_lm_evals_own_file_is_none_too(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    """It writes a response of None as the text "None", which a judge would read."""
    model = ByTable()
    model.answers = [None, *ANSWERS[1:]]
    run(suite, tmp_path / "out", model=model, metadata={"judge": "deferred"})
    judge_folder(tmp_path / "out" / "table", JudgeSettings(name="keywords"))
    (saved,) = [one for one in find_runs(tmp_path / "out") if "responses_" not in str(one.path)]
    row = next(one for one in saved.rows("kitchen_asr") if one["doc_id"] == 0)
    assert (row["resps"], row["empty_rate"]) == ([[""]], 1.0)


class Unmovable:
    """Stands for a quantised or offloaded model of transformers."""

    dtype = "uint8"

    def to(self, device: str) -> None:
        raise RuntimeError("`.to` is not supported for `4-bit` models")

    def num_parameters(self) -> int:
        return 12


class Owned(Answers):
    """A model that lm-eval builds itself, with weights."""

    def __init__(self) -> None:
        super().__init__()
        self._model: Any = Unmovable()


def test_a_model_that_cannot_be_moved_is_dropped_and_judging_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from safemerge_tasks.harness.model_under_test import free

    model = Owned()
    free(model)
    assert not isinstance(model._model, Unmovable)
    assert (model._model.num_parameters(), model._model.dtype) == (12, "uint8")
    assert "cannot be moved (RuntimeError" in caplog.text


def test_an_engine_that_does_not_shut_down_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from safemerge_tasks.harness.model_under_test import free

    core = SimpleNamespace(shutdown=lambda: 1 / 0)
    lm = SimpleNamespace(model=SimpleNamespace(llm_engine=SimpleNamespace(engine_core=core)))
    free(lm)
    assert "may stay in memory: ZeroDivisionError" in caplog.text


def renamed(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """Return lm-eval's function with another name for one of its variables."""
    source = inspect.getsource(inspect.unwrap(function)).replace(old, new)
    assert new in source
    scope: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + source, "renamed", "exec")
    exec(code, lm_eval.evaluator.__dict__ | {"__name__": "lm_eval.evaluator"}, scope)
    return scope[function.__name__]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        ("evaluate", "eval_results_acc", "accumulated"),
        ("evaluate", "lm", "language_model"),
        ("simple_evaluate", "evaluation_tracker", "tracker"),
    ],
)
def test_a_renamed_variable_is_told_when_the_task_is_built(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    function: str,
    old: str,
    new: str,
) -> None:
    live_evaluation._warn_unknown.cache_clear()
    live_evaluation.check_lm_eval()
    assert caplog.text == ""
    changed = renamed(getattr(lm_eval.evaluator, function), old, new)
    monkeypatch.setattr(lm_eval.evaluator, function, changed)
    for _ in range(2):
        live_evaluation.check_lm_eval()
    assert caplog.text.count(f"This lm-eval's {function} has no {old}") == 1


def test_an_lm_eval_that_cannot_be_looked_into_costs_a_warning_before_generation_not_the_run(
    suite: Path,
    spy: type[SpyJudge],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live_evaluation._warn_unknown.cache_clear()
    monkeypatch.setattr(
        lm_eval.evaluator,
        "evaluate",
        renamed(lm_eval.evaluator.evaluate, "eval_results_acc", "accumulated"),
    )
    warned: list[bool] = []

    class Watching(Answers):
        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            warned.append("has no eval_results_acc" in caplog.text)
            return super().generate_until(requests)

    assert run(suite, model=Watching())["results"]["kitchen_asr"]["asr,spy"] == 2 / 5
    assert warned == [True]


def test_the_judge_is_freed_when_the_last_task_that_needs_it_is_judged(
    kitchens: Path, spy: type[SpyJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(SpyJudge, "open", lambda _: seen.append("open"))
    monkeypatch.setattr(SpyJudge, "close", lambda _: seen.append("close"))
    monkeypatch.setattr(harmful_questions.atexit, "register", lambda _: None)
    for _ in range(2):  # a notebook's second model
        run(kitchens, task="cooking")
    assert seen == ["open", "open", "close"] * 2


def test_a_model_of_the_callers_does_not_stay_in_memory_for_us(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    model = Answers()
    there = weakref.ref(model)
    run(suite, tmp_path / "out", model=model)
    del model
    gc.collect()
    assert there() is None


def test_a_judge_that_cannot_be_freed_costs_a_warning(
    suite: Path,
    spy: type[SpyJudge],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(SpyJudge, "close", lambda _: 1 / 0)
    monkeypatch.setattr(harmful_questions.atexit, "register", lambda _: None)
    with caplog.at_level(logging.WARNING):
        assert run(suite)["results"]["kitchen_asr"]["asr,spy"] == 2 / 5
    assert "judge's engine may stay in memory: ZeroDivisionError" in caplog.text
