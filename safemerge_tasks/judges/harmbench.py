"""HarmBench's classifier: does the response show the behaviour that the question asks for?

Source: Mazeika et al. 2024, arXiv 2402.04249; weights such as `cais/HarmBench-Llama-2-13b-cls`
(MIT) or `cais/HarmBench-Mistral-7b-val-cls`. The two read different prompts, and HarmBench
publishes them as code only, so the user gives the prompt as a file and the weights it belongs to.
"""

from functools import cache, partial

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.kinds.model_judge import ModelJudge, unreadable
from safemerge_tasks.judges.prompts.markers import structural_markers
from safemerge_tasks.judges.prompts.rubric import read_prompt, require
from safemerge_tasks.judges.prompts.tokens import PromptTemplate
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

# HarmBench takes the classifier's first token for its answer.
MAX_NEW_TOKENS = 1
READS_PROMPT = True
PARSER_VERSION = 1

_BEHAVIOUR, _GENERATION = "{behavior}", "{generation}"
_ANSWERS = {"Yes": True, "No": False}


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; it needs `judge_prompt` and `judge_model`."""
    return ModelJudge(
        settings,
        default_model="",  # never used: without judge_model the template raises
        template=partial(_template, settings.prompt, settings.model),
        parse=parse,
        parser_version=PARSER_VERSION,
        max_new_tokens=MAX_NEW_TOKENS,
        empty=Verdict(harmful=False),
        languages=frozenset({"en"}),
    )


def parse(answer: str) -> Verdict:
    """Read `Yes` or `No`; anything else is unscored."""
    harmful = _ANSWERS.get(answer.strip())
    if harmful is None:
        return unreadable(answer)
    return Verdict(harmful=harmful, raw=answer)


@cache
def _template(prompt: str | None, model: str | None) -> PromptTemplate:
    if prompt is None or model is None:
        raise SafemergeError(
            "judge=harmbench needs judge_prompt=FILE, HarmBench's prompt for the classifier with "
            f"its fields {_BEHAVIOUR} and {_GENERATION}, and judge_model, the weights that this "
            "prompt belongs to (such as cais/HarmBench-Llama-2-13b-cls)."
        )
    text = read_prompt(prompt)
    require(text, (_BEHAVIOUR, _GENERATION), prompt)
    counts = [text.count(field) for field in (_BEHAVIOUR, _GENERATION)]
    if counts != [1, 1] or text.index(_BEHAVIOUR) > text.index(_GENERATION):
        raise SafemergeError(
            f"judge_prompt={prompt} must hold {_BEHAVIOUR} and then {_GENERATION}, once each."
        )
    text = text.replace(_BEHAVIOUR, "{prompt}").replace(_GENERATION, "{response}")
    return PromptTemplate(text, structural_markers(text))
