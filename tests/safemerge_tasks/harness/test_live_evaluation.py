"""One object an evaluation, however memory is used again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.harness import live_evaluation
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.harness.saved_responses import save_responses


@pytest.fixture
def frame(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a stand-in for the frame of lm-eval's `evaluate`; `f_locals` is the test's."""
    frame = SimpleNamespace()
    monkeypatch.setattr(
        live_evaluation, "_frame", lambda _, function: frame if function == "evaluate" else None
    )
    return frame


def locals_of(lm: Any) -> dict[str, Any]:
    return {"eval_results_acc": {}, "lm": lm, "log_samples": True}


def test_a_second_evaluation_is_never_taken_for_the_first(frame: SimpleNamespace) -> None:
    frame.f_locals = locals_of(None)
    for number in range(10):
        # A dictionary that is freed at once gives the next its address.
        del frame.f_locals["eval_results_acc"]
        frame.f_locals |= {"eval_results_acc": {}, "lm": number}
        evaluation = LiveEvaluation.find()
        assert evaluation is not None
        assert evaluation.lm == number
        assert LiveEvaluation.find() is evaluation


def test_replayed_responses_are_not_saved_again_and_there_is_nothing_to_free(
    frame: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path("responses.json")
    frame.f_locals = locals_of(SimpleNamespace(replays=path))
    evaluation = LiveEvaluation.find()
    assert evaluation is not None
    assert save_responses(evaluation) == path
    evaluation.release_model()
    assert "stays in memory" not in caplog.text
