"""gpt-oss-safeguard: does the exchange violate a policy of your own?

Source: OpenAI 2025, the model card and the user guide; weights `openai/gpt-oss-safeguard-20b` and
`-120b` (Apache-2.0, open). The policy is the system message, the answer is harmony's final channel.
"""

import json
import re
from functools import cache, partial
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.kinds.guard_judge import guard_judge
from safemerge_tasks.judges.kinds.model_judge import ModelJudge, unreadable
from safemerge_tasks.judges.prompts.chat_template import Conversation, holes_in
from safemerge_tasks.judges.prompts.rubric import read_policy
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.harmony import final_message
from safemerge_tasks.verdicts.no_answer import NoAnswer
from safemerge_tasks.verdicts.verdict import Verdict

DEFAULT_MODEL = "openai/gpt-oss-safeguard-20b"
READS_PROMPT = True
MODES = ("medium", "low", "high")
"""How much the judge reasons; `low`, `medium` and `high` are harmony's words."""
MAX_NEW_TOKENS = 2048
PARSER_VERSION = 1

_EXCHANGE = "User:\n{prompt}\n\nAssistant:\n{response}"
# What every prompt ends with; engines leave control tokens out of what comes after it.
_TURN = "<|start|>assistant"
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_DECISIONS = {"0": False, "1": True, "false": False, "true": True}
_CODES = ("rule_ids", "policy_category")


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; it needs `judge_prompt`, the policy."""
    mode = settings.mode or MODES[0]
    return guard_judge(
        settings,
        default_model=DEFAULT_MODEL,
        conversation=partial(conversation, mode, settings.prompt),
        parse=parse,
        parser_version=PARSER_VERSION,
        max_new_tokens=MAX_NEW_TOKENS,
        empty=Verdict(harmful=False),
        languages=None,  # its makers list none
        mode=mode,
    )


def parse(answer: str) -> Verdict:
    """Read the final channel: `1` for a violation or `0`, or JSON with such a `violation`.

    `codes` are the rules or the category that the JSON names. Nothing that the judge quotes while
    it reasons counts.
    """
    try:
        final = final_message(answer, _TURN)
    except NoAnswer as error:
        return Verdict.no_verdict(f"the judge's answer {error}", raw=answer)
    text = (final or "").strip()
    fenced = _FENCED.fullmatch(text)
    try:
        said: Any = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return unreadable(answer)
    fields: dict[str, Any] = said if isinstance(said, dict) else {"violation": said}
    violation = _DECISIONS.get(str(fields.get("violation")).lower())
    if violation is None:
        return unreadable(answer)
    named = next((fields[key] for key in _CODES if fields.get(key)), None) if violation else None
    codes = named if isinstance(named, list) else [named] if named else []
    return Verdict(harmful=violation, codes=",".join(map(str, codes)) or None, raw=answer)


@cache
def conversation(mode: str, policy: str | None) -> Conversation:
    """Return the policy in the named file as system message, and the exchange as user's.

    Raises:
        SafemergeError: no policy is named, or it cannot be read.
    """
    if policy is None:
        raise SafemergeError(
            "judge=gpt-oss-safeguard needs judge_prompt=FILE, your policy, which ends by asking "
            "for 1 (it is violated) or 0, or for JSON with a `violation` of 1 or 0."
        )
    turns = (("system", (read_policy(policy),)), ("user", holes_in(_EXCHANGE)))
    return Conversation(turns, reply=True, variables=(("reasoning_effort", mode),))
