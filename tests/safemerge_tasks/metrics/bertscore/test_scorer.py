"""Against the bert-score package itself."""

from pathlib import Path
from typing import Any

import bert_score
import pytest
from transformers import AutoTokenizer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.metrics.bertscore import BertScorer, BertScoreSettings
from safemerge_tasks.metrics.bertscore.encoder import Encoder
from safemerge_tasks.metrics.bertscore.scorer import largest_move
from safemerge_tasks.metrics.reference_score import EMPTY, Similarity
from tests.safemerge_tasks.metrics.bertscore.conftest import ANSWERS, REFERENCES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def scorer(model: Path, layer: int, **more: Any) -> BertScorer:
    return BertScorer(BertScoreSettings(model=str(model), layer=layer, device="cpu", **more))


def packages_own(model: Path, layer: int) -> list[Similarity]:
    rows = bert_score.score(
        ANSWERS, REFERENCES, model_type=str(model), num_layers=layer, device="cpu"
    )
    return [Similarity(*values) for values in zip(*(row.tolist() for row in rows), strict=True)]


def assert_equal(found: list[Similarity], expected: list[Similarity]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.precision == pytest.approx(other.precision, abs=1e-5)
        assert one.recall == pytest.approx(other.recall, abs=1e-5)
        assert one.f1 == pytest.approx(other.f1, abs=1e-5)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_equal_to_the_package_with_a_real_encoder(minilm: Path, batch_size: int) -> None:
    expected = packages_own(minilm, 6)
    assert len({round(one.f1, 3) for one in expected}) == len(expected)
    assert_equal(scorer(minilm, 6, batch_size=batch_size).score(ANSWERS, REFERENCES), expected)


@pytest.mark.parametrize(("odd", "f1"), [("rest \ud83d", 1), ("\udfff", 0)])
def test_a_lone_surrogate_costs_no_other_answer(minilm: Path, odd: str, f1: float) -> None:
    """It stands for no word, so it takes nothing from the words beside it."""
    answers = ["Rest for two days.", odd]
    found = scorer(minilm, 6).score(answers, ["Rest for two days.", "rest"])
    assert found[0].f1 == pytest.approx(1, abs=1e-5)
    assert found[1].f1 == pytest.approx(f1, abs=1e-5)
    assert scorer(minilm, 6).score(["rest"], [odd])[0].f1 == pytest.approx(f1, abs=1e-5)


def test_an_inner_layer(minilm: Path) -> None:
    assert_equal(scorer(minilm, 3).score(ANSWERS, REFERENCES), packages_own(minilm, 3))


def test_equal_to_the_package_on_the_papers_architecture(deberta: Path, tmp_path: Path) -> None:
    """The package needs a tokenizer that knows its limit; ours reads it from the encoder."""
    with pytest.raises(OverflowError):
        packages_own(deberta, 2)
    found = scorer(deberta, 2).score(ANSWERS, REFERENCES)
    assert scorer(deberta, 2).identity()["max_length"] == 64
    tokenizer = AutoTokenizer.from_pretrained(deberta)
    assert len(tokenizer(ANSWERS[-1])["input_ids"]) > 64
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(deberta)
    assert_equal(found, packages_own(deberta, 2))


def test_a_second_model_reads_the_references_from_disk(
    minilm: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    real = Encoder.encode

    def spy(self: Encoder, texts: list[str]) -> Any:
        encoded.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(Encoder, "encode", spy)
    first = scorer(minilm, 6).score(ANSWERS, REFERENCES)
    assert set(encoded) == {*ANSWERS, *REFERENCES}
    encoded.clear()
    assert_equal(scorer(minilm, 6).score(ANSWERS, REFERENCES), first)
    assert set(encoded) == set(ANSWERS)
    encoded.clear()
    scorer(minilm, 5).score(ANSWERS, REFERENCES)
    assert set(encoded) == {*ANSWERS, *REFERENCES}
    encoded.clear()
    scorer(minilm, 6, cache=False).score(ANSWERS, REFERENCES)
    assert set(encoded) == {*ANSWERS, *REFERENCES}
    assert b"bread" not in (cache / "bertscore.sqlite").read_bytes()


def test_answers_without_words_score_nothing(minilm: Path) -> None:
    answers = ["", " \n", "\u200b", *ANSWERS[:2]]
    references = [*REFERENCES[:3], *REFERENCES[:2]]
    found = scorer(minilm, 6).score(answers, references)
    assert found[:3] == [EMPTY] * 3
    assert_equal(found[3:], packages_own(minilm, 6)[:2])
    assert scorer(minilm, 6).score(["", ""], references[:2]) == [EMPTY] * 2


def test_half_precision_is_measured(minilm: Path) -> None:
    full = Encoder(BertScoreSettings(model=str(minilm), layer=6, device="cpu"))
    half = full.reduced()
    assert half.identity()["dtype"] == "float16"
    assert full.identity()["dtype"] == "float32"
    assert largest_move(full, full, REFERENCES) == 0
    assert 0 < largest_move(full, half, REFERENCES) < 0.01


@pytest.mark.parametrize(("moved", "dtype"), [(9e-5, "float16"), (2e-4, "float32")])
def test_half_precision_is_used_only_if_f1_stays(
    minilm: Path, monkeypatch: pytest.MonkeyPatch, moved: float, dtype: str
) -> None:
    monkeypatch.setattr(BertScorer, "uses_accelerator", True)
    monkeypatch.setattr("safemerge_tasks.metrics.bertscore.scorer.largest_move", lambda *_: moved)
    one = scorer(minilm, 6)
    one.score(ANSWERS, REFERENCES)
    assert one.identity()["dtype"] == dtype


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"layer": 7}, "bertscore_layer=7: .* has 6 layers"),
        ({"layer": None}, "recommends no layer for .*; add bertscore_layer=N"),
        ({"model": "/nowhere", "layer": 1}, "bertscore_model=/nowhere cannot be loaded"),
        ({"device": "abacus"}, "bertscore_device='abacus' is no torch device"),
    ],
)
def test_what_cannot_work_is_said_before_weights_are_read(
    minilm: Path, settings: dict[str, Any], sentence: str
) -> None:
    given = {"model": str(minilm), "layer": 6, **settings}
    with pytest.raises(SafemergeError, match=sentence):
        BertScorer(BertScoreSettings(**given)).check()


def test_a_name_that_bert_score_takes_for_t5(minilm: Path, tmp_path: Path) -> None:
    (tmp_path / "best5").symlink_to(minilm)
    with pytest.raises(SafemergeError, match="because its name contains t5"):
        scorer(tmp_path / "best5", 6).check()
