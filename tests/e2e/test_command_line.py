import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from safemerge_tasks.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "heavy = {'torch', 'transformers', 'lm_eval', 'vllm', 'datasets', 'pandas'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["judge", "absent"], "safemerge: absent does not exist"),
        (["judge", "."], "holds no results of lm_eval"),
        (["judge", ".", "--metadata", "judge_modell=x"], "did you mean judge_model?"),
        (["judge", ".", "--metadata", "judge_model"], "is not key=value"),
        (["eval", "--tasks", "advbench_asr"], "safemerge eval needs --output_path DIR"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    command: Callable[..., object],
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = command(*arguments, module="safemerge_tasks")
    assert ran.status == 2  # type: ignore[attr-defined]
    assert sentence in ran.err  # type: ignore[attr-defined]
    assert "Traceback" not in ran.err  # type: ignore[attr-defined]
