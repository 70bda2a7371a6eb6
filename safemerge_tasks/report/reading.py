"""lm-eval's folders as what a report shows: models, each with its latest result of every task."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.attacked import attacked
from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.document import Figure, Name, Part, Table, Words
from safemerge_tasks.report.measure import Measure, from_counts, from_error, from_questions
from safemerge_tasks.results import Run, latest_results, stored_by_us
from safemerge_tasks.results.category_rows import category_of, is_old_row
from safemerge_tasks.results.evaluation import Evaluation, ScoredQuestion, TaskResult
from safemerge_tasks.results.loading import read_task, refuse_unknown_field

_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)")

HEADLINES = ("asr", "harm_score", "refusal_rate")
"""What a judge of harmful questions may measure, the foremost first."""


@dataclass(frozen=True)
class TaskData:
    """A task's result in one run.

    Attributes:
        name: the task's.
        run: where it is.
        summary: the results file's content.
        result: what the gate reads of it, samples included.
    """

    name: str
    run: Run
    summary: dict[str, Any]
    result: TaskResult

    @property
    def ours(self) -> dict[str, Any]:
        """What safemerge stored with the task."""
        found = (self.summary.get("configs") or {}).get(self.name)
        return stored_by_us(found) if isinstance(found, dict) else {}

    def headline(self, judge: str) -> str | None:
        """Return the foremost metric that a judge of harmful questions measures."""
        measured = self.result.metrics(judge)
        return next((metric for metric in HEADLINES if metric in measured), None)

    def measure(self, judge: str, metric: str, *, reverse: bool = False) -> Measure | None:
        """Return a metric from the samples, else from what the results file has."""
        scores, each = self.result.scores.get(judge), self.result.stands_for
        if scores and metric in scores.metrics:
            place = scores.metrics.index(metric)
            return from_questions(scores.questions, place, reverse=reverse, stands_for=each)
        if not reverse and (found := from_counts(self.counts(judge).get(metric) or {}, each)):
            return found
        rates = self.result.rates.get(judge, {})
        if metric not in rates:
            return None
        error = self.summary["results"][self.name].get(f"{metric}_stderr,{judge}")
        unscored = rates["unscored_rate"].value if "unscored_rate" in rates else 0.0
        share = unscored if 0 <= unscored <= 1 and not metric.endswith("_rate") else 0.0
        rate = rates[metric]
        return from_error(
            rate.value, error, rate.questions, share, reverse=reverse, stands_for=each
        )

    def by_group(self, judge: str, metric: str, part: str) -> dict[str, Measure]:
        """Return a metric by category or language; empty where nothing tells them apart.

        Args:
            judge: whose verdicts.
            metric: which.
            part: `category` or `language`.
        """
        scores, each = self.result.scores.get(judge), self.result.stands_for
        if scores and metric in scores.metrics:
            place = scores.metrics.index(metric)
            groups: dict[str, list[ScoredQuestion]] = {}
            for question in scores.questions:
                if name := getattr(question, part):
                    groups.setdefault(name, []).append(question)
            found = (
                (name, from_questions(some, place, stands_for=each))
                for name, some in groups.items()
            )
            return {name: measure for name, measure in found if measure}
        if part != "category" or metric != "asr":
            return {}
        counted = (
            (category_of(key), from_counts(row, each)) for key, row in self.counts(judge).items()
        )
        return {name: measure for name, measure in counted if name and measure}

    def knows_names(self, judge: str) -> bool:
        """Return whether categories are called as the suite has them, not by older results."""
        return judge in self.result.scores or not any(map(is_old_row, self.counts(judge)))

    def counts(self, judge: str) -> dict[str, Any]:
        """Return the stored counts of a judge: metric → counts."""
        found = (self.ours.get("counts") or {}).get(judge)
        return found if isinstance(found, dict) else {}


@dataclass
class Model:
    """A model's latest results.

    Attributes:
        name: as lm-eval has it.
        source: the folder that was named.
        label: what tells it from the others in the report.
        tasks: by name.
    """

    name: str
    source: Path
    label: str = ""
    tasks: dict[str, TaskData] = field(default_factory=dict)

    @property
    def evaluation(self) -> Evaluation:
        """The same as the gate reads it."""
        tasks = {name: task.result for name, task in self.tasks.items()}
        date = max(task.run.date for task in self.tasks.values())
        return Evaluation(str(self.source), self.name, tasks, date=date)


@dataclass(frozen=True)
class Release:
    """A model against the first of the report.

    Attributes:
        candidate: which.
        result: what the gate makes of it; None where the two cannot be compared.
        reason: why not.
    """

    candidate: Model
    result: GateResult | None
    reason: str = ""


@dataclass(frozen=True)
class Evaluated:
    """What a report on models is about.

    Attributes:
        models: in the order in which they are shown; the first is the baseline of the others.
        redact: leave the text of questions and responses out.
        plot: the figure of all of them.
        releases: each other model against the first.
        policy: by which those were decided.
    """

    models: Sequence[Model]
    redact: bool = True
    plot: Figure | None = None
    releases: Sequence[Release] = ()
    policy: Part = ""

    def tasks(self, wanted: Callable[[TaskData], bool]) -> Iterator[tuple[Model, TaskData]]:
        """Yield task by task the models that have it; a suite's attacks stand beside it."""
        names = dict.fromkeys(name for model in self.models for name in model.tasks)
        suites = list(dict.fromkeys(attacked(name).suite for name in names))
        for name in sorted(names, key=lambda name: suites.index(attacked(name).suite)):
            for model in self.models:
                task = model.tasks.get(name)
                if task and wanted(task):
                    yield model, task

    def by_judge(
        self, wanted: Callable[[TaskData], bool], show: Callable[[TaskData, str], str]
    ) -> Table:
        """Return a table with a row a task and model, and a column a judge.

        Args:
            wanted: which tasks.
            show: what a judge's cell says of a task.
        """
        found = list(self.tasks(wanted))
        judges = list(dict.fromkeys(j for _, task in found for j in task.result.judged_by()))
        rows: list[tuple[Words, ...]] = [
            (Name(task.name), Name(model.label), *(show(task, judge) for judge in judges))
            for model, task in found
        ]
        return Table(("task", "model", *map(Name, judges)), tuple(rows))


def read_models(folders: Sequence[Path], cluster_by: str = "cluster") -> list[Model]:
    """Return every model below some folders, in the order of the folders.

    Those of one folder come in the order of their names, numbers in them in that of their values,
    so that `lambda-0.2` stands before `lambda-0.10` no more than 0.2 before 0.1.

    Args:
        folders: that lm_eval wrote.
        cluster_by: the document's field whose equal values mark dependent questions.

    Raises:
        SafemergeError: a folder has no results or broken ones, or no question has the field.
    """
    models: dict[tuple[Path, str], Model] = {}
    for folder in folders:
        latest = latest_results(folder)
        if not latest:
            raise SafemergeError(f"{folder} has results of no task; run lm_eval again.")
        # Samples are read only of what is shown.
        for (name, task), one in sorted(latest.items(), key=lambda one: _ordered(one[0][0])):
            model = models.setdefault((folder, name), Model(name, folder))
            model.tasks[task] = task_data(task, *one, cluster_by)
    found = list(models.values())
    results = (one.result for model in found for one in model.tasks.values())
    refuse_unknown_field(folders, results, cluster_by)
    _label(found)
    return found


def task_data(
    task: str, run: Run, summary: dict[str, Any], cluster_by: str = "cluster"
) -> TaskData:
    """Read a task of a run, with its samples where there are any."""
    return TaskData(task, run, summary, read_task(task, run, summary, cluster_by))


def against_first(
    models: Sequence[Model], policy: Policy, accept: Sequence[str] = ()
) -> tuple[Release, ...]:
    """Return every other model against the first, as `safemerge check` compares them."""
    found = []
    for model in models[1:]:
        try:
            result = compare(models[0].evaluation, model.evaluation, policy, accept)
            found.append(Release(model, result))
        except SafemergeError as error:
            found.append(Release(model, None, str(error).rstrip(".")))
    return tuple(found)


def _ordered(name: str) -> list[tuple[float, str]]:
    """Return a name as what sorts it among others: its numbers, and what stands between them."""
    parts = _NUMBER.split(name)
    return [
        (float(part), "") if place % 2 else (math.inf, part) for place, part in enumerate(parts)
    ]


def _label(models: Sequence[Model]) -> None:
    """Name models by as many last parts of their paths as tell them apart, else by their folder."""
    paths = [model.name.rstrip("/").split("/") for model in models]
    # Beyond that it is no path.
    for parts in range(1, min(max(map(len, paths), default=0), 20) + 1):
        labels = ["/".join(path[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    else:
        labels = [f"{model.source}: {model.name}" for model in models]
    for model, label in zip(models, labels, strict=True):
        model.label = label or model.name
