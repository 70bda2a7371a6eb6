"""What every command shares, and commands of other packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safemerge_tasks import cli
from safemerge_tasks.cli import app
from safemerge_tasks.cli._program import ENTRY_POINTS
from tests.other_package import install

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "scipy", "numpy", "matplotlib")

COMMAND = '''
import typer

app = typer.Typer(add_completion=False)

@app.command()
def bake(loaves: int = 1) -> None:
    """Bake bread."""
    print(f"{loaves} loaves")
'''


def modules_after(*arguments: str) -> set[str]:
    """Return what is imported once a command line has been run in a process of its own."""
    code = (
        "import sys; from safemerge_tasks.cli import app;"
        f"app({list(arguments)!r}, standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split(" "))


def test_help_waits_for_nothing_heavy() -> None:
    assert modules_after("--help").isdisjoint(HEAVY)


def test_a_command_is_imported_when_it_is_asked_for() -> None:
    imported = modules_after("verify", "--help")
    assert "safemerge_tasks.cli.verify" in imported
    assert imported.isdisjoint({"safemerge_tasks.cli.sweep", "safemerge_tasks.cli.demo", *HEAVY})


def test_every_file_is_a_command() -> None:
    files = (Path(cli.__file__).parent).glob("[a-z]*.py")
    shown = CliRunner().invoke(app, ["--help"]).output
    names = [file.stem.replace("_", "-") for file in files]
    assert [name for name in names if f" {name} " not in shown] == []


def test_a_command_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, ENTRY_POINTS, "bake-bread", COMMAND)
    runner = CliRunner()
    assert "Bake bread." in runner.invoke(app, ["--help"]).output
    assert runner.invoke(app, ["bake-bread", "--loaves", "3"]).output == "3 loaves\n"


def test_a_misspelt_command_is_told_the_near_ones() -> None:
    done = CliRunner().invoke(app, ["repotr"])
    assert done.exit_code == 2
    assert "'report'" in done.output


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.startswith("safemerge 0.")


def test_merge_methods_are_listed_without_torch() -> None:
    code = (
        "import sys; from safemerge_tasks.cli import main; sys.argv[1:] = ['merge', 'methods', "
        "'--json']\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    found = {one["name"]: one for one in json.loads(ran.stdout, parse_constant=refuse)}
    assert {"linear", "slerp", "dare-linear", "model-stock", "resta", "safe-lora"} <= found.keys()
    rate = next(one for one in found["resta"]["parameters"] if one["name"] == "drop_rate")
    assert (rate["low"], rate["high"], rate["required"]) == (0, 0.999, False)
