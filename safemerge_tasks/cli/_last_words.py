"""Which lines of a log say why a process ended."""

import re

_MOST = 5
_LONGEST = 300

# vLLM begins an error's lines with the process, the level, the time and the place.
_BEFORE_ERROR = re.compile(r"^(?:\(\S+ pid=\d+\) )?(?:(?:ERROR|CRITICAL) [\d-]+ [\d:]+ \[.*?\] )?")
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Died|Exit)\b|^Fatal Python")
_IDLE = re.compile(r"^(?:\(\S+ pid=\d+\) )?(?:[\d:-]+ )?(?:INFO|DEBUG|WARNING)\b|it/s|\d+%\|")


def last_words(log: str) -> list[str]:
    """Return what was raised, the cause before its consequences; else the last lines of interest.

    Args:
        log: all of it.
    """
    lines = [_BEFORE_ERROR.sub("", line).rstrip() for line in log.splitlines()]
    raised = list(dict.fromkeys(line for line in lines if _RAISED.match(line)))
    found = raised or [line for line in lines if line and not _IDLE.search(line)]
    return [line[:_LONGEST] for line in found[-_MOST:]]
