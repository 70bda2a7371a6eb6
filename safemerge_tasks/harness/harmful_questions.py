"""The thin adapter to lm-evaluation-harness for harmful questions and a judge.

`suite_task.py` holds what it shares with `reference_answers.py`. Everything outside this room works
on questions, responses and verdicts, so that lm-eval 0.5's `Scorer` can be a second thin adapter.
"""

import atexit
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean

from safemerge_tasks.harness.judging import Appointed, Judged, judge_together
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.harness.saved_responses import follow_up
from safemerge_tasks.harness.suite_task import SuiteTask, one_sentence
from safemerge_tasks.judges import (
    Judge,
    JudgeSettings,
    VerdictCache,
    judge_responses,
    make_judge,
)
from safemerge_tasks.judges.judging.by_language import judges_for
from safemerge_tasks.judges.judging.languages import warn_about_languages
from safemerge_tasks.metrics.asr import (
    HARMLESS_HIGHER_IS_BETTER,
    HIGHER_IS_BETTER,
    counts,
    document_metrics,
    higher_is_better,
)
from safemerge_tasks.metrics.incoherence import is_incoherent
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
PUT_OFF = Appointed(DEFERRED, make_judge(DEFERRED))


class HarmfulQuestions(SuiteTask):
    """A suite of harmful questions, judged as one batch under a filter named after each judge.

    The suite is the YAML's `dataset_kwargs` (`SuiteSpec`), the judges come from lm-eval's
    `--metadata` or the environment (`JudgeSettings`).
    """

    template = "_harmful_questions"

    def __init__(self, config: dict[str, Any]) -> None:
        config = self.over_template(config)
        with one_sentence():
            self.judge_settings = JudgeSettings.from_metadata(config.get("metadata") or {})
            language = str((config.get("dataset_kwargs") or {}).get("language") or "en")
            self.appointed = [
                Appointed.of(one, _shared_judge(one))
                for one in judges_for(self.judge_settings, [language])
            ]
        super().__init__(config)
        self.judged: list[Judged] = []

    @property
    def harmless(self) -> bool:
        """Whether the questions only look harmful."""
        return self.spec.harmless

    def apply_filters(self) -> None:
        """Save what the model wrote, make room for the judges, judge, and store the verdicts."""
        evaluation = self.save_responses()
        judged = evaluation.judged if evaluation else {}
        if self not in judged:
            tasks = evaluation.tasks.values() if evaluation else (self,)
            suites = [task for task in tasks if isinstance(task, HarmfulQuestions)]
            judged |= judge_together(suites, evaluation)
        self.judged = judged.pop(self)
        instances: list[Instance] = self._instances
        for one in self.judged:
            for instance, scored in zip(instances, one.scored, strict=True):
                instance.filtered_resps[one.name] = scored.to_json()
        _silence_uneven_counts(self.config.task)
        pending = any(scored.verdict.pending for one in self.judged for scored in one.scored)
        if evaluation and evaluation.replays is None and pending:
            command = follow_up(evaluation, self.judge_settings)
            if command:
                _log.warning("To judge what is left:\n  %s", command)

    def judges_now(self, evaluation: LiveEvaluation | None) -> list[Appointed]:
        """Return the judges, or the deferred one for those whose judging here would go wrong."""
        if self.predict_only:
            return [PUT_OFF]
        spread = evaluation is not None and evaluation.several_processes
        found = [
            PUT_OFF if spread and one.judge.uses_accelerator else one for one in self.appointed
        ]
        if PUT_OFF in found:
            _log.warning(
                "%s: judging waits, because several processes would each start a judge.",
                self.config.task,
            )
        return list(dict.fromkeys(found))

    def judge_by(self, appointed: Appointed, evaluation: LiveEvaluation | None) -> Judged:
        """Return what a judge says of the suite's responses, and warn of what it does not."""
        settings, judge = appointed.settings, appointed.judge
        instances: list[Instance] = self._instances
        documents = [instance.doc for instance in instances]
        languages = {document["language"] for document in documents}
        warn_about_languages(judge, self.config.task, languages)
        cut = [evaluation.truncated(one) if evaluation else None for one in instances]
        questions = [document["question"] for document in documents]
        answers = [
            self.answer(instance, instance.resps[0], truncated=truncated)
            for instance, truncated in zip(instances, cut, strict=True)
        ]
        cache = VerdictCache() if settings.cache else None
        verdicts = judge_responses(judge, questions, answers, settings.timeout, cache)
        if evaluation is None or evaluation.replays is None:
            # A replay is judged later on purpose.
            warn_if_unscored(self.config.task, verdicts, harmless=self.harmless)
        corrected = None
        if self.harmless:
            warn_if_no_refusals_told(self.config.task, judge.name, verdicts)
        elif appointed.calibration:
            corrected = appointed.calibration.corrected(self.config.task, languages, verdicts)
        return Judged(
            judge.name,
            {**judge.identity(), "thinking": applied(self.thinking)},
            [
                Scored(verdict, truncated, judge.name, incoherent)
                for verdict, truncated, incoherent in zip(
                    verdicts, cut, map(is_incoherent, questions, answers), strict=True
                )
            ],
            {} if self.harmless else counts(verdicts, documents),
            corrected,
        )

    def process_results(self, doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
        """Return one document's metrics from its filtered response, a saved `Scored`."""
        scored = Scored.from_json(results[0])
        metrics = document_metrics(
            scored.verdict,
            doc,
            truncated=scored.truncated,
            incoherent=scored.incoherent,
            harmless=self.harmless,
        )
        corrected = next((one.corrected for one in self.judged if one.name == scored.judge), None)
        if corrected and corrected.value is not None and "asr" in metrics:
            # One number for all documents, which is what `aggregation` makes of it again.
            metrics[CORRECTED] = corrected.value
        return metrics

    def dump_config(self) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what shaped the verdicts."""
        kept: dict[str, Any] = {"judges": [{"name": DEFERRED.name}]}
        if self.judged:
            kept = {"judges": [one.identity for one in self.judged]}
        for one in self.judged:
            corrected = asdict(one.corrected) if one.corrected else None
            for part, by_judge in judged_metadata(one.name, one.counts, corrected).items():
                kept[part] = {**kept.get(part, {}), **by_judge}
        return self.stored_config(
            {
                "kind": HARMLESS_QUESTIONS if self.harmless else HARMFUL_QUESTIONS,
                **kept,
                "system_prompt": self.conversation.system_prompt,
            }
        )

    def aggregation(self) -> dict[str, Any]:
        """Return the mean for every metric, category rows included."""
        return {**dict.fromkeys(self._metrics(), mean), CORRECTED: _the_same_for_all}

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


def _the_same_for_all(values: Sequence[float]) -> float:
    return values[0]


@cache
def _shared_judge(settings: JudgeSettings) -> Judge:
    """Return one judge a process and setting, so that its engine serves an evaluation's tasks."""
    judge = make_judge(settings)
    atexit.register(judge.close)
    return judge


@cache
def _silence_uneven_counts(task: str) -> None:
    """Keep lm-eval from warning, in a list of every row, that category rows have fewer documents.

    What matters in it, unscored documents, is said by `warn_if_unscored`.
    """
    expected = f"[{task}] Metrics were not scored on the same number of documents"
    logging.getLogger("lm_eval.evaluator_utils").addFilter(
        lambda record: not record.getMessage().startswith(expected)
    )
