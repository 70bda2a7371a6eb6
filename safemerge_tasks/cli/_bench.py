"""The `safemerge judge bench` command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.cli._calibrate import refuse_lost, shown
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
    from safemerge_tasks.judges.judging.benchmark import Benchmark, Row
    from safemerge_tasks.verdicts.labelled import Labelled


def bench(
    labels: Annotated[
        str,
        typer.Argument(
            help="wildguardtest, xstest-response, polyguard-prompts, or a CSV or JSONL file: "
            "question, response, label, maybe language and category."
        ),
    ],
    judge: JudgeNames = None,
    engine: Engine = None,
    model: Model = None,
    url: Url = None,
    revision: Revision = None,
    judge_prompt: Rubric = None,
    metadata: Metadata = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Only rows in this language; may be repeated.")
    ] = None,
    price_read: Annotated[
        float | None, typer.Option(min=0, help="Price of a million tokens that a judge reads.")
    ] = None,
    price_written: Annotated[
        float | None, typer.Option(min=0, help="Price of a million tokens that it writes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure judges on responses that people labelled: how good, how fast, at what cost.

    Example: safemerge judge bench wildguardtest --judge wildguard+qwen3guard
    """
    from safemerge_tasks.judges import VerdictCache, make_judge
    from safemerge_tasks.judges.judging.benchmark import benchmark
    from safemerge_tasks.judges.judging.languages import warn_about_languages

    log_to_stderr()
    if (price_read is None) != (price_written is None):
        raise SafemergeError("--price-read and --price-written go together; give both or none.")
    prices = None if price_read is None else (price_read, price_written or 0.0)
    asked = judges_asked_for(judge, engine, model, url, revision, judge_prompt, metadata)
    labelled = _only(_read(labels), language or [], labels)
    judges = [make_judge(settings) for settings in asked]
    for one in judges:
        one.check()
        warn_about_languages(one, labels, {row.language for row in labelled})
    found: list[Benchmark] = []
    for one, settings in zip(judges, asked, strict=True):
        cache = VerdictCache() if settings.cache else None
        try:
            measured, verdicts = benchmark(one, labelled, settings.timeout, cache)
        finally:
            one.close()
        refuse_lost(one.name, verdicts)
        found.append(measured)
    if as_json:
        print(json.dumps([_plain(each, prices) for each in found], indent=2))
        return
    console = Console(width=None if Console().is_terminal else 140)
    console.print(_table(found, labels))
    for each in found:
        console.print(Text(_spent(each, prices)))


def _read(labels: str) -> "list[Labelled]":
    from safemerge_tasks.judges.judging.human_labels import read_labels
    from safemerge_tasks.suites.labelled_sets import SETS, load_labelled

    path = Path(labels)
    if labels in SETS:
        return load_labelled(labels)
    if not path.suffix and not path.exists():
        raise SafemergeError(
            f"{labels} is neither a labelled set ({', '.join(SETS)}) nor a CSV or JSONL file; "
            "correct it."
        )
    return read_labels(path)


def _only(rows: "list[Labelled]", languages: list[str], labels: str) -> "list[Labelled]":
    wanted = {name.strip().casefold() for name in languages}
    there = {row.language for row in rows}
    if unknown := sorted(wanted - there):
        raise SafemergeError(
            f"{labels} has no rows in {', '.join(unknown)}; its languages are "
            f"{', '.join(sorted(there))}."
        )
    return [row for row in rows if not wanted or row.language in wanted]


def _plain(found: "Benchmark", prices: tuple[float, float] | None) -> dict[str, Any]:
    from dataclasses import asdict

    from safemerge_tasks.judges.judging.benchmark import MEASURES

    def row(one: "Row") -> dict[str, Any]:
        measured = {
            name: {
                **asdict(getattr(one.found, measure)),
                "worst": getattr(one.worst, measure).value,
                "best": getattr(one.best, measure).value,
            }
            for name, measure in MEASURES.items()
        }
        return {"part": one.part, "name": one.name, "counts": asdict(one.found), **measured}

    spent = found.spent
    told = {
        **asdict(spent),
        "calls_per_second": spent.calls_per_second,
        "cost": spent.cost(*prices) if prices else None,
    }
    return {"judge": dict(found.judge), "rows": [row(one) for one in found.rows], "spent": told}


def _table(found: "list[Benchmark]", labels: str) -> Table:
    from safemerge_tasks.judges.judging.benchmark import MEASURES

    table = Table(title=Text(f"Judges against the labels of {labels}, with 95 % intervals"))
    for heading in ("judge", "of", "labels"):
        table.add_column(heading)
    for heading in (*MEASURES, "unscored"):
        table.add_column(heading, justify="right")
    for each in found:
        for one in each.rows:
            count = one.found.harmful + one.found.harmless + one.found.unscored
            table.add_row(
                Text(str(each.judge["name"])),
                Text(one.name if one.part == "all" else f"{one.part} {one.name}"),
                str(count),
                *(shown(getattr(one.found, measure)) for measure in MEASURES.values()),
                _unscored(one),
            )
    return table


def _unscored(row: "Row") -> str:
    """Return how many have no verdict, and between what values of F1 they leave the judge."""
    if not row.found.unscored:
        return "0"
    ends = [one.f1.value for one in (row.worst, row.best)]
    between = " to ".join("none" if end is None else f"{end:.2f}" for end in ends)
    return f"{row.found.unscored}: f1 {between}"


def _spent(found: "Benchmark", prices: tuple[float, float] | None) -> str:
    spent, name = found.spent, found.judge["name"]
    if not spent.calls:
        return f"{name}: all verdicts were kept from before; judge_cache=false measures the speed."
    rate = spent.calls_per_second
    said = f"{name}: {spent.calls:,} calls in {spent.seconds:.1f} s"
    said += f", {rate:,.1f} a second" if rate else ""
    if spent.read is None:
        return f"{said}; how many tokens is not told{', so the cost is not known' * bool(prices)}."
    said += f"; {spent.read:,} tokens read, {spent.written:,} written"
    return f"{said}, cost {spent.cost(*prices):.4f}." if prices else f"{said}."
