"""Tokenizers that cut text in different ways."""

import pytest
from transformers import PreTrainedTokenizerBase


@pytest.fixture(params=["mistral", "bytes"])
def tokenizer(
    request: pytest.FixtureRequest,
    mistral_tokenizer: PreTrainedTokenizerBase,
    byte_tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedTokenizerBase:
    return mistral_tokenizer if request.param == "mistral" else byte_tokenizer
