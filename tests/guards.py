"""Guards' tokenizers, and models that always say the same; every word is a stand-in."""

from collections.abc import Mapping, Sequence
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
    inner = trained(
        [head, tail, "\n\nUser: Why?\n\nAgent: Mix it.\n\n"],
        [bos, "<|end_of_text|>", start, end, eot, "<|image|>"],
    )
    inner.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token=eot, pad_token=eot
    )
    body = _STRINGS if generation == 3 else _PARTS
    tokenizer.chat_template = f"{{{{ bos_token }}}}{start}{head}{body}{tail}"
    return tokenizer


def qwen_guard_tokenizer(answer: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Return a tokenizer with ChatML's control tokens and a chat template as Qwen3Guard's.

    It adds no token to a text; each line of `answer` is a token of its own.
    """
    start, end = "<|im_start|>", "<|im_end|>"
    head = f"{start}user\n# Task\nLook at the last turn.\n\n<BEGIN TALK>\n"
    tail = (
        "<END TALK>\n\nWrite:\nSafety: one word.\nCategories: some words.\nRefusal: one word."
        f"{end}\n{start}assistant\n<think>\n\n</think>\n\n"
    )
    inner = trained(
        [head, tail, "\nUSER: Why?\nASSISTANT: Mix it.\n"],
        ["<|endoftext|>", start, end, "<think>", "</think>"],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=end, pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens(list(answer))
    turns = (
        "{% for m in messages %}{{ ('USER' if m.role == 'user' else 'ASSISTANT') + ': ' "
        "+ m.content + '\n\n' }}{% endfor %}"
    )
    tokenizer.chat_template = f"{head}{turns}{tail}"
    return tokenizer


def trained(texts: list[str], special: list[str], vocabulary: int = 500) -> Tokenizer:
    """Return byte-level BPE over a few texts, with special tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts * 3, trainer)
    return inner


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
    return _written(folder, guard_tokenizer(3), "<|end_header_id|>", answer)


def qwen_guard_that_says(folder: Path, *lines: str) -> Path:
    """Write a Qwen3Guard-like checkpoint that answers everything with these different lines."""
    return _written(folder, qwen_guard_tokenizer(lines), "</think>", "".join(lines), "\n\n")


def _written(
    folder: Path, tokenizer: PreTrainedTokenizerFast, after: str, answer: str, between: str = ""
) -> Path:
    model = tiny_llama(tokenizer)
    teach(model, tokenizer, after + between, answer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a one-layer Llama for a tokenizer, with 64 dimensions."""
    return LlamaForCausalLM(
        LlamaConfig(
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
    )


def teach(model: Any, tokenizer: PreTrainedTokenizerFast, after: str, answer: str) -> None:
    """Set a model's weights so that it says `answer` after the text `after`, and then stops."""
    teach_all(model, tokenizer, {after: answer})


def teach_all(model: Any, tokenizer: PreTrainedTokenizerFast, answers: Mapping[str, str]) -> None:
    """Set a model's weights so that it says each answer after its text, and then stops."""
    chains = [
        [
            tokenizer(after, add_special_tokens=False)["input_ids"][-1],
            *tokenizer(answer, add_special_tokens=False)["input_ids"],
            tokenizer.eos_token_id,
        ]
        for after, answer in answers.items()
    ]
    steps = [step for chain in chains for step in pairwise(chain)]
    assert len({token for token, _ in steps}) == len(steps)
    text = getattr(model, "language_model", model)
    with torch.no_grad():
        for name, weight in text.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        text.get_input_embeddings().weight.zero_()
        text.get_output_embeddings().weight.zero_()
        for dimension, (token, following) in enumerate(steps):
            text.get_input_embeddings().weight[token, dimension] = 1
            text.get_output_embeddings().weight[following, dimension] = 10
