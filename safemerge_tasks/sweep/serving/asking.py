"""One run of lm-eval's `simple_evaluate`, with the settings of an `Evaluation`."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lm_eval import simple_evaluate
from torch.utils import collect_env

from safemerge_tasks.attacks.names import BETWEEN
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.local_data import DATA_DIR
from safemerge_tasks.harness.attacked_tasks import AttackedTasks
from safemerge_tasks.suites.places import packaged_folder, seen_by_lm_eval
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.task_content import as_text

_environment_info = cache(collect_env.get_pretty_env_info)


def run_lm_eval(
    model: Any,
    evaluation: Evaluation,
    model_args: Mapping[str, Any] | None = None,
    tracker: Any = None,
) -> dict[str, Any]:
    """Return lm-eval's results, samples included.

    Args:
        model: one of lm-eval's models.
        evaluation: what to ask.
        model_args: what the results shall say about the model; they reach no task.
        tracker: lm-eval's `EvaluationTracker`.

    Raises:
        SafemergeError: a task is unknown.
    """
    random_seed, numpy_seed, torch_seed, fewshot_seed = evaluation.seeds
    manager = _manager_with(evaluation, evaluation.tasks)
    # lm-eval asks pip and the system about themselves for every variant: 0.6 s.
    once = patch.object(collect_env, "get_pretty_env_info", _environment_info)
    with _data_from(evaluation.data_dir), once:
        results: dict[str, Any] = simple_evaluate(
            model=model,
            model_args=dict(model_args or {}),
            tasks=list(evaluation.tasks),
            num_fewshot=evaluation.num_fewshot,
            limit=evaluation.limit,
            log_samples=True,
            evaluation_tracker=tracker,
            system_instruction=evaluation.system_instruction,
            apply_chat_template=evaluation.apply_chat_template,
            fewshot_as_multiturn=evaluation.fewshot_as_multiturn,
            gen_kwargs=dict(evaluation.gen_kwargs) or None,
            task_manager=manager,
            random_seed=random_seed,
            numpy_random_seed=numpy_seed,
            torch_random_seed=torch_seed,
            fewshot_random_seed=fewshot_seed,
            confirm_run_unsafe_code=evaluation.confirm_run_unsafe_code,
            metadata=evaluation.task_metadata,
        )
    return results


def is_task(name: str, include_path: str | None) -> bool:
    """Return whether a task or group of that name can be asked."""
    near = _task_manager(include_path, "{}", everything=False)
    if name in near.all_subtasks:
        return True
    return bool(_task_manager(include_path, "{}", everything=True).match_tasks([name]))


def leaves(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Return lm-eval's tasks that a name of a task or group stands for, by their own names.

    Raises:
        SafemergeError: there is no such task, or it cannot be loaded.
    """
    manager = _manager_with(evaluation, [name])
    with _data_from(evaluation.data_dir):
        tasks = manager.load([name])["tasks"]
        for leaf, task in tasks.items():
            if leaf.partition(BETWEEN)[0] != name.partition(BETWEEN)[0]:
                _refuse_settings_of_a_group(name, task, manager)
    return {str(leaf): task for leaf, task in tasks.items()}


def _refuse_settings_of_a_group(group: str, task: Any, manager: AttackedTasks) -> None:
    """Refuse a group that asks a task otherwise than the task by itself is asked.

    A sweep asks every task by itself.

    Raises:
        SafemergeError: it does.
    """
    name = str(task.config.task).partition(BETWEEN)[0]
    _, between, attack = group.partition(BETWEEN)
    if name not in manager.all_subtasks:
        raise SafemergeError(
            f"The task {name} stands in the group alone; give it a file of its own."
        )
    (alone,) = manager.load([f"{name}{between}{attack}"])["tasks"].values()
    ours, own = (one.config.to_dict(keep_callable=True) for one in (task, alone))
    known = ("metadata", "task")
    other = [
        key for key in ours if key not in known and as_text(ours[key]) != as_text(own.get(key))
    ]
    if other:
        raise SafemergeError(
            f"The group {group} asks {name} with {', '.join(other)} of its own, and a sweep asks "
            "every task by itself; write a task that includes it, with those."
        )


def _manager_with(evaluation: Evaluation, names: Iterable[str]) -> AttackedTasks:
    """Return a manager that knows some tasks.

    Raises:
        SafemergeError: it does not know one.
    """
    wanted, metadata = list(names), json.dumps(evaluation.task_metadata)
    near = _task_manager(evaluation.include_path, metadata, everything=False)
    if near.has(wanted):
        return near
    manager = _task_manager(evaluation.include_path, metadata, everything=True)
    unknown = [name for name in wanted if not manager.match_tasks([name])]
    if unknown:
        raise SafemergeError(
            f"{unknown[0]} is no task of lm-eval"
            + (f" or of {evaluation.include_path}." if evaluation.include_path else ".")
        )
    return manager


@cache
def _task_manager(include_path: str | None, metadata: str, *, everything: bool) -> AttackedTasks:
    """Return one manager a process, which variants share."""
    if not everything:
        return AttackedTasks.near(include_path, json.loads(metadata))
    # With all of lm-eval's come ours, unless this lm-eval looks elsewhere.
    places = [] if seen_by_lm_eval() else [packaged_folder()]
    places += [Path(include_path)] if include_path else []
    return AttackedTasks(include_path=places or None, metadata=json.loads(metadata))


@contextmanager
def _data_from(folder: str | None) -> Iterator[None]:
    before = os.environ.get(DATA_DIR)
    if folder is not None:
        os.environ[DATA_DIR] = folder
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(DATA_DIR, None)
        else:
            os.environ[DATA_DIR] = before
