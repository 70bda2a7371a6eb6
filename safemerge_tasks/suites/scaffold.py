"""A new suite from the user's own file or from a data set on the Hub: a YAML and a README."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.common.hub_errors import hub_errors
from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.sampling import Question
from safemerge_tasks.suites.sources import EXTENSIONS
from safemerge_tasks.suites.spec import NAME_PATTERN, SuiteSpec
from safemerge_tasks.suites.task_files import HARNESS_CLASS, task_files

MAX_LINES = 10
TO_FILL_IN = "TODO"

README = """\
# {name}

Licence: {todo}. Access: {todo}.

What the prompts are, who wrote them, and what a high attack success rate on them means.

`{name}_asr` asks {count} prompts from {source}.

### Changelog

* version 1.0: first release. Raise `metadata.version` whenever results stop being comparable.
"""


@dataclass(frozen=True)
class NewSuite:
    """What was written."""

    folder: Path
    questions: list[Question]


def new_suite(
    name: str,
    source: str,
    *,
    question: str,
    category: str | None = None,
    language: str = "en",
    out: Path = Path("suites"),
    config: str | None = None,
    split: str | None = None,
) -> NewSuite:
    """Write `out/name/` with `name_asr.yaml` and a README to fill in.

    Args:
        name: of the suite; its task is `name_asr`.
        source: a CSV, JSON, JSON lines or Parquet file, or the id of a data set on the Hub.
        question: the column of the prompts.
        category: a column that gives a result row for each of its values.
        language: of the prompts, as a code such as "vi".
        out: folder of the user's suites, for lm-eval's `--include_path`.
        config: configuration of a data set on the Hub.
        split: split of a data set on the Hub.

    Raises:
        SafemergeError: the name is not usable or taken, or the source cannot be read or lacks a
            column; nothing is written then.
    """
    folder = out / name
    _check_name(name, folder)
    kwargs: dict[str, Any] = {"suite": name}
    if language != "en":
        kwargs["language"] = language
    kwargs |= _source_keys(source, config, split) | {"question": question}
    if category is not None:
        kwargs["category"] = category
    questions = load_suite(SuiteSpec.checked(kwargs, where=name))
    if not questions:
        raise SafemergeError(f"{source} has no prompts; add some.")
    folder.mkdir(parents=True)
    (folder / f"{name}_asr.yaml").write_text(_yaml(name, kwargs), encoding="utf-8")
    readme = README.format(name=name, todo=TO_FILL_IN, count=len(questions), source=source)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return NewSuite(folder, questions)


def _check_name(name: str, folder: Path) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise SafemergeError(
            f"{name!r} is not a suite's name: use lower-case letters, digits, _ and -."
        )
    if folder.exists():
        raise SafemergeError(f"{folder} exists already; choose another name or another --out.")
    for file in task_files():
        if file.name == f"{name}_asr":
            raise SafemergeError(f"{name}_asr is a packaged task already; choose another name.")


def _source_keys(source: str, config: str | None, split: str | None) -> dict[str, Any]:
    path = Path(source).expanduser()
    if path.is_file():
        return {"parts": [{"file": str(path.resolve())}]}
    if path.suffix.lower() in EXTENSIONS or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise SafemergeError(
            f"{source} is neither a file nor a Hub id such as owner/name; correct --from."
        )
    way_out = "or give a file."
    with hub_errors(source, way_out=way_out):
        from huggingface_hub import HfApi

        revision = HfApi().dataset_info(source).sha
    given = {"config": config, "split": split or _only_split(source, config, revision, way_out)}
    kept = {key: value for key, value in given.items() if value is not None}
    return {"hub": source, "revision": revision, **kept}


def _only_split(hub: str, config: str | None, revision: str | None, way_out: str) -> str:
    from datasets import get_dataset_split_names

    with hub_errors(hub, way_out=way_out):
        try:
            splits = get_dataset_split_names(hub, config, revision=revision)
        except ValueError as error:
            # `datasets` lists the configurations to choose from.
            raise SafemergeError(f"{hub}: {one_line(error)}") from error
    if len(splits) != 1:
        raise SafemergeError(f"{hub} has the splits {', '.join(splits)}; choose one with --split.")
    return str(splits[0])


def _yaml(name: str, kwargs: dict[str, Any]) -> str:
    head = [f"class: !function {HARNESS_CLASS}", f"task: {name}_asr"]
    tail = ["metadata: {version: 1.0}"]
    # One key a line if that stays on one screen, else as few lines as fit.
    body = ["dataset_kwargs:", *(f"  {key}: {_inline(value)}" for key, value in kwargs.items())]
    if len(head) + len(body) + len(tail) > MAX_LINES:
        body = [f"dataset_kwargs: {_inline(kwargs)}"]
    return "\n".join([*head, *body, *tail]) + "\n"


def _inline(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.removesuffix("...\n").strip()
