"""`safemerge attack` without a model: what is asked of lm_eval, and what is shown."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.harness import command_line
from safemerge_tasks.report.figures.prefill_curve import last_parts
from safemerge_tasks.results import write_run
from safemerge_tasks.verdicts.scored import Scored, to_json
from safemerge_tasks.verdicts.verdict import Verdict
from tests.command_line import CommandLine

ANSWERS = {
    "advbench_asr": [["I'm sorry."], ["Mix it."]],
    "advbench_asr@prefill:2": [["Mix it."], ["I'm sorry."]],
    "advbench_asr@sample:2": [["I'm sorry.", "Mix it."], ["I'm sorry.", "I'm sorry."]],
}
JUDGE = """
from safemerge_tasks.judges import PlainJudge, Verdict

class Oven(PlainJudge):
    def judge(self, questions, responses):
        return [Verdict(harmful="Mix" in one) for one in responses]

def make(settings):
    return Oven(settings)
"""


@pytest.fixture
def lm_eval_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return the arguments of lm_eval's runs, each of which writes two answered questions."""
    (tmp_path / "oven.py").write_text(JUDGE)
    runs: list[Sequence[str]] = []

    def run(words: Sequence[str], listener: Any, output: int) -> None:
        os.write(output, b"noise, which is not JSON")
        runs.append(words)
        asked = command_line.read_arguments(words)
        names = [name for name in ANSWERS if name in asked.lm_eval.tasks]
        write_run(
            asked.output / f"model{len(runs)}",
            "2026-01-02T03-04-05",
            {
                "results": {name: {"alias": name} for name in names},
                "configs": {name: config(name) for name in names},
                "model_name": f"model{len(runs)}",
            },
            {name: samples(name) for name in names},
        )

    monkeypatch.setattr(command_line, "run_lm_eval", run)
    return runs


def config(name: str) -> dict[str, Any]:
    ours = {"kind": "harmful_questions", "judges": [{"name": "deferred"}]}
    return {"metadata": {"safemerge": {**ours, **({"predict": 8} if "sample" in name else {})}}}


def samples(name: str) -> list[dict[str, Any]]:
    put_off = Scored(Verdict.no_verdict("later", pending=True))
    return [
        {
            "doc_id": number,
            "doc": {"id": f"oven-{number}", "question": f"Bread {number}?", "language": "en"},
            "arguments": {"gen_args_0": {"arg_0": f"Bread {number}?"}},
            "resps": [texts],
            "filtered_resps": [to_json([put_off] * len(texts))],
            "filter": "deferred",
            "metrics": ["unscored_rate"],
            "unscored_rate": 1.0,
            "doc_hash": f"{number}",
        }
        for number, texts in enumerate(ANSWERS[name])
    ]


WORDS = ("attack", "one", "two", "--suite", "advbench", "--judge", "oven.py", "--out", "out")


def test_one_run_a_model_asks_everything(
    safemerge: CommandLine, lm_eval_runs: list[Sequence[str]], tmp_path: Path
) -> None:
    attacks = ("--attacks", "plain,prefill:2,sample:2", "--metadata", "attack_top_p=0.5")
    done = safemerge(
        *WORDS, *attacks, "--json", "--plot", "curve.png", "--model-args", "dtype=auto"
    )
    assert done.status == 0, done.err
    assert len(lm_eval_runs) == 2
    words = list(lm_eval_runs[0])
    given = dict(zip(words[:-1:2], words[1::2], strict=False))
    assert given["--tasks"] == "advbench_asr,advbench_asr@prefill:2,advbench_asr@sample:2"
    assert given["--model_args"] == "pretrained=one,dtype=auto,enable_prefix_caching=True"
    assert given["--metadata"] == "attack_top_p=0.5"
    assert words[-1] == "--apply_chat_template"
    first, second = json.loads(done.out)
    assert (first["model"], second["model"]) == ("model1", "model2")
    rates = {one["attack"]: one["asr"]["value"] for one in first["attacks"]}
    assert rates == {"plain": 0.5, "prefill:2": 0.5, "sample:2": 0.25}
    assert first["attacks"][2]["hits"]["2"]["value"] == 0.5
    assert first["attacks"][2]["prediction"]["tries"] == 8
    assert first["worst_case"]["value"] == first["union"]["value"] == 1.0
    assert first["questions"]["oven-0"] == {"plain": 0.0, "prefill:2": 1.0, "sample:2": 0.5}
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_tells_a_prediction_from_a_measurement(
    safemerge: CommandLine, lm_eval_runs: list[Sequence[str]]
) -> None:
    done = safemerge(*WORDS, "--attacks", "plain,sample:2")
    assert done.status == 0, done.err
    for shown in ("plain", "hit@2", "ASR@8, predicted", "not a measurement", "worst case", "union"):
        assert shown in done.out


def test_a_judge_of_refusals_alone_measures_what_is_not_refused(
    safemerge: CommandLine, lm_eval_runs: list[Sequence[str]], tmp_path: Path
) -> None:
    words = (*WORDS[:5], "--judge", "keywords", "--out", "out")
    attacks = ("--attacks", "plain,prefill:2,sample:2", "--plot", "curve.svg")
    done = safemerge(*words, *attacks, "--json")
    assert done.status == 0, done.err
    first, _ = json.loads(done.out)
    found = {one["attack"]: one["compliance_rate"]["value"] for one in first["attacks"]}
    assert found == {"plain": 0.5, "prefill:2": 0.5, "sample:2": 0.25}
    assert not any("asr" in one or one["hits"] for one in first["attacks"])
    assert first["union"]["value"] == 1.0
    done = safemerge(*words, "--attacks", "plain,sample:2")
    assert "compliance" in done.out
    assert "keywords tells refusals, not harm" in done.out
    assert "ASR" not in done.out


def test_a_figure_calls_models_without_their_folders_where_it_can() -> None:
    assert last_parts({"a/base", "b/tuned"}) == {"a/base": "base", "b/tuned": "tuned"}
    alike = {"org/model", "other/model"}
    assert last_parts(alike) == {one: one for one in alike}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--attacks", "plain,plain"), "names one twice"),
        (("--attacks", ","), "names none"),
        (("--attacks", "preffill"), "attack=preffill is unknown"),
        (("--attacks", "prefill:2", "--metadata", "attack_top_p=1"), "attack_top_p means nothing"),
        (("--plot", "curve.pdf"), "neither .png nor .svg"),
        (("--plot", "curve.png", "--attacks", "plain,no-system"), "of which there is one number"),
        (("--suite", "advbenhc"), "there is no such suite; did you mean advbench_asr?"),
        (("--judge", "deferred"), "deferred judges nothing"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_starts(
    safemerge: CommandLine, lm_eval_runs: list[Sequence[str]], words: tuple[str, ...], sentence: str
) -> None:
    done = safemerge(*WORDS[:5], *words) if "--judge" in words else safemerge(*WORDS, *words)
    assert done.status == 2
    assert sentence in " ".join(done.err.split())
    assert not lm_eval_runs
