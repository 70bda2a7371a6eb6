"""Classifiers that read their checkpoint's own chat template.

Llama Guard's and Qwen3Guard's is the whole prompt, so a checkpoint of the user's own brings its own
policy; others render their makers' words with it.
"""

from collections.abc import Callable

from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.judges.prompts.chat_template import EXCHANGE, Conversation, chat_prompt
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict


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
    conversation: Callable[[], Conversation] = lambda: EXCHANGE,
) -> ModelJudge:
    """Return a judge of the last turn, the response; see `ModelJudge`.

    `conversation` returns what else is rendered, at little cost after the first call.
    """
    model = settings.model or default_model
    return ModelJudge(
        settings,
        default_model=default_model,
        template=lambda: chat_prompt(model, settings.revision, conversation()),
        parse=parse,
        parser_version=parser_version,
        max_new_tokens=max_new_tokens,
        empty=empty,
        languages=languages,
        mode=mode,
    )
