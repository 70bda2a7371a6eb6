"""Classifiers whose checkpoint brings the prompt: its own chat template over the exchange.

So do Llama Guard and Qwen3Guard: a checkpoint of the user's own brings its own policy.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.engines.weights import check_weights
from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.judges.prompts.markers import structural_markers
from safemerge_tasks.judges.prompts.tokens import PromptTemplate
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stand-ins for question and response; no chat template does anything to letters.
_MARKS = ("safemergequestion", "safemergeresponse")
# Exchanges that show whether a template only inserts its contents, stripped or not.
_PROBES = (
    (' \n Why is it\'s "warm"?\t', "\n One {{ 2 }} & <b>three</b>.\n\nFour\\n \n "),
    ("{response}", "{prompt} {%- x -%}\u3000\u6c34\U0001f642"),
)


def guard_judge(
    settings: JudgeSettings,
    *,
    default_model: str,
    parse: Callable[[str], Verdict],
    parser_version: int,
    max_new_tokens: int,
    empty: Verdict,
    languages: frozenset[str] | None,
    mode: str | None = None,
) -> ModelJudge:
    """Return a judge of the last turn, the response; see `ModelJudge`."""
    model = settings.model or default_model
    return ModelJudge(
        settings,
        default_model=default_model,
        template=lambda: chat_prompt(model, settings.revision),
        parse=parse,
        parser_version=parser_version,
        max_new_tokens=max_new_tokens,
        empty=empty,
        languages=languages,
        mode=mode,
    )


@cache
def chat_prompt(model: str, revision: str | None) -> PromptTemplate:
    """Return the prompt that the checkpoint's chat template makes of one exchange.

    Needs the checkpoint's tokenizer only, which every engine loads from the same place.

    Raises:
        SafemergeError: no checkpoint, no tokenizer, or a chat template that does more to a message
            than insert it.
    """
    check_weights(model, revision)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"{model} has no tokenizer that can be loaded ({type(error).__name__}), and guards "
            "take their prompt from it: give judge_model=DIR of a complete checkpoint."
        ) from error
    tokenizer.chat_template = tokenizer.chat_template or _processor_template(model, revision)
    return template_of(tokenizer, model)


def _processor_template(model: str, revision: str | None) -> str | None:
    """Return the chat template of a multimodal checkpoint that keeps it beside its processor."""
    from transformers.utils import cached_file

    path = cached_file(
        model, "chat_template.json", revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        return None
    template: str | None = json.loads(Path(path).read_text(encoding="utf-8")).get("chat_template")
    return template


def template_of(tokenizer: "PreTrainedTokenizerBase", model: str) -> PromptTemplate:
    """Turn a tokenizer's chat template into a prompt with two fields.

    Contents are given as plain strings or, where the template wants that (Llama Guard 4 also takes
    images), as lists of typed parts.

    Raises:
        SafemergeError: there is no chat template, or it does more than insert messages.
    """
    if not tokenizer.chat_template:
        raise SafemergeError(
            f"{model} has no chat template, and guards take their prompt from it: give "
            "judge_model=DIR of such a checkpoint."
        )
    for parts in (False, True):
        text = _rendered(tokenizer, *_MARKS, parts=parts)
        if text is None or any(text.count(mark) != 1 for mark in _MARKS):
            continue
        if "{prompt}" in text or "{response}" in text:
            continue
        text = text.replace(_MARKS[0], "{prompt}").replace(_MARKS[1], "{response}")
        for stripped in (False, True):
            if all(
                _rendered(tokenizer, *probe, parts=parts) == _filled(text, *probe, stripped)
                for probe in _PROBES
            ):
                # The chat template writes BOS itself, so the tokenizer must not add another.
                return PromptTemplate(
                    text, structural_markers(text), stripped=stripped, special_tokens=False
                )
    raise SafemergeError(
        f"The chat template of {model} does more to a user and an assistant message than insert "
        "them, so it is no guard's: give judge_model=DIR of a checkpoint that is one."
    )


def _rendered(
    tokenizer: "PreTrainedTokenizerBase", question: str, response: str, *, parts: bool
) -> str | None:
    messages = [
        {"role": "user", "content": _content(question, parts=parts)},
        {"role": "assistant", "content": _content(response, parts=parts)},
    ]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # whatever the template's own code raises
        return None


def _content(text: str, *, parts: bool) -> Any:
    return [{"type": "text", "text": text}] if parts else text


def _filled(text: str, question: str, response: str, stripped: bool) -> str:
    if stripped:
        question, response = question.strip(), response.strip()
    before, _, rest = text.partition("{prompt}")
    between, _, after = rest.partition("{response}")
    return f"{before}{question}{between}{response}{after}"
