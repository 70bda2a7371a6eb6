"""The thin adapter to lm-evaluation-harness for harmful questions and a judge.

`suite_task.py` holds what it shares with `reference_answers.py`. Everything outside this room works
on questions, responses and verdicts, so that lm-eval 0.5's `Scorer` can be a second thin adapter.
"""

import atexit
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean

from safemerge_tasks.attacks import Attack, AttackSettings, make_attack
from safemerge_tasks.attacks.names import BETWEEN
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.harness.begun_answers import renders_elsewhere
from safemerge_tasks.harness.judging import Appointed, Judged, judge_together
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.harness.saved_responses import follow_up
from safemerge_tasks.harness.suite_task import (
    SuiteTask,
    one_sentence,
    process_results,
    warn_not_attacked,
)
from safemerge_tasks.harness.task_keys import Kind
from safemerge_tasks.judges import (
    Judge,
    JudgeSettings,
    VerdictCache,
    judge_responses,
    make_judge,
)
from safemerge_tasks.judges.judging.by_language import judges_for
from safemerge_tasks.judges.judging.languages import warn_about_languages
from safemerge_tasks.judges.judging.questions import for_all, over_questions, question_metrics
from safemerge_tasks.metrics.asr import (
    HARMLESS_HIGHER_IS_BETTER,
    HIGHER_IS_BETTER,
    higher_is_better,
)
from safemerge_tasks.metrics.incoherence import is_incoherent
from safemerge_tasks.metrics.several_answers import is_predicted, ks, predicted
from safemerge_tasks.metrics.unscored import warn_if_no_refusals_told, warn_if_unscored
from safemerge_tasks.results import (
    CORRECTED,
    HARMFUL_QUESTIONS,
    HARMLESS_QUESTIONS,
    judged_metadata,
)
from safemerge_tasks.results.category_rows import category_rows
from safemerge_tasks.suites.conversation import Conversation
from safemerge_tasks.verdicts.answer import applied
from safemerge_tasks.verdicts.scored import Scored, from_json, to_json

T = TypeVar("T")

_log = logging.getLogger(__name__)

DEFERRED = JudgeSettings(name="deferred")
PUT_OFF = Appointed(DEFERRED, make_judge(DEFERRED))


class HarmfulQuestions(SuiteTask):
    """A suite of harmful questions, judged as one batch under a filter named after each judge.

    The suite is the YAML's `dataset_kwargs` (`SuiteSpec`); the judges (`JudgeSettings`) and the
    attack (`AttackSettings`) come from lm-eval's `--metadata` or the environment. Under an attack
    the task has a name of its own, such as `advbench_asr@prefill:5`.
    """

    template = "_harmful_questions"
    attackable = True
    kind = Kind(frozenset(HIGHER_IS_BETTER), process_results, repeats=True)

    def __init__(self, config: dict[str, Any]) -> None:
        config = self.over_template(config)
        with one_sentence():
            metadata = config.get("metadata") or {}
            self.judge_settings = JudgeSettings.from_metadata(metadata)
            language = str((config.get("dataset_kwargs") or {}).get("language") or "en")
            self.appointed = [
                Appointed.of(one, _shared_judge(one))
                for one in judges_for(self.judge_settings, [language])
            ]
            self.attack = make_attack(AttackSettings.from_metadata(metadata))
            if self.attack and (config.get("dataset_kwargs") or {}).get("harmless"):
                warn_not_attacked(str(config.get("task")), self.attack.name.spelt)
                self.attack = None
            if self.attack:
                config = self._attacked(config, self.attack)
        super().__init__(config)
        self.judged: list[Judged] = []
        if self.attack and self.attack.system is not None:
            system = self.attack.system
            folded = f"{system} " if system else ""
            self.conversation = Conversation(self.config.task, system, folded)

    def _attacked(self, config: dict[str, Any], attack: Attack) -> dict[str, Any]:
        """Return the configuration under an attack.

        Raises:
            SafemergeError: both begin the answer.
        """
        if config.get("gen_prefix") and type(attack).beginning is not Attack.beginning:
            raise SafemergeError(
                f"{config.get('task')}: `gen_prefix` begins every answer already, so "
                f"attack={attack.name.spelt} cannot; leave one of them out."
            )
        generation = {**(config.get("generation_kwargs") or {}), **attack.generation}
        changed = {"repeats": attack.answers} if attack.answers > 1 else {}
        return {**config, "generation_kwargs": generation, **changed}

    @property
    def task_name(self) -> str:
        """The task's name, and under an attack the attack's."""
        name = str(super().task_name)
        end = f"{BETWEEN}{self.attack.name.row}" if self.attack else ""
        return name if name.endswith(end) else f"{name}{end}"

    def build_all_requests(self, **given: Any) -> None:
        """Build the requests; under an attack they are not those of the plain task."""
        # lm-eval sets the name in the YAML anew, and keeps requests under it.
        self.config.task = self.conversation.task = self.task_name
        super().build_all_requests(**given)

    def refuse_impossible(self, *, apply_chat_template: bool = False, **given: Any) -> None:
        """Refuse what this model cannot be asked, before any prompt is made.

        Raises:
            SafemergeError: the attack cannot be made on it.
        """
        super().refuse_impossible(**given)
        attack = self.attack
        if attack is None:
            return
        where = f"{self.config.task}: attack={attack.name.spelt}"
        # lm-eval's own model of transformers; a sweep's recorder, which is one, has no weights.
        if attack.settings.seed is not None and hasattr(self.lm, "_model"):
            raise SafemergeError(
                f"{where}: attack_seed needs a model that takes a seed for each answer, which hf "
                "does not; leave it out, or use vllm."
            )
        if attack.needs_template and not apply_chat_template:
            raise SafemergeError(f"{where} needs --apply_chat_template; add it.")
        for key, value in attack.generation.items():
            now = self.config.generation_kwargs.get(key)
            if now != value:
                raise SafemergeError(
                    f"{where} sets {key}={value}, and --gen_kwargs {key}={now} is against it; "
                    f"write --metadata attack_{key}={now}, or leave it out."
                )

    def beginning(self, doc: dict[str, str]) -> str:
        """Return what the answer to a question is begun with, by the suite or the attack."""
        if self.attack is None or type(self.attack).beginning is Attack.beginning:
            return super().beginning(doc)
        tokenizer = _tokenizer(self.attack.settings.tokenizer, getattr(self.lm, "tokenizer", None))
        with self._own_code(self.attack):
            return self.attack.beginning(doc, self.targets.get(doc["id"], ""), tokenizer)

    def turns(self, doc: dict[str, str]) -> list[dict[str, str]]:
        """Return the conversation that asks a question."""
        if self.attack is None:
            return super().turns(doc)
        with self._own_code(self.attack):
            return self.attack.turns(self.doc_to_text(doc))

    @contextmanager
    def _own_code(self, attack: Attack) -> Iterator[None]:
        """Raise whatever an attack's code raises, which may be the user's own, as one sentence."""
        where = f"{self.config.task}: attack={attack.name.spelt}"
        try:
            yield
        except SafemergeError as error:
            raise SafemergeError(f"{where}: {error}") from error
        except Exception as error:
            raise SafemergeError(
                f"{where} fails on a question ({brief(error)}); mend it."
            ) from error

    def fewshot_context(
        self,
        doc: dict[str, str],
        num_fewshot: int = 0,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        fewshot_as_multiturn: bool = False,
        chat_template: Callable[..., Any] | None = None,
        gen_prefix: str | None = None,
    ) -> Any:
        """Return the prompt, as the attack puts it."""
        if self.attack and self.attack.system is not None:
            system_instruction = None
        if self.attack and self.attack.template is not None:
            chat_template = partial(_rendered, self.lm, self.attack)
        return super().fewshot_context(
            doc,
            num_fewshot,
            system_instruction,
            apply_chat_template,
            fewshot_as_multiturn,
            chat_template,
            gen_prefix,
        )

    @property
    def first_seed(self) -> int | None:
        """The seed of the first answer, where answers need one."""
        given = self.attack.settings.seed if self.attack else None
        return super().first_seed if given is None else given

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
                instance.filtered_resps[one.name] = to_json(scored)
        _silence_uneven_counts(self.config.task)
        pending = any(
            scored.verdict.pending for one in self.judged for some in one.scored for scored in some
        )
        if evaluation and not evaluation.judged_later and pending:
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
        each = [(one, n) for one in instances for n in range(len(one.resps))]
        cut = [evaluation.truncated(*one) if evaluation else None for one in each]
        questions = [instance.doc["question"] for instance, _ in each]
        answers = [
            self.answer(instance, instance.resps[n], truncated=truncated)
            for (instance, n), truncated in zip(each, cut, strict=True)
        ]
        cache = VerdictCache() if settings.cache else None
        verdicts = judge_responses(judge, questions, answers, settings.timeout, cache)
        if evaluation is None or not evaluation.judged_later:
            warn_if_unscored(self.config.task, verdicts, harmless=self.harmless)
        incoherent = map(is_incoherent, questions, answers)
        scored = iter(
            [
                Scored(verdict, truncated, judge.name, odd)
                for verdict, truncated, odd in zip(verdicts, cut, incoherent, strict=True)
            ]
        )
        by_instance = [[next(scored) for _ in instance.resps] for instance in instances]
        whole = over_questions(
            self.config.task,
            [
                (some[0][0].doc, [one.verdict for _, these in some for one in these])
                for some in _by_question(zip(instances, by_instance, strict=True))
            ],
            languages,
            appointed.calibration,
            self.attack.settings.predict if self.attack and self.attack.answers > 1 else None,
            harmless=self.harmless,
        )
        if self.harmless:
            warn_if_no_refusals_told(self.config.task, judge.name, verdicts)
        identity = {**judge.identity(), "thinking": applied(self.thinking)}
        return Judged(judge.name, identity, by_instance, *whole)

    def process_results(self, doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
        """Return one document's metrics from its filtered responses, saved `Scored`."""
        scored = [one for text in results for one in from_json(text)]
        metrics = question_metrics(scored, doc, harmless=self.harmless)
        found = next((one for one in self.judged if one.name == scored[0].judge), None)
        if found and "asr" in metrics:
            # One number for all documents, which is what `aggregation` makes of it again.
            metrics |= for_all(found.corrected, found.prediction)
        return metrics

    def dump_config(self) -> dict[str, Any]:
        """Return the configuration that lm-eval stores, with what shaped the verdicts."""
        kept: dict[str, Any] = {"judges": [{"name": DEFERRED.name}]}
        if self.judged:
            kept = {"judges": [one.identity for one in self.judged]}
        for one in self.judged:
            told = judged_metadata(one.name, one.counts, one.corrected, one.prediction)
            for part, by_judge in told.items():
                kept[part] = {**kept.get(part, {}), **by_judge}
        if self.attack:
            kept["attack"] = self.attack.identity()
            if self.attack.answers > 1:
                kept["predict"] = self.attack.settings.predict
        return self.stored_config(
            {
                "kind": HARMLESS_QUESTIONS if self.harmless else HARMFUL_QUESTIONS,
                **kept,
                "system_prompt": self.conversation.system_prompt,
            }
        )

    def aggregation(self) -> dict[str, Any]:
        """Return the mean for every metric, category rows included."""
        predicted = {name: _the_same_for_all for name in self._metrics() if is_predicted(name)}
        return {**dict.fromkeys(self._metrics(), mean), CORRECTED: _the_same_for_all, **predicted}

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
        hits = [f"hit@{k}" for k in ks(self.config.repeats)]
        sampled = self.attack is not None and self.attack.answers > 1
        guessed = [predicted(self.attack.settings.predict)] if self.attack and sampled else []
        return [*HIGHER_IS_BETTER, *hits, *guessed, *rows]


def _by_question(each: Iterable[tuple[Instance, T]]) -> list[list[tuple[Instance, T]]]:
    found: dict[Any, list[tuple[Instance, T]]] = {}
    for instance, what in each:
        found.setdefault(instance.doc_id, []).append((instance, what))
    return list(found.values())


def _rendered(
    lm: Any, attack: Attack, turns: list[dict[str, str]], add_generation_prompt: bool = True
) -> str:
    """Return a conversation under the attack's chat template, with the model's special tokens.

    Raises:
        SafemergeError: the model shows no tokenizer, or renders conversations elsewhere.
    """
    tokenizer: Any = getattr(lm, "tokenizer", None)
    if renders_elsewhere(lm) or not hasattr(tokenizer, "apply_chat_template"):
        raise SafemergeError(
            f"attack={attack.name.spelt}: this model is given conversations and not prompts, so "
            "its chat template cannot be changed; use vllm or hf."
        )
    thinking = {"enable_thinking": lm.enable_thinking} if hasattr(lm, "enable_thinking") else {}
    return str(
        tokenizer.apply_chat_template(
            turns,
            chat_template=attack.template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **thinking,
            **(getattr(lm, "chat_template_args", None) or {}),
        )
    )


@cache
def _loaded_tokenizer(place: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"attack_tokenizer={place} has no tokenizer that can be loaded ({brief(error)}); give "
            "the model's folder or Hub id."
        ) from error


def _tokenizer(place: str | None, own: Any) -> Any:
    return own if place is None else _loaded_tokenizer(place)


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
