"""Have many variants answer recorded requests."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.recording import Recording

__all__ = ["Asked", "EngineSettings", "Listener", "answer_with_adapters", "answer_with_checkpoints"]


def answer_with_adapters(
    base: str,
    asked: Sequence[Asked],
    engine: EngineSettings,
    listener: Listener,
) -> None:
    """Have the base and its LoRA adapters answer, with vLLM or a server all of them in one batch.

    Args:
        base: folder or Hub id of the model that the adapters belong to.
        asked: variants, each with an adapter or, for the base itself, without.
        engine: how to run the model.
        listener: told of each variant.

    Raises:
        SafemergeError: the engine's settings do not fit; before the engine starts.
    """
    _check(asked)
    wrong = [one.name for one in asked if one.checkpoint or one.merge]
    if wrong:
        raise SafemergeError(f"{wrong[0]} is a checkpoint; answer_with_checkpoints serves it.")
    _backend(engine).adapters(base, _with_recordings(asked), engine, listener)


def answer_with_checkpoints(
    asked: Sequence[Asked], engine: EngineSettings, listener: Listener, scratch: Path
) -> None:
    """Have whole checkpoints and merges answer, one after the other; see `answer_with_adapters`.

    With vLLM one engine serves all of one shape: their weights are loaded in place, and tensors of
    merges go straight into it. A server loads checkpoints in place as well.

    Args:
        asked: variants, each with a checkpoint or a merge.
        engine: how to run the model.
        listener: told of each variant.
        scratch: a folder for what is there for a while, one merged checkpoint at most.
    """
    _check(asked)
    wrong = [one.name for one in asked if not (one.checkpoint or one.merge)]
    if wrong:
        raise SafemergeError(f"{wrong[0]} is no checkpoint; answer_with_adapters serves it.")
    _backend(engine).checkpoints(_with_recordings(asked), engine, listener, scratch)


def _check(asked: Sequence[Asked]) -> None:
    names = [one.name for one in asked]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SafemergeError(f"{twice[0]} is asked twice; give every variant a name of its own.")


def _with_recordings(asked: Sequence[Asked]) -> list[tuple[Asked, Recording]]:
    recordings = {path: Recording.load(path) for path in {one.recording for one in asked}}
    return [(one, recordings[one.recording]) for one in asked]


def _backend(engine: EngineSettings) -> Any:
    if engine.model == "vllm":
        try:
            import vllm  # noqa: F401
        except ImportError as error:
            raise SafemergeError(
                "The engine vllm is not installed: run `pip install safemerge[vllm]`, or use hf."
            ) from error
        refuse_unknown("vllm")
        from safemerge_tasks.sweep.serving import vllm_answers

        return vllm_answers
    if engine.model == "hf":
        from safemerge_tasks.sweep.serving import hf_answers

        return hf_answers
    if missing := [name for name in ("aiohttp", "requests", "tenacity") if not find_spec(name)]:
        raise SafemergeError(
            f"lm-eval's API models need {missing[0]}, which is not installed: run `pip install "
            "lm-eval[api]`."
        )
    from safemerge_tasks.sweep.serving import url_answers

    return url_answers
