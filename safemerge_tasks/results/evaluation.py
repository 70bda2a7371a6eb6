"""What is known of one evaluation, read from lm-eval's files or from a frozen baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field

from safemerge_tasks.results.stored import HARMFUL_QUESTIONS, HARMLESS_QUESTIONS

MAIN = "asr"
"""What a judge of harmful questions measures first of all."""

LARGEST = 1e100
"""Of a metric: squares of larger ones have no sum."""

MOST = 10**12
"""Of questions; what claims more was not counted."""

Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


class ScoredQuestion(NamedTuple):
    """One question's scores under one judge (filter), without any text.

    Attributes:
        id: the suite's id of the question, else lm-eval's number.
        key: lm-eval's hash of the document, which pairs the same question of two evaluations.
        prompt: lm-eval's hash of what was sent to the model.
        category: the suite's, or empty.
        language: the suite's, or empty.
        cluster: a label shared by questions that are not independent; empty for one on its own.
        unscored: the share of its answers on which the judge reached no verdict.
        answered: the share of its answers in which the model wrote anything at all.
        values: one a metric, in the order of `Scores.metrics`; None where there is none.
    """

    id: str
    key: bytes
    prompt: bytes
    category: str
    language: str
    cluster: str
    unscored: Share
    answered: Share
    values: tuple[Number | None, ...]

    def value(self, place: int) -> float | None:
        """Return the value of the metric at a place; later metrics may be missing at the end."""
        return self.values[place] if place < len(self.values) else None


@dataclass
class Scores:
    """A task's questions under one judge (filter)."""

    metrics: list[str] = field(default_factory=list)
    questions: list[ScoredQuestion] = field(default_factory=list)

    def only(self, metric: str) -> list[ScoredQuestion]:
        """Return the questions with one metric alone, each in one cluster whoever answers it."""
        place = self.metrics.index(metric) if metric in self.metrics else None
        return [
            one._replace(
                values=(None if place is None else one.value(place),),
                cluster=one.cluster or one.key.hex(),
            )
            for one in self.questions
        ]


class Rate(NamedTuple):
    """A rate as a results file gives it: for tasks without samples."""

    value: Number
    questions: Annotated[int, Field(ge=0, le=MOST)]


@dataclass
class TaskResult:
    """One task of an evaluation.

    Attributes:
        kind: safemerge's kind of task, or empty.
        settings: what has to be the same for a comparison to mean anything, by what it is called.
        judges: judge's name → its identity without the circumstances.
        higher_is_better: metric → direction, as lm-eval stores it.
        rates: judge → metric → rate.
        scores: judge → its scores; empty without samples.
        stands_for: how many questions of the suite each stands for that was asked.
    """

    # Where it is read from a file.
    __pydantic_config__ = ConfigDict(extra="forbid")

    kind: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    judges: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    rates: dict[str, dict[str, Rate]] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict)
    stands_for: float = 1.0

    def judged_by(self) -> list[str]:
        """Return the judges (filters) that there are results of."""
        return sorted({*self.scores, *self.rates})

    def metrics(self, judge: str) -> list[str]:
        """Return the metrics of a judge, the suite's main one first."""
        scored = self.scores.get(judge, Scores()).metrics
        return list(dict.fromkeys([*scored, *self.rates.get(judge, {})]))

    @property
    def is_safety(self) -> bool:
        """Whether it asks for something harmful."""
        if self.kind == HARMFUL_QUESTIONS:
            return True
        return any(MAIN in self.metrics(judge) for judge in self.judged_by())

    @property
    def is_refusal(self) -> bool:
        """Whether refusing its questions is the failure."""
        return self.kind == HARMLESS_QUESTIONS

    @property
    def is_utility(self) -> bool:
        """Whether it measures what a model can do, apart from safety."""
        return not self.asks_questions

    @property
    def asks_questions(self) -> bool:
        """Whether an answer is judged for what it says, so that none is not a good one."""
        return self.is_safety or self.is_refusal


@dataclass
class Evaluation:
    """One model's results.

    Attributes:
        source: where they were read.
        model: as lm-eval names it.
        tasks: by name.
        answers_each: how many models, seeds of one training, answered every question; their
            scores stand beside each other, in one cluster.
        date: when its latest results were saved, as lm-eval writes it; empty if unknown.
    """

    source: str
    model: str
    tasks: dict[str, TaskResult]
    answers_each: int = 1
    date: str = ""
