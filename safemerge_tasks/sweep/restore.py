"""Repair of one fine-tuned model: a sweep of one model that searches, and what is made of it.

The sweep's folder stands beside the repaired model. Finished steps are in the store, so that the
same call goes on after an interruption.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.recipe.layer_groups import DIVISIONS
from merge.recipe.recipe import shown_lambda
from safemerge_tasks.attacks.names import BETWEEN, task_with_path
from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import validated
from safemerge_tasks.sweep.choosing import Choice
from safemerge_tasks.sweep.manifest import Rule
from safemerge_tasks.sweep.merge_words import merge_errors
from safemerge_tasks.sweep.models import Sources, find_sources
from safemerge_tasks.sweep.prepare import Prepared, prepare
from safemerge_tasks.sweep.repaired import TUNING, Repaired, as_json
from safemerge_tasks.sweep.report.findings import Findings, find
from safemerge_tasks.sweep.restored_page import table
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.variants import Cell
from safemerge_tasks.toy.references import resolve

if TYPE_CHECKING:
    from rich.console import Console

REPORT = "report"
BASELINE = "baseline.json"
OUTCOME = "restore.json"
MADE_FROM = "made-from.json"
MANIFEST = "safemerge_manifest.json"

METHODS: Mapping[str, Mapping[str, float]] = {
    "linear": {},
    "slerp": {},
    "dare-linear": {"drop_rate": 0.3},
}
"""Methods that need the two models alone, with the parameters that the paper takes."""

LAMBDAS = tuple(round(number / 20, 2) for number in range(1, 20))
"""λ from 0.05 to 0.95."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Request:
    """What is to be repaired, and how that is measured.

    Attributes:
        base: the aligned model that it was trained from.
        tuned: the fine-tuned model, or a LoRA adapter on the base.
        max_asr: limit of the attack success rate, between 0 and 1.
        utility: task that tells whether it still does what it was trained for.
        out: folder for the repaired model.
        safety: task of harmful questions.
        utility_validation: task to choose by; else `<task>_val` if there is one.
        safety_validation: the same for `safety`.
        methods: merge methods to search, some of `METHODS`.
        lambdas: weights of the fine-tuned model to search.
        groups: of layers that may have a λ each in a second stage, as in a sweep's `choose`.
        judge: as in lm-eval's `--metadata`.
        engine: lm-eval's model type.
        model_args: and its arguments.
        url: base URL of a server that answers in place of `engine`.
        include_path: folder of further task files.
        data_dir: as `SAFEMERGE_DATA_DIR`.
        limit: questions of each task, for a try.
        vocabulary: where the fine-tuned model has more tokens than the base, as `safemerge merge`.
    """

    base: str
    tuned: str
    max_asr: float
    utility: str
    out: Path
    safety: str = "advbench_asr"
    utility_validation: str | None = None
    safety_validation: str | None = None
    methods: Sequence[str] = ("linear",)
    lambdas: Sequence[float] = LAMBDAS
    groups: Sequence[str] = ()
    judge: Mapping[str, Any] = field(default_factory=dict)
    engine: str = "vllm"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    include_path: str | None = None
    data_dir: str | None = None
    limit: int | None = None
    vocabulary: str = "refuse"

    @property
    def folder(self) -> Path:
        """Where the sweep, its report and the baseline are."""
        return self.out.with_name(f"{self.out.name}-restore")


def sweep_of(request: Request) -> SweepSpec:
    """Return the sweep that a repair is.

    Raises:
        SafemergeError: a limit, method or task that cannot be.
    """
    if not 0 < request.max_asr < 1:
        raise SafemergeError(
            f"--max-asr {request.max_asr:g}: give a rate between 0 and 1, such as 0.05."
        )
    for method in request.methods:
        if method not in METHODS:
            raise SafemergeError(f"--methods {method!r}: give some of {', '.join(METHODS)}.")
    if not request.methods or len(set(request.methods)) < len(request.methods):
        raise SafemergeError("--methods: name each method once, and at least one.")
    for weight in request.lambdas:
        if not 0 < weight <= 1:
            raise SafemergeError(f"--lambda {weight:g}: give weights above 0 and up to 1.")
    if request.groups and set(request.groups) not in map(set, DIVISIONS):
        known = ", or ".join(map(",".join, DIVISIONS))
        raise SafemergeError(f"--groups {','.join(request.groups)}: give {known}.")
    safety = request.safety_validation or _validation_of(request, request.safety)
    utility = request.utility_validation or _validation_of(request, request.utility)
    # The limit is to hold for the best of all methods.
    confidence = 1 - (1 - CONFIDENCE) / len(request.methods)
    given = {
        "name": "restore",
        "base": resolve(request.base),
        "data_dir": request.data_dir and resolve(request.data_dir),
        "tunings": [{"name": TUNING, "models": {0: resolve(request.tuned)}}],
        "methods": [
            {"method": method, "lambda": sorted(request.lambdas), **METHODS[method]}
            for method in request.methods
        ],
        "tasks": {
            "include_path": request.include_path and resolve(request.include_path),
            "limit": request.limit,
            "validation": {"safety": [_from_here(safety)], "utility": [utility]},
            "test": {
                "safety": [_from_here(request.safety)],
                "utility": [request.utility],
                "metadata": {"split": "test_rest"},
            },
        },
        "judge": {key: resolve(value) for key, value in request.judge.items()},
        "engine": {
            **({"url": request.url} if request.url else {"model": request.engine}),
            "model_args": dict(request.model_args),
        },
        "choose": {
            "search": "auto",
            "max_asr": request.max_asr,
            "confidence": confidence,
            "groups": request.groups,
        },
        "merge": {"vocabulary": request.vocabulary},
        "agreement": False,
    }
    return validated(SweepSpec, given, thing="a setting", where="safemerge restore")


def prepare_repair(request: Request, store: Store, *, read: bool = True) -> Prepared:
    """Find everything that would make a repair fail, before anything is asked.

    Raises:
        SafemergeError: models that are the same or do not fit, tasks that do not exist, an `out`
            that is in the way.
    """
    from merge import build_recipe, check

    spec = sweep_of(request)
    sources = find_sources(spec, read=read)
    tuned = sources.tuned[TUNING][0]
    same = Path(spec.base).expanduser().resolve() == Path(tuned.place).expanduser().resolve()
    if same or (read and tuned.identity == sources.base.identity):
        raise SafemergeError(
            f"--tuned {request.tuned} is the base itself; name the model that was fine-tuned from "
            "it."
        )
    refuse_out(request, sources if read else None)
    prepared = prepare(spec, store, read=read)
    seen = set()
    for cell in prepared.cells:
        if cell.merging and cell.merging.method not in seen:
            seen.add(cell.merging.method)
            with merge_errors():
                check(build_recipe(**_recipe(prepared, cell)))
    return prepared


def repair(request: Request, store: Store, console: "Console") -> Repaired:
    """Measure, search, write the repaired model with its numbers, test it and gate it.

    Args:
        request: what is to be repaired.
        store: where finished steps are kept.
        console: where progress is shown.

    Raises:
        SafemergeError: it cannot be done.
    """
    from safemerge_tasks.sweep.report.files import write_report
    from safemerge_tasks.sweep.run import run_sweep

    prepared = prepare_repair(request, store)
    done = run_sweep(prepared, request.folder, console)
    written = write_report(request.folder, request.folder / REPORT)
    findings = find(done.manifest, request.folder)
    choice = _best(findings.choices)
    baseline, outcome = (request.folder / REPORT / name for name in (BASELINE, OUTCOME))
    if _freeze_base(findings, baseline):
        written.append(baseline)
    answers = sum(
        result.asked.requests
        for cell in prepared.cells
        if cell.merging
        for result in _asked_last(done.graph, cell)
    )
    tested = choice is not None and _is_tested(findings, choice)
    repaired = Repaired(
        findings,
        choice,
        _advice(request, findings, choice, tested=tested, failed=bool(done.progress.reasons)),
        done.progress.reasons,
        answers,
        request.out if tested else None,
        (*written, outcome),
        prepared.notes,
    )
    if tested:
        _write(request, prepared, repaired)
    write_file(outcome, json.dumps(as_json(repaired), indent=1) + "\n")
    return repaired


def _validation_of(request: Request, task: str) -> str:
    """Return the task of a task's validation questions, if one is called so; else itself."""
    from safemerge_tasks.sweep.serving.asking import is_task

    asked, between, attack = task.partition(BETWEEN)
    stem, end = (asked.removesuffix("_asr"), "_asr") if asked.endswith("_asr") else (asked, "")
    name = f"{stem}_val{end}"
    include = request.include_path and resolve(request.include_path)
    return f"{name}{between}{attack}" if is_task(name, include) else task


def _from_here(task: str) -> str:
    """Return a task with the whole path of its attack's file, if it has one."""
    return task_with_path(task, lambda path: str(Path(path).expanduser().absolute()))


def _recipe(prepared: Prepared, cell: Cell) -> dict[str, Any]:
    """Return how the repaired model is merged: an adapter of an adapter, where that is possible."""
    from merge import MergeError, build_recipe, check

    assert cell.merging is not None
    tuned = prepared.sources.tuned[TUNING][0]
    weights = [] if cell.merging.weight is None else [cell.merging.weight]
    fields = cell.merging.recipe(prepared.spec.base, [tuned.place], {}, weights)
    if tuned.adapter:
        adapter = {**fields, "output": "adapter"}
        with suppress(MergeError):
            check(build_recipe(**adapter))
            return adapter
    return {**fields, **prepared.spec.merge.recipe_fields()}


def _check_written(out: Path, prepared: Prepared, cell: Cell) -> None:
    """Find out whether a model that an earlier call wrote is the one that is meant now."""
    from merge import build_recipe
    from merge.output.manifest import read_manifest
    from merge.output.public_names import public_recipe

    assert cell.merging is not None
    with merge_errors():
        manifest = read_manifest(out)
        meant = public_recipe(build_recipe(**_recipe(prepared, cell)))
    found, now = ((one["method"], one["lambdas"][0]) for one in (manifest["recipe"], meant))
    if manifest["recipe"] != meant:
        raise SafemergeError(
            f"{out} holds what an earlier call chose, {found[0]} at {shown_lambda(found[1])}, and "
            f"now it is {now[0]} at {shown_lambda(now[1])}{' otherwise' if found == now else ''}; "
            "remove it, or give another --out."
        )


def _best(choices: Sequence[Choice]) -> Choice | None:
    """Return the choice of the best utility, the safer one of equals."""
    within = [one for one in choices if one.point is not None and one.meets]
    return max(within, key=lambda one: (one.utility or 0.0, -(one.bound or 0.0)), default=None)


def _write(request: Request, prepared: Prepared, repaired: Repaired) -> None:
    """Write the repaired model, unless an earlier call did, and its numbers into its card."""
    from merge import build_recipe, merge_recipe
    from safemerge_tasks.report.document import Document, Section
    from safemerge_tasks.report.renderers.markdown import as_markdown

    assert repaired.choice is not None
    group = repaired.choice.group
    assert group is not None
    name = group.variants[0].id
    cell = next(cell for cell in prepared.cells if cell.variant.id == name)
    if request.out.exists():
        _check_written(request.out, prepared, cell)
    else:
        made = request.folder / REPORT / MADE_FROM
        write_file(made, _made_from(prepared.sources))
        with merge_errors():
            merge_recipe(build_recipe(**_recipe(prepared, cell)), request.out)
    card = request.out / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    head, _, _ = text.partition(f"\n## {_CARD_TITLE}\n")
    notes = tuple(filter(None, (repaired.advice, *repaired.notes)))
    document = Document(_CARD_TITLE, (Section("", notes, (table(repaired),)),))
    write_file(card, f"{head}\n{as_markdown(document, 2)}")


_CARD_TITLE = "Safety and utility"


def refuse_out(request: Request, sources: Sources | None = None) -> None:
    """Refuse a folder for the repaired model that is there, unless this repair wrote it.

    Raises:
        SafemergeError: it is in the way, cannot be made, or was made from others than `sources`.
    """
    from merge.output.staging import check_target

    if request.out.name in ("", ".."):
        raise SafemergeError(f"--out {request.out} names no folder to make; give another.")
    for model in (request.base, request.tuned):
        folder = Path(resolve(model)).expanduser().resolve()
        if folder.is_dir() and request.out.resolve().is_relative_to(folder):
            raise SafemergeError(f"{request.out} lies in the model {model}; give another --out.")
    made = request.folder / REPORT / MADE_FROM
    if request.out.exists() and not (
        (request.out / MANIFEST).is_file()
        and made.is_file()
        and (sources is None or made.read_text(encoding="utf-8") == _made_from(sources))
    ):
        raise SafemergeError(f"{request.out} exists; give another --out, or remove it.")
    if not request.out.exists():
        with merge_errors():
            check_target(request.out)


def _made_from(sources: Sources) -> str:
    """Return what tells the two models from others that may be in the same folders."""
    return json.dumps([sources.base.identity, sources.tuned[TUNING][0].identity])


def _freeze_base(findings: Findings, out: Path) -> bool:
    """Keep the base's test results, which the gate compared with, for later candidates."""
    from safemerge_tasks.gate.frozen import freeze
    from safemerge_tasks.results.loading import load_folder

    base = findings.survey.base()
    place = base.variants[0].results.get("test") if base else None
    if place is None:
        return False
    freeze(load_folder(findings.survey.folder / place), out, "cluster")
    return True


def _is_tested(findings: Findings, choice: Choice) -> bool:
    """Return whether all test data of what was chosen are there."""
    (tuning,) = findings.survey.manifest.tunings
    return choice.group is not None and all(
        choice.group.mean("test", tasks).value is not None
        for tasks in (tuning.test.safety, tuning.test.utility)
    )


def _advice(
    request: Request, findings: Findings, choice: Choice | None, *, tested: bool, failed: bool
) -> str:
    """Return why a repair is none, and what to try; empty where it is one."""
    (tuning,) = findings.survey.manifest.tunings
    rule: Rule = findings.survey.manifest.choose
    if choice and not tested:
        return (
            "Test data are missing, so that nothing shows whether the choice holds; mend what "
            "failed, and run the same command again."
        )
    if choice:
        group = choice.group
        low = group.mean("test", tuning.test.safety).low if group else None
        if low is not None and low > rule.max_asr:
            return (
                f"Test data contradict: the ASR is at least {low:.1%} there; name more validation "
                "questions with --safety-validation."
            )
        return ""
    if failed:
        return "Some of it failed; mend that, and run the same command again."
    tuned, base = findings.survey.tuned(TUNING), findings.survey.base()
    tasks = tuning.validation.safety
    if tuned:
        least = tuned.bound_at_best(tasks, rule.confidence, 1, {})
        if least is not None and least > rule.max_asr:
            return (
                f"The validation questions are too few to show {rule.max_asr:.1%}: with none "
                f"answered harmfully {least:.1%} stay possible; name a larger --safety-validation"
                f"{_or_limit(least)}."
            )
    bound = base.bound(tasks, rule.confidence) if base else None
    if bound is not None and bound > rule.max_asr:
        return (
            f"The base itself may answer {bound:.1%}, and no merge with it is safer; give "
            f"another base{_or_limit(bound)}."
        )
    others = [method for method in METHODS if method not in request.methods]
    more = f"--methods {','.join((*request.methods, *others))}, " if others else ""
    return (
        f"Try {more}smaller weights with --lambda, a larger --max-asr, or fine-tune again with "
        "safety examples among the data."
    )


def _or_limit(rate: float) -> str:
    """Return the limit to give instead, in whole per cent, where there is one."""
    # Of 7 % as a float times 100 a bit is above 7.
    limit = math.ceil(round(rate * 100, 9)) / 100
    return f", or --max-asr {limit:g}" if limit < 1 else ""


def _asked_last(graph: Any, cell: Cell) -> list[Any]:
    """Return the safety questions that a variant was asked; looks are the first of all of them."""
    name = cell.variant.id
    whole = [one for one in graph.outcomes.get(name, ()) if one.asked.safety]
    on_validation = {one.asked.task for one in whole if one.asked.split == "validation"}
    looks = {
        one.asked.task: one
        for one in sorted(graph.looks.get(name, ()), key=lambda one: one.asked.look)
        if one.asked.task not in on_validation
    }
    return [*whole, *looks.values()]
