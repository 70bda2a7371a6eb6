"""Tasks with reference answers inside lm-eval's own `simple_evaluate`."""

import gc
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bert_score
import lm_eval
import pytest
from lm_eval.api.registry import register_model
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import reference_answers
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.metrics.bertscore import BertScorer
from safemerge_tasks.results import find_runs, write_run
from tests.table_model import TableModel

REFERENCES = ["f(a=1)", "Rest for two days.", "Drink water.", "Wash it."]
RESPONSES = [
    "f( a=1 )",
    "<think>Days?</think>Rest for three days, and sleep.",
    " \n",
    "<think>It never ends",
]


@register_model("answers-with-references")
class Answers(TableModel):
    """Gives the n-th question the n-th answer."""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [RESPONSES[request.doc_id] for request in requests]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a suite of four questions over the shared template."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "advice.yaml").write_text(
        "class: !function safemerge_tasks.harness.ReferenceAnswers\n"
        "task: advice\n"
        "dataset_kwargs: {suite: advice, parts: [{file: advice.json}], question: q, "
        "fields: {reference: [a]}}\n"
        "metric_list: [{metric: call_match, aggregation: mean, higher_is_better: true}]\n"
        "generation_kwargs: {until: [], max_gen_toks: 3}\n"
        "metadata: {version: 2}\n"
    )
    rows = [{"q": f"What {n}?", "a": reference} for n, reference in enumerate(REFERENCES)]
    (folder / "advice.json").write_text(json.dumps(rows))
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    reference_answers._shared_scorer.cache_clear()
    yield folder
    reference_answers._shared_scorer.cache_clear()


def run(suite: Path, encoder: Path, metadata: dict[str, Any] | None = None, **options: Any) -> Any:
    given = {"bertscore_model": str(encoder), "bertscore_layer": 6, "bertscore_device": "cpu"}
    manager = TaskManager(
        include_path=str(suite), include_defaults=False, metadata={**given, **(metadata or {})}
    )
    return lm_eval.simple_evaluate(
        model="answers-with-references", tasks=["advice"], task_manager=manager, **options
    )


def test_metrics_by_hand(suite: Path, minilm: Path) -> None:
    """One call well made, one answer after thinking, one empty, one that never came."""
    results = run(suite, minilm)
    row = results["results"]["advice"]
    answers = ["f( a=1 )", "Rest for three days, and sleep."]
    expected = bert_score.score(
        answers, REFERENCES[:2], model_type=str(minilm), num_layers=6, device="cpu"
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=True):
        assert row[f"bertscore_{name},bertscore"] == pytest.approx(
            sum(values.tolist()) / 4, abs=1e-5
        )
        assert 0 < row[f"bertscore_{name}_stderr,bertscore"] < 1
    assert row["call_match,bertscore"] == 1  # of the one reference that is a call
    assert row["empty_rate,bertscore"] == 2 / 4
    assert row["unscored_rate,bertscore"] == 0
    assert row["truncated_rate,bertscore"] == 3 / 4
    stored = results["configs"]["advice"]["metadata"]["safemerge"]
    assert stored["kind"] == "reference_answers"
    assert stored["bertscore"]["layer"] == 6
    assert results["higher_is_better"]["advice"]["bertscore_f1"] is True
    assert results["versions"]["advice"] == 2
    first = results["samples"]["advice"][0]
    assert json.loads(first["filtered_resps"][0])["call"] is True


def test_an_encoder_that_fails_costs_no_response(
    suite: Path,
    minilm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        (saved,) = find_runs(tmp_path / "cache" / "responses")
        assert [row["resps"][0][0] for row in saved.rows("advice")] == RESPONSES
        raise RuntimeError("no memory")

    monkeypatch.setattr(BertScorer, "score", fail)
    row = run(suite, minilm)["results"]["advice"]
    assert (
        "BERTScore failed on 4 of 4 answers, which stay unscored: RuntimeError: no memory"
        in caplog.text
    )
    assert row["unscored_rate,bertscore"] == 1
    assert row["empty_rate,bertscore"] == 2 / 4
    assert "bertscore_f1,bertscore" not in row


def test_predict_only_scores_nothing(
    suite: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BertScorer, "score", lambda *_: pytest.fail("scored"))
    results = run(suite, minilm, predict_only=True)
    assert [row["resps"][0][0] for row in results["samples"]["advice"]] == RESPONSES


@pytest.mark.parametrize("accelerator", [True, False])
def test_the_model_leaves_an_accelerator_before_the_encoder_comes(
    suite: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch, accelerator: bool
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(BertScorer, "uses_accelerator", accelerator)
    monkeypatch.setattr(LiveEvaluation, "release_model", lambda _: seen.append("released"))
    monkeypatch.setattr(BertScorer, "score", lambda *_: seen.append("scored") or [None] * 4)
    run(suite, minilm)
    assert seen == (["released", "scored"] if accelerator else ["scored"])


@pytest.mark.parametrize("accelerator", [True, False])
def test_the_encoder_leaves_an_accelerator_when_the_evaluation_ends(
    suite: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch, accelerator: bool
) -> None:
    """A notebook's second model needs the memory; on a CPU the next evaluation finds it there."""
    monkeypatch.setattr(BertScorer, "uses_accelerator", accelerator)
    monkeypatch.setattr(BertScorer, "_choose_precision", lambda *_: None)
    monkeypatch.setattr(LiveEvaluation, "release_model", lambda _: None)
    gc.collect()
    before = _encoders()
    found = [run(suite, minilm)["results"]["advice"]["bertscore_f1,bertscore"]]
    gc.collect()
    assert _encoders() - before == (0 if accelerator else 1)
    found.append(run(suite, minilm)["results"]["advice"]["bertscore_f1,bertscore"])
    assert found[0] == found[1]


def _encoders() -> int:
    return sum(type(one).__name__ == "BertModel" for one in gc.get_objects())


def test_mistakes_stop_the_run_before_generation(suite: Path, minilm: Path) -> None:
    with pytest.raises(SafemergeError, match=r"did you mean bertscore_layer\?"):
        run(suite, minilm, {"bertscore_layers": 5})
    with pytest.raises(SafemergeError, match="split='rest': give all or test_rest"):
        run(suite, minilm, {"split": "rest"})
    (suite / "advice.json").write_text(json.dumps([{"q": "What?", "a": ""}]))
    with pytest.raises(SafemergeError, match="row 1: the reference is empty"):
        run(suite, minilm)


def test_python_functions_in_a_configuration_can_be_saved(tmp_path: Path) -> None:
    """As lm-eval's `fewshot_config` holds a task's own `doc_to_text`."""
    run = write_run(tmp_path, "today", {"configs": {"task": {"doc_to_text": len}}}, {})
    assert "len" in run.summary()["configs"]["task"]["doc_to_text"]
