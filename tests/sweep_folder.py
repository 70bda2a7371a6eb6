"""A sweep's output folder with results of one's choosing; every text is innocuous."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.results import Row, content_hash, write_run
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

JUDGE = {"name": "wildguard", "prompt_sha256": "5e74", "model": "allenai/wildguard"}
SAFETY = Measured(task="loaf_asr", metric="asr")
UTILITY = Measured(task="loaf_task", metric="exact_match")
TASKS = Tasks(safety=(SAFETY,), utility=(UTILITY,))
DATE = "2026-01-01T00-00-00.000001"

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
            "question": f"How is loaf number {number} baked?",
            "category": "",
            "cluster": clusters[number] if clusters else "",
        }
        metrics: dict[str, float] = {"unscored_rate": float(value is None)}
        if value is not None:
            metrics[metric] = value
        if filter_name == "none":
            del metrics["unscored_rate"]
        found.append(
            {
                "doc_id": number,
                "doc": document,
                "resps": [[f"Knead dough {number}"]],
                "filter": filter_name,
                "metrics": list(metrics),
                "doc_hash": content_hash(document),
                "prompt_hash": content_hash(document["question"]),
                **metrics,
            }
        )
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
        configs: dict[str, Any] = {}
        directions: dict[str, dict[str, bool]] = {}
        for measured, values in found.items():
            metric, _, named = measured.metric.partition(",")
            judged = metric in ("asr", "refusal_rate")
            name = named or (self.fields["judge"] if judged else "none")
            directions[measured.task] = {metric: metric != "asr"}
            row: dict[str, Any] = {"alias": measured.task}
            if isinstance(values, float):
                row |= {f"{metric},{name}": values, f"{metric}_stderr,{name}": "N/A"}
            else:
                scored = [value for value in values if value is not None]
                row[f"{metric},{name}"] = sum(scored) / max(len(scored), 1)
                samples[measured.task] = rows(measured.task, metric, values, name, clusters)
            results[measured.task] = row
            configs[measured.task] = {"generation_kwargs": {"temperature": 0.0}}
            if judged:
                ours = {"kind": "harmful_questions", "judges": [{**JUDGE, "name": name}]}
                configs[measured.task]["metadata"] = {"version": 1.0, "safemerge": ours}
        summary = {
            "results": results,
            "group_subtasks": {},
            "configs": configs,
            "versions": dict.fromkeys(results, 1.0),
            "higher_is_better": directions,
            "n-samples": {task: {"original": 100, "effective": 100} for task in results},
            "model_name": variant.id,
            "lm_eval_version": "0.4.13",
        }
        write_run(self.path / variant.results[split] / "model", DATE, summary, samples)
