"""A model for lm-eval that notes what it is asked and answers nothing."""

import json
from collections import Counter
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Request
from safemerge_tasks.sweep.serving.task_content import scoring_hash
from safemerge_tasks.sweep.serving.tokenizer_model import TokenizerModel


class AllRecordedError(Exception):
    """Ends lm-eval's run: every request is noted, and there is nothing to score."""


class RecordingModel(TokenizerModel):
    """Notes requests in the order in which lm-eval asks them."""

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(evaluation)
        self.requests: list[Request] = []
        self.scoring = ""

    def _reply(self, kind: str, requests: list[Any]) -> list[Any]:
        """Note requests; what is returned is looked at by nobody."""
        self.requests += as_requests(kind, requests)
        evaluation = LiveEvaluation.find()
        assert evaluation is not None
        asked = {
            instance.request_type
            for task in evaluation.tasks.values()
            for instance in task.instances
        }
        # lm-eval asks kind by kind; after the last one it would go on to score.
        if asked <= {request.kind for request in self.requests}:
            self.scoring = scoring_hash(evaluation.tasks)
            raise AllRecordedError
        return [None] * len(requests)


def as_requests(kind: str, instances: list[Any]) -> list[Request]:
    """Return lm-eval's instances, of which a repeated one comes several times, as requests.

    Raises:
        SafemergeError: an argument is not text or plain settings.
    """
    seen: Counter[int] = Counter()
    requests = []
    for instance in instances:
        arguments = _plain(instance)
        repeat = seen[id(instance)]
        seen[id(instance)] += 1
        requests.append(
            Request(kind, instance.task_name, instance.doc_id, instance.idx, repeat, arguments)
        )
    return requests


def _plain(instance: Any) -> tuple[Any, ...]:
    try:
        return tuple(json.loads(json.dumps(list(instance.args))))
    except TypeError as error:
        raise SafemergeError(
            f"{instance.task_name}: a request is not text and settings ({error}), so it cannot be "
            "recorded; run lm_eval for each model."
        ) from error
