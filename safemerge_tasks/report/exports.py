"""A model's figures in formats of others: CycloneDX's bill of materials and Every Eval Ever."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from safemerge_tasks.report.measured import Measured, measured
from safemerge_tasks.report.printable import printable
from safemerge_tasks.report.reading import Model
from safemerge_tasks.results.labels import label

EVERY_EVAL_EVER = "0.3.0"
"""The version of its schema."""

UNKNOWN = "unknown"


def as_cyclonedx(model: Model) -> str:
    """Return a CycloneDX 1.6 bill of materials of a model with its figures, the judges as parts.

    The same results give the same bytes.
    """
    figures = _known(model)
    # A model at two revisions is two judges.
    judges = dict.fromkeys(
        (str(one.identity["model"]), str(one.identity.get("revision") or ""))
        for one in figures
        if one.identity.get("model")
    )
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            **_when(model),
            "tools": {
                "components": [
                    {"type": "application", "name": "safemerge", "version": version("safemerge")}
                ]
            },
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": printable(model.name),
                "modelCard": {
                    "modelParameters": {"task": "text-generation"},
                    "quantitativeAnalysis": {"performanceMetrics": list(map(_metric, figures))},
                    "properties": [
                        {"name": f"safemerge:{what}", "value": printable(value)}
                        for what, value in _properties(model, figures)
                    ],
                },
            },
        },
        "components": [
            {
                "type": "machine-learning-model",
                "bom-ref": f"judge-{place}",
                "name": printable(name),
                # The schema allows 1,024 characters.
                **({"version": printable(label(revision))} if revision else {}),
                "properties": [{"name": "safemerge:role", "value": "judge"}],
            }
            for place, (name, revision) in enumerate(judges)
        ],
    }
    # Of the content, so that it does not change by itself.
    serial = uuid5(NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=2) + "\n"


def as_every_eval_ever(model: Model, organization: str, relationship: str) -> str:
    """Return a record of Every Eval Ever with one result a figure.

    Args:
        model: whose.
        organization: who evaluated.
        relationship: of that to the model: first_party, third_party, collaborative or other.
    """
    name = printable(model.name)
    now = str(int(time.time()))
    summary = next(iter(model.tasks.values())).summary
    evaluated = {"evaluation_timestamp": str(int(when))} if (when := _epoch(model)) else {}
    document = {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": f"safemerge/{name}/{now}",
        "retrieved_timestamp": now,
        **evaluated,
        "source_metadata": {
            "source_name": "safemerge",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {
            "name": "lm_eval",
            "version": printable(str(summary.get("lm_eval_version") or UNKNOWN)),
            "additional_details": {"safemerge": version("safemerge")},
        },
        "model_info": {
            "name": name,
            "id": name,
            "additional_details": {"deployment_type": UNKNOWN, "model_availability": UNKNOWN},
        },
        "evaluation_results": list(map(_result, _known(model))),
    }
    return json.dumps(document, indent=2) + "\n"


def _known(model: Model) -> list[Measured]:
    """Return the figures that have a value; neither format has a word for one without."""
    return [
        one
        for one in measured(model)
        if one.measure.value is not None and math.isfinite(one.measure.value)
    ]


def _metric(one: Measured) -> dict[str, Any]:
    measure = one.measure
    found: dict[str, Any] = {
        "type": printable(f"{one.metric} ({one.called})"),
        "value": repr(measure.value),
        "slice": printable(f"{one.task.name}, by {one.judge}"),
    }
    if measure.low is not None and measure.high is not None:
        found["confidenceInterval"] = {
            "lowerBound": repr(measure.low),
            "upperBound": repr(measure.high),
        }
    return found


def _properties(model: Model, figures: Sequence[Measured]) -> Iterator[tuple[str, str]]:
    yield "confidence", "0.95"
    for one in figures:
        about = f"{one.task.name}/{one.judge}/{one.metric}"
        yield f"{printable(about)}/questions", str(one.measure.total)
        yield f"{printable(about)}/unscored", str(one.measure.unscored)
    for task in model.tasks.values():
        if task.result.settings.get("version") is not None:
            yield f"{printable(task.name)}/version", str(task.result.settings["version"])


def _result(one: Measured) -> dict[str, Any]:
    measure = one.measure
    uncertainty: dict[str, Any] = {"num_samples": measure.scored}
    if measure.low is not None and measure.high is not None:
        uncertainty["confidence_interval"] = {
            "lower": measure.low,
            "upper": measure.high,
            "confidence_level": 0.95,
            "method": printable(measure.source),
        }
    rate = measure.hits is not None
    return {
        "evaluation_result_id": printable(f"{one.task.name}/{one.judge}/{one.metric}"),
        "evaluation_name": printable(one.task.name),
        "source_data": {"dataset_name": printable(one.task.name), "source_type": "other"},
        "metric_config": {
            "evaluation_description": one.kind,
            "metric_id": printable(one.metric),
            "metric_name": printable(one.called),
            "lower_is_better": one.lower_is_better,
            "score_type": "continuous",
            # Of a metric that is no rate nothing here knows the ends.
            "min_score": 0 if rate else None,
            "max_score": 1 if rate else None,
            **({"metric_unit": "proportion"} if rate else {}),
            "additional_details": _texts({"judge": one.judge, **one.identity}),
        },
        "score_details": {
            "score": measure.value,
            "details": _texts({"total": measure.total, "unscored": measure.unscored}),
            "uncertainty": uncertainty,
        },
        "generation_config": {
            "additional_details": _texts(
                {"generation_kwargs": one.task.result.settings.get("generation")}
            )
        },
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as the text that both formats want, without those that are not there."""
    return {
        printable(str(key)): printable(value if isinstance(value, str) else json.dumps(value))
        for key, value in values.items()
        if value is not None
    }


def _epoch(model: Model) -> float | None:
    found = [task.summary.get("date") for task in model.tasks.values()]
    dates = [one for one in found if isinstance(one, int | float) and 0 < one < 1e11]
    return max(dates, default=None)


def _when(model: Model) -> dict[str, str]:
    when = _epoch(model)
    if when is None:
        return {}
    return {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))}
