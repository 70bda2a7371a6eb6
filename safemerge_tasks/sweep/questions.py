"""What a sweep asks: its tasks, one by one, each recorded once as the requests lm-eval makes."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from safemerge_tasks.attacks import refuse_settings_of_none
from safemerge_tasks.attacks.names import BETWEEN
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.live_evaluation import token_limit
from safemerge_tasks.sweep.manifest import SPLITS, Measured, Split, Tasks
from safemerge_tasks.sweep.spec import SweepSpec, TaskChoice
from safemerge_tasks.sweep.store import Store

if TYPE_CHECKING:
    from safemerge_tasks.sweep.serving.evaluation import Evaluation
    from safemerge_tasks.sweep.serving.recording import Recording, Request


SAFETY, UTILITY, TEST, LOOK = "safety", "utility", "test", "look"
"""The parts of what a variant is asked: two of validation data, test data, a search's looks."""

Wanted = Mapping[str, frozenset[str]]
"""Merged variant → the parts that it is asked."""

LOOKS = (0.05, 0.15, 0.4)
"""Shares of the safety questions that a search asks before all of them."""


@dataclass(frozen=True)
class Asked:
    """One task in one split.

    Attributes:
        task: lm-eval's name of it.
        split: what it is for.
        look: how many of `LOOKS` it has come to: the first questions only; 0 is all of them.
        safety: whether a judge reads the responses.
        evaluation: how it is asked.
        digest: of the recorded requests.
        recording: name of the recording in the store.
        scoring: hash of what shapes scores beside responses.
        requests: how many those are.
        prompt_tokens: in all of them.
        most_new_tokens: that responses may have, in all.
        longest: the most tokens of a prompt with its response.
    """

    task: str
    split: Split
    safety: bool
    evaluation: "Evaluation"
    digest: str
    recording: str
    scoring: str
    requests: int
    prompt_tokens: int
    most_new_tokens: int
    look: int = 0
    longest: int = 0

    @property
    def part(self) -> str:
        """Which part of a variant's questions it belongs to; see `Wanted`."""
        if self.look:
            return f"{LOOK} {self.look}"
        return TEST if self.split == "test" else SAFETY if self.safety else UTILITY


@dataclass(frozen=True)
class Questions:
    """Everything that is asked.

    Attributes:
        tasks: fine-tuning → split → its tasks with their metrics.
        asked: by split and task.
        looks: the first validation questions of safety tasks.
        notes: what the user should know.
    """

    tasks: Mapping[str, Mapping[Split, Tasks]]
    asked: Mapping[tuple[Split, str], Asked]
    looks: tuple[Asked, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, tuning: str | None) -> list[Asked]:
        """Return what a fine-tuning's variants are asked; None is the base, which gets all."""
        if tuning is None:
            return list(self.asked.values())
        found = []
        for split in SPLITS:
            tasks = self.tasks[tuning][split]
            names = dict.fromkeys(one.task for one in (*tasks.safety, *tasks.utility))
            found += [self.asked[split, name] for name in names]
        return found


def read_questions(spec: SweepSpec, store: Store) -> Questions:
    """Load every task and record its requests in the store.

    Raises:
        SafemergeError: a task does not exist or cannot be loaded.
    """
    tasks: dict[str, dict[Split, Tasks]] = {}
    asked: dict[tuple[Split, str], Asked] = {}
    notes: list[str] = []
    with _quiet_lm_eval():
        for split in SPLITS:
            _refuse_unused_attack_settings(spec, split)
            loader = _Loader(spec, split)
            safety = loader.measured(spec.tasks.of(split).safety, safety=True)
            for tuning in spec.tunings:
                own = tuning.utility.of(split) if tuning.utility else ()
                choices = own or spec.tasks.of(split).utility
                utility = loader.measured(choices, safety=False)
                tasks.setdefault(tuning.name, {})[split] = Tasks(safety=safety, utility=utility)
                for one in (*safety, *utility):
                    if (split, one.task) not in asked:
                        how = evaluation_of(spec, split, (loader.named[one.task],))
                        made = _record(spec, store, one.task, split, how, safety=one in safety)
                        asked[split, one.task] = made
            notes += loader.notes
        looks = tuple(_looks(spec, store, asked.values())) if spec.choose.search else ()
    room = _room(spec)
    for (split, task), made in asked.items():
        other = asked.get(("validation", task)) if split == "test" else None
        if other and other.digest == made.digest:
            notes.append(f"{task} asks the same on validation and test data")
        if room and made.longest > room:
            notes.append(
                f"{task} asks and allows up to {made.longest} tokens, and the engine has room for "
                f"{room}: lm-eval cuts off the beginning"
            )
    return Questions(tasks, asked, looks, tuple(dict.fromkeys(notes)))


def _room(spec: SweepSpec) -> int | None:
    """Return how many tokens a prompt and its response may have together, where that is known."""
    from transformers import AutoConfig

    arguments = spec.engine.model_args
    said = arguments.get("max_model_len") or arguments.get("max_length")
    if isinstance(said, int) and said > 0:
        return said
    trust = bool(arguments.get("trust_remote_code"))
    config = AutoConfig.from_pretrained(spec.base, trust_remote_code=trust)
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _looks(spec: SweepSpec, store: Store, asked: Iterable[Asked]) -> Iterator[Asked]:
    """Record the first questions of every safety task on validation data."""
    for whole in asked:
        if whole.split != "validation" or not whole.safety:
            continue
        for number, share in enumerate(LOOKS, 1):
            limit = share if spec.tasks.limit is None else math.ceil(share * spec.tasks.limit)
            first = whole.evaluation.model_copy(update={"limit": limit})
            yield _record(spec, store, whole.task, whole.split, first, safety=True, look=number)


def _refuse_unused_attack_settings(spec: SweepSpec, split: Split) -> None:
    from safemerge_tasks.harness.attacked_tasks import attack_on

    asked = spec.tasks.of(split)
    attacks = dict.fromkeys(attack_on(one.task, asked.metadata) for one in asked.safety)
    refuse_settings_of_none(asked.metadata, list(attacks))


@contextmanager
def _quiet_lm_eval() -> Iterator[None]:
    """Keep lm-eval's progress bars and hints on its command line to itself; errors are raised."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # Our own warnings still show: their handler holds the stream itself.
        # What tasks print while they are imported, as IFEval does, must not mix with a plan's JSON.
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _one_sentence(spec: SweepSpec, task: str) -> Iterator[None]:
    """Raise whatever a task's own code or the Hub raises as one sentence."""
    try:
        yield
    except SafemergeError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        if "confirm_run_unsafe_code" in reason:
            raise SafemergeError(
                f"{spec.name}: {task} runs code that a model wrote; if that is meant, write "
                "confirm_run_unsafe_code: true below tasks."
            ) from error
        raise SafemergeError(
            f"{spec.name}: the task {task} cannot be loaded ({type(error).__name__}: {reason})."
        ) from error


def evaluation_of(spec: SweepSpec, split: Split, tasks: tuple[str, ...] = ()) -> "Evaluation":
    """Return how a split's tasks are asked."""
    from safemerge_tasks.sweep.serving.evaluation import Evaluation

    return Evaluation(
        tasks=tasks,
        base=spec.base,
        metadata=dict(spec.tasks.of(split).metadata),
        data_dir=spec.data_dir,
        trust_remote_code=bool(spec.engine.model_args.get("trust_remote_code")),
        **spec.tasks.model_dump(exclude={"validation", "test"}),
    )


class _Loader:
    """Finds tasks below what the sweep names, and their metrics.

    Attributes:
        named: task → how to ask for it, with the whole path of an attack's file.
        notes: what the user should know.
    """

    def __init__(self, spec: SweepSpec, split: Split) -> None:
        self.named: dict[str, str] = {}
        self.notes: list[str] = []
        self._spec = spec
        self._evaluation = evaluation_of(spec, split)

    def measured(self, choices: tuple[TaskChoice, ...], *, safety: bool) -> tuple[Measured, ...]:
        from safemerge_tasks.harness.attacked_tasks import attack_on
        from safemerge_tasks.sweep.serving.asking import leaves

        found: list[Measured] = []
        for choice in choices:
            with _one_sentence(self._spec, choice.task):
                tasks = leaves(self._evaluation, choice.task)
            attack = attack_on(choice.task, self._evaluation.metadata)
            for leaf, loaded in tasks.items():
                metrics = dict(loaded.higher_is_better())
                if self._spec.tasks.num_fewshot and loaded.config.num_fewshot == 0:
                    self.notes.append(f"{leaf} has no examples by its own file, and stays without")
                task, between, _ = leaf.partition(BETWEEN)
                named = f"{task}{between}{attack}" if between else leaf
                if self.named.setdefault(leaf, named) != named:
                    raise SafemergeError(
                        f"{self._spec.name}: {self.named[leaf]} and {named} would have the same "
                        f"name in the results, {leaf}; rename one file."
                    )
                metric = choice.metric or ("asr" if safety else _first_to_raise(leaf, metrics))
                # Metrics come as name or, under a filter, name,filter.
                if metrics and metric.partition(",")[0] not in metrics:
                    raise SafemergeError(
                        f"{self._spec.name}: {leaf} has no metric {metric}; it has "
                        f"{', '.join(metrics)}."
                    )
                if leaf in (one.task for one in found):
                    raise SafemergeError(
                        f"{self._spec.name}: {leaf} is named twice in one list, and its questions "
                        "would count twice; remove one."
                    )
                found.append(Measured(task=leaf, metric=metric))
        return tuple(found)


def _first_to_raise(task: str, metrics: Mapping[str, bool]) -> str:
    for metric in ("bertscore_f1", *metrics):
        if metrics.get(metric):
            return metric
    raise SafemergeError(
        f"{task} has no metric of which more is better; write {{task: {task}, metric: NAME}}."
    )


def _record(
    spec: SweepSpec,
    store: Store,
    task: str,
    split: Split,
    evaluation: "Evaluation",
    *,
    safety: bool,
    look: int = 0,
) -> Asked:
    from safemerge_tasks.sweep.serving.record import record

    with _one_sentence(spec, task):
        made = _first_recorded(store, record(evaluation))
    for request in made.requests:
        _refuse_overruled(spec, task, request)
    return Asked(
        task,
        split,
        safety,
        evaluation,
        made.digest,
        made.name,
        made.scoring,
        len(made.requests),
        made.prompt_tokens,
        sum(_most_new_tokens(spec, request.settings) for request in made.requests),
        look,
        made.longest,
    )


def _first_recorded(store: Store, made: "Recording") -> "Recording":
    """Return the first recording of the same tasks and base that the store has; keep this one else.

    Prompts need not come out alike twice: a chat template may hold the date, a task may walk
    through a set. Every variant answers what was asked first, whenever a sweep goes on.
    """
    place = store.recording(made.name)
    if known := min(place.parent.glob(f"*-{made.whose}.json"), default=None):
        return type(made).load(known)
    made.save(place)
    return made


def _refuse_overruled(spec: SweepSpec, task: str, request: "Request") -> None:
    """Refuse settings of the sweep's that lm-eval drops, for the task says it in other words.

    Of several names of a limit it takes the first, and nothing is sampled against `do_sample`.
    """
    given = spec.tasks.gen_kwargs
    limit, counts = token_limit(given), token_limit(request.settings)
    samples = given.get("do_sample") is True or float(given.get("temperature") or 0) > 0
    where = f"{spec.name}: tasks.gen_kwargs is overruled, {task}"
    if request.settings and limit not in (None, counts):
        raise SafemergeError(f"{where} has its own limit of {counts}; write max_gen_toks: {limit}.")
    if request.settings and samples and not request.samples:
        raise SafemergeError(f"{where} is greedy; write do_sample: true and a temperature above 0.")


# lm-eval's own, where neither a task nor the engine has one.
_DEFAULT_LIMIT = 256


def _most_new_tokens(spec: SweepSpec, settings: Mapping[str, Any]) -> int:
    """Return how many tokens a response may have; none where no text is generated."""
    if not settings:
        return 0
    usual = int(spec.engine.model_args.get("max_gen_toks", _DEFAULT_LIMIT))
    limit = token_limit(settings)
    return usual if limit is None else limit
