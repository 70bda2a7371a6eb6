"""A model's foremost figures, one a task and judge, as other formats ask for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import Model, TaskData
from safemerge_tasks.report.wording import METRICS

COMPLIANCE = "compliance_rate"

LOWER_IS_BETTER = {"asr": True, "harm_score": True, "refusal_rate": False, COMPLIANCE: False}
"""Of the metrics of questions; of others the results file says it."""


@dataclass(frozen=True)
class Measured:
    """One figure.

    Attributes:
        task: what was asked.
        judge: whose verdicts, or lm-eval's filter.
        metric: its name in lm-eval's files.
        kind: what the task is about.
        lower_is_better: the metric's direction.
        measure: the value, which may be None for want of any verdict.
    """

    task: TaskData
    judge: str
    metric: str
    kind: str
    lower_is_better: bool
    measure: Measure

    @property
    def called(self) -> str:
        """What the metric is, and which way is good."""
        way = "lower" if self.lower_is_better else "higher"
        return METRICS.get(self.metric, f"{self.metric}, {way} is better")

    @property
    def identity(self) -> dict[str, Any]:
        """The judge's model, revision, prompt and the like, where the results say them."""
        return dict(self.task.result.judges.get(self.judge) or {})


def measured(model: Model) -> list[Measured]:
    """Return the main metric of every question task by every judge, and all of other tasks."""
    return [
        Measured(task, judge, metric, kind, lower, found)
        for task in model.tasks.values()
        for judge in task.result.judged_by()
        for metric, kind, lower in _metrics(task, judge)
        if (found := task.measure(judge, metric))
    ]


def _metrics(task: TaskData, judge: str) -> Iterator[tuple[str, str, bool]]:
    if task.result.is_safety:
        if metric := task.headline(judge):
            yield metric, "safety", LOWER_IS_BETTER[metric]
    elif task.result.is_refusal:
        if COMPLIANCE in task.result.metrics(judge):
            yield COMPLIANCE, "over-refusal", False
    else:
        for metric in task.result.metrics(judge):
            if (higher := task.result.higher_is_better.get(metric)) is not None:
                yield metric, "utility", not higher
