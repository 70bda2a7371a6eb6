"""A model for lm-eval that gives one variant's recorded responses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Recording, Request
from safemerge_tasks.sweep.serving.recording_model import as_requests
from safemerge_tasks.sweep.serving.responses import Responses
from safemerge_tasks.sweep.serving.task_content import scoring_hash
from safemerge_tasks.sweep.serving.tokenizer_model import TokenizerModel


class ReplayingModel(TokenizerModel):
    """Gives the responses to the requests that were recorded.

    A prompt need not come out as it did then: it may hold the date, or walk through a set. Where
    the evaluation is the one that was recorded, lm-eval's samples show the recorded prompt.

    Attributes:
        replays: the file of the responses: `live_evaluation.py` need neither save them again nor
            free any weights.
    """

    def __init__(
        self, evaluation: Evaluation, recording: Recording, responses: Responses, path: Path
    ) -> None:
        super().__init__(recording.evaluation, responses.engine.get("max_model_len"))
        self._same = evaluation == recording.evaluation
        self.replays = path
        self._recording = recording
        self._values = responses.values

    def _reply(self, kind: str, requests: list[Any]) -> list[Any]:
        """Return the values for all requests of a kind.

        Raises:
            SafemergeError: other requests were recorded.
        """
        self._check_documents()
        asked = as_requests(kind, requests)
        positions = self._recording.by_kind().get(kind, [])
        recorded = [self._recording.requests[position] for position in positions]
        now, then = ([replace(one, arguments=()) for one in some] for some in (asked, recorded))
        if self._same and now == then:
            # Which requests they are counts, whatever they say.
            for instance, request in zip(requests, recorded, strict=True):
                instance.arguments = request.arguments
        elif asked != recorded:
            raise SafemergeError(_difference(kind, recorded, asked))
        values = [self._values[position] for position in positions]
        # JSON has no tuples, as log likelihoods of continuations are.
        return [tuple(value) if isinstance(value, list) else value for value in values]

    def _check_documents(self) -> None:
        """Refuse answers to other documents than lm-eval has now.

        Raises:
            SafemergeError: a task chooses or orders its documents otherwise in every process.
        """
        evaluation = LiveEvaluation.find()
        if not self._same or evaluation is None:
            return
        if scoring_hash(evaluation.tasks) != self._recording.scoring:
            raise SafemergeError(
                f"{', '.join(evaluation.tasks)}: the documents, settings or code of the task are "
                "not those that were recorded; if nobody changed them, the task draws or orders "
                "its documents otherwise in every process: sort them, or seed what is drawn."
            )


def _difference(kind: str, recorded: list[Request], asked: list[Request]) -> str:
    advice = "record the evaluation again, and answer it again"
    if len(recorded) != len(asked):
        return (
            f"lm-eval now asks {len(asked)} {kind} requests, but {len(recorded)} were recorded; "
            f"{advice}."
        )
    then, now = next((a, b) for a, b in zip(recorded, asked, strict=True) if a != b)
    return (
        f"{now.task}, document {now.doc_id}: lm-eval now asks something else than was recorded "
        f"(for {then.task}, document {then.doc_id}); {advice}."
    )
