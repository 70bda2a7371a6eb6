"""A measure in a table's cell."""

from safemerge_tasks.report.measure import COUNTS, SAMPLES, STDERR, VALUE, Measure

MARKS = {SAMPLES: "", COUNTS: " [counts]", STDERR: " [stderr]", VALUE: " [value]"}

EXPLANATION = (
    "Intervals are 95 %: Wilson's on the verdicts of the samples, with dependent questions "
    "(clusters) counted as fewer. [counts]: there are no samples, so from the counts in the "
    "results file; [stderr]: from its standard error; [value]: it has no interval."
)


def cell(measure: Measure | None) -> str:
    """Return a measure as in `12.0% (8.2% to 17.2%), 24 of 200`."""
    if measure is None:
        return ""
    if measure.value is None:
        return f"no verdict on any of {measure.total:,}"
    rate = measure.hits is not None or 0 <= measure.value <= 1
    parts = [_number(measure.value, rate=rate)]
    if measure.low is not None and measure.high is not None:
        low, high = (_number(end, rate=rate) for end in (measure.low, measure.high))
        parts.append(f" ({low} to {high})")
    if measure.hits is not None:
        parts.append(f", {measure.hits:,} of {measure.scored:,}")
    elif measure.scored:
        parts.append(f", {measure.scored:,} scored")
    if measure.unscored:
        parts.append(f"; {measure.unscored:,} unscored{' ⚠' if measure.too_many_unscored else ''}")
    return "".join(parts) + MARKS[measure.source]


def _number(value: float, *, rate: bool) -> str:
    return f"{value:.1%}" if rate else f"{value:.4g}"
