"""Recording what lm-eval asks a model, without a model."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
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
        return Recording(evaluation, requests, _prompt_tokens(model, requests), model.scoring)
    raise SafemergeError(f"The tasks {', '.join(evaluation.tasks)} ask a model nothing.")


def _prompt_tokens(model: Any, requests: Sequence[Request]) -> int:
    """Count tokens; equal prompts, as repeats have, are tokenised once."""
    texts = Counter(
        "".join(argument for argument in request.arguments if isinstance(argument, str))
        for request in requests
    )
    return sum(len(model.tok_encode(text)) * times for text, times in texts.items() if text)
