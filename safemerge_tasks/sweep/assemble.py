"""A sweep's output folder: lm-eval's files of every variant, and `sweep.json` over them."""

import shutil
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.graph import RESPONSES, RESULTS, CellResult
from safemerge_tasks.sweep.manifest import SPLITS, Agreement, Manifest, Split, Tuning, Variant
from safemerge_tasks.sweep.prepare import Prepared
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.steps import LIBRARIES, version_of


def assemble(prepared: Prepared, progress: Progress, out: Path) -> Manifest:
    """Put the results that are there into `out` and write `sweep.json`."""
    graph, store = prepared.graph, prepared.store
    variants = []
    provenance: dict[str, Any] = {}
    for cell in prepared.cells:
        name = cell.variant.id
        folder = Path("results") / name
        outcomes = graph.outcomes[name]
        failures = [
            f"{one.asked.task}: {progress.reasons[one.final]}"
            for one in outcomes
            if one.final in progress.reasons
        ]
        complete: dict[Split, str] = {}
        for split in SPLITS:
            mine = [one for one in outcomes if one.asked.split == split]
            _copy(prepared, mine, out / folder / split)
            if mine and all(store.done(one.final) for one in mine):
                complete[split] = str(folder / split)
        provenance[name] = [_origin(prepared, one) for one in outcomes]
        variants.append(
            cell.variant.model_copy(
                update={
                    "served": graph.served.get(name, cell.variant.served),
                    "results": complete,
                    "failure": "; ".join(failures) or None,
                }
            )
        )
    manifest = _manifest(prepared, variants, provenance)
    manifest.write(out)
    return manifest


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


def _manifest(prepared: Prepared, variants: list[Variant], provenance: dict[str, Any]) -> Manifest:
    from safemerge_tasks.judges import JudgeSettings

    spec = prepared.spec
    settings = JudgeSettings.from_metadata(spec.judge)
    libraries = sorted({name for names in LIBRARIES.values() for name in names})
    return Manifest(
        name=spec.name,
        base=spec.base,
        judge=settings.name,
        choose=spec.choose,
        test_points=spec.tested_points,
        tunings=tuple(
            Tuning(name=name, validation=tasks["validation"], test=tasks["test"])
            for name, tasks in prepared.questions.tasks.items()
        ),
        variants=tuple(variants),
        agreement=tuple(_agreements(prepared)),
        provenance={
            "sweep": spec.model_dump(mode="json"),
            "versions": {name: version_of(name) for name in libraries},
            "base": prepared.sources.base.identity,
            "judge": settings.model_dump(mode="json", exclude_defaults=True),
            "results": provenance,
        },
    )


def _agreements(prepared: Prepared) -> list[Agreement]:
    from safemerge_tasks.sweep.serving.responses import compare_responses

    found: dict[tuple[str, Split], list[int]] = {}
    for pair in prepared.graph.pairs:
        places = [prepared.store.folder(key) / RESPONSES for key in (pair.adapter, pair.checkpoint)]
        if all(place.is_file() for place in places):
            measured = compare_responses(*places)
            sums = found.setdefault((pair.variant, pair.split), [0, 0])
            sums[0] += measured.equal
            sums[1] += measured.total
    return [
        Agreement(variant=variant, split=split, equal=equal, total=total)
        for (variant, split), (equal, total) in found.items()
    ]
