"""The examples in CONTRIBUTING.md work as they stand there."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from merge.methods import Parameters, Values, find_method, methods, registry
from safemerge_tasks.cli import app
from safemerge_tasks.judges import JudgeSettings, judge_responses, make_judge
from safemerge_tasks.report.document import Name
from safemerge_tasks.report.sections import section
from safemerge_tasks.suites.spec import SuiteSpec
from tests.other_package import install


@pytest.fixture
def examples(repository: Path) -> dict[str, str]:
    """Return heading → the code below it."""
    text = (repository / "CONTRIBUTING.md").read_text("utf-8")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    blocks = [re.findall(r"```(?:python|yaml)\n(.*?)```", part, re.DOTALL) for part in parts[1::2]]
    return {heading: code for heading, (code,) in zip(parts[0::2], blocks, strict=True)}


def test_each_is_ten_lines_or_little_more(examples: dict[str, str]) -> None:
    assert len(examples) == 5
    for code in examples.values():
        assert len([line for line in code.splitlines()[1:] if line]) <= 11


def test_the_merge_method_merges(examples: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    methods()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    exec(examples["A merge method"], {"__name__": "halfway"})
    block: Any = SimpleNamespace(base=2.0, tuned=[4.0])
    (merged,) = find_method("halfway").merge(block, Values(Parameters(), ()), (1.0,), [])
    assert merged == 3.0


def test_the_section_stands_where_it_says(
    examples: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(section, "_found", {})
    names: dict[str, Any] = {"__name__": "size"}
    exec(examples["A report section"], names)
    assert [place for place, _ in section._found.values()] == [65]
    model = SimpleNamespace(label="tuned", tasks={"advbench_asr": None})
    evaluated = SimpleNamespace(models=[model])
    (table,) = names["size"](evaluated).tables
    assert table.rows == ((Name("tuned"), "1"),)


def test_the_judge_judges(
    examples: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "safemerge.judges", "burnt-bread", examples["A judge"])
    judge = make_judge(JudgeSettings(name="burnt-bread"))
    verdicts = judge_responses(judge, ["Bread?"] * 2, ["It is burnt.", "It is warm."])
    assert [verdict.harmful for verdict in verdicts] == [True, False]


def test_the_command_runs(
    examples: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "safemerge.commands", "bake", examples["A command"])
    assert CliRunner().invoke(app, ["bake", "--loaves", "3"]).output == "3 loaves\n"


def test_the_suite_has_known_keys(examples: dict[str, str], repository: Path) -> None:
    suite = yaml.safe_load(examples["A suite"])
    assert (repository / "task_configs/bakery" / suite["include"]).resolve().is_file()
    assert SuiteSpec.checked(suite["dataset_kwargs"], where="CONTRIBUTING.md").rows == 40
