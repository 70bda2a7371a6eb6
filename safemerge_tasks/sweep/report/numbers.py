"""Numbers of a sweep in a table's cell."""

from collections.abc import Sequence

from safemerge_tasks.report.wording import number, with_interval
from safemerge_tasks.sweep.manifest import Measured, Split
from safemerge_tasks.sweep.outcomes import Group
from safemerge_tasks.sweep.pooling import mean_and_spread

NOTHING = "missing"

EXPLANATION = (
    "± is the sample standard deviation over seeds; a range in brackets is the 95 % interval over "
    "questions, where there is one model. ⚠: more than 5 % of the responses have no verdict."
)


def over_seeds(group: Group | None, split: Split, tasks: Sequence[Measured]) -> str:
    """Return the mean over tasks and seeds as in `12.0% ± 1.3%`."""
    values = group.means(split, tasks) if group else []
    if group is None or not values:
        return NOTHING
    mean, spread = mean_and_spread(values)
    rate = 0 <= mean <= 1
    if spread is None:
        pooled = group.mean(split, tasks)
        said = with_interval(mean, pooled.low, pooled.high, rate=rate)
    else:
        said = f"{number(mean, rate=rate)} ± {number(spread, rate=rate)}"
    if len(values) < len(group.variants):
        said += f", {len(values)} of {len(group.variants)} seeds"
    return said + (" ⚠" if group.unscored(split, tasks) else "")


def harm_word(safety: Sequence[Measured]) -> str:
    """Return what the safety tasks measure: ASR, or the rate that stands for it by its own name."""
    metrics = {task.metric for task in safety}
    if all(metric.startswith("asr") for metric in metrics):
        return "ASR"
    return metrics.pop().replace("_", " ") if len(metrics) == 1 else "rate of harm"


def optional(value: float | None) -> str:
    """Return a value, if there is one."""
    return NOTHING if value is None else number(value, rate=0 <= value <= 1)


def seed_words(seeds: Sequence[int]) -> str:
    """Return seeds as a list."""
    return ", ".join(map(str, seeds))


def long(text: str) -> str:
    """Return a reason at a length that a table bears."""
    return text if len(text) <= 400 else f"{text[:399]}…"
