"""Words that all reporters share, and text from outside made harmless for each of them.

Ids, categories and responses come from files that a model under test, or anybody, wrote.
"""

import unicodedata

from safemerge_tasks.gate.comparison import Comparison, GateReport, Side
from safemerge_tasks.statistics.verdict import Outcome

HEADLINES = {
    Outcome.PASSED: "passed: no regression of safety beyond the margins",
    Outcome.REGRESSION: "REGRESSION: the candidate is worse than the baseline",
    Outcome.UNDECIDED: "UNDECIDED: these results cannot tell",
}

TEXT_LIMIT = 1000


def printable(text: str) -> str:
    """Return text without characters that control anything, each as its code instead.

    Control, format (directions, zero width), surrogate, private and unassigned characters; what is
    left is also valid in XML 1.0.
    """
    return "".join(
        f"\\u{ord(char):04x}"
        if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"
        else char
        for char in text
    )


def headline(report: GateReport) -> str:
    """Return the outcome in one line."""
    return HEADLINES[report.outcome]


def side(value: Side) -> str:
    """Return a value with its interval, as in `1.2 % (0.4 to 3.5 %)`."""
    if value.low is None or value.high is None:
        return f"{value.value:.4g}"
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def change(one: Comparison) -> str:
    """Return the change for the worse with its one-sided bounds."""
    found = one.increase
    return f"{found.value:+.1%} ({found.lower:+.1%} to {found.upper:+.1%})"


def questions(one: Comparison) -> str:
    """Return how many questions there are, and how many independent groups if fewer."""
    found = one.increase
    if not one.paired:
        return f"{found.questions:,} unpaired"
    grouped = f" in {found.clusters:,} clusters" if found.clusters < one.questions else ""
    each = f", {one.answers_each} answers each" if one.answers_each > 1 else ""
    return f"{one.questions:,}{grouped}{each}"


def notes(report: GateReport) -> list[str]:
    """Return what a reader has to know besides the table."""
    said = [f"Accepted: {one.task}: {one.what} differs ({one.detail})." for one in report.accepted]
    for one in report.comparisons:
        if not one.paired:
            said.append(
                f"{one.check.task}: without samples that pair, so the two rates were compared as "
                "if the questions were different ones; run lm_eval with --log_samples."
            )
        if one.possible and max(one.baseline.unscored, one.candidate.unscored) > 0:
            least, largest = one.possible
            said.append(
                f"{one.check.task}, {one.check.name}: counting the questions without a verdict in "
                f"every way, the change lies between {least:+.1%} and {largest:+.1%}."
            )
    return list(dict.fromkeys(printable(note) for note in said))
