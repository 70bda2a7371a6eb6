"""Whether a judge is made for the languages it is about to read."""

import logging
from collections.abc import Iterable

from safemerge_tasks.judges.protocol import Judge

_log = logging.getLogger(__name__)


def warn_about_languages(judge: Judge, task: str, languages: Iterable[str]) -> None:
    """Log one warning if `judge` does not list every one of a task's languages.

    Args:
        judge: the judge that is going to read the task's responses.
        task: the task's name.
        languages: ISO 639-1 codes, with or without a region; an empty one says nothing.
    """
    if judge.languages is None:
        return
    unlisted = {code for code in languages if code and not lists_all(judge, [code])}
    if unlisted:
        _log.warning(
            "%s: the judge %s is made for %s, not for %s: its verdicts there are not to be relied "
            "on, nor to be compared across languages (docs/judges.md); judge=auto takes one that "
            "lists them.",
            task,
            judge.name,
            ", ".join(sorted(judge.languages)),
            ", ".join(sorted(unlisted)),
        )


def lists_all(judge: Judge, languages: Iterable[str]) -> bool:
    """Return whether a judge's makers list every language; those that name none list all."""
    listed = judge.languages
    return listed is None or all(_language(code) in listed for code in languages if code)


def _language(code: str) -> str:
    return code.replace("_", "-").split("-")[0].lower()
