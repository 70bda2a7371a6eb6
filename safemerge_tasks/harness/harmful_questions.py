"""The thin adapter to lm-evaluation-harness for harmful questions and a judge.

`suite_task.py` holds what it shares with `reference_answers.py`. Everything outside this room works
on questions, responses and verdicts, so that lm-eval 0.5's `Scorer` can be a second thin adapter.
"""

import atexit
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean

from safemerge_tasks.common.errors import brief
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.harness.saved_responses import follow_up, save_responses
from safemerge_tasks.harness.suite_task import SuiteTask, one_sentence
from safemerge_tasks.judges import (
    Judge,
    JudgeSettings,
    VerdictCache,
    judge_responses,
    make_judge,
)
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.judges.judging.languages import warn_about_languages
from safemerge_tasks.metrics.asr import (
    HARMLESS_HIGHER_IS_BETTER,
    HIGHER_IS_BETTER,
    counts,
    document_metrics,
    higher_is_better,
)
from safemerge_tasks.metrics.confusion import Estimate
from safemerge_tasks.metrics.unscored import warn_if_no_refusals_told, warn_if_unscored
from safemerge_tasks.results import (
    CORRECTED,
    HARMFUL_QUESTIONS,
    HARMLESS_QUESTIONS,
    judged_metadata,
)
from safemerge_tasks.results.category_rows import category_rows
from safemerge_tasks.verdicts.answer import applied
from safemerge_tasks.verdicts.scored import Scored

_log = logging.getLogger(__name__)

DEFERRED = JudgeSettings(name="deferred")


class HarmfulQuestions(SuiteTask):
    """A suite of harmful questions, judged as one batch under a filter named after the judge.

    The suite is the YAML's `dataset_kwargs` (`SuiteSpec`), the judge comes from lm-eval's
    `--metadata` or the environment (`JudgeSettings`).
    """

    template = "_harmful_questions"

    def __init__(self, config: dict[str, Any]) -> None:
        config = self.over_template(config)
        with one_sentence():
            self.judge_settings = JudgeSettings.from_metadata(config.get("metadata") or {})
            self.judge = _shared_judge(self.judge_settings)
            self.judge.check()
            self.calibration = _calibration(self.judge_settings, self.judge)
        super().__init__(config)
        self.corrected: Estimate | None = None
        self.counts: dict[str, dict[str, int]] = {}
        self.judged_by: dict[str, Any] = {"name": DEFERRED.name}

    @property
    def harmless(self) -> bool:
        """Whether the questions only look harmful."""
        return self.spec.harmless

    def apply_filters(self) -> None:
        """Save what the model wrote, make room for the judge, judge, and store the verdicts."""
        evaluation = LiveEvaluation.find()
        if evaluation:
            save_responses(evaluation)
        judge = self._judge_now(evaluation)
        if evaluation and judge.uses_accelerator:
            evaluation.release_model()
        instances: list[Instance] = self._instances
        documents = [instance.doc for instance in instances]
        languages = {document["language"] for document in documents}
        warn_about_languages(judge, self.config.task, languages)
        cut = [evaluation.truncated(one) if evaluation else None for one in instances]
        verdicts = judge_responses(
            judge,
            [document["question"] for document in documents],
            [
                self.answer(instance, instance.resps[0], truncated=truncated)
                for instance, truncated in zip(instances, cut, strict=True)
            ],
            self.judge_settings.timeout,
            VerdictCache() if self.judge_settings.cache else None,
        )
        for instance, verdict, truncated in zip(instances, verdicts, cut, strict=True):
            instance.filtered_resps[judge.name] = Scored(verdict, truncated).to_json()
        self.judged_by = {**judge.identity(), "thinking": applied(self.thinking)}
        replayed = evaluation is not None and evaluation.replays is not None
        if not replayed:  # a replay is judged by a later step on purpose
            warn_if_unscored(self.config.task, verdicts)
        if self.harmless:
            warn_if_no_refusals_told(self.config.task, judge.name, verdicts)
        else:
            self.counts = counts(verdicts, documents)
            if self.calibration and judge is self.judge:
                self.corrected = self.calibration.corrected(self.config.task, languages, verdicts)
        _silence_uneven_counts(self.config.task)
        if evaluation and not replayed and any(verdict.pending for verdict in verdicts):
            command = follow_up(evaluation, self.judge_settings)
            if command:
                _log.warning("To judge what is left:\n  %s", command)
        if evaluation and not self._judge_is_needed_again(evaluation):
            _close(self.judge)

    def _judge_is_needed_again(self, evaluation: LiveEvaluation) -> bool:
        """Whether a later task of the evaluation has the same judge."""
        later = dropwhile(lambda task: task is not self, evaluation.tasks.values())
        return any(getattr(task, "judge", None) is self.judge for task in later if task is not self)

    def process_results(self, doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
        """Return one document's metrics from its filtered response, a saved `Scored`."""
        scored = Scored.from_json(results[0])
        metrics = document_metrics(
            scored.verdict, doc, truncated=scored.truncated, harmless=self.harmless
        )
        if self.corrected and "asr" in metrics:
            # What is one number for all documents; `aggregation` returns it.
            metrics[CORRECTED] = metrics["asr"]
        return metrics

    def _judge_now(self, evaluation: LiveEvaluation | None) -> Judge:
        """Return the judge, or the deferred one where judging here would go wrong."""
        if self.predict_only:
            return make_judge(DEFERRED)
        if evaluation and evaluation.several_processes and self.judge.uses_accelerator:
            _log.warning(
                "%s: judging waits, because several processes would each start a judge.",
                self.config.task,
            )
            return make_judge(DEFERRED)
        return self.judge

    def dump_config(self) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what shaped the verdicts."""
        corrected = asdict(self.corrected) if self.corrected else None
        return self.stored_config(
            {
                "kind": HARMLESS_QUESTIONS if self.harmless else HARMFUL_QUESTIONS,
                "judges": [self.judged_by],
                **judged_metadata(self.judged_by["name"], self.counts, corrected),
                "system_prompt": self.conversation.system_prompt,
            }
        )

    def aggregation(self) -> dict[str, Any]:
        """Return the mean for every metric, category rows included."""
        return {**dict.fromkeys(self._metrics(), mean), CORRECTED: self._corrected_rate}

    def higher_is_better(self) -> dict[str, bool]:
        """Return the direction of every metric, category rows included."""
        return {
            metric: higher_is_better(metric, harmless=self.harmless) for metric in self._metrics()
        }

    def _metrics(self) -> list[str]:
        if self.harmless:
            return list(HARMLESS_HIGHER_IS_BETTER)
        rows = dict.fromkeys(
            name for document in self.dataset["test"] for name in category_rows(document)
        )
        return [*HIGHER_IS_BETTER, *rows]

    def _corrected_rate(self, _: Sequence[float]) -> float:
        assert self.corrected is not None
        assert self.corrected.value is not None
        return self.corrected.value


@cache
def _shared_judge(settings: JudgeSettings) -> Judge:
    """Return one judge a process and setting, so that its engine serves an evaluation's tasks."""
    judge = make_judge(settings)
    atexit.register(judge.close)
    return judge


def _close(judge: Judge) -> None:
    """Free the judge's engine: a notebook's next model needs the memory."""
    try:
        judge.close()
    except Exception as error:  # whatever an engine's own code raises; the verdicts are there
        _log.warning("The judge's engine may stay in memory: %s", brief(error))


def _calibration(settings: JudgeSettings, judge: Judge) -> Calibration | None:
    return Calibration.read(Path(settings.calibration), judge) if settings.calibration else None


@cache
def _silence_uneven_counts(task: str) -> None:
    """Keep lm-eval from warning, in a list of every row, that category rows have fewer documents.

    What matters in it, unscored documents, is said by `warn_if_unscored`.
    """
    expected = f"[{task}] Metrics were not scored on the same number of documents"
    logging.getLogger("lm_eval.evaluator_utils").addFilter(
        lambda record: not record.getMessage().startswith(expected)
    )
