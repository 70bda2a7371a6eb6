"""Every key of lm-eval's task format is honoured by our tasks, or refused: none is just ignored."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import unknown_key
from safemerge_tasks.harness.lm_eval_view import task_keys

HONOURED = frozenset(
    (
        *("task", "task_alias", "tag", "doc_to_text", "doc_to_target", "description"),
        *("target_delimiter", "gen_prefix", "unsafe_code", "generation_kwargs", "metadata"),
    )
)
"""Keys that do what lm-eval's documentation says."""

_SOURCE = "questions come from `dataset_kwargs`"
_NO_EXAMPLES = "there are no examples before the question"
_TEXT_ONLY = "questions and answers are text"

ONLY: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "custom_dataset": ((None,), _SOURCE),
    "dataset_path": ((None,), _SOURCE),
    "dataset_name": ((None,), _SOURCE),
    "training_split": ((None,), _SOURCE),
    "validation_split": ((None,), _SOURCE),
    "fewshot_split": ((None,), _NO_EXAMPLES),
    "test_split": ((None, "test"), "all questions are in the split `test`"),
    "process_docs": ((None,), "questions are checked and counted as their source has them"),
    "doc_to_image": ((None,), _TEXT_ONLY),
    "doc_to_audio": ((None,), _TEXT_ONLY),
    "doc_to_choice": ((None,), "answers are free text"),
    "use_prompt": ((None,), "`doc_to_text` is the prompt"),
    "fewshot_delimiter": (("\n\n",), _NO_EXAMPLES),
    "fewshot_config": ((None, {}), _NO_EXAMPLES),
    "num_fewshot": ((None, 0), _NO_EXAMPLES),
    "output_type": (("generate_until",), "answers are generated"),
    "filter_list": ((None,), "a judge or scorer reads what the model wrote"),
    "should_decontaminate": ((None, False), "lm-eval does nothing with it"),
    "doc_to_decontamination_query": ((None,), "lm-eval does nothing with it"),
}
"""Key → the values that it may have here, and why no others."""

SEVERAL_AT_ONCE = ("n", "best_of", "num_return_sequences")
"""Generation settings for several answers to a request, of which lm-eval would take the first."""


class Kind(NamedTuple):
    """What a class of tasks makes of the keys on which classes differ.

    Attributes:
        metrics: names that `metric_list` may have.
        process_results: the function that the YAML has to name.
        repeats: it scores several answers to a question.
        dataset_kwargs: they say where its questions are.
    """

    metrics: frozenset[str]
    process_results: Callable[..., Any]
    repeats: bool
    dataset_kwargs: bool = True


def refuse_ignored(kind: Kind, config: Mapping[str, Any]) -> None:
    """Refuse what would have no effect, or not the one that it has in lm-eval's own tasks.

    Args:
        kind: of the task.
        config: the task's YAML, with what it includes.

    Raises:
        SafemergeError: names the task, the key and its value.
    """
    for problem in problems(kind, config):
        raise SafemergeError(f"{config.get('task')}: {problem}")


def problems(kind: Kind, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `refuse_ignored` refuses, one sentence each."""
    from lm_eval.config.task import TaskConfig

    known = {field.name for field in fields(TaskConfig)}
    for key, value in config.items():
        if key not in known:
            yield str(unknown_key(str(key), sorted(task_keys()), "a key of lm-eval"))
        elif key in ONLY:
            allowed, why = ONLY[key]
            if value not in allowed:
                yield f"`{key}: {_shown(value)}` has no effect here, because {why}; leave it out."
        elif key in _CHECKED:
            yield from _CHECKED[key](kind, value)
        elif key not in HONOURED:
            yield (
                f"`{key}` is a key of this lm-eval that safemerge does not know; leave it out, or "
                "use an older lm-eval."
            )
    yield from _types(config)


def generation_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with generation settings, also those of `--gen_kwargs`."""
    for key in SEVERAL_AT_ONCE:
        if given.get(key) not in (None, 1):
            yield (
                f"generation_kwargs has {key}={given[key]}, of which lm-eval would use one answer; "
                f"write `repeats: {given[key]}`, all of which are scored."
            )
    if given.get("stream"):
        yield "generation_kwargs has stream=True, which lm-eval cannot read; leave it out."


def _repeats(kind: Kind, value: Any) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        yield f"`repeats: {_shown(value)}` is no number of answers; write 1 or more."
    elif value > 1 and not kind.repeats:
        yield (
            f"`repeats: {value}` would pay for answers that nothing reads, because one is compared "
            "with the reference; leave it out."
        )


def _metric_list(kind: Kind, value: Any) -> Iterator[str]:
    for entry in value or ():
        name = entry.get("metric") if isinstance(entry, Mapping) else entry
        if name not in kind.metrics:
            yield (
                f"`metric_list` has {_shown(name)}, which nothing here computes; the metrics are "
                f"{', '.join(sorted(kind.metrics))}."
            )
            continue
        if not isinstance(entry, Mapping):
            continue
        if entry.get("aggregation", "mean") != "mean":
            yield f"`metric_list` has another aggregation of {name} than mean; write mean."
        for key in entry.keys() - {"metric", "aggregation", "higher_is_better"}:
            yield f"`metric_list` has {key} for {name}, which has no effect here; leave it out."


def _process_results(kind: Kind, value: Any) -> Iterator[str]:
    if value is not kind.process_results:
        yield (
            "`process_results` would be ignored, because safemerge scores the answers; write "
            "`!function safemerge_tasks.harness.process_results`."
        )


def _dataset_kwargs(kind: Kind, value: Any) -> Iterator[str]:
    if value and not kind.dataset_kwargs:
        yield "`dataset_kwargs` has no effect here, because the problems are fixed; leave it out."


_CHECKED: Mapping[str, Callable[[Kind, Any], Iterator[str]]] = {
    "repeats": _repeats,
    "metric_list": _metric_list,
    "process_results": _process_results,
    "dataset_kwargs": _dataset_kwargs,
}


def _types(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what lm-eval would fail on late, or read as something else than text."""
    generation = config.get("generation_kwargs")
    if generation is not None:
        if isinstance(generation, Mapping):
            yield from generation_problems(generation)
        else:
            yield f"`generation_kwargs: {_shown(generation)}` is no mapping; write key: value."
    for key in ("doc_to_text", "gen_prefix", "description"):
        value = config.get(key)
        if value is not None and not isinstance(value, str) and not callable(value):
            yield f"`{key}: {_shown(value)}` is no text; put it into quotes."
    for key in ("gen_prefix", "description"):
        if callable(config.get(key)):
            yield f"`{key}` is a function, and lm-eval takes text only; write it out."


def _shown(value: Any) -> str:
    text = getattr(value, "__name__", None) or str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 60 else f"{text[:59]}…"
