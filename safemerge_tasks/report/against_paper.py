"""Our results beside a paper's printed numbers: inside our interval, outside, or not comparable."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.published import Benchmark, Number, Paper
from safemerge_tasks.report.reading import Model, read_models
from safemerge_tasks.report.tradeoff import mean_rate

INSIDE = "inside"
OUTSIDE = "outside"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Compared:
    """A printed number and ours.

    Attributes:
        number: the paper's.
        benchmark: what it was measured on.
        ours: value, low and high; None where there is none.
        word: `inside` if our 95 % interval holds a rate that is printed so, `outside` if not,
            `not comparable` where the two do not mean the same.
        why: what makes them not comparable.
    """

    number: Number
    benchmark: Benchmark
    ours: tuple[float, float, float] | None
    word: str
    why: str


def models_of_rows(paper: Paper, given: Sequence[str]) -> dict[str, Model]:
    """Return which model stands for which row.

    Args:
        paper: whose rows.
        given: `ROW=DIR`, or a folder that holds folders named after rows.

    Raises:
        SafemergeError: no such row, one is given twice, or a folder is not one model's results.
    """
    folders: dict[str, Path] = {}
    for one in given:
        row, equals, folder = one.partition("=")
        found = {row: Path(folder)} if equals and not Path(one).exists() else _below(paper, one)
        for name, path in found.items():
            if name not in paper.rows:
                raise SafemergeError(f"{one}: {name!r} is no row; give {', '.join(paper.rows)}.")
            if name in folders:
                raise SafemergeError(f"{path}: {name} is {folders[name]} already; remove one.")
            folders[name] = path
    return {row: _one_model(row, folder) for row, folder in folders.items()}


def compare(paper: Paper, models: Mapping[str, Model]) -> list[Compared]:
    """Return every printed number with ours, in the order of the paper."""
    return [
        _compared(paper, number, paper.benchmarks[number.benchmark], models.get(number.row))
        for number in paper.numbers
    ]


def _below(paper: Paper, folder: str) -> dict[str, Path]:
    found = {row: Path(folder) / row for row in paper.rows if (Path(folder) / row).is_dir()}
    if not found:
        row = next(iter(paper.rows))
        raise SafemergeError(
            f"{folder} has no folder called as a row of the paper ({', '.join(paper.rows)}); say "
            f"which row it is, as in {row}={folder}."
        )
    return found


def _one_model(row: str, folder: Path) -> Model:
    models = read_models([folder])
    if len(models) > 1:
        raise SafemergeError(
            f"{folder} has results of {len(models)} models ({models[0].label}, {models[1].label}); "
            f"give the folder of one as {row}=DIR."
        )
    return models[0]


def _compared(paper: Paper, number: Number, benchmark: Benchmark, model: Model | None) -> Compared:
    if model is None:
        why = f"no results for this row; give {number.row}=DIR"
        return Compared(number, benchmark, None, NOT_COMPARABLE, why)
    measures: list[Measure] = []
    reasons = [reason for reason in (number.obstacle, benchmark.obstacle) if reason]
    for task, questions in benchmark.tasks.items():
        measure, judge = _measure(model, task, benchmark.metric, paper.judge)
        if measure is None or measure.value is None:
            reasons.append(f"no {benchmark.metric} of {task}")
            continue
        measures.append(measure)
        reasons += _differences(task, measure, questions, judge, paper)
    if len(measures) < len(benchmark.tasks):
        return Compared(number, benchmark, None, NOT_COMPARABLE, _joined(reasons))
    ours = mean_rate(measures)
    if reasons:
        return Compared(number, benchmark, ours, NOT_COMPARABLE, _joined(reasons))
    least, most = number.range
    word = INSIDE if ours[1] <= most and least <= ours[2] else OUTSIDE
    return Compared(number, benchmark, ours, word, "")


def _measure(model: Model, name: str, metric: str, judge: str) -> tuple[Measure | None, str]:
    """Return the metric by the paper's kind of judge, else by the first other one that has it."""
    task = model.tasks.get(name)
    judges = task.result.judged_by() if task else []
    for one in sorted(judges, key=lambda found: found != judge):
        if task and (measure := task.measure(one, metric)):
            return measure, one
    return None, ""


def _differences(
    task: str, measure: Measure, questions: int, judge: str, paper: Paper
) -> Iterator[str]:
    if judge != paper.judge:
        yield f"judged by {judge}, the paper's by {paper.judged_by}"
    if measure.total != questions:
        yield f"{task} has {measure.total:,} questions, the paper's {questions:,}"
    if measure.too_many_unscored:
        yield f"{measure.unscored:,} of {task} are unscored"
    if measure.low is None:
        yield f"{task} has no interval"


def _joined(reasons: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
