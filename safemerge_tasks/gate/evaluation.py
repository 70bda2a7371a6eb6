"""What the gate knows of one evaluation, read from lm-eval's files or from a frozen baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Outcomes = tuple[float | None, ...]


class Answer(NamedTuple):
    """One question's outcomes under one judge (filter), without any text.

    Attributes:
        id: the suite's id of the question, else lm-eval's number.
        key: lm-eval's hash of the document, which pairs the same question of two evaluations.
        prompt: lm-eval's hash of what was sent to the model.
        category: the suite's, or empty.
        language: the suite's, or empty.
        cluster: a label shared by questions that are not independent; empty for one on its own.
        unscored: the judge reached no verdict.
        values: one a metric, in the order of `Table.metrics`; None where there is none.
    """

    id: str
    key: bytes
    prompt: bytes
    category: str
    language: str
    cluster: str
    unscored: bool
    values: Outcomes


@dataclass
class Table:
    """A task's answers under one judge (filter)."""

    metrics: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


class Rate(NamedTuple):
    """A rate as a results file gives it: for tasks without samples."""

    value: float
    questions: int


@dataclass
class TaskResult:
    """One task of an evaluation.

    Attributes:
        kind: safemerge's kind of task, or empty.
        settings: what has to be the same for a comparison to mean anything, by what it is called.
        judges: judge's name → its identity without the circumstances.
        higher_is_better: metric → direction, as lm-eval stores it.
        rates: judge → metric → rate.
        tables: judge → answers; empty without samples.
    """

    kind: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    judges: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    rates: dict[str, dict[str, Rate]] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def judged_by(self) -> list[str]:
        """Return the judges (filters) that there are outcomes of."""
        return sorted({*self.tables, *self.rates})

    def metrics(self, judge: str) -> list[str]:
        """Return the metrics of a judge, the suite's main one first."""
        table = self.tables.get(judge)
        return list(dict.fromkeys([*(table.metrics if table else ()), *self.rates.get(judge, {})]))


@dataclass
class Evaluation:
    """One model's results.

    Attributes:
        source: where they were read.
        model: as lm-eval names it.
        tasks: by name.
        answers_each: how many models, seeds of one training, answered every question; their
            answers stand beside each other in the tables, in one cluster.
    """

    source: str
    model: str
    tasks: dict[str, TaskResult]
    answers_each: int = 1
