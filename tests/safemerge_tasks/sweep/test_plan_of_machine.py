"""What a plan says of this machine, and of what full fine-tuning writes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import plan, prepare
from safemerge_tasks.sweep.models import Source, Sources
from safemerge_tasks.sweep.prepare import Prepared, check_server, check_settings
from safemerge_tasks.sweep.questions import Questions
from safemerge_tasks.sweep.store import Store
from tests.safemerge_tasks.sweep.fake_runner import graph_of, step
from tests.safemerge_tasks.sweep.test_rates import keep
from tests.safemerge_tasks.sweep.test_run import spec_of
from tests.scripted_endpoint import fails, serve

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def steps() -> list[Any]:
    """Return the requests of three models, two of them adapters."""
    served = [step(f"answer-{n}", base="base", model=f"m{n}", requests=10) for n in range(3)]
    return [*served, step("judge-0", "judge", inputs=["answer-0"], requests=10)]


def prepared(tmp_path: Path, steps: list[Any], **changes: Any) -> Prepared:
    base = Source("base", "b", adapter=False)
    graph = graph_of(*steps, wanted=[one.key for one in steps])
    store = Store(tmp_path / "store")
    return Prepared(spec_of(**changes), store, Sources(base, {}, {}), [], Questions({}, {}), graph)


@pytest.mark.parametrize(
    ("gpus", "changes", "idle"),
    [
        (8, {}, 5),
        (2, {}, 0),
        (8, {"engine": {"model_args": {"tensor_parallel_size": 2}}}, 2),
        (8, {"engine": {"engines": 1}}, 7),
        # The judge's.
        (8, {"engine": {"url": URL}}, 7),
    ],
)
def test_gpus_that_nothing_would_use(
    tmp_path: Path, steps: list[Any], gpus: int, changes: Any, idle: int
) -> None:
    found = plan._machine(prepared(tmp_path, steps, **changes), steps, gpus)
    assert (found["GPUs"], found["GPUs that idle"]) == (gpus, idle)
    assert found["hours of one job"] is None


@pytest.mark.parametrize(
    ("gpus", "accelerated", "changes", "words"),
    [
        (1, False, {}, "as soon as a variant is scored, while engines answer others"),
        (8, True, {}, "as soon as a variant is scored, while engines answer others"),
        (2, True, {}, "while engines answer others, as soon as they leave room for the judge"),
        (1, True, {}, "when an engine has ended, for the judge takes its place"),
        (0, True, {}, "when an engine has ended, for the judge takes its place"),
        (
            1,
            True,
            {"resources": {"answer": {"gpus": 0.6}, "judge": {"gpus": 0.4}}},
            "while engines answer others, as soon as they leave room for the judge",
        ),
    ],
)
def test_when_there_are_verdicts(
    tmp_path: Path, gpus: int, accelerated: bool, changes: Any, words: str
) -> None:
    answers = [step(f"answer-{n}", base="base", model=f"m{n}", requests=10) for n in range(3)]
    steps = [*answers, step("judge-0", "judge", inputs=["answer-0"], accelerated=accelerated)]
    found = plan._machine(prepared(tmp_path, steps, **changes), steps, gpus)
    assert found["verdicts"].startswith(words)


def test_more_gpus_than_there_are_fail_the_plan(tmp_path: Path, steps: list[Any]) -> None:
    asks = prepared(tmp_path, steps, engine={"model_args": {"tensor_parallel_size": 2}})
    with pytest.raises(SafemergeError, match="is 2, and this machine has no GPUs; lower it, or us"):
        plan._machine(asks, steps, 0)
    # Other machines may have them.
    assert plan._machine(asks, steps, None) == {"hours of one job": None}


def test_a_server_is_asked_what_it_serves(tmp_path: Path, steps: list[Any]) -> None:
    with serve(lambda _number, _prompt: fails(500)) as endpoint:
        told = {"url": endpoint.url, "model_args": {"max_length": 64}}
        (note,) = check_server(prepared(tmp_path, steps, engine=told))
    assert note == f"{endpoint.url} answers: model scripted, by tests, max_model_len 64"
    gone = {"engine": {"url": URL, "model_args": {"max_retries": 0}}}
    asks = prepared(tmp_path, steps, **gone)
    with pytest.raises(SafemergeError, match="does not answer: start the server, or correct it"):
        check_server(asks)
    # It starts when models are trained, and is not needed once all is done.
    assert check_server(prepared(tmp_path, [step("finetune-1", "finetune"), *steps], **gone)) == []
    assert check_server(prepared(tmp_path, [], **gone)) == []


def test_hours_come_from_what_was_done_here(tmp_path: Path, steps: list[Any]) -> None:
    made = prepared(tmp_path, steps)
    keep(made.store, "answer-old", "answer", 900.0, 5.0, about="base")
    keep(made.store, "judge-old", "judge", 36.0, 10.0)
    # 30 requests of 180 s, 10 verdicts of 3.6 s.
    hours = plan._machine(made, steps, 0)["hours of one job"]
    assert hours == pytest.approx((30 * 180 + 10 * 3.6) / 3600)


@pytest.mark.parametrize(("dtype", "each"), [("auto", 40), ("bfloat16", 20)])
def test_what_full_fine_tuning_writes_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, each: int
) -> None:
    sizes = {None: 40, "bfloat16": 20}
    monkeypatch.setattr(plan, "weight_bytes", lambda _model, asked=None: sizes[asked])
    steps = [
        step(f"finetune-{n}", "finetune", f"f{n}", config={"tuning": tuning, "dtype": dtype})
        for n, tuning in enumerate(("full", "lora", "full"))
    ]
    assert plan._bytes_tuned(prepared(tmp_path, steps), steps) == 2 * each


def test_what_no_engine_would_start_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = tmp_path / "vllm"
    (vllm / "engine").mkdir(parents=True)
    (vllm / "__init__.py").touch()
    (vllm / "engine" / "arg_utils.py").write_text(
        "class EngineArgs:\n    enforce_eager: bool = 0\n"
    )
    own = prepare.find_spec
    there = SimpleNamespace(origin=str(vllm / "__init__.py"))
    monkeypatch.setattr(prepare, "find_spec", lambda name: there if name == "vllm" else own(name))
    monkeypatch.setattr(prepare, "refuse_unknown", lambda _: None)
    store = Store(tmp_path / "store")
    right = {"enforce_eager": True, "think_end_token": "</think>"}
    check_settings(spec_of(engine={"model_args": right}), store)
    with pytest.raises(
        SafemergeError, match="has enforce_eagre, which vLLM does not know; did you"
    ):
        check_settings(spec_of(engine={"model_args": {"enforce_eagre": True}}), store)
    tasks = {**spec_of().tasks.model_dump(), "include_path": f"{tmp_path}/gone"}
    with pytest.raises(SafemergeError, match="include_path .*gone is no folder; correct it."):
        check_settings(spec_of(tasks=tasks), store)
