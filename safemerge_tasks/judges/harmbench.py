"""HarmBench's classifier: does the response show the behaviour that the question asks for?

Source: Mazeika et al. 2024, arXiv 2402.04249, `evaluate_completions.py` in the authors' code, and
weights `cais/HarmBench-Llama-2-13b-cls` or `cais/HarmBench-Mistral-7b-val-cls` (MIT, open), which
read different prompts. For copyrighted texts the authors compare hashes, which this judge does not.
"""

from functools import cache, partial

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.engines.weights import check_weights
from safemerge_tasks.judges.kinds.model_judge import ModelJudge, unreadable
from safemerge_tasks.judges.prompts.clipping import Clip
from safemerge_tasks.judges.prompts.markers import structural_markers
from safemerge_tasks.judges.prompts.rubric import read_prompt, require
from safemerge_tasks.judges.prompts.shipped import shipped_prompt
from safemerge_tasks.judges.prompts.tokens import PromptTemplate
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

DEFAULT_MODEL = "cais/HarmBench-Llama-2-13b-cls"
FAMILIES = ("llama", "mistral")
"""Architectures (`model_type`) of the weights, each with a prompt of its own."""
# HarmBench takes the classifier's first token for its answer.
MAX_NEW_TOKENS = 1
CLIP = Clip(512)
READS_PROMPT = True
PARSER_VERSION = 2

_BEHAVIOUR, _GENERATION = "{behavior}", "{generation}"
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
    text = _users_own(prompt) if prompt else shipped_prompt(f"harmbench/{_family(model, revision)}")
    text = text.replace(_BEHAVIOUR, "{prompt}").replace(_GENERATION, "{response}")
    return PromptTemplate(text, structural_markers(text))


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
    return text
