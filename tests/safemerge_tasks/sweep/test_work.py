"""Jobs: merges that stay, each λ in its own step, failures alone; answers, scores, verdicts."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_models import copy_with, llama_config, random_model, weights, write_tokenizer

import merge
from merge import verify
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.judging import saved_results
from safemerge_tasks.results import HARMFUL_QUESTIONS, Run, find_runs, write_run
from safemerge_tasks.sweep import scoring_beside
from safemerge_tasks.sweep.scoring_beside import Scoring
from safemerge_tasks.sweep.serving import scoring
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.responses import Responses
from safemerge_tasks.sweep.session import Session
from safemerge_tasks.sweep.steps import Step, place_of
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.work import do_steps
from tests.lm_eval_files import sample_row, summary_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two tiny models of one shape."""
    folders = []
    for seed in (1, 2):
        folders.append(tmp_path_factory.mktemp("models") / f"model-{seed}")
        random_model(llama_config(), seed).save_pretrained(folders[-1])
        write_tokenizer(folders[-1])
    return folders


def merging(
    models: list[Path], method: str, weight: float, *, allow_nonfinite: bool = False, **changes: Any
) -> Step:
    base, tuned = map(str, models)
    recipe = {"method": method, "base": base, "tuned": [{"model": tuned}], **changes}
    name = f"merge-{method}-{weight:g}"
    work = {"recipe": recipe, "lambda": weight, "allow_nonfinite": allow_nonfinite}
    return Step(name, "merge", name, "merge", work=work)


@pytest.fixture
def told() -> list[Any]:
    return []


def outcome(told: list[Any], what: str) -> list[str]:
    return sorted(event[what] for event in told if what in event)


def test_every_lambda_of_a_recipe_is_a_step_of_its_own(
    models: list[Path], tmp_path: Path, told: list[Any]
) -> None:
    store = Store(tmp_path)
    steps = [merging(models, "linear", weight) for weight in (0.8, 0.2)]
    do_steps(steps, store, told.append)
    assert outcome(told, "done") == ["merge-linear-0.2", "merge-linear-0.8"]
    for step in steps:
        verify(store.folder(step.key) / "model")
    card = (store.folder("merge-linear-0.2") / "model" / "README.md").read_text()
    assert "0.2" in card
    assert store.record("merge-linear-0.8")["kind"] == "merge"
    assert not list((tmp_path / "staging").iterdir())


def test_a_recipe_that_fails_stops_no_other(
    models: list[Path], tmp_path: Path, told: list[Any]
) -> None:
    steps = [
        merging(models, "linear", 0.5, parameters={"weigth": 1}),
        merging(models, "slerp", 0.5),
        merging(models, "linear", 0.2),
    ]
    do_steps(steps, Store(tmp_path / "store"), told.append)
    assert outcome(told, "done") == ["merge-linear-0.2", "merge-slerp-0.5"]
    assert outcome(told, "failed") == ["merge-linear-0.5"]
    (reason,) = outcome(told, "reason")
    assert "weigth" in reason


def test_a_model_that_is_missing_stops_no_other(
    models: list[Path], tmp_path: Path, told: list[Any]
) -> None:
    missing = [models[0], tmp_path / "missing"]
    steps = [merging(missing, "linear", 0.5), merging(models, "slerp", 0.5)]
    do_steps(steps, Store(tmp_path / "store"), told.append)
    assert outcome(told, "done") == ["merge-slerp-0.5"]
    assert outcome(told, "failed") == ["merge-linear-0.5"]
    (reason,) = outcome(told, "reason")
    assert "missing: no such folder" in reason


def test_weights_that_are_not_finite(models: list[Path], tmp_path: Path, told: list[Any]) -> None:
    norm = weights(models[1])["model.norm.weight"]
    norm[0] = float("nan")
    pair = [models[0], copy_with(models[1], tmp_path / "broken", {"model.norm.weight": norm})]
    do_steps([merging(pair, "linear", 0.5)], Store(tmp_path / "store"), told.append)
    (reason,) = outcome(told, "reason")
    assert reason.endswith("or merge.allow_nonfinite to merge it all the same.")
    allowed = merging(pair, "linear", 0.5, allow_nonfinite=True)
    do_steps([allowed], Store(tmp_path / "store"), told.append)
    assert outcome(told, "done") == ["merge-linear-0.5"]


def test_what_is_there_is_not_made_again(
    models: list[Path], tmp_path: Path, told: list[Any]
) -> None:
    step = merging(models, "linear", 0.5)
    do_steps([step], Store(tmp_path), told.append)
    before = (tmp_path / "steps" / step.key / "step.json").stat().st_ino
    do_steps([step], Store(tmp_path), told.append)
    assert outcome(told, "done") == [step.key, step.key]
    assert (tmp_path / "steps" / step.key / "step.json").stat().st_ino == before


def test_an_input_that_is_gone_is_named(tmp_path: Path) -> None:
    step = Step("answer-1", "answer", "base", "answer", inputs=("merge-gone",))
    with pytest.raises(SafemergeError, match="merge-gone is gone, .*; run the sweep again"):
        do_steps([step], Store(tmp_path), lambda _event: None)


def test_verdicts_are_there_as_soon_as_a_variant_s_last_answer_is_judged(
    tmp_path: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    store = Store(tmp_path / "store")
    rows = [sample_row(n, "deferred", {"unscored_rate": 1.0}, {"language": "en"}) for n in range(2)]
    ours = {"kitchen_asr": {"kind": HARMFUL_QUESTIONS}}
    summary = summary_of({"kitchen_asr": {"unscored_rate,deferred": 1.0}}, ours=ours, questions=2)
    steps = []
    for number in range(3):
        score = f"score-{number}"
        with store.staging(score) as staged:
            write_run(staged / "results", "2020-01-01", summary, {"kitchen_asr": rows})
            store.publish(score, staged, {})
        work = {"results": place_of(score, "results"), "judge": {"judge": "keywords"}}
        steps.append(Step(f"judge-{number}", "judge", "", "g", (score,), work))
    there: list[int] = []
    own = saved_results.judge_responses

    def judging(*arguments: Any) -> Any:
        there.append(sum(store.done(step.key) for step in steps))
        return own(*arguments)

    monkeypatch.setattr(saved_results, "judge_responses", judging)
    do_steps(steps, store, told.append)
    # Whoever kills the job while the third is judged costs that one.
    assert there == [0, 1, 2]
    assert outcome(told, "done") == ["judge-0", "judge-1", "judge-2"]


BROKEN = """
task: broken
output_type: generate_until
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], do_sample: false, temperature: 0.0, max_gen_toks: 2}}
process_results: !function oven.check
metric_list: [{{metric: heat, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


class TestAnswering:
    """One job from answers to scores, with the engine that needs the least."""

    @pytest.fixture
    def steps(self, tmp_path: Path, tiny_model: Path, request: Any) -> list[Step]:
        """Return answers and scores of three variants."""
        tasks = tmp_path / "tasks"
        tasks.mkdir()
        data = tasks / "data.jsonl"
        data.write_text('{"question": "Is the oven hot?", "answer": "yes"}\n')
        (tasks / "broken.yaml").write_text(BROKEN.format(data=data))
        (tasks / "oven.py").write_text(f"def check(doc, results):\n    {request.param}\n")
        evaluation = Evaluation(tasks=("broken",), base=str(tiny_model), include_path=str(tasks))
        made = record(evaluation)
        made.save(Store(tmp_path / "store").recording(made.name))
        steps = []
        for number in range(3):
            answer, score = f"answer-{number}", f"score-{number}"
            work = {
                "recording": made.name,
                "served": "checkpoint",
                "model": str(tiny_model),
                "base": str(tiny_model),
                "engine": {"model": "hf", "model_args": {"dtype": "float32"}},
                "requests": 1,
            }
            steps.append(Step(answer, "answer", answer, "g", (), work))
            work = {
                "evaluation": evaluation.model_dump(mode="json"),
                "recording": made.name,
                "responses": place_of(answer, "responses.json"),
                "model_args": {},
            }
            steps.append(Step(score, "score", score, "g", (answer,), work))
        return steps

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_each_variant_is_scored_as_soon_as_it_is_answered(
        self, steps: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        do_steps(steps, Store(tmp_path / "store"), told.append)
        done = [event["done"] for event in told if "done" in event]
        assert done == [f"{kind}-{n}" for n in range(3) for kind in ("answer", "score")]

    @pytest.mark.parametrize("steps", ["raise KeyError('thermometer')"], indirect=True)
    def test_what_cannot_be_scored_is_found_out_on_the_first_variant(
        self, steps: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        store = Store(tmp_path / "store")
        do_steps(steps, store, told.append)
        assert outcome(told, "done") == ["answer-0"]
        failed = {event["failed"]: event["reason"] for event in told if "failed" in event}
        assert failed.keys() == {"score-0", "answer-1", "answer-2"}
        assert failed["score-0"] == "KeyError: 'thermometer'"
        assert failed["answer-1"] == f"what was answered cannot be scored: {failed['score-0']}"
        # A later run tries to score what there is before it asks anything.
        told.clear()
        do_steps(steps, store, told.append)
        assert outcome(told, "done") == ["answer-0"]
        assert outcome(told, "failed") == ["answer-1", "answer-2", "score-0"]

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_what_no_judge_reads_is_found_out_on_the_first_variant(
        self, steps: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        asked = [replace(step, work={**step.work, "judged": True}) for step in steps]
        do_steps(asked, Store(tmp_path / "store"), told.append)
        assert outcome(told, "done") == ["answer-0"]
        assert outcome(told, "failed") == ["answer-1", "answer-2", "score-0"]
        assert "it asks nothing that a judge reads" in outcome(told, "reason")[0]

    @pytest.fixture
    def judged(
        self, steps: list[Step], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> list[Step]:
        """Return them with verdicts, on questions that stand in for the scored ones."""
        monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
        unscored = {"unscored_rate": 1.0}
        rows = [sample_row(n, "deferred", unscored, {"language": "en"}) for n in range(2)]
        ours = {"kitchen_asr": {"kind": HARMFUL_QUESTIONS}}
        rates = {"kitchen_asr": {"unscored_rate,deferred": 1.0}}
        summary = summary_of(rates, ours=ours, questions=2)

        def score(_evaluation: Any, _recording: Any, _answers: Any, out: Path, _args: Any) -> Run:
            write_run(out, "2020-01-01", summary, {"kitchen_asr": rows})
            return find_runs(out)[0]

        monkeypatch.setattr(scoring, "score", score)
        judge = {"judge": "keywords"}
        for number in range(3):
            read, key = f"score-{number}", f"judge-{number}"
            work = {"results": place_of(read, "results"), "judge": judge}
            steps.append(Step(key, "judge", key, "g", (read,), work))
        return steps

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_each_variant_is_judged_while_others_are_asked(
        self, judged: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        first = threading.Event()

        def tell(event: Any) -> None:
            told.append(event)
            if event.get("done") == "judge-0":
                first.set()
            # The engine goes on once the first verdicts are there.
            assert event.get("done") != "answer-1" or first.wait(60)

        do_steps(judged, Store(tmp_path / "store"), tell)
        done = outcome(told, "done")
        assert done == sorted(step.key for step in judged)

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_a_judge_that_loads_weights_waits_for_the_engine(
        self, judged: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        asked = [replace(step, work={**step.work, "accelerated": True}) for step in judged]
        do_steps(asked, Store(tmp_path / "store"), told.append)
        done = [event["done"] for event in told if "done" in event]
        assert sorted(done[-3:]) == ["judge-0", "judge-1", "judge-2"]
        assert len(done) == 9

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_a_judge_that_failed_beside_the_engine_is_asked_once_more_after_it(
        self,
        judged: list[Step],
        tmp_path: Path,
        told: list[Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        store = Store(tmp_path / "store")
        calls: list[str] = []

        def fails(_session: Session, steps: list[Step]) -> None:
            calls.append(steps[0].key)
            raise SafemergeError("the endpoint does not answer")

        with monkeypatch.context() as patch:
            patch.setattr(scoring_beside, "judge", fails)
            do_steps(judged, store, told.append)
        assert calls == ["judge-0"]
        assert all(store.done(step.key) for step in judged)

    @pytest.mark.parametrize(
        "steps",
        ["import signal; signal.signal(signal.SIGALRM, signal.SIG_DFL); return {'heat': 1.0}"],
        indirect=True,
    )
    def test_code_that_needs_the_main_thread_is_scored_there(
        self, steps: list[Step], tmp_path: Path, told: list[Any]
    ) -> None:
        store = Store(tmp_path / "store")
        do_steps([step for step in steps if step.kind == "answer"], store, told.append)
        session = Session(steps, store, told.append)
        with Scoring(session, beside=True) as beside:
            beside.begin(session.ready("score"))
            assert beside.hopeless(steps[0].work["recording"]) is None
        assert outcome(told, "failed") == []
        assert all(store.done(step.key) for step in steps)

    @pytest.mark.parametrize("steps", ["return {'heat': 1.0}"], indirect=True)
    def test_a_merge_is_on_disk_for_as_long_as_hf_is_asked(
        self, steps: list[Step], tiny_model: Path, tmp_path: Path, told: list[Any]
    ) -> None:
        head = weights(tiny_model)["lm_head.weight"]
        tuned = copy_with(tiny_model, tmp_path / "tuned", {"lm_head.weight": head.flip(0)})
        norm = torch.full_like(weights(tiny_model)["model.norm.weight"], float("nan"))
        broken = copy_with(tiny_model, tmp_path / "broken", {"model.norm.weight": norm})
        store = Store(tmp_path / "store")
        merge.merge("linear", base=tiny_model, tuned=[tuned], lambdas=[1.0], out=tmp_path / "file")
        models = [
            {"model": str(tmp_path / "file")},
            {
                "model": "step:merge-1/model",
                "merge": merging([tiny_model, tuned], "linear", 1).work,
            },
            {
                "model": "step:merge-2/model",
                "merge": merging([tiny_model, broken], "linear", 1).work,
            },
        ]
        asked = [
            replace(step, work={**step.work, **model})
            for step, model in zip(steps[::2], models, strict=True)
        ]
        seen: list[list[Path]] = []

        def tell(event: Any) -> None:
            told.append(event)
            seen.append(list(store.root.rglob("*.safetensors")))

        do_steps(asked, store, tell)
        assert outcome(told, "done") == ["answer-0", "answer-1"]
        assert outcome(told, "failed") == ["answer-2"]
        (reason,) = outcome(told, "reason")
        assert "merge.allow_nonfinite" in reason
        assert max(map(len, seen)) == 1
        assert list(store.root.rglob("*.safetensors")) == []
        assert list((store.root / "staging").iterdir()) == []
        given = [Responses.load(store.folder(f"answer-{n}") / "responses.json") for n in range(2)]
        assert given[0].values == given[1].values
        assert given[1].engine["merge"]["lambdas"] == [1]
