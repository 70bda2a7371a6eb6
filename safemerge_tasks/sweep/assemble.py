"""A sweep's output folder: lm-eval's files of every variant, and `sweep.json` over them."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.graph import RESPONSES, RESULTS, CellResult
from safemerge_tasks.sweep.manifest import SPLITS, Agreement, Manifest, Split, Tuning, Variant
from safemerge_tasks.sweep.prepare import Prepared
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.steps import LIBRARIES, version_of


def assemble(prepared: Prepared, progress: Progress, out: Path) -> Manifest:
    """Put the results that are there into `out` and write `sweep.json`."""
    from safemerge_tasks.judges import JudgeSettings

    spec, settings = prepared.spec, JudgeSettings.from_metadata(prepared.spec.judge)
    libraries = sorted({name for names in LIBRARIES.values() for name in names})
    manifest = Manifest(
        name=spec.name,
        base=spec.base,
        judge=settings.name,
        choose=spec.choose,
        test_points=spec.tested_points,
        tunings=tuple(
            Tuning(name=name, validation=tasks["validation"], test=tasks["test"])
            for name, tasks in prepared.questions.tasks.items()
        ),
        variants=tuple(
            _with_results(cell.variant, prepared, progress, out) for cell in prepared.cells
        ),
        agreement=tuple(_agreements(prepared)),
        provenance={
            "sweep": spec.model_dump(mode="json"),
            "versions": {name: version_of(name) for name in libraries},
            "base": prepared.sources.base.identity,
            "judge": settings.model_dump(mode="json", exclude_defaults=True),
            "results": {
                name: [_origin(prepared, one) for one in outcomes]
                for name, outcomes in prepared.graph.outcomes.items()
            },
        },
    )
    manifest.write(out)
    return manifest


def _with_results(variant: Variant, prepared: Prepared, progress: Progress, out: Path) -> Variant:
    """Copy a variant's results, and return it with where they are and why others are missing."""
    outcomes = prepared.graph.outcomes[variant.id]
    failures = [
        f"{one.asked.task}: {progress.reasons[one.final]}"
        for one in outcomes
        if one.final in progress.reasons
    ]
    complete: dict[Split, str] = {}
    for split in SPLITS:
        folder = Path("results") / variant.id / split
        mine = [one for one in outcomes if one.asked.split == split]
        _copy(prepared, mine, out / folder)
        if mine and all(prepared.store.done(one.final) for one in mine):
            complete[split] = str(folder)
    served = prepared.graph.served.get(variant.id, variant.served)
    failure = "; ".join(failures) or None
    return variant.model_copy(update={"served": served, "results": complete, "failure": failure})


def _copy(prepared: Prepared, outcomes: list[CellResult], folder: Path) -> None:
    """Copy results, unless they are there; those of an earlier version of the sweep go."""
    wanted = {one.asked.task: one.final for one in outcomes}
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in wanted:
            shutil.rmtree(old)
    for task, key in wanted.items():
        target, source = folder / task, prepared.store.folder(key)
        mark = target / ".from"
        if mark.is_file() and mark.read_text(encoding="ascii") == key:
            continue
        shutil.rmtree(target, ignore_errors=True)
        if source.is_dir():
            # Whoever reads meanwhile finds all of it or nothing.
            half = target.with_name(f".{task}.tmp")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(source / RESULTS, half)
            (half / mark.name).write_text(key, encoding="ascii")
            half.rename(target)


def _origin(prepared: Prepared, outcome: CellResult) -> dict[str, Any]:
    store = prepared.store
    record = store.record(outcome.answer)
    return {
        "task": outcome.asked.task,
        "split": outcome.asked.split,
        "requests": outcome.asked.digest,
        "answered by": outcome.answer,
        "scored by": outcome.final,
        "host": record.get("host"),
        "finished": record.get("finished"),
        "versions": record.get("versions"),
    }


def _agreements(prepared: Prepared) -> list[Agreement]:
    from safemerge_tasks.sweep.serving.responses import compare_responses

    found: dict[tuple[str, Split], Counter[str]] = {}
    for pair in prepared.graph.pairs:
        places = [prepared.store.folder(key) / RESPONSES for key in (pair.adapter, pair.checkpoint)]
        if all(place.is_file() for place in places):
            sums = found.setdefault((pair.variant, pair.split), Counter())
            sums.update(compare_responses(*places)._asdict())
    return [
        Agreement(variant=variant, split=split, **sums) for (variant, split), sums in found.items()
    ]
