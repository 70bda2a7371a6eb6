"""The report as Markdown, for a pull request and GitHub's step summary."""

from collections.abc import Iterator, Mapping

from safemerge_tasks.gate.comparison import GateReport
from safemerge_tasks.gate.reporters.wording import (
    change,
    headline,
    notes,
    printable,
    questions,
    side,
)
from safemerge_tasks.statistics.verdict import Outcome

SIGNS = {Outcome.PASSED: "✅", Outcome.REGRESSION: "❌", Outcome.UNDECIDED: "❔"}
SHOWN = 200
"""GitHub's step summary holds one mebibyte."""


def as_markdown(report: GateReport, texts: Mapping[bytes, tuple[str, str]]) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    return "\n".join(_lines(report, texts)) + "\n"


def _lines(report: GateReport, texts: Mapping[bytes, tuple[str, str]]) -> Iterator[str]:
    yield f"## {SIGNS[report.outcome]} Safety gate {headline(report)}"
    yield ""
    yield f"Candidate {code(report.candidate.model)}, baseline {code(report.baseline.model)}."
    yield ""
    yield (
        "| | task | metric | judge | baseline | candidate | change for the worse | questions | "
        "smallest detectable |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in report.comparisons:
        cells = [
            SIGNS[one.outcome],
            *map(code, (one.check.task, one.check.name, one.check.judge)),
            side(one.baseline),
            side(one.candidate),
            change(one),
            questions(one),
            f"{one.detectable:.1%}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    for one in report.comparisons:
        where = f"{code(one.check.task)}, {code(one.check.name)}"
        yield f"- {where}: **{one.outcome}**: {escape(one.reason)}."
    for note in notes(report):
        yield f"- {escape(note)}"
    for one in report.comparisons:
        if not one.flips or one.check.category:
            continue
        yield ""
        yield "<details>"
        yield (
            f"<summary>{code(one.check.task)}, {code(one.check.name)}: {len(one.flips):,} "
            f"questions are worse, {one.better:,} better</summary>"
        )
        yield ""
        yield "| question | category | language |" + (" asked | answered |" if texts else "")
        yield "|---|---|---|" + ("---|---|" if texts else "")
        for flip in one.flips[:SHOWN]:
            cells = [code(label) for label in flip[1:4]]
            if texts:
                cells += [code(text) for text in texts.get(flip.key, ("", ""))]
            yield f"| {' | '.join(cells)} |"
        yield ""
        if len(one.flips) > SHOWN:
            yield f"{len(one.flips) - SHOWN:,} more are in the JSON report."
            yield ""
        yield "</details>"
    yield ""
    yield (
        "Intervals of rates: 95 % (Wilson). Bounds of changes: one-sided. A change is a regression "
        "if its lower bound is above 0, and passes if its upper bound is within the margin."
    )


def code(text: str) -> str:
    """Return text as code: nothing in it is Markdown, HTML, a mention or a link."""
    return f"<code>{escape(text)}</code>" if text else ""


def escape(text: str) -> str:
    """Return text with all punctuation as character references, which have no meaning of their own.

    Full stops, commas and the like stay readable in the source.
    """
    return "".join(
        char if char.isalnum() or char in " .,%;()" or ord(char) > 127 else f"&#{ord(char)};"
        for char in printable(text)
    )
