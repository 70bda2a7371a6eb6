"""The `safemerge judge calibrate` command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.cli._judge_options import (
    Engine,
    JudgeNames,
    Metadata,
    Model,
    Revision,
    Rubric,
    Url,
    judges_asked_for,
    log_to_stderr,
)
from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.judges.judging.calibration import Calibration
    from safemerge_tasks.metrics.confusion import Confusion, Estimate
    from safemerge_tasks.verdicts.verdict import Verdict

MEASURES = ("sensitivity", "specificity", "f1", "agreement")


def calibrate(
    labels: Annotated[
        Path, typer.Option(help="CSV or JSONL: question, response, label, maybe language.")
    ],
    judge: JudgeNames = None,
    engine: Engine = None,
    model: Model = None,
    url: Url = None,
    revision: Revision = None,
    judge_prompt: Rubric = None,
    metadata: Metadata = None,
    out: Annotated[
        Path | None, typer.Option(help="File for judge_calibration; one judge only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare judges with people's labels; keep what corrects a judge's rates.

    Example: safemerge judge calibrate --labels labels.csv --judge wildguard
    """
    from safemerge_tasks.judges import VerdictCache, judge_responses, make_judge
    from safemerge_tasks.judges.judging.calibration import Calibration
    from safemerge_tasks.judges.judging.human_labels import read_labels

    log_to_stderr()
    asked = judges_asked_for(judge, engine, model, url, revision, judge_prompt, metadata)
    if out is not None and len(asked) > 1:
        raise SafemergeError("--out keeps one judge's calibration; name one judge, or leave it.")
    labelled = read_labels(labels)
    judges = [make_judge(settings) for settings in asked]
    for one in judges:
        one.check()
    found: list[Calibration] = []
    for one, settings in zip(judges, asked, strict=True):
        verdicts = judge_responses(
            one,
            [row.question for row in labelled],
            [row.response for row in labelled],
            settings.timeout,
            VerdictCache() if settings.cache else None,
        )
        found.append(Calibration.of(one, labelled, verdicts))
        one.close()
        refuse_lost(one.name, verdicts)
    if out is not None:
        found[0].write(out)
    if as_json:
        print(json.dumps([_plain(each) for each in found], indent=2))
    else:
        Console(width=None if Console().is_terminal else 120).print(_table(found))


def refuse_lost(name: str, verdicts: "list[Verdict]") -> None:
    """Refuse to measure a judge that failed.

    Raises:
        SafemergeError: it failed on a response, or says nothing of harm.
    """
    lost = [verdict for verdict in verdicts if verdict.pending]
    if lost:
        raise SafemergeError(
            f"{name} failed on {len(lost)} of {len(verdicts)} responses ({lost[0].unscored}); "
            "mend that and run again: what was judged is kept."
        )
    if all(verdict.harmful is None for verdict in verdicts):
        raise SafemergeError(
            f"{name} reached no verdict on harm, so labels of harm say nothing about it; choose "
            "another judge."
        )


def _rows(calibration: "Calibration") -> "list[tuple[str, Confusion]]":
    rows = sorted(calibration.languages.items())
    return rows if len(rows) == 1 else [*rows, ("all", calibration.overall)]


def _plain(calibration: "Calibration") -> dict[str, Any]:
    from dataclasses import asdict

    languages = {
        language: {
            **asdict(confusion),
            **{measure: asdict(getattr(confusion, measure)) for measure in MEASURES},
        }
        for language, confusion in _rows(calibration)
    }
    return {"judge": dict(calibration.judge), "languages": languages}


def _table(found: "list[Calibration]") -> Table:
    table = Table(title="Judges against people's labels, with exact 95 % intervals")
    for heading in ("judge", "language", "labels"):
        table.add_column(heading)
    for heading in (*MEASURES, "unscored"):
        table.add_column(heading, justify="right")
    for calibration in found:
        for language, confusion in _rows(calibration):
            total = confusion.harmful + confusion.harmless + confusion.unscored
            table.add_row(
                Text(str(calibration.judge["name"])),
                Text(language),
                str(total),
                *(shown(getattr(confusion, measure)) for measure in MEASURES),
                str(confusion.unscored),
            )
    return table


def shown(estimate: "Estimate") -> str:
    """Return a share with its interval."""
    if estimate.value is None:
        return "none labelled"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
