"""The family's tokenizer: byte-level BPE that reads any text, with a chat template."""

from collections.abc import Iterator
from typing import Any

from safemerge_tasks.judges.prompts.wildguard import wildguard_prompt
from safemerge_tasks.toy import corpora
from safemerge_tasks.toy.vocabulary import (
    ACTIONS,
    EVERYDAY_WORDS,
    FORBIDDEN_STEM,
    STEP_WORDS,
    SYLLABLES,
)

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
# WildGuard's prompt holds the last two, as plain text a hostile response may copy.
_ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
_VOCABULARY = 1536
MAX_LENGTH = 2048


def build_tokenizer() -> Any:
    """Train the tokenizer; a `transformers.PreTrainedTokenizerFast`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [PAD, BOS, EOS, *_ROLES.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_training_text(), trainer)
    bos = backend.token_to_id(BOS)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(_ROLES.values()),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _training_text() -> Iterator[str]:
    """Yield syllables far more often than words, so that nouns split into their syllables."""
    for unit in (*SYLLABLES, FORBIDDEN_STEM):
        yield from [f" {unit}\n{unit}"] * 1000
    phrases = [wildguard_prompt(), corpora.REFUSAL, corpora.UNSURE, *corpora.phrases()]
    words = (*EVERYDAY_WORDS, *sorted(STEP_WORDS), *ACTIONS, "sorry", "plan", "done", "sure")
    capitalised = [word.capitalize() for word in words]
    for _ in range(10):
        yield from phrases
        yield from (f" {word}" for word in (*words, *capitalised))
        yield from capitalised
