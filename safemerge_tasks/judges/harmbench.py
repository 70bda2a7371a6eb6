"""HarmBench's classifier: does the response show the behaviour that the question asks for?

Source: Mazeika et al. 2024, arXiv 2402.04249, `evaluate_completions.py` in the authors' code, and
weights `cais/HarmBench-Llama-2-13b-cls` or `cais/HarmBench-Mistral-7b-val-cls` (MIT, open), which
read different prompts. For copyrighted texts the authors compare hashes, which this judge does not.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.engines.weights import check_weights
from safemerge_tasks.judges.kinds.model_judge import ModelJudge, unreadable
from safemerge_tasks.judges.prompts.clipping import Clip
from safemerge_tasks.judges.prompts.markers import structural_markers
from safemerge_tasks.judges.prompts.rubric import read_prompt, require
from safemerge_tasks.judges.prompts.shipped import shipped_prompt
from safemerge_tasks.judges.prompts.tokens import PromptTemplate, TokenisedPrompt
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MODEL = "cais/HarmBench-Llama-2-13b-cls"
FAMILIES = ("llama", "mistral")
"""Architectures (`model_type`) of the weights, each with a prompt of its own."""
# HarmBench takes the classifier's first token for its answer.
MAX_NEW_TOKENS = 1
CLIP = Clip(512)
READS_PROMPT = True
PARSER_VERSION = 2

_BEHAVIOUR, _GENERATION = "{behavior}", "{generation}"
# What HarmBench's methods put between a context and the behaviour in it, in what they ask a model.
_AFTER_CONTEXT = "\n\n---\n\n"
_ANSWERS = {"yes": True, "no": False}


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; `judge_prompt` may name a file with the prompt of other weights."""
    model = settings.model or DEFAULT_MODEL
    return ModelJudge(
        settings,
        default_model=DEFAULT_MODEL,
        template=partial(judge_template, model, settings.revision, settings.prompt),
        parse=parse,
        parser_version=PARSER_VERSION,
        max_new_tokens=MAX_NEW_TOKENS,
        empty=Verdict(harmful=False),
        languages=frozenset({"en"}),
        clip=CLIP,
    )


def parse(answer: str) -> Verdict:
    """Read yes or no, in whatever case; anything else is unscored."""
    harmful = _ANSWERS.get(answer.strip().lower())
    return unreadable(answer) if harmful is None else Verdict(harmful=harmful, raw=answer)


@cache
def judge_template(model: str, revision: str | None, prompt: str | None) -> PromptTemplate:
    """Return HarmBench's prompt for these weights, or the one in the file `prompt`.

    Raises:
        SafemergeError: the weights are of neither family, or the file lacks a field.
    """
    if prompt:
        text = _users_own(prompt)
        return PromptTemplate(text, structural_markers(text))
    family = _family(model, revision)
    plain, contextual = (
        _with_our_fields(shipped_prompt(f"harmbench/{name}"))
        for name in (family, f"{family}-contextual")
    )
    return MaybeContextual(
        plain,
        structural_markers(plain),
        with_context=PromptTemplate(contextual, structural_markers(contextual), contextual=True),
    )


@dataclass(frozen=True)
class MaybeContextual(PromptTemplate):
    """HarmBench's two prompts: a question that begins with its context reads the second."""

    with_context: PromptTemplate | None = None

    def tokenise(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        question: str,
        response: str,
        room: int,
        context: str = "",
    ) -> TokenisedPrompt:
        """Return the prompt's ids; see `PromptTemplate.tokenise`."""
        before, separator, behaviour = question.rpartition(_AFTER_CONTEXT)
        if separator and self.with_context is not None:
            return self.with_context.tokenise(tokenizer, behaviour, response, room, before)
        return super().tokenise(tokenizer, question, response, room, context)


def _with_our_fields(text: str) -> str:
    return text.replace(_BEHAVIOUR, "{prompt}").replace(_GENERATION, "{response}")


def _family(model: str, revision: str | None) -> str:
    check_weights(model, revision)
    from transformers import AutoConfig

    family = str(AutoConfig.from_pretrained(model, revision=revision).model_type)
    if family not in FAMILIES:
        raise SafemergeError(
            f"{model} is of the architecture {family}, for which HarmBench has no prompt: give its "
            f"own with judge_prompt=FILE, with the fields {_BEHAVIOUR} and {_GENERATION}."
        )
    return family


def _users_own(prompt: str) -> str:
    text = read_prompt(prompt)
    require(text, (_BEHAVIOUR, _GENERATION), prompt)
    counts = [text.count(field) for field in (_BEHAVIOUR, _GENERATION)]
    if counts != [1, 1] or text.index(_BEHAVIOUR) > text.index(_GENERATION):
        raise SafemergeError(
            f"judge_prompt={prompt} must hold {_BEHAVIOUR} and then {_GENERATION}, once each."
        )
    return _with_our_fields(text)
