"""Encoders: a real small one from a package, and a random one of the paper's architecture."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import DebertaConfig, DebertaModel, PreTrainedTokenizerFast

ANSWERS = [
    "The water is warm and the bread is baked.",
    "Drink some water and rest for a day or two.",
    "flight.book(origin='Rome')",
    "Rest.",
    "One, two; three: four! Five? Six. " * 40,
]
REFERENCES = [
    "The bread is baked.",
    "Please rest for two days, and drink warm water.",
    'flight.book(origin="Rome", passengers=2)',
    "You should rest until the fever is gone, and see a doctor if it is not.",
    "Four and five. " * 90,
]


@pytest.fixture
def deberta(tmp_path: Path) -> Path:
    """Return a random two-layer DeBERTa whose tokenizer, as the paper's encoder, has no limit."""
    inner = Tokenizer(models.BPE(unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(REFERENCES, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )
    torch.manual_seed(0)
    config = DebertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=64,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        pad_token_id=0,
        type_vocab_size=0,
    )
    folder = tmp_path / "deberta"
    DebertaModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
