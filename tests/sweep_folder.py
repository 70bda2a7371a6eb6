"""A sweep's output folder with results of one's choosing; every text is innocuous."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.results import Row, write_run
from safemerge_tasks.sweep.manifest import (
    Agreement,
    Manifest,
    Measured,
    Rule,
    Split,
    Tasks,
    Tuning,
    Variant,
)
from tests.lm_eval_files import DATE, JUDGE, documents_of, mean_of, sample_row, summary_of

SAFETY = Measured(task="loaf_asr", metric="asr")
UTILITY = Measured(task="loaf_task", metric="exact_match")
TASKS = Tasks(safety=(SAFETY,), utility=(UTILITY,))

Outcomes = Sequence[float | None]


def outcomes(hits: int, total: int, unscored: int = 0) -> list[float | None]:
    """Return that many hits first, then misses, then questions without a verdict."""
    return [1.0] * hits + [0.0] * (total - hits - unscored) + [None] * unscored


def rows(
    task: str, metric: str, values: Outcomes, filter_name: str, clusters: Sequence[str] = ()
) -> list[Row]:
    """Return a samples file's rows; None has no verdict."""
    found = []
    for number, value in enumerate(values):
        document = {
            "id": f"{task}-{number:04d}",
            "category": "",
            "cluster": clusters[number] if clusters else "",
        }
        metrics: dict[str, float] = {"unscored_rate": float(value is None)}
        if value is not None:
            metrics[metric] = value
        if filter_name == "none":
            del metrics["unscored_rate"]
        found.append(sample_row(number, filter_name, metrics, document))
    return found


class SweepFolder:
    """Writes lm-eval's folders, and the manifest at the end.

    Attributes:
        path: the sweep's output folder.
        fields: of the manifest, to be changed at will.
        variants: in the manifest's order.
    """

    def __init__(self, path: Path, **fields: Any) -> None:
        self.path = path
        self.fields: dict[str, Any] = {
            "name": "loaves",
            "base": "models/aligned",
            "judge": "wildguard",
            "choose": Rule(),
            "tunings": (Tuning(name="doctor", validation=TASKS, test=TASKS),),
            **fields,
        }
        self.variants: list[Variant] = []
        self.agreement: list[Agreement] = []

    def add(
        self,
        kind: str,
        results: Mapping[Split, Mapping[Measured, Outcomes | float]],
        *,
        seeds: Sequence[int] = (),
        tuning: str | None = "doctor",
        method: str | None = None,
        label: str | None = None,
        failure: str | None = None,
        clusters: Sequence[str] = (),
        served: str = "checkpoint",
        **point: float,
    ) -> Variant:
        """Add a variant with results: outcomes of every question, or a value without samples."""
        number = len(self.variants)
        variant = Variant(
            id=f"v{number:03d}-{kind}",
            kind=kind,
            tuning=None if kind == "base" else tuning,
            method=method,
            label=label,
            seeds=tuple(seeds),
            point={name.rstrip("_"): value for name, value in point.items()},
            served=served,
            results={split: f"results/v{number:03d}/{split}" for split in results},
            failure=failure,
        )
        self.variants.append(variant)
        for split, found in results.items():
            self._write(variant, split, found, clusters)
        return variant

    def merged(
        self,
        method: str,
        seed: int | Sequence[int],
        hits: int,
        solved: int,
        *,
        total: int = 100,
        **more: Any,
    ) -> Variant:
        """Add a merge with the same counts on both splits."""
        found = {SAFETY: outcomes(hits, total), UTILITY: outcomes(solved, total)}
        seeds = (seed,) if isinstance(seed, int) else seed
        return self.add(
            "merged", {"validation": found, "test": found}, seeds=seeds, method=method, **more
        )

    def write(self) -> Manifest:
        """Write the manifest and return it."""
        manifest = Manifest(
            **self.fields, variants=tuple(self.variants), agreement=tuple(self.agreement)
        )
        self.path.mkdir(parents=True, exist_ok=True)
        manifest.write(self.path)
        return manifest

    def _write(
        self,
        variant: Variant,
        split: Split,
        found: Mapping[Measured, Outcomes | float],
        clusters: Sequence[str],
    ) -> None:
        samples: dict[str, list[Row]] = {}
        results: dict[str, dict[str, Any]] = {}
        kept: dict[str, dict[str, Any]] = {}
        directions: dict[str, dict[str, bool]] = {}
        for measured, values in found.items():
            metric, _, named = measured.metric.partition(",")
            judged = metric in ("asr", "refusal_rate")
            name = named or (self.fields["judge"] if judged else "none")
            directions[measured.task] = {metric: metric != "asr"}
            if isinstance(values, float):
                row = {f"{metric},{name}": values, f"{metric}_stderr,{name}": "N/A"}
            else:
                samples[measured.task] = rows(measured.task, metric, values, name, clusters)
                row = {f"{metric},{name}": mean_of(samples[measured.task], metric)}
            results[measured.task] = row
            if judged:
                judges = [{**JUDGE, "name": name}]
                kept[measured.task] = {"kind": "harmful_questions", "judges": judges}
        summary = summary_of(
            results,
            {task: {"generation_kwargs": {"temperature": 0.0}} for task in results},
            ours=kept,
            questions={task: documents_of(rows) for task, rows in samples.items()},
        )
        summary |= {"higher_is_better": directions, "model_name": variant.id}
        write_run(self.path / variant.results[split] / "model", DATE, summary, samples)
