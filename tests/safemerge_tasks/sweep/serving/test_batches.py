"""What is on disk before vLLM answers the next batch; a stand-in answers in its place."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from safemerge_tasks.sweep import serving
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.progress import Counter
from safemerge_tasks.sweep.serving.recording import GENERATION, Recording

_IMPORTED = (
    *("vllm", "vllm.lora.request", "vllm.platforms", "lm_eval.models.vllm_causallms"),
    "safemerge_tasks.sweep.serving.worker_extension",
)


@pytest.fixture
def vllm_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the module, also where vLLM is not installed."""
    there = find_spec("vllm") is not None
    for name in () if there else _IMPORTED:
        monkeypatch.setitem(sys.modules, name, MagicMock())
    module = import_module("safemerge_tasks.sweep.serving.vllm_answers")
    yield module
    if not there:
        del sys.modules[module.__name__], serving.vllm_answers


class View:
    """As much of lm-eval's model as asks an engine for texts."""

    lora_request = None
    model: Any

    def generate_until(self, instances: Sequence[Any], **_: Any) -> list[Any]:
        asked = [instance.args for instance in instances]
        found: list[Any] = self.model.generate(asked, asked, False, None)
        return found


@pytest.mark.parametrize(("adapters", "there"), [("abcde", [0, 1, 3]), ("aabbc", [0, 2, 4])])
def test_variants_are_on_disk_before_the_next_are_asked(
    vllm_answers: Any,
    recording: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adapters: str,
    there: list[int],
) -> None:
    texts = [request for request in recording.requests if request.kind == GENERATION]
    asked = replace(recording, requests=tuple(texts))
    monkeypatch.setattr(vllm_answers, "MOST_TOGETHER", 2 * len(texts))
    seen: list[int] = []

    class Engine:
        llm_engine = None

        def generate(self, prompts: Sequence[Any], **_: Any) -> list[str]:
            seen.append(len(list(tmp_path.iterdir())))
            return ["yes"] * len(prompts)

    members = [
        (Asked(str(n), tmp_path / "r", tmp_path / f"{n}.json"), asked, View(), {"adapter": one})
        for n, one in enumerate(adapters)
    ]
    done: list[str] = []
    counter = Counter(None, len(texts) * len(members))
    listener = Listener(done.append)
    vllm_answers._answer_together(members, Engine(), EngineSettings(), listener, counter)
    # The first variant is a batch of its own, whatever it is asked.
    assert seen == there
    assert sorted(done) == list("01234")
