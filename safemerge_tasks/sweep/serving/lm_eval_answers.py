"""Recorded requests through any of lm-eval's models."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from lm_eval.api.instance import Instance

from safemerge_tasks.sweep.serving.recording import GENERATION, Recording, Request
from safemerge_tasks.sweep.serving.responses import Responses

# What lm-eval's vLLM model starts its engine with, unless told otherwise.
DEFAULT_SEED = 1234


def answer(
    model: Any, recording: Recording, engine: Mapping[str, Any], seed: int | None
) -> Responses:
    """Return one variant's responses.

    Args:
        model: one of lm-eval's models, with the variant's weights.
        recording: what to answer.
        engine: what to keep about the model.
        seed: gives every sampled request without a seed one of its own; None: the model takes none.
    """
    values: list[Any] = [None] * len(recording.requests)
    for kind, positions in recording.by_kind().items():
        instances = [_instance(recording.requests[position], seed) for position in positions]
        answers = getattr(model, kind)(instances, disable_tqdm=True)
        for position, value in zip(positions, answers, strict=True):
            values[position] = value
    greedy = [request.greedy for request in recording.requests]
    return Responses(recording.digest, values, greedy, engine)


def versions(*libraries: str) -> dict[str, str]:
    """Return the installed versions that shape responses."""
    return {
        name: metadata.version(name) for name in ("lm_eval", "torch", "transformers", *libraries)
    }


def _instance(request: Request, seed: int | None) -> Instance:
    arguments = request.arguments
    if request.kind == GENERATION and request.samples and seed is not None:
        prompt, settings = arguments
        arguments = (prompt, {"seed": request.seed(seed), **settings})
    return Instance(
        request_type=request.kind,
        doc={},
        arguments=arguments,
        idx=request.idx,
        metadata=(request.task, request.doc_id, 1),
    )
