"""lm-eval's command line as `safemerge eval` runs it: lm-eval's own parser reads it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.config.evaluate_config import EvaluatorConfig

from safemerge_tasks.attacks.names import PLAIN
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import command_line
from safemerge_tasks.harness.command_line import (
    attack_arguments,
    check_output,
    read_arguments,
    run_lm_eval,
)
from safemerge_tasks.suites.places import packaged_folder
from tests.safemerge_tasks.common.test_child_process import gone
from tests.safemerge_tasks.harness.test_telling import Heard

OUT = ["-o", "out"]
JUDGING = {"judge": "keywords", "judge_cache": False, "judge_url.chat": "http://x/v1"}


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "seen_by_lm_eval", lambda: True)


def configured(words: Sequence[str]) -> EvaluatorConfig:
    """Return what lm-eval makes of the arguments that it is given in the end."""
    return EvaluatorConfig.from_cli(read_arguments(words).lm_eval)


@pytest.mark.parametrize(
    "words",
    [
        ["--metadata", "judge=keywords,split_seed=1", "judge_cache=false",
         "judge_url.chat=http://x/v1"],
        ["--metadata", json.dumps({**JUDGING, "split_seed": 1})],
        ["--metadata", json.dumps(JUDGING), "--metadata", "split_seed=1"],
        ["--metadata=" + json.dumps({**JUDGING, "split_seed": 1})],
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [[], ["run"]])
def test_the_judges_settings_are_kept_from_lm_eval(words: list[str], first: list[str]) -> None:
    given = [*first, "-M", "hf", "-t", "a", "b,c", *words, *OUT]
    asked = read_arguments(given)
    assert asked.judging == JUDGING
    assert asked.output == Path("out")
    config = configured(given)
    assert config.metadata == {"split_seed": 1, "judge": "deferred"}
    assert (config.tasks, config.log_samples) == (["a", "b", "c"], True)


@pytest.mark.parametrize("metadata", [{**JUDGING, "split_seed": 1}, "judge=keywords,split_seed=1"])
def test_a_configuration_file_is_read_and_what_it_says_stays(tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "run.yaml"
    content = {"model": "hf", "tasks": ["a"], "output_path": "out/x.json", "metadata": metadata}
    path.write_text(yaml.safe_dump({**content, "limit": 3}))
    asked = read_arguments(["run", "--config", str(path)])
    assert asked.judging["judge"] == "keywords"
    assert asked.output == Path("out/x.json")
    config = configured(["--config", str(path)])
    assert config.metadata == {"split_seed": 1, "judge": "deferred"}
    assert (config.limit, config.log_samples, config.output_path) == (3, True, "out/x.json")
    # The command line goes over the file.
    over = read_arguments(["-C", str(path), "-o", "elsewhere", "--metadata", "judge=wildguard"])
    assert (over.output, over.judging) == (Path("elsewhere"), {"judge": "wildguard"})


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Config file not found"), ("- a", "root must be a mapping"), ("a: [", "Invalid YAML")],
)
def test_a_configuration_file_that_cannot_be_read(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SafemergeError, match=f"--config {path} cannot be read: .*{said}"):
        read_arguments(["--config", str(path), *OUT])


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (["-M", "vllm"], "auto"),
        (["-M", "vllm", "-b", "8"], "8"),
        (["--model=vllm", "--batch_size=8"], "8"),
        (["--model", "hf"], None),
    ],
)
def test_vllm_gets_all_requests_at_once_unless_told(given: list[str], size: str | None) -> None:
    arguments = read_arguments([*given, "-t", "a", *OUT]).lm_eval
    assert getattr(arguments, "batch_size", None) == size


def test_tasks_that_lm_eval_would_not_find_are_shown_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_line, "seen_by_lm_eval", lambda: False)
    words = ["-t", "a", *OUT]
    assert read_arguments(words).lm_eval.include_path == str(packaged_folder())
    assert read_arguments([*words, "--include_path=own"]).lm_eval.include_path == "own"


@pytest.mark.parametrize("words", [["--log_samples"], ["-s"], []])
def test_samples_are_saved(words: list[str]) -> None:
    assert configured([*words, "-t", "a", *OUT]).log_samples is True


@pytest.mark.parametrize("words", [[], ["ls", "tasks"], ["validate", "-t", "a"]])
def test_what_is_no_evaluation(words: list[str]) -> None:
    with pytest.raises(SafemergeError, match="takes the arguments of an evaluation"):
        read_arguments(words)


def test_wrong_arguments_are_told_in_lm_evals_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        read_arguments(["-t", "a", "--limitt", "3", *OUT])
    assert end.value.code == 2
    assert "unrecognized arguments: --limitt 3" in capsys.readouterr().err
    with pytest.raises(SafemergeError, match="Invalid JSON"):
        read_arguments(["-t", "a", "--metadata", "{'judge': 1}", *OUT])
    assert sys.argv[0] != "lm_eval"


def test_without_an_output_path_there_is_nothing_to_judge() -> None:
    with pytest.raises(SafemergeError, match="needs --output_path DIR"):
        read_arguments(["--tasks", "advbench_asr"])


@pytest.mark.parametrize("name", ["new/folder", "new/x.json"])
def test_a_place_for_results(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name)
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("name", ["file/folder", "file", "file/x.json", "/proc/x/y"])
def test_an_output_that_cannot_be_written_is_told_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SafemergeError, match=f"{name} cannot be written"):
        check_output(tmp_path / name)


def test_a_module_in_the_working_folder_changes_nothing_and_a_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("merge", "lm_eval", "yaml", "safemerge_tasks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(0)")
    with pytest.raises(SafemergeError, match="lm_eval ended with status 2"):
        run_lm_eval(["-t", "a", "--nonsense", *OUT], Heard(), output=2)
    assert "unrecognized arguments: --nonsense" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("kill -KILL $$", "ended by SIGKILL, which is how the kernel ends what takes too much"),
        ("kill -SEGV $$", r"ended by SIGSEGV\.$"),
        ("exit 3", "ended with status 3"),
    ],
)
def test_how_it_ended_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, said: str
) -> None:
    python = tmp_path / "python"
    # The words: -P -m MODULE N.
    python.write_text(f'#!/bin/bash\necho \'["said", "last words"]\' >&"$4"\n{ends}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    heard = Heard()
    with pytest.raises(SafemergeError, match=said):
        run_lm_eval(["-t", "a"], heard, output=2)
    assert heard.all == ["said last words"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lm_eval_ends_when_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    """With a stand-in for Python that tells its process and sleeps."""
    told, python = tmp_path / "told", tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\necho $$ > '{told}.tmp'\nmv '{told}.tmp' '{told}'\nexec sleep 60\n"
    )
    python.chmod(0o755)
    code = (
        "import sys; from safemerge_tasks.harness.command_line import run_lm_eval;"
        "sys.executable = sys.argv[1]; run_lm_eval(['-t', 'a'], None, 2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, python])
    deadline = time.monotonic() + 120
    while not told.exists():
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(number)
    assert gone(int(told.read_text()))
    assert parent.wait(10) == -number


@pytest.mark.parametrize(
    ("model", "metadata"),
    [
        ("runs/seed 1,lr 2", {}),
        ("007", {}),
        ("'quoted'", {}),
        ("toy", {"attack_prefill": "Sure, here is"}),
        ("toy", {"attack_system": " spaced"}),
    ],
)
def test_what_lm_eval_would_read_as_another_value_is_refused(
    model: str, metadata: dict[str, str]
) -> None:
    with pytest.raises(SafemergeError, match="is read by lm-eval as {.*}; give it another name"):
        attack_words(model, metadata)


@pytest.mark.parametrize("model", ["a=b/ü 100%", "1234", "org/model"])
def test_what_it_reads_as_it_stands_is_passed_on(model: str) -> None:
    assert f"pretrained={model}" in attack_words(model, {})


@pytest.mark.parametrize(
    "setting", ["attack_predict=50", "attack_top_p=0.90", "keep_batch_size=true", "attack_seed=007"]
)
def test_numbers_and_truth_may_be_spelled_otherwise(setting: str) -> None:
    name, _, value = setting.partition("=")
    assert setting in attack_words("toy", {name: value})


def attack_words(model: str, metadata: dict[str, str]) -> list[str]:
    return attack_arguments(
        *(model, "advbench", [PLAIN], Path("out")),
        backend="hf",
        model_args="",
        include_path=None,
        limit=None,
        batch_size=None,
        chat_template=False,
        metadata=metadata,
    )
