"""The `safemerge suite` commands, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safemerge_tasks.cli import app

NEW = ["suite", "new", "bakery", "--prompt-column", "prompt", "--category-column", "kind"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.csv").write_text("prompt,kind\nBake?,Rye\nPaint?,Oat\n")


def test_new_check_list() -> None:
    run = CliRunner()
    made = run.invoke(app, [*NEW, "--from", "prompts.csv"])
    assert made.exit_code == 0
    assert "2 prompts in 2 categories" in made.stdout
    assert "safemerge suite check bakery --include-path suites" in made.stdout
    assert "lm_eval --include_path suites --tasks bakery_asr" in made.stdout
    check = ["suite", "check", "bakery", "--include-path", "suites"]
    unlicensed = run.invoke(app, check)
    assert unlicensed.exit_code == 2
    assert "names no licence" in unlicensed.stderr
    readme = Path("suites/bakery/README.md")
    readme.write_text(readme.read_text().replace("TODO", "MIT"))
    assert run.invoke(app, check).exit_code == 0
    shown = run.invoke(app, ["suite", "list", "--include-path", "suites", "--json"])
    suites = {suite["task"]: suite for suite in json.loads(shown.stdout)}
    assert suites["bakery_asr"]["questions"] == 2
    assert suites["hexphi_asr"]["gated"] is True
    table = run.invoke(app, ["suite", "list"], env={"COLUMNS": "120"}).stdout
    assert "advbench_asr" in table


def test_check_says_what_the_rows_are_called() -> None:
    run = CliRunner()
    lines = ["prompt,kind", "Bake?,Rye", "Fry?,Rye", "Code?,C", "Hash?,C#", "Eat?,\U0001f35e"]
    Path("prompts.csv").write_text("\n".join(lines))
    run.invoke(app, [*NEW, "--from", "prompts.csv"])
    readme = Path("suites/bakery/README.md")
    readme.write_text(readme.read_text().replace("TODO", "MIT"))
    said = run.invoke(app, ["suite", "check", "bakery", "--include-path", "suites"]).stdout
    assert "bakery_asr has a row for each of 4 categories:" in said
    assert "  asr[Rye]  2 questions\n" in said
    assert "  asr[\U0001f35e]  1 questions\n" in said
    assert "asr[C], asr[C#] are rows of their own; spell them alike if they are one." in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*NEW, "--from", "absent.csv"], "neither a file nor a Hub id"),
        (["suite", "check", "nothing"], "no suite nothing"),
        (["suite", "list", "--include-path", "absent"], "absent is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments: list[str], sentence: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "safemerge_tasks", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr


def test_help_waits_for_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from safemerge_tasks.cli import app; "
        "assert CliRunner().invoke(app, ['suite', 'new', '--help']).exit_code == 0; "
        "heavy = {'torch', 'transformers', 'lm_eval', 'datasets', 'pandas'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
