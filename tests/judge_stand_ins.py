"""One model that stands in for every judge of a chat template or prompt of its own.

Its words are innocuous, its vocabulary has the control tokens of all, and each prompt's last token
decides what it answers. What the judges' makers publish as files is stood in for as well.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import AddedToken, PreTrainedTokenizerFast

from safemerge_tasks.judges import Verdict, gpt_oss_safeguard, granite_guardian, polyguard
from safemerge_tasks.judges.prompts.chat_template import chat_prompt
from safemerge_tasks.judges.prompts.shipped import shipped_prompt
from tests.guards import (
    guard_tokenizer,
    qwen_guard_tokenizer,
    teach_all,
    tiny_llama,
    trained,
)

CHAT_TEMPLATES = {
    "llama-guard-3": str(guard_tokenizer(3).chat_template),
    # A template's own last line break would be trimmed.
    "qwen3guard": f"{qwen_guard_tokenizer().chat_template.rstrip()}{{{{ '\n\n' }}}}",
    "polyguard": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "granite-guardian": (
        "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
        "<|end_of_text|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
    ),
    "gpt-oss-safeguard": (
        "<|start|>system<|message|>Today is {{ strftime_now('%Y-%m-%d') }}.\n"
        "Reasoning: {{ reasoning_effort }}<|end|>{% for m in messages %}{% if m.role == 'system' %}"
        "<|start|>developer<|message|># Instructions\n\n{{ m.content }}<|end|>{% else %}"
        "<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
}
POLYGUARD = """
MODEL = "bread"
SYSTEM_PROMPT = \"\"\"You look at talk of bread.

<BEGIN CATEGORIES>
S1: Burnt.
<END CATEGORIES>\"\"\"

USER_PROMPT = \"\"\"Human user:
{prompt}

AI assistant:
{response}\"\"\"
"""
GRANITE = [
    "# %pip install bread\n",
    'GUARDIAN_JUDGE_THINK = ("<guardian><think>Think of "\n    "bread. Use <score></score>.")\n'
    'GUARDIAN_JUDGE_NOTHINK = ("<guardian><no-think>Say at once.")\n'
    "prompt_response_schema = \"If it is burnt, return 'yes'.\"\n"
    "def build_guardian_block(criteria): return criteria\n",
    'criteria = "The bread is burnt."',
    'criteria = "The bread is stale."',
]
POLICY = "Bread must not be burnt. Answer 1 if it is, else 0."

_REASONED = ("analysis", "The bread is burnt.", "assistantfinal", '{"violation": 1}')
_CODE = "unsafe\nS2"
_UNSURE = ("Safety: Controversial\n", "Categories: PII\n", "Refusal: No")
_LINES = ("Harmful response: yes\n", "Response refusal: no\n", "Response safety violations: S1, S2")
_SCORE = "<score>yes</score>"
GRADES = (0.1, 0.2, 0.3, 0.25, 0.15)
"""The stand-in's shares of the grades 1 to 5."""
ANSWERS = {
    "<|end_header_id|>": _CODE,
    "</think>\n\n": "".join(_UNSURE),
    "<|im_start|>assistant\n": "".join(_LINES),
    "<|end_of_role|>": _SCORE,
    "<|start|>assistant": "<|channel|>{}<|message|>{}<|end|>{}{}".format(*_REASONED),
    "Answer: [/INST]": "Yes",
}
VERDICTS = {
    "llama-guard-3": Verdict(harmful=True, codes="S2"),
    "qwen3guard": Verdict(harmful=True, complied=True, codes="PII"),
    "polyguard": Verdict(harmful=True, complied=True, codes="S1,S2"),
    "granite-guardian": Verdict(harmful=True),
    "gpt-oss-safeguard": Verdict(harmful=True),
    "harmbench": Verdict(harmful=True),
    "strongreject-finetuned": Verdict(score=0.5375),
}
"""What each judge makes of the stand-in's answer."""
_SPECIAL = (
    *("<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|start_of_role|>", "<|end_of_role|>"),
    *("<|end_of_text|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<think>"),
    *("</think>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)


def stand_in_tokenizer(
    judge: str | None = None, *, answers: bool = False
) -> PreTrainedTokenizerFast:
    """Return the tokenizer, with a judge's chat template; with `answers`, of few tokens each."""
    prompts = [shipped_prompt(name) for name in ("harmbench/llama", "strongreject/finetuned")]
    written = [
        POLYGUARD,
        *GRANITE,
        POLICY,
        *CHAT_TEMPLATES.values(),
        "### Criteria: Scoring Schema:",
    ]
    inner = trained([*prompts, *written, "User:\nAssistant:\n"], list(_SPECIAL), 2000)
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", inner.token_to_id("<bos>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>"
    )
    if answers:
        words = [*_REASONED, *_LINES, *_UNSURE, _CODE, _SCORE]
        tokenizer.add_tokens([*words, AddedToken("Yes", single_word=True)])
    tokenizer.chat_template = CHAT_TEMPLATES.get(judge or "")
    return tokenizer


def stand_in(folder: Path, judge: str | None = None) -> Path:
    """Write the checkpoint with a judge's chat template; its weights are the same for all."""
    tokenizer = stand_in_tokenizer(judge, answers=True)
    model = tiny_llama(tokenizer)
    teach_all(model, tokenizer, ANSWERS)
    with torch.no_grad():
        dimension = model.config.hidden_size - 1
        (space,) = tokenizer(" ", add_special_tokens=False)["input_ids"]
        model.get_input_embeddings().weight[space, dimension] = 1
        for grade, share in enumerate(GRADES, start=1):
            token = tokenizer.convert_tokens_to_ids(str(grade))
            # The last norm makes the square root of the width of a lone 1.
            logit = (10 + math.log(share)) / math.sqrt(model.config.hidden_size)
            model.get_output_embeddings().weight[token, dimension] = logit
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Put stand-ins of what the judges read into a data folder; give the name of a policy file."""
    cells = [{"cell_type": "markdown", "source": ["criteria = none\n"]}]
    cells += [{"cell_type": "code", "source": code.splitlines(keepends=True)} for code in GRANITE]
    texts = {polyguard: POLYGUARD, granite_guardian: json.dumps({"cells": cells})}
    (folder / "judges").mkdir(exist_ok=True)
    policy = folder / "policy.txt"
    policy.write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFEMERGE_DATA_DIR", str(folder))
        for module, text in texts.items():
            (folder / "judges" / module.SOURCE.name).write_text(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            patch.setattr(module, "SOURCE", replace(module.SOURCE, sha256=digest))
        _forget()
        yield policy
    _forget()


def _forget() -> None:
    for module in (polyguard, granite_guardian, gpt_oss_safeguard):
        module.conversation.cache_clear()
    chat_prompt.cache_clear()
