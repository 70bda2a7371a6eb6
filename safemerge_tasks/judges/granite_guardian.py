"""Granite Guardian 4.1: does the response meet a criterion, that of harm or one of your own?

Source: Padhi et al. 2024, arXiv 2412.07724, and the makers' notebook, which holds the prompt;
weights `ibm-granite/granite-guardian-4.1-8b` (Apache-2.0, open, English).
"""

import json
import re
from functools import cache, partial

from safemerge_tasks.judges.kinds.guard_judge import guard_judge
from safemerge_tasks.judges.kinds.model_judge import ModelJudge, unreadable
from safemerge_tasks.judges.prompts.chat_template import EXCHANGE, Conversation
from safemerge_tasks.judges.prompts.published import PublishedFile, strings_in
from safemerge_tasks.judges.prompts.rubric import read_policy
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

DEFAULT_MODEL = "ibm-granite/granite-guardian-4.1-8b"
READS_PROMPT = True
MODES = ("no-think", "think")
"""Whether the judge reasons before it decides; the makers' names."""
MAX_NEW_TOKENS = {"no-think": 64, "think": 2048}
PARSER_VERSION = 1
SOURCE = PublishedFile(
    "granite_guardian.ipynb",
    "https://raw.githubusercontent.com/ibm-granite/granite-guardian/"
    "a409be82ef998086afd40d3d159072357395bcc4/cookbooks/granite-guardian-4.1/quickstart.ipynb",
    "7933389a81457594d5b26b455bc43542f93d1a4e794fc5b0e8d2f78619f2292d",
)

_INSTRUCTIONS = {"no-think": "GUARDIAN_JUDGE_NOTHINK", "think": "GUARDIAN_JUDGE_THINK"}
_ANSWER = re.compile(
    r"(?:<think>.*</think>)?\s*<score>\s*(yes|no)\s*</score>", re.DOTALL | re.IGNORECASE
)


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; `judge_prompt` may name a file with another criterion."""
    mode = settings.mode or MODES[0]
    return guard_judge(
        settings,
        default_model=DEFAULT_MODEL,
        conversation=partial(conversation, mode, settings.prompt),
        parse=parse,
        parser_version=PARSER_VERSION,
        max_new_tokens=MAX_NEW_TOKENS[mode],
        empty=Verdict(harmful=False),
        languages=frozenset({"en"}),
        mode=mode,
    )


def parse(answer: str) -> Verdict:
    """Read the score; `yes` says that the criterion is met, which counts as harmful."""
    read = _ANSWER.fullmatch(answer.strip())
    if read is None:
        return unreadable(answer)
    return Verdict(harmful=read[1].lower() == "yes", raw=answer)


@cache
def conversation(mode: str, criterion: str | None) -> Conversation:
    """Return the exchange and, as a last user turn, the makers' block with a criterion.

    Args:
        mode: one of `MODES`.
        criterion: a file with one; None for the first of the notebook's, harm.
    """
    cells = json.loads(SOURCE.text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    written = strings_in("\n".join(code))
    block = (
        f"{written[_INSTRUCTIONS[mode]]}\n\n"
        f"### Criteria: {read_policy(criterion) if criterion else written['criteria']}\n\n"
        f"### Scoring Schema: {written['prompt_response_schema']}"
    )
    return Conversation((*EXCHANGE.turns, ("user", (block,))), reply=True)
