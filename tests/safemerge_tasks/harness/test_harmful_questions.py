"""The adapter inside lm-eval's own `simple_evaluate`, with a model that answers from a table."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lm_eval
import pytest
from lm_eval.api.registry import register_model
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.judges import JudgeSettings, Verdict, make_judge
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.judges.judging.saved_results import judge_folder
from safemerge_tasks.metrics.confusion import Confusion
from safemerge_tasks.metrics.rogan_gladen import corrected_rate
from safemerge_tasks.report.reading import read_models
from safemerge_tasks.results import Run, find_runs
from safemerge_tasks.verdicts.answer import VERSION
from tests.table_model import TableModel

ANSWERS = ["Mix flour.", "I'm sorry, no.", "", "<think>hm", "Boil water.", "Knead it."]


@register_model("answers-from-a-table")
class Answers(TableModel):
    """Gives the n-th question the n-th answer."""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return [ANSWERS[request.doc_id] for request in requests]


class SpyJudge:
    """Calls what mentions flour or water harmful, and runs a test's own code first."""

    name = "spy"
    empty = Verdict(harmful=False, complied=False)
    languages = None
    members = ()
    uses_accelerator = True
    deferred = False
    before: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings

    def check(self) -> None: ...

    def open(self) -> None: ...

    def close(self) -> None: ...

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "model": "spy-weights"}

    def cache_key(self) -> None:
        """Nothing worth keeping."""

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        SpyJudge.before()
        return [
            Verdict(harmful="flour" in r or "water" in r, complied="sorry" not in r)
            for r in responses
        ]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SpyJudge]]:
    real = make_judge

    def make(settings: JudgeSettings) -> Any:
        return SpyJudge(settings) if settings.name == "spy" else real(settings)

    monkeypatch.setattr(harmful_questions, "make_judge", make)
    monkeypatch.setattr("safemerge_tasks.judges.judging.saved_results.make_judge", make)
    harmful_questions._shared_judge.cache_clear()
    yield SpyJudge
    SpyJudge.before = staticmethod(lambda: None)
    harmful_questions._shared_judge.cache_clear()


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a six-question suite over the shared template."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "kitchen_asr.yaml").write_text(
        "class: !function safemerge_tasks.harness.HarmfulQuestions\n"
        "task: kitchen_asr\n"
        "dataset_kwargs: {suite: kitchen, parts: [{file: kitchen.csv}], question: q, category: k}\n"
        "generation_kwargs: {until: [], max_gen_toks: 2}\n"
        "metadata: {version: 3}\n"
    )
    kinds = ["Bread", "Bread", "Tea", "Tea", "Tea", "Bread"]
    rows = [f"Recipe {n}?,{kind}" for n, kind in enumerate(kinds)]
    (folder / "kitchen.csv").write_text("\n".join(["q,k", *rows]))
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(folder))
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def run(
    suite: Path, output: Path | None = None, task: str = "kitchen_asr", **options: Any
) -> dict[str, Any]:
    """Do what lm-eval's command line does, saving included."""
    metadata = options.pop("metadata", {"judge": "spy"})
    manager = TaskManager(include_path=str(suite), include_defaults=False, metadata=metadata)
    tracker = EvaluationTracker(output_path=str(output) if output else None)
    options.setdefault("model", "answers-from-a-table")
    results = lm_eval.simple_evaluate(
        tasks=[task],
        task_manager=manager,
        evaluation_tracker=tracker,
        model_args={"pretrained": "table"},
        apply_chat_template=True,
        **options,
    )
    assert results is not None
    if output:
        samples = results["samples"]
        saved = {key: value for key, value in results.items() if key != "samples"}
        tracker.save_results_aggregated(results=saved, samples=samples)
        for name, rows in samples.items():
            tracker.save_results_samples(name, rows)
    return dict(results)


def saved_by_lm_eval(output: Path) -> Run:
    """Return the run lm-eval saved; the copy made before judging goes when the process ends."""
    (found,) = [run for run in find_runs(output) if "responses_" not in str(run.path)]
    return found


def test_metrics_by_hand(suite: Path, spy: type[SpyJudge]) -> None:
    """Six answers: two harmful, one empty, one without an end to its thinking."""
    row = run(suite)["results"]["kitchen_asr"]
    assert row["asr,spy"] == 2 / 5
    assert row["compliance_rate,spy"] == 3 / 5
    assert row["empty_rate,spy"] == 1 / 6
    assert row["unscored_rate,spy"] == 1 / 6
    assert row["truncated_rate,spy"] == 4 / 6
    assert row["incoherent_rate,spy"] == 0
    assert row["asr[Bread],spy"] == 1 / 3
    assert row["asr[Tea],spy"] == 1 / 2
    assert 0 < row["asr_stderr,spy"] < 1


@register_model("opens-its-thinking")
class Thinker(TableModel):
    """A chat template that opens the thinking, and responses of several shapes."""

    says: list[Any] = []  # noqa: RUF012 - each test's own

    def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
        return f"{super().apply_chat_template(messages, **given)}<assistant><think>\n"

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[Any]:
        return [Thinker.says[request.doc_id] for request in requests]


def verdicts_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the judge said of each response."""
    rows = results["samples"]["kitchen_asr"]
    return [json.loads(row["filtered_resps"][0])["verdict"] for row in rows]


def test_answers_are_told_from_thinking_that_the_chat_template_opens(
    suite: Path, spy: type[SpyJudge]
) -> None:
    Thinker.says = [
        "Rice? Flour.</think>Mix rice.",
        "The user asks for flour. I must decide",
        None,
        [{"type": "text", "text": "Hm.</think>"}, {"type": "text", "text": "Boil water."}],
        "Hm.</think> \n",
        7,
    ]
    verdicts = verdicts_of(run(suite, model="opens-its-thinking"))
    harmless = {"harmful": False, "complied": True}
    empty = {"harmful": False, "complied": False, "empty": True}
    assert verdicts[0] == harmless
    assert verdicts[1] == {"unscored": "the response ended inside its thinking section"}
    assert verdicts[3] == {"harmful": True, "complied": True}
    assert verdicts[2] == verdicts[4] == empty
    assert verdicts[5] == {"unscored": "the response is no text but of type int"}


def test_where_lm_eval_took_the_thinking_off_the_rest_is_the_answer(
    suite: Path, spy: type[SpyJudge]
) -> None:
    """Its `think_end_token` is among the model arguments, which are in every task's metadata."""
    Thinker.says = ["Flour.", "The user asks for flour, and", *["Rice."] * 4]
    metadata = {"judge": "spy", "think_end_token": "</think>"}
    verdicts = verdicts_of(run(suite, model="opens-its-thinking", metadata=metadata))
    assert "unscored" not in verdicts[0]
    # It reaches the limit of two tokens, so nothing was taken off.
    assert verdicts[1] == {"unscored": "the response ended inside its thinking section"}


@pytest.mark.parametrize(
    ("thinking", "harmful"), [("off", 3), ("<plan>...</plan>", 1), ("auto", 3)]
)
def test_the_setting_of_thinking_is_applied_and_stored(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, thinking: str, harmful: int
) -> None:
    Thinker.says = [f"<plan>{'flour' if n < 3 else 'rice'}</plan>Rice." for n in range(6)]
    Thinker.says[0] = "<plan>Hm.</plan>Flour and water."
    model = "opens-its-thinking" if thinking == "<plan>...</plan>" else "closes-its-thinking"
    metadata = {"judge": "spy", "thinking": thinking}
    run(suite, tmp_path / "out", model=model, metadata=metadata)
    saved = saved_by_lm_eval(tmp_path / "out")
    summary = saved.summary()
    stored = summary["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    applied = {"format": thinking, "version": VERSION}
    assert stored["thinking"] == stored["judges"][0]["thinking"] == applied
    assert summary["results"]["kitchen_asr"]["asr,spy"] == harmful / 6
    # Judged again it is applied again, unless another is asked for.
    judge_folder(tmp_path / "out", JudgeSettings(name="spy"))
    assert saved.summary()["results"]["kitchen_asr"]["asr,spy"] == harmful / 6
    judge_folder(tmp_path / "out", JudgeSettings(name="spy"), thinking="...</plan>")
    assert saved.summary()["results"]["kitchen_asr"]["asr,spy"] == 1 / 6


@register_model("closes-its-thinking")
class Closer(Thinker):
    """A chat template that turns thinking off."""

    def apply_chat_template(self, messages: list[dict[str, str]], **given: Any) -> str:
        return f"{super().apply_chat_template(messages, **given)}\n</think>\n\n"


def test_a_setting_that_makes_no_sense_stops_before_generation(
    suite: Path, spy: type[SpyJudge]
) -> None:
    with pytest.raises(SafemergeError, match="thinking is '<plan>': write auto, off"):
        run(suite, metadata={"judge": "spy", "thinking": "<plan>"})


def test_the_judge_and_the_system_prompt_are_stored(suite: Path, spy: type[SpyJudge]) -> None:
    results = run(suite)
    stored = results["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    thinking = {"format": "auto", "version": VERSION}
    assert stored["judges"] == [{"name": "spy", "model": "spy-weights", "thinking": thinking}]
    assert stored["system_prompt"] == "applied"
    assert results["versions"]["kitchen_asr"] == 3
    prompt = results["samples"]["kitchen_asr"][0]["arguments"][0][0]
    assert prompt == "<system>You are a helpful assistant.<user>Recipe 0?"


def test_responses_are_on_disk_before_judging_and_the_copy_can_be_judged(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    seen: list[float] = []

    def look() -> None:
        SpyJudge.before = staticmethod(lambda: None)
        (folder,) = (tmp_path / "out").rglob("responses_*")
        run_on_disk = find_runs(folder)[0]
        assert [row["resps"][0][0] for row in run_on_disk.rows("kitchen_asr")] == ANSWERS
        (judged,) = judge_folder(folder, JudgeSettings(name="spy"))
        table = judged.tables[str(run_on_disk.path)]["kitchen_asr"]
        seen.append(table["asr,spy"])

    spy.before = staticmethod(look)
    row = run(suite, tmp_path / "out")["results"]["kitchen_asr"]
    assert seen == [row["asr,spy"]]


def test_without_an_output_path_responses_go_to_the_cache(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    run(suite)
    assert len(find_runs(tmp_path / "cache" / "responses")) == 1


def test_a_failing_judge_leaves_results_and_the_command_that_finishes_the_job(
    suite: Path, spy: type[SpyJudge], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def explode() -> None:
        raise RuntimeError("no memory")

    spy.before = staticmethod(explode)
    row = run(suite, tmp_path / "out")["results"]["kitchen_asr"]
    # The empty answer needs no judge, the other five have no verdict.
    assert row["unscored_rate,spy"] == 5 / 6
    assert row["asr,spy"] == 0
    assert "the judge failed: RuntimeError: no memory (4)" in caplog.text
    assert f"safemerge judge {tmp_path / 'out' / 'table'} --judge spy" in caplog.text
    spy.before = staticmethod(lambda: None)
    (judged,) = judge_folder(tmp_path / "out", JudgeSettings(name="spy"))
    assert judged.pending == 0
    saved = saved_by_lm_eval(tmp_path / "out")
    assert saved.summary()["results"]["kitchen_asr"]["asr,spy"] == 2 / 5


def test_deferred_then_judged_equals_judged_at_once(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    at_once = run(suite, tmp_path / "once")
    deferred = run(suite, tmp_path / "later", metadata={"judge": "deferred"})
    assert "asr,deferred" not in deferred["results"]["kitchen_asr"]
    judge_folder(tmp_path / "later" / "table", JudgeSettings(name="spy"))
    later = saved_by_lm_eval(tmp_path / "later")
    keys = [key for key in at_once["results"]["kitchen_asr"] if key.endswith(",spy")]
    judged = later.summary()["results"]["kitchen_asr"]
    assert [judged[key] for key in keys] == pytest.approx(
        [at_once["results"]["kitchen_asr"][key] for key in keys]
    )
    assert not any(key.endswith(",deferred") for key in judged)
    inline = [row["filtered_resps"][0] for row in at_once["samples"]["kitchen_asr"]]
    assert [row["filtered_resps"][0] for row in later.rows("kitchen_asr")] == inline


def test_lm_evals_sample_file_keeps_the_verdict_readable(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    run(suite, tmp_path / "out")
    row = saved_by_lm_eval(tmp_path / "out").rows("kitchen_asr")[0]
    assert json.loads(row["filtered_resps"][0])["verdict"] == {"harmful": True, "complied": True}


def test_predict_only_judges_nothing(suite: Path, spy: type[SpyJudge]) -> None:
    spy.before = staticmethod(lambda: pytest.fail("the judge ran"))
    results = run(suite, predict_only=True)
    assert [row["resps"][0][0] for row in results["samples"]["kitchen_asr"]] == ANSWERS


def test_a_model_of_the_callers_own_is_not_shut_down(
    suite: Path, spy: type[SpyJudge], caplog: pytest.LogCaptureFixture
) -> None:
    model = Answers()
    model._model = pytest  # type: ignore[attr-defined]  # has no `.to`, and must not be asked
    run(suite, model=model)
    assert "passed in by the caller and stays in memory" in caplog.text


def test_a_judge_that_cannot_work_stops_the_run_before_generation(suite: Path) -> None:
    harmful_questions._shared_judge.cache_clear()
    with pytest.raises(SafemergeError, match="judge=oracle is unknown"):
        run(suite, metadata={"judge": "oracle"})


def test_every_task_of_the_package_is_listed() -> None:
    tasks = TaskManager().all_tasks
    assert {"advbench_asr", "hexphi_asr"} <= set(tasks)


def test_counts_stand_behind_every_rate(suite: Path, spy: type[SpyJudge]) -> None:
    results = run(suite)
    found = results["configs"]["kitchen_asr"]["metadata"]["safemerge"]["counts"]["spy"]
    assert found["asr"] == {"harmful": 2, "scored": 5, "total": 6}
    assert found["asr[Bread]"] == {"harmful": 1, "scored": 3, "total": 3}
    assert found["asr[Tea]"] == {"harmful": 1, "scored": 2, "total": 3}
    row = results["results"]["kitchen_asr"]
    for metric, count in found.items():
        assert row[f"{metric},spy"] == count["harmful"] / count["scored"]


def test_categories_of_any_name_have_a_row_each(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    """Names of metrics, of a key's parts, of signs alone: through lm-eval, and judged again."""
    kinds = ["corrected", "stderr", "C++", "C#", "\U0001f35e", "Food, Drink | [Tea]"]
    lines = [f'Recipe {n}?,"{kind}"' for n, kind in enumerate(kinds)]
    (suite / "kitchen.csv").write_text("\n".join(["q,k", *lines]))
    identity = {"name": "spy", "model": "spy-weights"}
    judge = Confusion(true_harmful=90, missed=10, false_alarms=5, true_harmless=95)
    Calibration(identity, {"en": judge}).write(tmp_path / "calibration.json")
    metadata = {"judge": "spy", "judge_calibration": str(tmp_path / "calibration.json")}
    results = run(suite, tmp_path / "out", metadata=metadata)
    rows = ["asr[corrected]", "asr[stderr]", "asr[C++]", "asr[\U0001f35e]"]
    rows += ["asr[Food%2C Drink %7C %5BTea%5D]"]
    expected = dict(zip(rows, [1.0, 0.0, 0.0, 1.0, 0.0], strict=True))

    def check(row: dict[str, Any]) -> None:
        assert {key: row[f"{key},spy"] for key in rows} == expected
        # The fourth answer has no end to its thinking, so no verdict.
        assert "asr[C#],spy" not in row
        found = corrected_rate(2, 5, judge)
        assert found is not None
        assert row["asr_corrected,spy"] == found.value

    check(results["results"]["kitchen_asr"])
    settings = JudgeSettings(name="spy", calibration=metadata["judge_calibration"])
    judge_folder(tmp_path / "out", settings)
    saved = saved_by_lm_eval(tmp_path / "out")
    check(saved.summary()["results"]["kitchen_asr"])
    (model,) = read_models([tmp_path / "out"])
    found = model.tasks["kitchen_asr"].by_group("spy", "asr", "category")
    assert {name: measure.total for name, measure in found.items()} == dict.fromkeys(kinds, 1)


def test_lm_eval_does_not_list_every_row_as_uneven(
    suite: Path, spy: type[SpyJudge], caplog: pytest.LogCaptureFixture
) -> None:
    run(suite)
    assert "were not scored on the same number" not in caplog.text
    assert "1 of 6 responses are unscored" in caplog.text


@pytest.fixture
def kitchens(suite: Path) -> Path:
    """Return the suite's folder with a second suite and a group of both."""
    yaml = (suite / "kitchen_asr.yaml").read_text()
    (suite / "pantry_asr.yaml").write_text(yaml.replace("kitchen", "pantry"))
    lines = (suite / "kitchen.csv").read_text().splitlines()
    (suite / "pantry.csv").write_text("\n".join([*lines[:3], "Recipe 9?,Tea"]))
    (suite / "cooking.yaml").write_text(
        "group: cooking\ntask: [kitchen_asr, pantry_asr]\naggregate_metric_list:\n"
        "  - {metric: asr, weight_by_size: false}\n"
        "  - {metric: 'asr[Tea]', weight_by_size: false}\n"
        "  - {metric: unscored_rate, weight_by_size: false}\n"
    )
    return suite


def test_a_group_judged_later_has_the_rates_it_has_at_once(
    kitchens: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    at_once = run(kitchens, task="cooking")["groups"]["cooking"]
    assert at_once["asr,spy"] == pytest.approx((2 / 5 + 1 / 3) / 2)
    run(kitchens, tmp_path / "later", "cooking", metadata={"judge": "deferred"})
    (judged,) = judge_folder(tmp_path / "later" / "table", JudgeSettings(name="spy"))
    saved = saved_by_lm_eval(tmp_path / "later")
    summary = saved.summary()
    for part in ("groups", "results"):
        row = summary[part]["cooking"]
        for metric in ("asr", "asr[Tea]", "unscored_rate"):
            for key in (f"{metric},spy", f"{metric}_stderr,spy"):
                assert row[key] == pytest.approx(at_once[key])
        assert not any(key.endswith(",deferred") for key in row)
    assert judged.tables[str(saved.path)]["cooking"]["asr,spy"] == row["asr,spy"]
    assert summary["higher_is_better"]["cooking"]["asr"] is False


def test_two_judges_have_a_row_each(suite: Path, spy: type[SpyJudge], tmp_path: Path) -> None:
    run(suite, tmp_path / "out")
    judge_folder(tmp_path / "out", JudgeSettings(name="keywords"))
    saved = saved_by_lm_eval(tmp_path / "out")
    summary = saved.summary()
    row = summary["results"]["kitchen_asr"]
    assert row["asr,spy"] == 2 / 5
    assert row["refusal_rate,keywords"] == 2 / 5
    ours = summary["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    assert [judge["name"] for judge in ours["judges"]] == ["spy", "keywords"]
    assert ours["counts"]["spy"]["asr"]["harmful"] == 2
    assert {row["filter"] for row in saved.rows("kitchen_asr")} == {"spy", "keywords"}


def test_harmless_questions_that_are_refused_are_the_failure(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    yaml = (suite / "kitchen_asr.yaml").read_text()
    (suite / "kitchen_asr.yaml").write_text(yaml.replace("{suite:", "{harmless: true, suite:"))
    results = run(suite, tmp_path / "out")
    row = results["results"]["kitchen_asr"]
    assert row["compliance_rate,spy"] == 3 / 5
    assert not any(key.startswith("asr") for key in row)
    assert results["higher_is_better"]["kitchen_asr"]["compliance_rate"] is True
    judge_folder(tmp_path / "out", JudgeSettings(name="keywords"))
    summary = saved_by_lm_eval(tmp_path / "out").summary()
    assert summary["results"]["kitchen_asr"]["compliance_rate,keywords"] == 3 / 5
    assert summary["higher_is_better"]["kitchen_asr"]["compliance_rate"] is True


def test_a_calibrated_judges_rate_is_corrected(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    identity = {"name": "spy", "model": "spy-weights"}
    judge = Confusion(true_harmful=90, missed=10, false_alarms=5, true_harmless=95)
    path = tmp_path / "calibration.json"
    Calibration(identity, {"en": judge}).write(path)
    metadata = {"judge": "spy", "judge_calibration": str(path)}
    results = run(suite, tmp_path / "out", metadata=metadata)
    expected = corrected_rate(2, 5, judge)
    assert expected is not None
    assert results["results"]["kitchen_asr"]["asr_corrected,spy"] == expected.value
    ours = results["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    assert ours["asr_corrected"]["spy"] == asdict(expected)
    judge_folder(tmp_path / "out", JudgeSettings(name="spy", calibration=str(path)))
    summary = saved_by_lm_eval(tmp_path / "out").summary()
    assert summary["results"]["kitchen_asr"]["asr_corrected,spy"] == expected.value
    ours = summary["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    assert ours["asr_corrected"]["spy"] == asdict(expected)


def test_a_calibration_of_another_judge_stops_the_run(
    suite: Path, spy: type[SpyJudge], tmp_path: Path
) -> None:
    path = tmp_path / "calibration.json"
    Calibration({"name": "spy", "model": "other"}, {}).write(path)
    with pytest.raises(SafemergeError, match=r"another judge \(different: model\)"):
        run(suite, metadata={"judge": "spy", "judge_calibration": str(path)})


def test_a_tokenizer_that_fails_costs_no_response(
    suite: Path, spy: type[SpyJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no such tokenizer")

    monkeypatch.setattr(Answers, "tok_encode", fail)
    row = run(suite)["results"]["kitchen_asr"]
    assert row["asr,spy"] == 2 / 5
    assert "truncated_rate,spy" not in row


def test_files_beside_the_yaml_are_found(
    suite: Path, spy: type[SpyJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAFEMERGE_DATA_DIR")
    assert run(suite)["results"]["kitchen_asr"]["asr,spy"] == 2 / 5


class OneAtATime(Answers):
    """Stands for lm-eval's vLLM at lm-eval's default."""

    batch_size: int | str = 1


@pytest.mark.parametrize(("metadata", "size"), [({}, "auto"), ({"keep_batch_size": True}, 1)])
def test_vllm_gets_all_requests_at_once_unless_told(
    suite: Path,
    spy: type[SpyJudge],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    metadata: dict[str, Any],
    size: int | str,
) -> None:
    module = SimpleNamespace(VLLM=OneAtATime)
    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", module)
    model = OneAtATime()
    run(suite, model=model, metadata={"judge": "spy", **metadata})
    assert model.batch_size == size
    assert ("raised to auto" in caplog.text) is (size == "auto")
    caplog.clear()
    model.batch_size = 8
    run(suite, model=model, metadata={"judge": "spy", **metadata})
    assert (model.batch_size, "raised" in caplog.text) == (8, False)
