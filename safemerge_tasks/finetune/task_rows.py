"""Training rows from the source of one of our validation tasks: what it does not hold out."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.config import SHORT_NAMES, TaskData
from safemerge_tasks.finetune.exchanges import Exchange, TuningData, without_repeats
from safemerge_tasks.suites import Question, SuiteSpec, load_suite
from safemerge_tasks.suites.conversation import WITHOUT_ROLE
from safemerge_tasks.suites.load import divided
from safemerge_tasks.suites.prompt_template import fill_in
from safemerge_tasks.suites.task_files import Function, TaskFile, task_files

TRAINING_PROMPT = "training_system_prompt"


def task_rows(data: TaskData, split_seed: int) -> TuningData:
    """Return the rest of a task's source as training rows, and what it holds out as validation.

    Prompts and system prompt are rendered from the task's own YAML, so the validation rows are the
    task's documents to the letter; but for a `training_system_prompt` in its metadata, where the
    paper trained with another system prompt than it tested with.

    Raises:
        SafemergeError: no such task, one that holds out no share, or a source that cannot be read.
    """
    file = _task_file(data)
    spec = SuiteSpec.checked(
        file.content.get("dataset_kwargs") or {}, where=str(file.path), beside=file.path.parent
    ).divided_as({"split_seed": split_seed})
    held = spec.hold_out
    if held is None or held.share is None or "reference" not in spec.fields:
        raise SafemergeError(
            f"data.task {data.task!r} holds out no share of a source with answers, so there is no "
            f"rest to train on; use one of {', '.join(SHORT_NAMES)}."
        )
    whole = load_suite(spec.model_copy(update={"hold_out": None}))
    parts = {
        keep: divided(
            spec.model_copy(update={"hold_out": held.model_copy(update={"keep": keep})}), whole
        )
        for keep in ("rest", "held_out")
    }
    prompt = _prompt(file)
    rest, validation = (
        [_exchange(question, prompt) for question in parts[keep]] for keep in ("rest", "held_out")
    )
    train, left_out = without_repeats(rest, validation)
    system_prompt, folded = _system_prompt(file)
    return TuningData(data.task, train, validation, system_prompt, held.seed, left_out, folded)


def _system_prompt(file: TaskFile) -> tuple[str, str | None]:
    """Return what is trained with, and what stands for it where there is no system role."""
    metadata = file.content.get("metadata") or {}
    if TRAINING_PROMPT in metadata:
        return str(metadata[TRAINING_PROMPT]), ""
    return str(file.content.get("description") or ""), metadata.get(WITHOUT_ROLE)


def _task_file(data: TaskData) -> TaskFile:
    found = [file for file in task_files(data.include_path) if file.task == data.task]
    if not found:
        raise SafemergeError(
            f"data.task {data.task!r} is no task of ours; use one of {', '.join(SHORT_NAMES)}, or "
            "give the folder of your own suites as data.include_path."
        )
    return found[0]


def _prompt(file: TaskFile) -> Callable[[Question], str]:
    """Return what makes the user's turn of a question, as lm-eval does."""
    given = file.content.get("doc_to_text", "{{question}}")
    if isinstance(given, Function):
        module, _, name = given.rpartition(".")
        function: Callable[[Mapping[str, str]], str] = getattr(import_module(module), name)
        return function
    return partial(fill_in, str(given))


def _exchange(question: Question, prompt: Callable[[Question], str]) -> Exchange:
    turn: dict[str, Any] = {"role": "user", "content": prompt(question)}
    return Exchange((turn,), question["reference"], question["id"])
