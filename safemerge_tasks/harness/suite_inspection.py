"""What is wrong with a suite, all of it, also what lm-eval hides or would find out late."""

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import nearest, unknown_key
from safemerge_tasks.harness import lm_eval_view
from safemerge_tasks.harness.harmful_questions import HarmfulQuestions
from safemerge_tasks.harness.reference_answers import ReferenceAnswers
from safemerge_tasks.harness.task_keys import problems
from safemerge_tasks.results.category_rows import category_rows
from safemerge_tasks.suites.availability import availability
from safemerge_tasks.suites.checks import duplicates_of, problems_of
from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.reading import read_part
from safemerge_tasks.suites.scaffold import TO_FILL_IN
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.task_files import HARNESS_CLASS, Function, TaskFile, task_files

_KINDS = {
    HARNESS_CLASS: HarmfulQuestions.kind,
    "safemerge_tasks.harness.ReferenceAnswers": ReferenceAnswers.kind,
}

LICENCE = re.compile(r"^\W*licen[cs]e\W*:\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)


def inspect_suite(name: str, include_path: Path | None = None) -> list[str]:
    """Return everything that is wrong with a suite, one sentence each.

    Args:
        name: a task, a group, or a folder of them.
        include_path: the folder of the user's suites; the packaged ones are always known.

    Raises:
        SafemergeError: there is no such suite, or `include_path` is not a folder.
    """
    files = task_files(include_path)
    chosen = _chosen(name, files)
    problems = [problem for file in chosen for problem in _file_problems(file, files)]
    # A group alone asks nothing of its own, so it needs no licence.
    for folder in dict.fromkeys(file.path.parent for file in chosen if file.group is None):
        problems += _readme_problems(folder)
    if not problems:
        problems += _hidden(chosen)
    return list(dict.fromkeys(problems))


def category_questions(name: str, include_path: Path | None = None) -> dict[str, Counter[str]]:
    """Return what the categories' rows of a suite without problems are called.

    Returns:
        Task → row of a category or sub-category → how many questions it has, in the suite's order;
        tasks without categories, and those that ask nothing harmful, are missing.
    """
    found: dict[str, Counter[str]] = {}
    for file in _chosen(name, task_files(include_path)):
        given = file.content.get("dataset_kwargs")
        if file.content.get("class") != HARNESS_CLASS or not isinstance(given, dict):
            continue
        spec = SuiteSpec.checked(given, where=str(file.path), beside=file.path.parent)
        rows = Counter(row for one in load_suite(spec) for row in category_rows(one))
        if rows and not spec.harmless:
            found[file.name] = rows
    return found


def _chosen(name: str, files: list[TaskFile]) -> list[TaskFile]:
    chosen = _with_members([file for file in files if name in _names(file)], files)
    if not chosen:
        known = {candidate for file in files for candidate in _names(file)}
        near = nearest(name, sorted(known))
        hint = "" if near is None else f"; did you mean {near}?"
        raise SafemergeError(f"no suite {name} among the packaged or below --include-path{hint}")
    return chosen


def _names(file: TaskFile) -> set[str]:
    return {file.name, file.path.parent.name, file.path.stem}


def _with_members(chosen: list[TaskFile], files: list[TaskFile]) -> list[TaskFile]:
    """Return the files and those of their groups' members, of groups within groups too."""
    members = {member for file in chosen for member in _members(file)}
    more = [file for file in files if file.name in members and file not in chosen]
    return _with_members(chosen + more, files) if more else chosen


def _members(file: TaskFile) -> list[str]:
    listed = file.content.get("task") if file.group is not None else None
    names = [listed] if isinstance(listed, str) else listed or []
    return [name for name in names if isinstance(name, str)]


def _file_problems(file: TaskFile, others: list[TaskFile]) -> Iterator[str]:
    if file.error is not None:
        yield file.error
        return
    if file.task is None and file.group is None:
        yield f"{file.path} has neither `task` nor `group`, so lm-eval skips it; name the task."
        return
    yield from _twins(file, others)
    if file.group is not None:
        yield from _unknown(file, lm_eval_view.group_keys())
        yield from _unknown_members(file, others)
        return
    yield from _unknown(file, lm_eval_view.task_keys())
    yield from _lost_functions(file)
    yield from _traps(file)
    if file.is_suite:
        yield from _without_effect(file)
        yield from _question_problems(file)


def _without_effect(file: TaskFile) -> Iterator[str]:
    """Yield the keys that lm-eval knows and safemerge's tasks would refuse."""
    stand_in = _KINDS[file.content["class"]].process_results
    known = lm_eval_view.task_keys() - lm_eval_view.HANDLED_APART
    content = {key: value for key, value in file.content.items() if key in known}
    if content.get("process_results") == f"safemerge_tasks.harness.{stand_in.__name__}":
        content["process_results"] = stand_in
    for problem in problems(_KINDS[file.content["class"]], content):
        yield f"{file.path}: {problem}"


def _twins(file: TaskFile, others: list[TaskFile]) -> Iterator[str]:
    for other in others:
        if other.path != file.path and other.name == file.name and other.error is None:
            yield f"{file.path} and {other.path} are both called {file.name}; rename one of them."


def _unknown(file: TaskFile, known: set[str]) -> Iterator[str]:
    for key in file.content:
        if key not in known:
            yield f"{file.path}: {unknown_key(str(key), sorted(known), 'a key of lm-eval')}"


def _unknown_members(file: TaskFile, others: list[TaskFile]) -> Iterator[str]:
    known = {other.name for other in others}
    for member in _members(file):
        if member not in known:
            yield f"{file.path}: there is no task {member!r}; correct the group's list."


def _lost_functions(file: TaskFile) -> Iterator[str]:
    for key, value in file.content.items():
        if isinstance(value, Function):
            module, _, attribute = value.rpartition(".")
            if (file.path.parent / f"{module.replace('.', '/')}.py").is_file():
                continue
            try:
                getattr(importlib.import_module(module), attribute)
            except (ImportError, AttributeError, ValueError) as error:
                yield f"{file.path}: {key}: !function {value} cannot be imported ({error})."


def _traps(file: TaskFile) -> Iterator[str]:
    metadata = file.content.get("metadata")
    if not isinstance(metadata, dict) or "version" not in metadata:
        yield f"{file.path} has no version; add `metadata: {{version: 1.0}}`."
    generation = file.content.get("generation_kwargs")
    if isinstance(generation, dict) and "until" not in generation:
        yield (
            f"{file.path}: generation_kwargs has no `until`, so lm-eval cuts responses at the "
            "first blank line; add `until: []`."
        )


def _question_problems(file: TaskFile) -> Iterator[str]:
    given: Any = file.content.get("dataset_kwargs")
    if not isinstance(given, dict):
        yield f"{file.path} has no `dataset_kwargs`, which say where the questions are; add them."
        return
    wrong = SuiteSpec.problems(given)
    if wrong:
        yield from (f"{file.path}: {sentence}" for sentence in wrong)
        return
    spec = SuiteSpec.checked(given, where=str(file.path), beside=file.path.parent)
    rows = list(_row_problems(spec))
    yield from rows
    if not rows:
        yield from _error_of(spec)


def _row_problems(spec: SuiteSpec) -> Iterator[str]:
    for part in spec.parts:
        try:
            table = read_part(spec, part)
        except SafemergeError as error:
            yield str(error)
            if availability(spec) != "local":
                return  # One source for all parts: what keeps us from one keeps us from all.
            continue
        if table is None:
            continue
        wrong = list(problems_of(spec, table))
        yield from wrong
        if not spec.duplicates and not any("has no column" in sentence for sentence in wrong):
            yield from duplicates_of(spec, table)


def _error_of(spec: SuiteSpec) -> Iterable[str]:
    try:
        load_suite(spec)
    except SafemergeError as error:
        return [str(error)]
    return []


def _readme_problems(folder: Path) -> Iterator[str]:
    readme = folder / "README.md"
    if not readme.is_file():
        yield f"{readme} does not exist; add one with a line `Licence: …`."
        return
    found = LICENCE.search(readme.read_text(encoding="utf-8", errors="replace"))
    if found is None or found[1].startswith(TO_FILL_IN):
        yield f"{readme} names no licence; fill in the line `Licence: …`."


def _hidden(chosen: list[TaskFile]) -> Iterator[str]:
    found = {folder: lm_eval_view.indexed(folder) for folder in {f.path.parent for f in chosen}}
    for file in chosen:
        if file.name not in found[file.path.parent]:
            yield f"{file.path} is hidden by lm-eval for a reason it only logs at level DEBUG."
