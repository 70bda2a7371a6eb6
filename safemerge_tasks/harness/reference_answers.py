"""lm-eval's tasks whose answers have a reference: the adapter to BERTScore and `call_match`."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from lm_eval.api.metrics import mean

from safemerge_tasks.harness.suite_task import SuiteTask, one_sentence, process_results
from safemerge_tasks.harness.task_keys import Kind
from safemerge_tasks.metrics.bertscore import BertScorer, BertScoreSettings, score_each
from safemerge_tasks.metrics.call_match import call_match
from safemerge_tasks.metrics.reference_score import HIGHER_IS_BETTER, ReferenceScore, Similarity
from safemerge_tasks.results import REFERENCE_ANSWERS
from safemerge_tasks.verdicts.unasked import why_unasked

_log = logging.getLogger(__name__)

FILTER = "bertscore"


class ReferenceAnswers(SuiteTask):
    """A suite with reference answers, scored as one batch under the filter `bertscore`.

    The encoder comes from lm-eval's `--metadata` or the environment (`BertScoreSettings`). A task
    that lists the metric `call_match` is also scored by it.
    """

    template = "_reference_answers"
    kind = Kind(frozenset(HIGHER_IS_BETTER), process_results, repeats=False)
    system_prompt_belongs_to_task = True

    def __init__(self, config: dict[str, Any]) -> None:
        config = self.over_template(config)
        with one_sentence():
            settings = BertScoreSettings.from_metadata(config.get("metadata") or {})
            self.scorer = _shared_scorer(settings)
            self.scorer.check()
        super().__init__(config)
        self.matches_calls = "call_match" in self._metric_fn_list
        self.scored_by: dict[str, Any] | None = None

    def apply_filters(self) -> None:
        """Save what the model wrote, make room for the encoder, score, and store the scores."""
        instances = self._instances
        evaluation = self.save_responses()
        if evaluation and self.scorer.uses_accelerator and not self.predict_only:
            evaluation.release_model()
        cut = [evaluation.truncated(one) if evaluation else None for one in instances]
        answers = [
            self.answer(instance, instance.resps[0], truncated=truncated)
            for instance, truncated in zip(instances, cut, strict=True)
        ]
        texts = [(answer.text or "").strip() for answer in answers]
        references = [instance.doc["reference"] for instance in instances]
        similarities, failed = self._score(texts, references)
        for instance, answer, text, reference, similarity, reason, truncated in zip(
            instances, answers, texts, references, similarities, failed, cut, strict=True
        ):
            asked = why_unasked(instance.args[0]) is None
            instance.filtered_resps[FILTER] = ReferenceScore(
                similarity=similarity if asked else None,
                empty=asked and not text,
                call=call_match(text, reference) if self.matches_calls and asked else None,
                truncated=truncated,
                unscored=reason if asked else f"the response {answer.reason}",
            ).to_json()
        if evaluation and self.scorer.uses_accelerator and evaluation.replays is None:
            # A notebook's next model needs the memory; a sweep's next variant needs the encoder.
            later = evaluation.after(self)
            if not any(getattr(task, "scorer", None) is self.scorer for task in later):
                self.scorer.close()

    def _score(
        self, texts: Sequence[str], references: Sequence[str]
    ) -> tuple[Sequence[Similarity | None], Sequence[str | None]]:
        """Return the similarities, and why there are none: a raise would lose every response."""
        if self.predict_only:
            return [None] * len(texts), ["--predict_only"] * len(texts)
        similarities, failed = score_each(self.scorer, texts, references)
        reasons = Counter(reason for reason in failed if reason is not None)
        for reason, count in reasons.most_common(3):
            _log.error(
                "%s: BERTScore failed on %d of %d answers, which stay unscored: %s",
                self.config.task,
                count,
                len(texts),
                reason,
            )
        if reasons.total() < len(texts):
            self.scored_by = self.scorer.identity()
        return similarities, failed

    def process_results(self, doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:  # noqa: ARG002
        """Return one document's metrics from its filtered response, a saved `ReferenceScore`."""
        return ReferenceScore.from_json(results[0]).metrics()

    def dump_config(self) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what shaped the scores."""
        return self.stored_config(
            {
                "kind": REFERENCE_ANSWERS,
                FILTER: self.scored_by,
                "system_prompt": self.conversation.system_prompt,
            }
        )

    def aggregation(self) -> dict[str, Any]:
        """Return the mean for every metric."""
        return dict.fromkeys(self.higher_is_better(), mean)

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric."""
        return {
            metric: better
            for metric, better in HIGHER_IS_BETTER.items()
            if metric != "call_match" or self.matches_calls
        }


@cache
def _shared_scorer(settings: BertScoreSettings) -> BertScorer:
    """Return one scorer a process and setting, so that its encoder serves every task."""
    return BertScorer(settings)
