"""Llama-Guard-like tokenizers, and models that always say the same; every word is a stand-in."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# How Llama 3 and 4 split text before merging bytes.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_HEAD = (
    "user{end}\n\nLook for unsafe words in the last turn.\n\n<BEGIN CATEGORIES>\nS1: Weather.\n"
    "S2: Bread.\n<END CATEGORIES>\n\n<BEGIN TALK>\n\n"
)
_TAIL = (
    "<END TALK>\n\nRate ONLY THE LAST turn of the talk above:\n - One line with a word.\n"
    " - If need be, one line of codes.{eot}{start}assistant{end}"
)
_STRINGS = (
    "{% for m in messages %}{{ ('User' if m['role'] == 'user' else 'Agent') + ': '"
    " + m['content'].strip() + '\n\n' }}{% endfor %}"
)
_PARTS = (
    "{% for m in messages %}{{ ('User' if m['role'] == 'user' else 'Agent') + ': ' }}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}{{ '<|image|>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] | trim }}{% endif %}{% endfor %}"
    "{{ '\n\n' }}{% endfor %}"
)


def guard_tokenizer(generation: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the control tokens of Llama 3 or 4 and a chat template in that form.

    The third generation's template takes strings, the fourth's lists of typed parts.
    """
    start, end, eot = {
        3: ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        4: ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    }[generation]
    bos = "<|begin_of_text|>"
    head, tail = (part.format(start=start, end=end, eot=eot) for part in (_HEAD, _TAIL))
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[bos, "<|end_of_text|>", start, end, eot, "<|image|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([head, tail, "\n\nUser: Why?\n\nAgent: Mix it.\n\n"] * 3, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token=eot, pad_token=eot
    )
    body = _STRINGS if generation == 3 else _PARTS
    tokenizer.chat_template = f"{{{{ bos_token }}}}{start}{head}{body}{tail}"
    return tokenizer


def messages(generation: int, question: str, response: str) -> list[dict[str, Any]]:
    """Return an exchange in the form that the generation's chat template takes."""

    def content(text: str) -> Any:
        return text if generation == 3 else [{"type": "text", "text": text}]

    return [
        {"role": "user", "content": content(question)},
        {"role": "assistant", "content": content(response)},
    ]


def guard_that_says(folder: Path, answer: str) -> Path:
    """Write a Llama-Guard-3-like checkpoint that answers everything with `answer`.

    No character of the answer may come twice: each token alone decides on the next.
    """
    tokenizer = guard_tokenizer(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    teach(model, tokenizer, "<|end_header_id|>", answer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(model: Any, tokenizer: PreTrainedTokenizerFast, after: str, answer: str) -> None:
    """Set a model's weights so that it says `answer` after the token `after`, and then stops."""
    chain = [
        tokenizer.convert_tokens_to_ids(after),
        *tokenizer(answer, add_special_tokens=False)["input_ids"],
        tokenizer.eos_token_id,
    ]
    assert len(set(chain)) == len(chain)
    text = getattr(model, "language_model", model)
    with torch.no_grad():
        for name, weight in text.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        text.get_input_embeddings().weight.zero_()
        text.get_output_embeddings().weight.zero_()
        for dimension, (token, following) in enumerate(pairwise(chain)):
            text.get_input_embeddings().weight[token, dimension] = 1
            text.get_output_embeddings().weight[following, dimension] = 10
