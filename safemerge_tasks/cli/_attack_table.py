"""What attacks found, as tables, JSON and a figure."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.under_attack import COMPLIANCE, UnderAttack

if TYPE_CHECKING:
    from safemerge_tasks.cli._live_run import LiveRun
    from safemerge_tasks.judges.settings import JudgeSettings


def judge_all(place: Path, asked: "list[JudgeSettings]", live: "LiveRun") -> list[str]:
    """Judge all models' answers and return the judges' rows.

    Raises:
        SafemergeError: a judge failed on answers, whose rates would be too low or too high.
    """
    from safemerge_tasks.judges.judging.saved_results import judge_folder

    found = [
        one
        for settings in asked
        for one in judge_folder(place, settings, lambda task: live.stage(f"judging {task}"))
    ]
    pending = sum(one.pending for one in found)
    if pending:
        raise SafemergeError(
            f"the judge failed on {pending} answers in {place}; `safemerge judge {place}` judges "
            "again."
        )
    return list(dict.fromkeys(one.judge for one in found))


def print_table(found: UnderAttack, console: Console | None = None) -> None:
    """Print a suite's attacks, one a line, the worst case and the union."""
    title = f"{found.task}, {Path(found.model).name}, judged by {found.judge}"
    table = Table(title=Text(title), caption=_caption(found))
    table.add_column("attack")
    rate = "compliance" if found.metric == COMPLIANCE else "ASR"
    for heading in (rate, "95 % interval", "questions", "unscored"):
        table.add_column(heading, justify="right")
    for one in found.attacks:
        table.add_row(Text(one.attack), *_cells(one.rate))
        for k, hit in sorted(one.hits.items()):
            table.add_row(f"  hit@{k}", *_cells(hit))
        if one.prediction:
            value, low, high = (_percent(one.prediction[key]) for key in ("value", "low", "high"))
            table.add_row(f"  ASR@{one.prediction['tries']}, predicted", value, f"{low} to {high}")
    table.add_section()
    table.add_row("worst case of each question", *_cells(found.worst))
    table.add_row("union", *_cells(found.union))
    (console or Console()).print(table)


def _caption(found: UnderAttack) -> str | None:
    if found.metric == COMPLIANCE:
        return f"{found.judge} tells refusals, not harm"
    if not any(one.prediction for one in found.attacks):
        return None
    return "predicted: a Beta-binomial fit (SABER, arXiv 2601.22636), not a measurement"


def _cells(measure: Measure) -> tuple[str, str, str, str]:
    low, high = _percent(measure.low), _percent(measure.high)
    interval = "" if measure.low is None else f"{low} to {high}"
    return _percent(measure.value), interval, str(measure.scored), str(measure.unscored)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"


def print_json(found: list[UnderAttack]) -> None:
    """Print everything; questions by their ids alone."""
    print(json.dumps([_record(one) for one in found], indent=2))


def _record(found: UnderAttack) -> dict[str, Any]:
    return {
        "model": found.model,
        "task": found.task,
        "judge": found.judge,
        "attacks": [
            {
                "attack": one.attack,
                found.metric: _measured(one.rate),
                "hits": {str(k): _measured(hit) for k, hit in sorted(one.hits.items())},
                "prediction": one.prediction,
            }
            for one in found.attacks
        ],
        "worst_case": _measured(found.worst),
        "union": _measured(found.union),
        "questions": found.questions,
    }


def _measured(measure: Measure) -> dict[str, float | int | None]:
    return {
        "value": measure.value,
        "low": measure.low,
        "high": measure.high,
        "scored": measure.scored,
        "total": measure.total,
    }


def refuse_without_curve(path: Path, attacks: list[str]) -> None:
    """Refuse a plot of one point.

    Raises:
        SafemergeError: fewer than two attacks tell how many tokens are begun.
    """
    from safemerge_tasks.report.figures.prefill_curve import prefilled

    if sum(prefilled(one) is not None for one in attacks) < 2:
        raise SafemergeError(
            f"--plot {path} shows ASR against prefilled tokens, of which there is one number; add "
            "--attacks plain,prefill:1,prefill:2,prefill:5,prefill:10,prefill."
        )


def write_plot(path: Path, suffix: str, found: list[UnderAttack]) -> None:
    """Write ASR against prefilled tokens."""
    from safemerge_tasks.common.atomic_write import replace_file
    from safemerge_tasks.report.figures.prefill_curve import draw_prefill_curve

    replace_file(path, draw_prefill_curve(found, suffix))
