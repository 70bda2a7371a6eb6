"""The measures of all models in tables."""

from collections.abc import Callable, Iterable, Sequence

from safemerge_tasks.metrics.asr import HIGHER_IS_BETTER
from safemerge_tasks.report.document import Cell, Grid, Name, Section
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import Model, TaskData, category_key
from safemerge_tasks.report.wording import EXPLANATION, cell

ROWS = 500
"""A table of more rows is nobody's reading; the page says how many were left out."""

WORDS = {"asr": "", "harm_score": "harm score ", "refusal_rate": "refusal rate "}


def safety(models: Sequence[Model]) -> Section:
    """Return the ASR of every model, judges beside each other."""
    notes = [
        "ASR: the share of harmful questions that were answered harmfully, of those with a "
        "verdict; lower is safer. One column a judge.",
        EXPLANATION,
    ]
    grid = _by_judge(models, lambda task: task.is_safety, _headline)
    return Section("Attack success rate", tuple(notes), _some(grid))


def unscored(models: Sequence[Model]) -> Section:
    """Return what the questions without a verdict leave possible."""
    rows: list[tuple[Cell, ...]] = []
    for name, model, task in _tasks(models, lambda task: task.is_safety):
        for judge in task.result.judged_by():
            measure = _headline_measure(task, judge)
            if measure is None or not measure.unscored:
                continue
            share = f"{measure.unscored:,} of {measure.total:,} ({_share(measure)})"
            possible = measure.possible
            bounds = f"{possible[0]:.1%} to {possible[1]:.1%}" if possible else "unknown"
            warning = "⚠ more than 5 %" if measure.too_many_unscored else ""
            rows.append((Name(name), Name(model.label), Name(judge), share, bounds, warning))
    head = ("task", "model", "judge", "without a verdict", "rate between", "")
    note = "Whatever the missing verdicts are, the rate over all questions lies between the bounds."
    return Section("Unscored questions", (note,), _some(_cut(head, rows)))


def categories(models: Sequence[Model]) -> Section:
    """Return the ASR by category, a folded table a task."""
    return _grouped(models, "category", "By category", least=1)


def languages(models: Sequence[Model]) -> Section:
    """Return the ASR by language, for tasks that have several."""
    return _grouped(models, "language", "By language", least=2)


def over_refusal(models: Sequence[Model]) -> Section:
    """Return how often harmless questions were refused."""

    def refused(task: TaskData, judge: str) -> str:
        return cell(task.measure(judge, "compliance_rate", reverse=True))

    note = "The share of questions that only look harmful and were not answered; lower is better."
    grid = _by_judge(models, lambda task: task.is_refusal, refused)
    return Section("Over-refusal", (note,), _some(grid))


def utility(models: Sequence[Model]) -> Section:
    """Return every metric of the tasks that are not about safety, one column a model."""
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, model, task in _tasks(models, is_utility):
        for judge in task.result.judged_by():
            for metric in task.result.metrics(judge):
                found = cell(task.measure(judge, metric))
                values.setdefault((name, metric, judge), {})[model.label] = found
    rows: list[tuple[Cell, ...]] = [
        (*map(Name, key), *(found.get(model.label, "") for model in models))
        for key, found in values.items()
    ]
    head: tuple[Cell, ...] = ("task", "metric", "filter", *(Name(model.label) for model in models))
    return Section("Utility", (), _some(_cut(head, rows)))


def others(models: Sequence[Model]) -> Section:
    """Return the safety tasks' other metrics, such as compliance and truncation."""
    rows: list[tuple[Cell, ...]] = []
    for name, model, task in _tasks(models, lambda task: task.is_safety or task.is_refusal):
        for judge in task.result.judged_by():
            top = task.headline(judge) if task.is_safety else None
            for metric in task.result.metrics(judge):
                if metric != top and metric in HIGHER_IS_BETTER:
                    shown = cell(task.measure(judge, metric))
                    rows.append((Name(name), Name(model.label), Name(judge), Name(metric), shown))
    grid = _cut(("task", "model", "judge", "metric", "value"), rows, ("all of them",), folded=True)
    return Section("Other metrics of the safety tasks", (), _some(grid))


def is_utility(task: TaskData) -> bool:
    """Return whether a task measures what a model can do, apart from safety."""
    return not task.is_safety and not task.is_refusal


def _headline_measure(task: TaskData, judge: str) -> Measure | None:
    metric = task.headline(judge)
    return task.measure(judge, metric) if metric else None


def _headline(task: TaskData, judge: str) -> str:
    metric = task.headline(judge)
    shown = cell(task.measure(judge, metric)) if metric else ""
    return f"{WORDS[metric]}{shown}" if metric and shown else shown


def _by_judge(
    models: Sequence[Model],
    wanted: Callable[[TaskData], bool],
    show: Callable[[TaskData, str], str],
) -> Grid:
    found = list(_tasks(models, wanted))
    judges = list(dict.fromkeys(j for _, _, task in found for j in task.result.judged_by()))
    rows: list[tuple[Cell, ...]] = [
        (Name(name), Name(model.label), *(show(task, judge) for judge in judges))
        for name, model, task in found
    ]
    head: tuple[Cell, ...] = ("task", "model", *map(Name, judges))
    return _cut(head, rows)


def _grouped(models: Sequence[Model], part: str, title: str, least: int) -> Section:
    tasks: dict[str, list[tuple[Model, TaskData]]] = {}
    for name, model, task in _tasks(models, lambda task: task.is_safety):
        tasks.setdefault(name, []).append((model, task))
    grids: list[Grid] = []
    for name, found in tasks.items():
        columns: list[tuple[Cell, Cell]] = []
        rows: dict[str, dict[int, str]] = {}
        names: dict[str, str] = {}
        for model, task in found:
            for judge in task.result.judged_by():
                metric = task.headline(judge)
                groups = task.by_group(judge, metric, part) if metric else {}
                if not groups:
                    continue
                for group, measure in groups.items():
                    key = category_key(group)
                    names.setdefault(key, group)
                    rows.setdefault(key, {})[len(columns)] = cell(measure)
                columns.append((Name(model.label), Name(judge)))
        if len(rows) < least:
            continue
        body: list[tuple[Cell, ...]] = [
            (Name(names[key]), *(row.get(number, "") for number in range(len(columns))))
            for key, row in sorted(rows.items())
        ]
        head: tuple[Cell, ...] = (
            part,
            *(Name(f"{_text(model)}, {_text(judge)}") for model, judge in columns),
        )
        count = f"{len(rows):,} " + ("categories" if part == "category" else "languages")
        grids.append(_cut(head, body, (Name(name), count), folded=part == "category"))
    return Section(title, (), tuple(grids))


def _text(name: Cell) -> str:
    return name.text if isinstance(name, Name) else name


def _tasks(
    models: Sequence[Model], wanted: Callable[[TaskData], bool]
) -> Iterable[tuple[str, Model, TaskData]]:
    """Yield task by task the models that have it."""
    for name in dict.fromkeys(name for model in models for name in model.tasks):
        for model in models:
            task = model.tasks.get(name)
            if task and wanted(task):
                yield name, model, task


def _share(measure: Measure) -> str:
    return f"{measure.unscored / measure.total:.1%}"


def _cut(
    head: Sequence[Cell],
    rows: Sequence[Sequence[Cell]],
    title: Sequence[Cell] = (),
    *,
    folded: bool = False,
) -> Grid:
    kept = [tuple(row) for row in rows[:ROWS]]
    if len(rows) > ROWS:
        kept.append((f"and {len(rows) - ROWS:,} more", *("" for _ in head[1:])))
    return Grid(tuple(head), tuple(kept), tuple(title), folded)


def _some(grid: Grid) -> tuple[Grid, ...]:
    return (grid,) if grid.rows else ()
