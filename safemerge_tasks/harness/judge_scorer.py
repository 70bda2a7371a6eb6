"""The thin adapter to lm-eval 0.5, in which a scorer is given all of a task's answers at once.

A suite's YAML names two functions of this module, whose import makes the scorer known:

    task: oven_asr
    custom_dataset: !function safemerge_tasks.harness.judge_scorer.questions
    dataset_kwargs: {suite: oven, parts: [{file: oven.csv}], question: question}
    test_split: test
    output_type: generate_until
    doc_to_text: question
    doc_to_target: ""
    scorer: {type: safemerge, kwargs: {judging: {judge: keywords}}}

lm-eval's `--metadata judge=…` goes over `judging`, and both over the environment. `make test-next`
runs it; lm-eval 0.4 has no scorers, and `harmful_questions.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
from lm_eval.api.metrics import Metric, mean
from lm_eval.api.registry import register_scorer
from lm_eval.scorers import GenScorer, ScoredDoc

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.judges import JudgeSettings, VerdictCache, judge_responses, make_judge
from safemerge_tasks.judges.judging.questions import question_metrics
from safemerge_tasks.metrics.asr import higher_is_better
from safemerge_tasks.metrics.incoherence import is_incoherent
from safemerge_tasks.metrics.unscored import warn_if_unscored
from safemerge_tasks.results import begun_answer
from safemerge_tasks.suites import SuiteSpec, load_suite
from safemerge_tasks.verdicts.scored import Scored
from safemerge_tasks.verdicts.thinking_settings import ThinkingSettings


def questions(**given: Any) -> dict[str, datasets.Dataset]:
    """Return a suite's questions as lm-eval's `custom_dataset`.

    Args:
        given: the YAML's `dataset_kwargs`, together with lm-eval's metadata, which is left out.

    Raises:
        SafemergeError: the questions are not what the suite says.
    """
    known = {key: value for key, value in given.items() if key in SuiteSpec.model_fields}
    spec = SuiteSpec.checked(known, where=str(given.get("suite")), beside=None)
    return {"test": datasets.Dataset.from_list(load_suite(spec))}


@register_scorer("safemerge")
@dataclass(kw_only=True)
class JudgeScorer(GenScorer):  # type: ignore[misc]
    """Judges a task's answers as one batch, once the model under test has made room.

    Attributes:
        judging: as lm-eval's --metadata has it: `judge`, `judge_engine` and the like.
        harmless: the questions only look harmful.
    """

    judging: dict[str, Any] = field(default_factory=dict)
    harmless: bool = False

    def score_instances(self, instances: Mapping[int, Sequence[Any]]) -> dict[int, ScoredDoc]:
        """Return every question's metrics; one without a verdict lacks those that need one.

        Args:
            instances: document's number → its answered requests.

        Raises:
            SafemergeError: the settings are wrong, or the judge cannot work.
        """
        evaluation = LiveEvaluation.find()
        task = self._task(evaluation)
        metadata = {**self.judging, **(getattr(task.config, "metadata", None) or {})}
        settings = JudgeSettings.from_metadata(metadata)
        if len(settings.each()) > 1:
            raise SafemergeError(
                f"judge={settings.name}: lm-eval 0.5 gives a scorer one row; name one judge."
            )
        judge = make_judge(settings)
        judge.check()
        if evaluation and judge.uses_accelerator:
            evaluation.release_model()
        thinking = ThinkingSettings.from_metadata(metadata).format
        each = [
            (doc_id, one, text)
            for doc_id, some in instances.items()
            for one in some
            for text in one.resps
        ]
        asked = [one.doc["question"] for _, one, _ in each]
        answers = [
            begun_answer(text, one.args[0], one.doc, metadata, thinking, truncated=None)
            for _, one, text in each
        ]
        cache = VerdictCache() if settings.cache else None
        try:
            verdicts = judge_responses(judge, asked, answers, settings.timeout, cache)
        finally:
            judge.close()
        warn_if_unscored(task.task_name, verdicts, harmless=self.harmless)
        scored: dict[int, list[Scored]] = {}
        for (doc_id, _, _), verdict, question, answer in zip(
            each, verdicts, asked, answers, strict=True
        ):
            odd = is_incoherent(question, answer)
            scored.setdefault(doc_id, []).append(Scored(verdict, None, judge.name, odd))
        found = {
            doc_id: question_metrics(some, instances[doc_id][0].doc, harmless=self.harmless)
            for doc_id, some in scored.items()
        }
        self.metrics = self._described(found)
        return {
            doc_id: ScoredDoc(doc_id, None, {name: [value] for name, value in metrics.items()})
            for doc_id, metrics in found.items()
        }

    def _task(self, evaluation: LiveEvaluation | None) -> Any:
        """Return the task whose scorer this is.

        Raises:
            SafemergeError: it is used outside lm-eval's evaluation.
        """
        for task in evaluation.tasks.values() if evaluation else ():
            if any(one is self for one in task.scorers):
                return task
        raise SafemergeError("lm-eval's scorer safemerge works in its evaluation only.")

    def _described(self, found: Mapping[int, Mapping[str, float]]) -> list[Metric]:
        """Return lm-eval's description of every metric that there is: a mean, and which way."""
        names = dict.fromkeys(name for metrics in found.values() for name in metrics)
        return [
            Metric(
                name=name,
                fn=_never_called,
                aggregation=mean,
                higher_is_better=higher_is_better(name, harmless=self.harmless),
                output_type={"generate_until"},
            )
            for name in names
        ]


def _never_called(*_: Any) -> float:
    raise NotImplementedError("the judge has scored the answers already")
