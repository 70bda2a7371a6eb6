import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.metrics.bertscore import BertScoreSettings
from safemerge_tasks.metrics.bertscore.encoder import Encoder

read = BertScoreSettings.from_metadata


def test_the_papers_encoder_is_the_default() -> None:
    settings = read({"judge": "keywords", "version": 1.0}, {})
    assert settings.model == "microsoft/deberta-xlarge-mnli"
    assert Encoder(settings).layer == 40


def test_metadata_goes_over_the_environment() -> None:
    environment = {"SAFEMERGE_BERTSCORE_LAYER": "3", "SAFEMERGE_BERTSCORE_DEVICE": "cpu"}
    settings = read({"bertscore_layer": 5, "bertscore_batch_size": 8}, environment)
    assert (settings.layer, settings.device, settings.batch_size) == (5, "cpu", 8)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"bertscore_modle": "x"}, "did you mean bertscore_model?"),
        ({"bertscore_xyz": "x"}, "known are bertscore_model, bertscore_layer"),
        ({"bertscore_layer": "deep"}, "bertscore_layer is 'deep': "),
        ({"bertscore_batch_size": 0}, "bertscore_batch_size is '0': "),
    ],
)
def test_mistakes(metadata: dict[str, object], sentence: str) -> None:
    with pytest.raises(SafemergeError) as caught:
        read(metadata, {})
    assert sentence in str(caught.value)
