"""The examples for the real models pass `--plan` with models of the same shapes and no weights."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from safemerge_tasks.cli import app
from tests.llama_shape import LLAMA_2_7B, LLAMA_3_8B, make_hollow_llama
from tests.question_sets import write_every_suite
from tests.slow import slow

pytestmark = pytest.mark.vllm

ROWS = 8
COLUMNS: dict[str, Callable[[int], dict[str, Any]]] = {
    "xcopa": lambda n: {
        "premise": f"{n}",
        "question": "cause",
        "choice1": "a",
        "choice2": "b",
        "label": 0,
    },
    "xnli": lambda n: {"premise": f"{n}", "hypothesis": "b", "label": n % 3},
    "super_glue": lambda n: {
        "premise": f"{n} fell.",
        "question": "cause",
        "choice1": "It broke.",
        "choice2": "It rose.",
        "label": 0,
        "idx": n,
    },
    "gsm8k": lambda n: {"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"},
    "IFEval": lambda n: {
        "key": n,
        "prompt": f"Write {n} in lower case.",
        "instruction_id_list": ["change_case:english_lowercase"],
        "kwargs": [{}],
    },
    "bbh": lambda n: {"input": f"{n}?", "target": "yes"},
}


@pytest.fixture(autouse=True)
def _world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_guard: Path, minilm: Path) -> None:
    """Everything that the examples take from the network, in its shape."""
    data = tmp_path / "data"
    write_every_suite(data)
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(data))
    monkeypatch.setenv("SAFEMERGE_JUDGE_MODEL", str(tiny_guard))
    monkeypatch.setenv("SAFEMERGE_BERTSCORE_MODEL", str(minilm))
    monkeypatch.setenv("SAFEMERGE_BERTSCORE_LAYER", "6")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def load(path: str, *_: Any, **__: Any) -> datasets.DatasetDict:
        make = next(make for name, make in COLUMNS.items() if name in path)
        rows = datasets.Dataset.from_list([make(n) for n in range(ROWS)])
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), rows))

    monkeypatch.setattr(datasets, "load_dataset", load)


@pytest.fixture(scope="session")
def tiny_guard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a judge's shape; nothing is judged here."""
    folder = tmp_path_factory.mktemp("guard") / "guard"
    make_hollow_llama(folder, {**LLAMA_2_7B, "num_hidden_layers": 1})
    return folder


def plan(example: Path, shape: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    """Return an example's plan on a hollow base."""
    make_hollow_llama(folder / "base", shape)
    content = {**yaml.safe_load(example.read_text()), "base": str(folder / "base"), **changes}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    arguments = ["sweep", str(folder / "sweep.yaml"), "--plan", "--json"]
    ran = CliRunner().invoke(
        app, [*arguments, "--store", str(folder / "store")], catch_exceptions=False
    )
    assert ran.exit_code == 0, ran.output
    assert not (folder / "store" / "steps").exists()
    made: dict[str, Any] = json.loads(ran.stdout)
    return made


def test_farn(repository: Path, tmp_path: Path) -> None:
    made = plan(repository / "examples/farn2024.yaml", LLAMA_3_8B, tmp_path)
    # Four tasks, three seeds, three methods of four λ; the base once, and Model Stock once a task.
    merged = 4 * 3 * 4
    assert sum(made["cells"].values()) == 1 + 4 * 3 + 3 * merged + 4
    assert made["cells"]["chatdoctor, linear (adapter)"] == 12
    assert made["cells"]["chatdoctor, slerp (checkpoint)"] == 12
    # SLERP, DARE and Model Stock, and one linear merge a task for the agreement; no checkpoint.
    assert made["shared"]["models merged to be asked"] == 2 * merged + 4 + 4
    assert made["bytes written"] == 0
    assert made["shared"]["models on one engine"] == 1 + 4 * 3 * (1 + 4)
    assert made["steps"]["finetune"]["all"] == 12
    # 500 steps of 8 rows, and of OpenFunctions' stand-in all there are.
    outlook = made["fine-tuning"]["chatdoctor, seed 42"]
    assert (outlook["rows"], outlook["validation_rows"], outlook["steps"]) == (9000, 1000, 500)
    # Every variant is judged on 100 validation questions and 420 + 300 others.
    variants = sum(made["cells"].values())
    assert made["judge calls"] == variants * (100 + 420 + 300)
    # A job a fine-tuned model and way to serve it, and one for the base.
    assert made["jobs"]["judge"] == 1 + 4 * 3 + 4 * 3 + 4
    # Nothing was ever done on this machine.
    assert made["hours of one job"] is None


@slow
def test_farn_with_test_data_of_chosen_points_only(repository: Path, tmp_path: Path) -> None:
    example = repository / "examples/farn2024.yaml"
    made = plan(example, LLAMA_3_8B, tmp_path, test_points="chosen")
    # One point of each of three methods a task and seed, and Model Stock, which has one anyway.
    tested = 1 + 4 * 3 + 4 * (3 * 3 + 1)
    assert made["judge calls"] == 161 * 100 + tested * (420 + 300)


def test_farn_2025(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # IFEval's own libraries, of which a plan needs the names only.
    monkeypatch.setitem(sys.modules, "langdetect", ModuleType("langdetect"))
    frozen = ModuleType("immutabledict")
    frozen.immutabledict = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "immutabledict", frozen)
    monkeypatch.setattr("nltk.download", lambda *_, **__: print("IFEval's own word"))
    made = plan(repository / "examples/farn2025.yaml", LLAMA_3_8B, tmp_path)
    # Four tasks, three seeds, three methods of nine λ, and Model Stock once a task; twice as many
    # fine-tuned models again are baselines, which nothing is merged from.
    merged = 4 * 3 * 9
    assert sum(made["cells"].values()) == 1 + 3 * 4 * 3 + 3 * merged + 4
    assert made["cells"]["magicoder, linear (adapter)"] == 27
    assert not [name for name in made["cells"] if "dropout, linear" in name]
    assert made["steps"]["finetune"]["all"] == 36
    tested = 1 + 3 * 4 * 3 + 4 * (3 * 3 + 1)
    validated = sum(made["cells"].values())
    assert made["judge calls"] == validated * 100 + tested * (420 + 300)


def test_resta(repository: Path, tmp_path: Path) -> None:
    files = {}
    for name in ("chinese", "hindi", "english", "code", "math", "unaligned"):
        files[name] = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {n}?", "response": f"It is {n}."} for n in range(100)]
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    example = yaml.safe_load((repository / "examples/resta2024.yaml").read_text())
    for tuning in [*example["tunings"], example["unaligned"]]:
        tuning["config"]["data"] = str(files[Path(tuning["config"]["data"]).stem])
    changes = {"tunings": example["tunings"], "unaligned": example["unaligned"]}
    made = plan(repository / "examples/resta2024.yaml", LLAMA_2_7B, tmp_path, **changes)
    # Each fine-tuned model, RESTA and RESTA_d, and the base.
    assert sum(made["cells"].values()) == 1 + 5 * 3
    # All that is trained is an adapter, so RESTA is one as well; DARE has no low rank.
    assert made["cells"]["math, RESTA (adapter)"] == 1
    assert made["cells"]["math, RESTA_d (checkpoint)"] == 1
    assert made["steps"]["finetune"]["all"] == 6
    # RESTA_d, and one RESTA a task for the agreement.
    assert made["shared"]["models merged to be asked"] == 5 + 5
    assert made["bytes written"] == 0
    assert made["judge calls"] == 16 * (100 + 3 * 550 + 196 + 200 + 200)
