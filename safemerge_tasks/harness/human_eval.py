"""The thin adapter of HumanEval to lm-evaluation-harness."""

import logging
from collections.abc import Sequence
from typing import Any

import datasets
from lm_eval.api.instance import Instance

from safemerge_tasks.harness.suite_task import OwnTask, one_sentence, process_results
from safemerge_tasks.harness.task_keys import Kind
from safemerge_tasks.humaneval.problems import problem, problems
from safemerge_tasks.humaneval.scoring import (
    FILTER,
    KIND,
    metrics,
    score,
    stored,
    stored_metadata,
    warn_if_few_blocks,
)
from safemerge_tasks.humaneval.settings import HumanEvalSettings
from safemerge_tasks.sandbox import SandboxUnavailableError, check_isolation

_log = logging.getLogger(__name__)


class HumanEval(OwnTask):
    """n responses to each problem, run in a sandbox as one batch.

    Without `humaneval_seed` a problem is one instance with n repeats, which every model of lm-eval
    can sample. With it, n instances with a seed each: what is sampled then depends neither on the
    batch nor on the machine's other work, for models that take a seed (vLLM, and endpoints).
    """

    kind = Kind(
        frozenset({"pass@1", "pass@10", "empty_rate"}),
        process_results,
        repeats=True,
        dataset_kwargs=False,
    )

    def __init__(self, config: dict[str, Any]) -> None:
        # The key that made lm-eval call this class is not a field of its TaskConfig.
        config = {key: value for key, value in config.items() if key != "class"}
        with one_sentence():
            self.settings = HumanEvalSettings.from_metadata(config.get("metadata") or {})
            if "repeats" in config and "samples" not in self.settings.model_fields_set:
                given = self.settings.model_dump(exclude_unset=True)
                self.settings = HumanEvalSettings.checked({**given, "samples": config["repeats"]})
            self.sandbox = check_isolation(self.settings.for_sandbox())
            config["repeats"] = self.settings.samples
            super().__init__(config)
        self.stored: dict[str, Any] = {"sandbox": self.sandbox}

    def download(self, *_: Any, **__: Any) -> None:
        """Take the problems from the installed package; called while the task is built."""
        self.dataset = {"test": datasets.Dataset.from_list(list(problems().values()))}

    def plain(self, question: str, instruction: str | None) -> str:
        """Return the problem alone: without a chat template it is code to go on with."""
        return "\n\n".join(part for part in (instruction, question) if part)

    @property
    def first_seed(self) -> int | None:
        """The seed of the first answer, where answers need one."""
        return super().first_seed if self.settings.seed is None else self.settings.seed

    def apply_filters(self) -> None:
        """Save what the model wrote, then run it."""
        evaluation = self.save_responses()
        instances: list[Instance] = self._instances
        for instance in instances:
            instance.filtered_resps[FILTER] = stored([])
        if self.predict_only:
            return
        where = self.config.task
        try:
            scores = score(
                [problem(instance.doc["task_id"], where) for instance in instances],
                [
                    [self.answer(instance, text, truncated=None) for text in instance.resps]
                    for instance in instances
                ],
                self.settings.for_sandbox(),
            )
        except SandboxUnavailableError as error:
            _log.error("%s: nothing was run. %s", where, error)
            folder = evaluation.output_folder or evaluation.saved if evaluation else None
            _log.error("To run what was saved:\n  safemerge rescore %s", folder)
            return
        for instance, outcomes in zip(instances, scores.outcomes, strict=True):
            instance.filtered_resps[FILTER] = stored(outcomes)
        self.stored = stored_metadata(scores, self.sandbox)
        warn_if_few_blocks(where, scores)

    def process_results(
        self,
        doc: dict[str, str],  # noqa: ARG002 - the outcomes say it all
        results: Sequence[str],
    ) -> dict[str, float]:
        """Return one problem's metrics from its filtered responses."""
        return metrics(results)

    def dump_config(self) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what shaped the scores."""
        settings = self.settings.model_dump(exclude={"sandbox"})
        return self.stored_config(
            {
                "kind": KIND,
                **settings,
                **self.stored,
                "system_prompt": self.conversation.system_prompt,
            }
        )
