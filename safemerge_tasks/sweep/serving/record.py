"""Recording what lm-eval asks a model, without a model."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import token_limit
from safemerge_tasks.sweep.serving.asking import run_lm_eval
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Recording, Request
from safemerge_tasks.sweep.serving.recording_model import AllRecordedError, RecordingModel


def record(evaluation: Evaluation) -> Recording:
    """Have lm-eval build its requests; only the base's tokenizer is loaded.

    Raises:
        SafemergeError: a task is unknown, or asks something that is not text.
    """
    model = RecordingModel(evaluation)
    try:
        run_lm_eval(model, evaluation)
    except AllRecordedError:
        requests = tuple(model.requests)
        tokens = _prompt_tokens(model, requests)
        longest = max(
            count + (token_limit(request.settings) or 0)
            for count, request in zip(tokens, requests, strict=True)
        )
        return Recording(evaluation, requests, sum(tokens), model.scoring, longest)
    raise SafemergeError(f"The tasks {', '.join(evaluation.tasks)} ask a model nothing.")


def _prompt_tokens(model: Any, requests: Sequence[Request]) -> list[int]:
    """Count each prompt's tokens; equal prompts, as repeats have, are tokenised once."""
    counted = cache(lambda text: len(model.tok_encode(text)) if text else 0)
    return [
        counted("".join(argument for argument in request.arguments if isinstance(argument, str)))
        for request in requests
    ]
