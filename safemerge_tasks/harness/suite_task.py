"""What lm-eval's tasks over our question suites share: the second half of the thin adapter.

`harmful_questions.py` (with a judge) and `reference_answers.py` build on it.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import (
    LiveEvaluation,
    check_lm_eval,
    under_command_line,
)
from safemerge_tasks.harness.saved_responses import save_responses
from safemerge_tasks.results import opening_prompt
from safemerge_tasks.suites import SuiteSpec, load_suite
from safemerge_tasks.suites.conversation import WITHOUT_ROLE, Conversation, folded_prompt
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.suites.subset import drawn_as
from safemerge_tasks.verdicts.answer import Answer, applied, read_answer
from safemerge_tasks.verdicts.thinking_settings import ThinkingSettings
from safemerge_tasks.verdicts.unasked import unasked, why_unasked

_log = logging.getLogger(__name__)


def process_results(doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
    """Stand for the task's own method: without it lm-eval looks the metrics up on the Hub."""
    raise NotImplementedError("the task's own process_results is called instead")


class OwnTask(ConfigurableTask):  # type: ignore[misc]
    """What all of our tasks do beside their questions and scores.

    How thinking is told from answers comes from lm-eval's `--metadata` or the environment
    (`ThinkingSettings`).
    """

    system_prompt_belongs_to_task: ClassVar[bool] = False
    """Where the chat template has no system role, the prompt goes before the question."""

    def __init__(self, config: dict[str, Any]) -> None:
        check_lm_eval()
        with one_sentence():
            super().__init__(config=config)
            self.thinking = ThinkingSettings.from_metadata(self.config.metadata or {}).format
        metadata, description = self.config.metadata or {}, self.config.description
        belongs = self.system_prompt_belongs_to_task or WITHOUT_ROLE in metadata
        folded = folded_prompt(metadata, description) if belongs else ""
        self.conversation = Conversation(self.config.task, description, folded)

    def fewshot_context(
        self,
        doc: dict[str, str],
        num_fewshot: int = 0,  # noqa: ARG002 - there are no examples
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,  # noqa: ARG002
        chat_template: Callable[..., Any] | None = None,
        gen_prefix: str | None = None,  # noqa: ARG002
    ) -> Any:
        """Return the prompt; the system prompt is never lost silently (see `Conversation`).

        A chat template that raises costs this question, not the run.
        """
        question = self.doc_to_text(doc)
        if not apply_chat_template or chat_template is None:
            return self.plain(question, system_instruction)
        try:
            return self.conversation.render(chat_template, question, system_instruction)
        except Exception as error:  # whatever a template's own code raises
            return unasked(error)

    def plain(self, question: str, instruction: str | None) -> str:
        """Return the prompt for a model without a chat template."""
        _warn_no_template(self.config.task)
        return self.conversation.plain(question, instruction)

    def build_all_requests(self, **given: Any) -> None:
        """Build the requests, the first moment at which the model under test is known."""
        evaluation = LiveEvaluation.find()
        if evaluation and not (self.config.metadata or {}).get("keep_batch_size"):
            evaluation.ask_vllm_in_batches()
        super().build_all_requests(**given)
        with one_sentence():
            self._leave_out_unasked()

    def _leave_out_unasked(self) -> None:
        """Keep from the model what has no prompt.

        lm-eval sends a request `repeats` times, and wants responses of every request.

        Raises:
            SafemergeError: nothing has a prompt.
        """
        reasons = {}
        for instance in self._instances:
            why = why_unasked(instance.args[0])
            if why is not None:
                reasons[instance.doc_id] = why
                instance.resps = [""] * instance.repeats
                instance.repeats = 0
        if not reasons:
            return
        total = len({instance.doc_id for instance in self._instances})
        common = Counter(reasons.values()).most_common(3)
        if len(reasons) == total:
            raise SafemergeError(
                f"{self.config.task}: the chat template fails on every question ({common[0][0]}); "
                "mend it, or leave out --apply_chat_template."
            )
        _log.warning(
            "%s: %d of %d questions are not put to the model, because no prompt could be made: %s.",
            self.config.task,
            len(reasons),
            total,
            "; ".join(f"{why} ({count})" for why, count in common),
        )

    def save_responses(self) -> LiveEvaluation | None:
        """Save what the model wrote; return the evaluation around this task, if there is one."""
        evaluation = LiveEvaluation.find()
        if evaluation:
            save_responses(evaluation)
        for instance in self._instances:
            # lm-eval would write none into its own file as the text "None".
            instance.resps = ["" if one is None else one for one in instance.resps]
        return evaluation

    def answer(self, instance: Any, response: object, *, truncated: bool | None) -> Answer:
        """Return the answer in one of an instance's responses; see `read_answer`."""
        metadata = self.config.metadata
        prompt = opening_prompt(instance.args[0], metadata, truncated=truncated)
        return read_answer(response, prompt, self.thinking)

    def stored_config(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what safemerge keeps beside it."""
        config: dict[str, Any] = super().dump_config()
        own = {**own, "thinking": applied(self.thinking)}
        config["metadata"] = {**config["metadata"], "safemerge": own}
        return config

    @property
    def predict_only(self) -> bool:
        """Whether lm-eval was asked to score nothing."""
        return "bypass" in self._metric_fn_list


class SuiteTask(OwnTask):
    """A suite of questions; the YAML's `dataset_kwargs` are its `SuiteSpec`."""

    template: ClassVar[str]
    """The shared file whose keys the YAML's go over."""

    @classmethod
    def over_template(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration over the shared template, for YAML that cannot include it.

        `include:` is relative to the file, so a suite outside the package names only the class.
        """
        template = load_yaml(packaged_folder() / cls.template)
        # The key that made lm-eval call this class is not a field of its TaskConfig.
        return {key: value for key, value in {**template, **config}.items() if key != "class"}

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        """Load the suite; called by the base class while it is built."""
        metadata = self.config.metadata or {}
        source = metadata.get("config_source")
        beside = Path(source).parent if source and source != "inline" else None
        spec = SuiteSpec.checked(dataset_kwargs or {}, where=self.config.task, beside=beside)
        self.spec = spec.divided_as(metadata)
        questions, self.subset = drawn_as(load_suite(self.spec), metadata)
        self.dataset = {"test": datasets.Dataset.from_list(questions)}

    def stored_config(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with how a subset was drawn."""
        return super().stored_config({**own, "subset": self.subset} if self.subset else own)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Under lm-eval's command line, end with the error's one sentence instead of a traceback."""
    try:
        yield
    except SafemergeError as error:
        if under_command_line():
            sys.exit(f"safemerge: {error}")
        raise


@cache
def _warn_no_template(task: str) -> None:
    _log.warning(
        "%s: prompts are sent without a chat template; for a chat model add --apply_chat_template.",
        task,
    )
