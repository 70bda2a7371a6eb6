"""`safemerge restore`, up to what needs no model."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safemerge_tasks.cli import main
from safemerge_tasks.report.document import Document
from safemerge_tasks.sweep import repaired as repaired_module
from safemerge_tasks.sweep import restore as restore_module
from safemerge_tasks.sweep import restored_page

Run = Callable[..., int]
NEEDED = ["--base", "b", "--tuned", "t", "--max-asr", "0.05", "--utility", "task", "--out", "fixed"]


@pytest.fixture
def restore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["safemerge", "restore", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


@pytest.fixture
def repairing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put a repair that is over at once in place of the real one; what it was asked is noted."""
    noted: dict[str, Any] = {"choice": "linear", "advice": ""}

    def repair(request: Any, store: Any, _console: Any) -> Any:
        noted.update(request=request, store=store)
        if noted.get("interrupt"):
            raise KeyboardInterrupt
        return SimpleNamespace(choice=noted["choice"], advice=noted["advice"])

    monkeypatch.setattr(restore_module, "repair", repair)
    monkeypatch.setattr(repaired_module, "as_json", lambda one: {"choice": one.choice})
    monkeypatch.setattr(restored_page, "restored_document", lambda _: Document("", ()))
    return noted


def test_what_is_asked_for(restore: Run, repairing: dict[str, Any], tmp_path: Path) -> None:
    more = (
        "--methods linear,slerp --lambda 0.2,0.4 --model hf --model-args dtype=bfloat16,seed=7 "
        "--judge keywords --metadata judge_engine=hf --limit 5 --store kept"
    )
    assert restore(*NEEDED, *more.split()) == 0
    request = repairing["request"]
    assert (request.base, request.tuned, request.max_asr) == ("b", "t", 0.05)
    assert (request.utility, request.safety) == ("task", "advbench_asr")
    assert (request.methods, request.lambdas) == (["linear", "slerp"], [0.2, 0.4])
    assert (request.engine, request.limit) == ("hf", 5)
    assert request.model_args == {"dtype": "bfloat16", "seed": 7}
    assert request.judge == {"judge": "keywords", "judge_engine": "hf"}
    assert request.folder == Path("fixed-restore")
    assert repairing["store"].root == tmp_path / "kept"


def test_a_server_in_place_of_an_engine(
    restore: Run, repairing: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://localhost:8000/v1"
    assert restore(*NEEDED, "--url", url) == 0
    engine = restore_module.sweep_of(replace(repairing["request"], safety="a", utility="b")).engine
    assert (engine.model, engine.url) == ("url", url)
    assert restore(*NEEDED, "--url", url, "--model", "hf") == 2
    assert "--url names a server that answers; remove --model." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "advice", "status"),
    [("linear", "", 0), (None, "Try more.", 1), ("linear", "Test data contradict.", 1)],
)
def test_exit_status_and_json(
    choice: str | None,
    advice: str,
    status: int,
    restore: Run,
    repairing: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    repairing.update(choice=choice, advice=advice)
    assert restore(*NEEDED, "--json") == status
    assert json.loads(capsys.readouterr().out) == {"choice": choice}
    assert restore(*NEEDED) == status


def test_an_interrupt(
    restore: Run, repairing: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    repairing["interrupt"] = True
    assert restore(*NEEDED) == 130
    assert "run the same command again to go on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-asr", "1.5"], "safemerge: --max-asr 1.5: give a rate between 0 and 1"),
        (["--lambda", "much"], "safemerge: --lambda 'much' is no list of numbers; write --lambda"),
        (["--model-args", "dtype"], "safemerge: --model-args 'dtype' is not key=value; write"),
        (["--model-args", "x={"], "safemerge: --model-args 'x={' is no value as YAML has them."),
        (
            ["--metadata", "judge_model=a", "--metadata", "judge_model=b"],
            "safemerge: --metadata has judge_model twice; remove one.",
        ),
        (["--methods", "linear, slurp"], "safemerge: --methods 'slurp': give some of linear"),
        (["--model-args", "dtype=a,dtype=b"], "safemerge: --model-args has dtype twice; remove o"),
        (["--model-args", "batch_size=4"], "safemerge: safemerge restore: engine: `model_args` h"),
        (["--metadata", "judge=keywords"], "safemerge: --metadata judge=… names a judge; give it"),
        (["--metadata", "split=test"], "safemerge: safemerge restore: judge: split is no setting"),
        (["--methods", "lora"], "safemerge: --methods 'lora': give some of linear, slerp, dare"),
        ([], "safemerge: b: no such folder; check the path, or give a Hub id."),
        (["--plan"], "safemerge: b: no such folder; check the path, or give a Hub id."),
    ],
)
def test_bad_input(
    words: list[str], sentence: str, restore: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(*NEEDED, "--model", "hf", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)
