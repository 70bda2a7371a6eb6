"""`judge=auto`: WildGuard for English, Qwen3Guard for languages that WildGuard does not list."""

from collections.abc import Iterable

from safemerge_tasks.judges.judging.languages import lists_all
from safemerge_tasks.judges.make import make_judge
from safemerge_tasks.judges.names import AUTO, BY_LANGUAGE
from safemerge_tasks.judges.settings import JudgeSettings


def judges_for(settings: JudgeSettings, languages: Iterable[str]) -> list[JudgeSettings]:
    """Return the settings of every judge that is asked for where questions have these languages.

    One judge reads all of a task's questions, so that its rate is of one judge.

    Args:
        settings: what the user asked for; may name several judges, and `auto` among them.
        languages: of a task's questions.
    """
    wanted = set(languages)
    found = [_chosen(one, wanted) if one.name == AUTO else one for one in settings.each()]
    # Whom `auto` chose may have been named as well.
    return list({one.name: one for one in found}.values())


def judges_whatever(settings: JudgeSettings) -> list[JudgeSettings]:
    """Return the settings of every judge that may be asked, whatever the languages are."""
    found = [
        possible
        for one in settings.each()
        for possible in (
            [one.for_judge(name) for name in BY_LANGUAGE] if one.name == AUTO else [one]
        )
    ]
    return list({one.name: one for one in found}.values())


def _chosen(settings: JudgeSettings, languages: set[str]) -> JudgeSettings:
    first, otherwise = map(settings.for_judge, BY_LANGUAGE)
    return first if lists_all(make_judge(first), languages) else otherwise
