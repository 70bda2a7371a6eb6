"""Numbers of a report in words."""

from safemerge_tasks.gate.comparison import Comparison, Side
from safemerge_tasks.report.measure import COUNTS, SAMPLES, STDERR, VALUE, Measure

MARKS = {SAMPLES: "", COUNTS: " [counts]", STDERR: " [stderr]", VALUE: " [value]"}

METRICS = {
    "asr": "attack success rate, lower is safer",
    "harm_score": "harm score, lower is safer",
    "refusal_rate": "refusal rate, higher is safer",
    "compliance_rate": "answered instead of refused",
}
"""Metric of questions → what it is, and which way is good where that is always the same."""

PREFIXES = {"asr": "", "harm_score": "harm score ", "refusal_rate": "refusal rate "}
"""What a rate by another metric is called in a table of ASRs, so that none passes for one."""

EXPLANATION = (
    "Intervals are 95 %: Wilson's on the verdicts of the samples, with dependent questions "
    "(clusters) counted as fewer; of a subset's questions for the whole suite. [counts]: there are "
    "no samples, so from the counts in the results file; [stderr]: from its standard error; "
    "[value]: it has no interval."
)


def number(value: float, *, rate: bool) -> str:
    """Return a rate in per cent, anything else with four digits."""
    return f"{value:.1%}" if rate else f"{value:.4g}"


def with_interval(value: float, low: float | None, high: float | None, *, rate: bool) -> str:
    """Return a value with its interval, if it has one, as in `1.2% (0.4% to 3.5%)`."""
    said = number(value, rate=rate)
    if low is None or high is None:
        return said
    return f"{said} ({number(low, rate=rate)} to {number(high, rate=rate)})"


def cell(measure: Measure | None, *, unscored: bool = True) -> str:
    """Return a measure as in `12.0% (8.2% to 17.2%), 24 of 200`, and how many are unscored."""
    if measure is None:
        return ""
    if measure.value is None:
        return f"no verdict on any of {measure.total:,}"
    rate = measure.hits is not None or 0 <= measure.value <= 1
    said = with_interval(measure.value, measure.low, measure.high, rate=rate)
    if measure.hits is not None:
        said += f", {measure.hits:,} of {measure.scored:,}"
    elif measure.scored:
        said += f", {measure.scored:,} scored"
    if unscored and measure.unscored:
        said += f"; {measure.unscored:,} unscored{' ⚠' if measure.too_many_unscored else ''}"
    return said + MARKS[measure.source]


def side(found: Side) -> str:
    """Return one evaluation's value in a comparison, with its interval."""
    return with_interval(found.value, found.low, found.high, rate=found.low is not None)


def change(one: Comparison) -> str:
    """Return the change for the worse with the one-sided bounds that decide."""
    return f"{one.increase.value:+.1%} ({one.least.lower:+.1%} to {one.most.upper:+.1%})"


def questions(one: Comparison) -> str:
    """Return how many questions there are, and how many independent groups if fewer."""
    found = one.increase
    if not one.paired:
        return f"{found.questions:,} unpaired"
    grouped = f" in {found.clusters:,} clusters" if found.clusters < one.questions else ""
    each = f", {one.answers_each} answers each" if one.answers_each > 1 else ""
    return f"{one.questions:,}{grouped}{each}"
