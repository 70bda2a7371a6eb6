"""What a sweep will do: cells, steps, bytes, generations and judge calls."""

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from safemerge_tasks.sweep.jobs import judged_apart
from safemerge_tasks.sweep.local import refuse_too_much
from safemerge_tasks.sweep.models import weight_bytes
from safemerge_tasks.sweep.prepare import Prepared, check_finetunes, check_merges, check_server
from safemerge_tasks.sweep.questions import SAFETY, TEST, UTILITY
from safemerge_tasks.sweep.rates import Rates
from safemerge_tasks.sweep.steps import KINDS, Step


def make_plan(prepared: Prepared, gpus: int | None = None) -> dict[str, Any]:
    """Check everything that can be checked and return what is to be done, as JSON.

    Args:
        prepared: the sweep.
        gpus: how many this machine has; None if it is planned for others.

    Raises:
        SafemergeError: something would fail.
    """
    expected = []
    if prepared.wanted is not None:
        searched = prepared.spec.choose.search
        parts = frozenset((SAFETY, UTILITY, TEST)) if searched else frozenset((TEST,))
        one_each = _one_point_each(prepared)
        prepared = prepared.asking(dict.fromkeys(one_each, parts), read=False)
        expected.append(
            "one point of each method is counted; the search asks others too, most of them only "
            "until they fail, and merges a point anew for every part that it is asked"
            if searched
            else "test data are counted for the first point of each method's grid; validation data "
            "will choose another, of the same cost, and merge it once more"
        )
    graph = prepared.graph
    notes = [
        *prepared.notes,
        *expected,
        *check_server(prepared),
        *check_merges(prepared),
    ]
    outlooks = check_finetunes(prepared)
    left = _left(prepared)
    requests = {one.recording: one for one in prepared.questions.asked.values()}
    answers = [step for step in left if step.kind == "answer"]
    asked = [requests[step.work["recording"]] for step in answers]
    counts = Counter(step.kind for step in graph.steps.values())
    todo = Counter(step.kind for step in left)
    return {
        "name": prepared.spec.name,
        "cells": _cells(prepared),
        "steps": {
            kind: {"all": counts[kind], "to do": todo[kind]} for kind in KINDS if counts[kind]
        },
        "jobs": dict(Counter(kind for kind, _ in {(step.kind, step.group) for step in left})),
        "shared": _shared(left),
        "fine-tuning": {name: asdict(outlook) for name, outlook in outlooks.items()},
        "bytes written": sum(step.nbytes for step in left) + _bytes_tuned(prepared, left),
        "generations": sum(one.requests for one in asked),
        "prompt tokens": sum(one.prompt_tokens for one in asked),
        "most new tokens": sum(one.most_new_tokens for one in asked),
        "judge calls": sum(
            requests[graph.steps[step.inputs[0]].work["recording"]].requests
            for step in left
            if step.kind == "judge"
        ),
        **_machine(prepared, left, gpus),
        "notes": notes,
    }


def _bytes_tuned(prepared: Prepared, left: list[Step]) -> int:
    """Return what full fine-tunings write, which stays in the store."""
    configs = [step.work["config"] for step in left if step.kind == "finetune"]
    whole = [config for config in configs if config["tuning"] == "full"]
    # `auto` is decided by the machine that it runs on; the base's own type is the likeliest.
    dtypes = [None if config["dtype"] == "auto" else config["dtype"] for config in whole]
    return sum(weight_bytes(prepared.spec.base, dtype) for dtype in dtypes)


def _machine(prepared: Prepared, left: list[Step], gpus: int | None) -> dict[str, Any]:
    """Return how long it takes and what of this machine stays idle, as far as that is known."""
    seconds = Rates(prepared.graph, prepared.store).seconds(left)
    found: dict[str, Any] = {"hours of one job": None if seconds is None else seconds / 3600}
    if gpus is None:
        return found
    refuse_too_much(prepared.spec, gpus)
    kinds = ("finetune", "answer", "judge")
    models = {str(step.work["model"]) for step in left if step.kind == "answer"}
    jobs = len(models) if models else len({step.group for step in left if step.kind in kinds})
    engines = prepared.spec.engine.engines
    # A server's GPUs are its own; judging takes one of ours.
    apart = min(jobs, engines or jobs) * max(1, prepared.spec.engine.ranks)
    idle = max(0, gpus - apart) if left else gpus
    verdicts = "as soon as a variant is scored, while engines answer others"
    if any(step.work.get("accelerated") for step in left) and not idle:
        verdicts = (
            "while engines answer others, as soon as they leave room for the judge"
            if judged_apart(prepared.spec.resources, gpus, prepared.spec.engine.ranks)
            else "when an engine has ended, for the judge takes its place; resources.answer and "
            "resources.judge say what each takes where there is memory for both"
        )
    return {**found, "GPUs": gpus, "GPUs that idle": idle, "verdicts": verdicts}


def _one_point_each(prepared: Prepared) -> list[str]:
    """Return the variants of one grid point of each fine-tuning and method."""
    variants = [cell.variant for cell in prepared.cells if cell.merging]
    first: dict[tuple[str | None, str | None], dict[str, float]] = {}
    for one in variants:
        first.setdefault((one.tuning, one.label), one.point)
    return [one.id for one in variants if one.point == first[one.tuning, one.label]]


def _left(prepared: Prepared) -> list[Step]:
    """Return the steps that a run would do."""
    graph = prepared.graph
    needed = graph.needed(lambda key: not prepared.store.done(key))
    return [step for key, step in graph.steps.items() if key in needed]


def _cells(prepared: Prepared) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for cell in prepared.cells:
        variant = cell.variant
        served = prepared.graph.served.get(variant.id, "if the search comes to it")
        what = variant.label or ("fine-tuned" if variant.kind == "tuned" else "base")
        name = f"{variant.tuning}, {what}" if variant.tuning else what
        counts[f"{name} ({served})"] += 1
    return dict(counts)


def _shared(left: list[Step]) -> dict[str, int]:
    """Return how much of what is left shares an engine or its requests."""
    answers = [step for step in left if step.kind == "answer"]
    served = [step for step in answers if step.work["served"] == "adapter"]
    return {
        "models on one engine": len({step.work["model"] for step in served}),
        "models merged to be asked": len({s.work["model"] for s in answers if "merge" in s.work}),
        "recordings of requests": len({step.work["recording"] for step in answers}),
    }


def print_plan(plan: dict[str, Any], console: Console) -> None:
    """Print a plan for people."""
    table = Table(title=f"{plan['name']}: cells", box=None, title_justify="left")
    table.add_column("variants")
    table.add_column("count", justify="right")
    for name, count in plan["cells"].items():
        table.add_row(name, str(count))
    table.add_row("all", str(sum(plan["cells"].values())))
    console.print(table)
    steps = Table(title="steps", box=None, title_justify="left")
    for head in ("kind", "all", "to do", "jobs"):
        steps.add_column(head, justify="left" if head == "kind" else "right")
    for kind, row in plan["steps"].items():
        numbers = (row["all"], row["to do"], plan["jobs"].get(kind, 0))
        steps.add_row(kind, *map(str, numbers))
    console.print(steps)
    for what, count in plan["shared"].items():
        console.print(f"{what}: {count}", highlight=False)
    for name, outlook in plan["fine-tuning"].items():
        facts = ", ".join(f"{key} {value}" for key, value in outlook.items() if key != "notes")
        console.print(f"fine-tuning {name}: {facts}", highlight=False, markup=False)
    console.print(f"bytes written: {plan['bytes written'] / 1e9:,.2f} GB", highlight=False)
    for what in ("generations", "prompt tokens", "most new tokens", "judge calls"):
        console.print(f"{what}: {plan[what]:,}", highlight=False)
    hours = plan["hours of one job"]
    told = "unknown: nothing like it was done on this machine" if hours is None else f"{hours:.2g}"
    console.print(f"hours, one job after the other: {told}", highlight=False)
    if "GPUs" in plan:
        idle = plan["GPUs that idle"]
        console.print(f"GPUs: {plan['GPUs']}, of which {idle} idle", highlight=False)
        console.print(f"verdicts: {plan['verdicts']}", highlight=False)
    for note in plan["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False)
