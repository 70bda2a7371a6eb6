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
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from safemerge_tasks.attacks import PLAIN
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.harness.begun_answers import (
    begun_plainly,
    begun_turn,
    continued,
    is_for_chat_endpoint,
    refuse_unless_continued,
)
from safemerge_tasks.harness.live_evaluation import (
    LiveEvaluation,
    check_lm_eval,
    under_command_line,
)
from safemerge_tasks.harness.saved_responses import save_responses
from safemerge_tasks.harness.task_keys import Kind, generation_problems, refuse_ignored
from safemerge_tasks.results import GEN_PREFIX, begun_answer
from safemerge_tasks.suites import SuiteSpec, load_suite
from safemerge_tasks.suites.conversation import WITHOUT_ROLE, Conversation, folded_prompt
from safemerge_tasks.suites.load import TARGET
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.suites.subset import drawn_as
from safemerge_tasks.verdicts.answer import Answer, applied
from safemerge_tasks.verdicts.thinking_settings import ThinkingSettings
from safemerge_tasks.verdicts.unasked import unasked, why_unasked

_log = logging.getLogger(__name__)

_FILLED_IN = ("{{", "{%", "{#")
"""Begin what Jinja fills in."""


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

    kind: ClassVar[Kind]
    """What it makes of lm-eval's keys."""

    attackable: ClassVar[bool] = False
    """It asks harmful questions, which an attack may put otherwise."""

    lm: Any = None
    """The model under test, once it is known."""

    dataset: Any

    def __init__(self, config: dict[str, Any]) -> None:
        with one_sentence():
            refuse_unknown("lm_eval")
        check_lm_eval()
        # lm-eval's --num_fewshot leaves a 0 that is written down.
        config = {"num_fewshot": 0, "test_split": "test", **config}
        with one_sentence():
            refuse_ignored(self.kind, config)
            super().__init__(config=config)
            self._refuse_description_of_each()
            self.thinking = ThinkingSettings.from_metadata(self.config.metadata or {}).format
        metadata, description = self.config.metadata or {}, self.config.description
        if not self.attackable and metadata.get("attack", PLAIN) != PLAIN:
            warn_not_attacked(self.config.task, metadata["attack"])
        belongs = self.system_prompt_belongs_to_task or WITHOUT_ROLE in metadata
        folded = folded_prompt(metadata, description) if belongs else ""
        self.conversation = Conversation(self.config.task, description, folded)

    def _refuse_description_of_each(self) -> None:
        """Refuse a description that lm-eval would fill in for each question.

        Raises:
            SafemergeError: it is one; the system prompt is the same for all questions here.
        """
        description = self.config.description or ""
        if any(mark in description for mark in _FILLED_IN) or description in self.features:
            raise SafemergeError(
                f"{self.config.task}: `description: {description}` differs from question to "
                "question, and the system prompt does not; put it into `doc_to_text`."
            )

    def fewshot_context(
        self,
        doc: dict[str, str],
        num_fewshot: int = 0,  # noqa: ARG002 - there are no examples
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,  # noqa: ARG002
        chat_template: Callable[..., Any] | None = None,
        gen_prefix: str | None = None,
    ) -> Any:
        """Return the prompt; the system prompt is never lost silently (see `Conversation`).

        A chat template that raises costs this question, not the run.
        """
        if not apply_chat_template or chat_template is None:
            turn, *more = self.turns(doc)
            if more:
                raise SafemergeError(
                    f"{self.config.task}: a conversation needs --apply_chat_template; add it."
                )
            prompt = self.plain(turn["content"], system_instruction)
            return (
                begun_plainly(prompt, gen_prefix, self.config.target_delimiter)
                if gen_prefix
                else prompt
            )
        try:
            turns = self.conversation.turns(chat_template, self.turns(doc), system_instruction)
            return (
                begun_turn(chat_template, turns, gen_prefix) if gen_prefix else chat_template(turns)
            )
        except SafemergeError as error:
            raise SafemergeError(f"{self.config.task}: {error}") from error
        except Exception as error:  # whatever a template's own code raises
            return unasked(error)

    def turns(self, doc: dict[str, str]) -> list[dict[str, str]]:
        """Return the conversation that asks a question, without the system prompt."""
        return [{"role": "user", "content": self.doc_to_text(doc)}]

    def plain(self, question: str, instruction: str | None) -> str:
        """Return the prompt for a model without a chat template."""
        _warn_no_template(self.config.task)
        return self.conversation.plain(question, instruction)

    def build_all_requests(self, **given: Any) -> None:
        """Build the requests, the first moment at which the model under test is known."""
        evaluation = LiveEvaluation.find()
        if evaluation and not (self.config.metadata or {}).get("keep_batch_size"):
            evaluation.ask_vllm_in_batches()
        self.lm = evaluation.lm if evaluation else None
        with one_sentence():
            self.refuse_impossible(**given)
            self._begin_answers()
            super().build_all_requests(**given)
            self._check_endpoint()
            self._leave_out_unasked()

    def refuse_impossible(self, **_: Any) -> None:
        """Refuse what this model cannot be asked, before any prompt is made.

        Takes what `build_all_requests` does.

        Raises:
            SafemergeError: generation settings would have no effect.
        """
        for problem in generation_problems(self.config.generation_kwargs):
            raise SafemergeError(f"{self.config.task}: {problem}")

    def beginning(self, doc: dict[str, str]) -> str:
        """Return what the answer to a question is begun with; empty for nothing."""
        return str(super().doc_to_prefix(doc) or "")

    def _begin_answers(self) -> None:
        """Keep with each question what its answer is begun with, for whoever reads the answer.

        Questions that nothing begins an answer to stay as they are.
        """
        documents = [
            {key: value for key, value in doc.items() if key != GEN_PREFIX}
            for doc in self.dataset["test"]
        ]
        beginnings = [self.beginning(doc) for doc in documents]
        if any(beginnings):
            both = zip(documents, beginnings, strict=True)
            rows = [{**doc, GEN_PREFIX: beginning} for doc, beginning in both]
            self.dataset = {"test": datasets.Dataset.from_list(rows)}

    def doc_to_prefix(self, doc: dict[str, str]) -> str | None:
        """Return what the answer to a question is begun with, None for nothing."""
        return doc.get(GEN_PREFIX) or None

    @property
    def first_seed(self) -> int | None:
        """The seed of the first of several answers to the first question; None: the model's own.

        With a seed that is the same for every request several answers would be one.
        """
        seed: int | None = self.config.generation_kwargs.get("seed")
        if seed is None and hasattr(self.lm, "base_url"):
            seed = getattr(self.lm, "_seed", None)
        return seed

    def construct_requests(self, doc: dict[str, str], ctx: Any, **options: Any) -> Any:
        """Return a question's request, or where answers need seeds one for each answer."""
        instance: Instance = super().construct_requests(doc, ctx, **options)
        prompt, generation = instance.arguments
        if doc.get(GEN_PREFIX) and is_for_chat_endpoint(prompt):
            generation = continued(generation)
            instance.arguments = (prompt, generation)
        first, count = self.first_seed, self.config.repeats
        if first is None or count == 1:
            return instance
        task, doc_id, _ = instance.metadata
        # Seeds of different questions must not meet: equal seeds give related samples.
        first += doc_id * count
        return [
            Instance(
                request_type=instance.request_type,
                doc=doc,
                arguments=(prompt, {**generation, "seed": first + index}),
                idx=index,
                metadata=(task, doc_id, 1),
            )
            for index in range(count)
        ]

    def _check_endpoint(self) -> None:
        begun = (one for one in self._instances if one.doc.get(GEN_PREFIX))
        if any(is_for_chat_endpoint(instance.args[0]) for instance in begun):
            try:
                refuse_unless_continued(self.lm)
            except SafemergeError as error:
                raise SafemergeError(f"{self.config.task}: {error}") from error

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
        return begun_answer(
            response,
            instance.args[0],
            instance.doc,
            self.config.metadata,
            self.thinking,
            truncated=truncated,
        )

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
        """Load the suite; called by the base class while it is built.

        Raises:
            SafemergeError: the questions are not what the suite says.
        """
        metadata = self.config.metadata or {}
        source = metadata.get("config_source")
        beside = Path(source).parent if source and source != "inline" else None
        spec = SuiteSpec.checked(dataset_kwargs or {}, where=self.config.task, beside=beside)
        self.spec = spec.divided_as(metadata)
        questions, self.subset = drawn_as(load_suite(self.spec), metadata)
        # Kept apart: what an attack may begin an answer with is no part of the question.
        self.targets = {}
        if self.spec.target is not None:
            self.targets = {one["id"]: one.pop(TARGET) for one in questions}
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
def warn_not_attacked(task: str, attack: str) -> None:
    """Log that a task is asked as it is."""
    _log.warning("%s asks nothing harmful, so attack=%s does not change it.", task, attack)


@cache
def _warn_no_template(task: str) -> None:
    _log.warning(
        "%s: prompts are sent without a chat template; for a chat model add --apply_chat_template.",
        task,
    )
