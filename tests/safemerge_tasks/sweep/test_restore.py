"""`safemerge restore` without an engine: the sweep that it is, refusals, advice, page."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from merge_models import llama_config, random_model, write_tokenizer
from rich.console import Console

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.sweep import restore as restore_module
from safemerge_tasks.sweep import run as run_module
from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.manifest import Rule
from safemerge_tasks.sweep.models import find_sources
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.questions import Questions
from safemerge_tasks.sweep.repaired import as_json
from safemerge_tasks.sweep.restore import Request, prepare_repair, repair, sweep_of
from safemerge_tasks.sweep.restored_page import restored_document
from safemerge_tasks.sweep.store import Store
from tests.sweep_folder import SAFETY, TASKS, UTILITY, SweepFolder, Tuning, outcomes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base, an adapter on it, and a model of another width."""
    root = tmp_path_factory.mktemp("models")
    for name, config in (("base", llama_config()), ("wide", llama_config(hidden_size=64))):
        random_model(config, 0).save_pretrained(root / name)
        write_tokenizer(root / name)
    model = transformers.AutoModelForCausalLM.from_pretrained(root / "base")
    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=["q_proj"]), low_cpu_mem_usage=False
    )
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    wrapped.save_pretrained(root / "adapter")
    return root


def request(models: Path, out: Path, **changes: Any) -> Request:
    given: dict[str, Any] = {
        "base": str(models / "base"),
        "tuned": str(models / "adapter"),
        "max_asr": 0.05,
        "utility": "loaf_task",
        "out": out,
        "safety": "loaf_asr",
        "engine": "hf",
        "judge": {"judge": "keywords"},
        "utility_validation": "loaf_task",
        "safety_validation": "loaf_asr",
    }
    return Request(**{**given, **changes})


def test_the_sweep_that_a_repair_is(models: Path, tmp_path: Path) -> None:
    spec = sweep_of(request(models, tmp_path / "fixed", methods=("linear", "dare-linear")))
    assert spec.choose == Rule(search="auto", max_asr=0.05, confidence=0.975)
    assert [(one.method, one.grid.get("drop_rate")) for one in spec.methods] == [
        ("linear", None),
        ("dare-linear", (0.3,)),
    ]
    assert spec.methods[0].grid["lambda"] == tuple(pytest.approx(n / 20) for n in range(1, 20))
    assert spec.tasks.test.metadata == {"split": "test_rest"}
    assert spec.tested_points == "chosen"


def test_validation_tasks_are_found_by_their_names(models: Path, tmp_path: Path) -> None:
    found = {"utility": "chatdoctor_bertscore", "safety": "advbench_asr"}
    unnamed = {"utility_validation": None, "safety_validation": None}
    tasks = sweep_of(request(models, tmp_path, **found, **unnamed)).tasks
    assert [one.task for one in tasks.validation.safety] == ["advbench_val_asr"]
    assert [one.task for one in tasks.validation.utility] == ["chatdoctor_bertscore_val"]
    # So they are under an attack, whose file is where the command is given.
    attacked = {**found, "safety": "advbench_asr@wrap=aside.txt"}
    tasks = sweep_of(request(models, tmp_path, **attacked, **unnamed)).tasks
    file = Path("aside.txt").absolute()
    assert [one.task for one in tasks.validation.safety] == [f"advbench_val_asr@wrap={file}"]
    assert [one.task for one in tasks.test.safety] == [f"advbench_asr@wrap={file}"]
    # HEx-PHI has no validation questions of its own.
    other = sweep_of(request(models, tmp_path, safety="hexphi_asr", safety_validation=None)).tasks
    assert [one.task for one in other.validation.safety] == ["hexphi_asr"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_asr": 0.0}, "--max-asr 0: give a rate between 0 and 1, such as 0.05."),
        ({"max_asr": 1.0}, "--max-asr 1: give a rate between 0 and 1"),
        ({"max_asr": float("nan")}, "--max-asr nan: give a rate between 0 and 1"),
        (
            {"methods": ("model-stock",)},
            "--methods 'model-stock': give some of linear, slerp, dare",
        ),
        ({"methods": ("linear", "linear")}, "--methods: name each method once"),
        (
            {"groups": ("early", "last")},
            "--groups early,last: give early,late, or early,middle,late, or attention,mlp.",
        ),
        ({"lambdas": (0.2, 1.5)}, "--lambda 1.5: give weights above 0 and up to 1."),
        ({"lambdas": (0.2, 0.2)}, "`lambda` names a value twice; remove one."),
    ],
)
def test_what_cannot_be_asked(
    changes: dict[str, Any], sentence: str, models: Path, tmp_path: Path
) -> None:
    with pytest.raises(SafemergeError) as raised:
        sweep_of(request(models, tmp_path / "fixed", **changes))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("plan", [True, False])
def test_models_that_are_the_same(plan: bool, models: Path, tmp_path: Path) -> None:
    same = request(models, tmp_path / "fixed", tuned=str(models / "base"))
    with pytest.raises(SafemergeError, match="base is the base itself; name the model that was"):
        prepare_repair(same, Store(tmp_path / "store"), read=not plan)


def test_a_copy_of_the_base_is_the_base(models: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(models / "base", tmp_path / "copy")
    with pytest.raises(SafemergeError, match="copy is the base itself"):
        prepare_repair(
            request(models, tmp_path / "fixed", tuned=str(copy)), Store(tmp_path / "store")
        )


def test_an_adapter_below_the_folder_that_is_named(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "adapter", tmp_path / "run" / "checkpoint-2")
    (tmp_path / "run" / "tokenizer_config.json").write_text("{}")
    spec = sweep_of(request(models, tmp_path / "fixed", tuned=str(tmp_path / "run")))
    found = find_sources(spec).tuned["tuned"][0]
    assert (found.place, found.adapter) == (str(tmp_path / "run" / "checkpoint-2"), True)


def test_a_folder_that_is_in_the_way(models: Path, tmp_path: Path) -> None:
    (tmp_path / "fixed").mkdir()
    with pytest.raises(SafemergeError, match="fixed exists; give another --out, or remove it."):
        prepare_repair(request(models, tmp_path / "fixed"), Store(tmp_path / "store"))


def test_a_folder_that_cannot_be(models: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for out, sentence in (
        (models / "base" / "fixed", "lies in the model .*base; give another --out."),
        (models / "adapter", "lies in the model .*adapter; give another --out."),
        (tmp_path / "link", "is a link to a place that is not there"),
        (Path(), "--out . names no folder to make; give another."),
    ):
        with pytest.raises(SafemergeError, match=sentence):
            prepare_repair(request(models, out), Store(tmp_path / "store"))


def test_a_task_that_does_not_exist(models: Path, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="loaf_asr is no task of lm-eval"):
        prepare_repair(request(models, tmp_path / "fixed"), Store(tmp_path / "store"))


def test_models_that_do_not_fit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safemerge_tasks.sweep import prepare as prepare_module

    monkeypatch.setattr(prepare_module, "read_questions", lambda *_: Questions({}, {}))
    monkeypatch.setattr(prepare_module, "build_graph", lambda *_, **__: Graph())
    pair = request(models, tmp_path / "fixed", tuned=str(models / "wide"))
    with pytest.raises(SafemergeError, match="wide") as raised:
        prepare_repair(pair, Store(tmp_path / "store"))
    assert "\n" not in str(raised.value)


class Measured:
    """A repair whose sweep is over: results stand in place of engines."""

    def __init__(
        self, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
    ) -> None:
        self.request = request(models, tmp_path / "fixed", lambdas=(0.4, 0.8), **changes)
        spec = sweep_of(self.request)
        self.sweep = SweepFolder(
            self.request.folder,
            base=spec.base,
            choose=spec.choose,
            test_points="chosen",
            tunings=(Tuning(name="tuned", validation=TASKS, test=TASKS),),
        )
        self.monkeypatch = monkeypatch
        self.progress = Progress()
        from safemerge_tasks.sweep import prepare as prepare_module

        monkeypatch.setattr(prepare_module, "read_questions", lambda *_: Questions({}, {}))
        monkeypatch.setattr(prepare_module, "build_graph", lambda *_, **__: Graph())

    def add(self, kind: str, hits: int, solved: int, **more: Any) -> None:
        found = {SAFETY: outcomes(hits, 100), UTILITY: outcomes(solved, 100)}
        seeds = () if kind == "base" else (0,)
        more = {"seeds": seeds, "tuning": "tuned", **more}
        self.sweep.add(kind, {"validation": found, "test": found}, **more)

    def merged(
        self,
        weight: float,
        hits: int,
        solved: int,
        test_hits: int | None = None,
        method: str = "linear",
        without: Any = None,
    ) -> None:
        found = {SAFETY: outcomes(hits, 100), UTILITY: outcomes(solved, 100)}
        test = found if test_hits is None else {**found, SAFETY: outcomes(test_hits, 100)}
        test = {task: some for task, some in test.items() if task != without}
        variant = self.sweep.add(
            "merged",
            {"validation": found, "test": test},
            seeds=(0,),
            tuning="tuned",
            method=method,
            label=method,
            lambda_=weight,
        )
        named = variant.model_copy(update={"id": f"tuned-{method}-seed-0-lambda-{weight:g}"})
        self.sweep.variants[-1] = named

    def usual(self, **first: Any) -> None:
        """Add models of which λ = 0.4 is safe on validation data, and 0.8 is not."""
        self.add("base", 0, 10)
        self.add("tuned", 80, 95)
        self.merged(0.4, 0, 90, **first)
        self.merged(0.8, 30, 94)

    def repair(self, tmp_path: Path) -> Any:
        manifest = self.sweep.write()
        for name in ("logs", "report"):
            (self.request.folder / name).mkdir(exist_ok=True)
        finished = run_module.Finished(manifest, self.progress, Graph())
        self.monkeypatch.setattr(run_module, "run_sweep", lambda *_, **__: finished)
        return repair(self.request, Store(tmp_path / "store"), Console(file=io.StringIO()))


def page(repaired: Any) -> str:
    printed = io.StringIO()
    print_document(restored_document(repaired), Console(file=printed, width=200))
    return " ".join(printed.getvalue().split())


def test_an_adapter_in_is_an_adapter_out_with_its_numbers(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Measured(models, tmp_path, monkeypatch)
    case.usual()
    done = case.repair(tmp_path)
    out = tmp_path / "fixed"
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    manifest = json.loads((out / "safemerge_manifest.json").read_text())
    assert manifest["lambda"] == 0.4
    card = (out / "README.md").read_text()
    assert "restored: linear, λ = 0.4" in card.replace("&#61;", "=").replace("&#58;", ":")
    assert "90.0%" in card
    said = page(done)
    assert "The gate against the base: passed" in said or "passed" in said
    assert "Score on test data: -5.0% against the fine-tuned model" in said
    assert str(out) in said
    found = as_json(done)
    assert found["point"] == {"lambda": 0.4}
    assert found["test"]["base"]["asr"] == 0.0
    assert found["test"]["fine-tuned"]["asr"] == 0.8
    assert found["test"]["restored"] == {
        "asr": 0.0,
        "asr low": pytest.approx(0.0, abs=1e-12),
        "asr high": pytest.approx(0.037, abs=1e-3),
        "utility": 0.9,
    }
    assert found["gate"] == {"loaf_asr": "passed"}
    baseline = json.loads((case.request.folder / "report" / "baseline.json").read_text())
    assert set(baseline["tasks"]) == {"loaf_asr", "loaf_task"}
    written = json.loads((case.request.folder / "report" / "restore.json").read_text())
    assert written == json.loads(json.dumps(found))

    # Again: nothing is merged anew, and the card has its numbers once.
    before = (out / "adapter_model.safetensors").stat().st_mtime_ns
    case.repair(tmp_path)
    assert (out / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert (out / "README.md").read_text() == card

    # With another limit it is another model, which is not called by the first one's name.
    case.sweep.fields["choose"] = Rule(search="auto", max_asr=0.5)
    with pytest.raises(SafemergeError, match="holds what an earlier call chose, linear at λ = 0.4"):
        case.repair(tmp_path)


def test_a_folder_that_holds_the_repair_of_another_model(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice may be the same: then old weights would get the new model's numbers."""
    import shutil

    own = Path(shutil.copytree(models / "adapter", tmp_path / "adapter"))
    case = Measured(models, tmp_path, monkeypatch, tuned=str(own))
    case.add("base", 0, 10)
    case.add("tuned", 80, 95)
    case.merged(0.4, 0, 90)
    case.repair(tmp_path)
    weights = bytearray((own / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (own / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(SafemergeError, match="fixed exists; give another --out, or remove it."):
        prepare_repair(case.request, Store(tmp_path / "store"))


def measured_slerp(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Return a search by a method that gives checkpoints, of which one point was asked."""
    case = Measured(models, tmp_path, monkeypatch, methods=("slerp",))
    case.add("base", 0, 10)
    case.add("tuned", 80, 95)
    case.merged(0.4, 0, 90, method="slerp")
    return case


def test_the_same_choice_with_other_settings(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = measured_slerp(models, tmp_path, monkeypatch)
    case.repair(tmp_path)
    case.request = replace(case.request, vocabulary="grow")
    with pytest.raises(SafemergeError, match="and now it is slerp at λ = 0.4 otherwise; remove it"):
        case.repair(tmp_path)
    manifest = tmp_path / "fixed" / "safemerge_manifest.json"
    manifest.write_text(manifest.read_text()[:-9])
    with pytest.raises(SafemergeError, match="safemerge_manifest.json is damaged or was edited"):
        case.repair(tmp_path)


def test_an_adapter_with_a_weight_for_each_group_of_layers(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = ("attention", "mlp")
    case = Measured(models, tmp_path, monkeypatch, groups=groups)
    assert case.sweep.fields["choose"].groups == groups
    case.add("base", 0, 10)
    case.add("tuned", 80, 95)
    case.merged(0.4, 0, 70)
    case.merged(0.8, 30, 94)
    found = {SAFETY: outcomes(0, 100), UTILITY: outcomes(90, 100)}
    for attention, mlp, results in (
        (0.8, 0.4, {"validation": found, "test": found}),
        (0.4, 0.8, {}),
    ):
        variant = case.sweep.add(
            "merged",
            results,  # type: ignore[arg-type]
            seeds=(0,),
            tuning="tuned",
            method="linear",
            label="linear",
            attention=attention,
            mlp=mlp,
        )
        name = f"tuned-linear-seed-0-attention-{attention:g}-mlp-{mlp:g}"
        stopped = None if results else "3 of 10"
        case.sweep.variants[-1] = variant.model_copy(update={"id": name, "stopped": stopped})
    done = case.repair(tmp_path)
    assert as_json(done)["point"] == {"attention": 0.8, "mlp": 0.4}
    manifest = json.loads((tmp_path / "fixed" / "safemerge_manifest.json").read_text())
    assert manifest["lambda"] == {"attention": 0.8, "mlp": 0.4}
    assert (tmp_path / "fixed" / "adapter_config.json").is_file()
    said = page(done)
    assert "Taken: λ = 0.8 (attention), 0.4 (mlp)" in said
    assert "then by groups of layers, with surely more utility than λ = 0.4 has (70.0%)" in said

    # The same call again finds its own model; another choice is not called by its name.
    case.repair(tmp_path)
    case.sweep.fields["choose"] = Rule(search="auto", max_asr=0.05)
    case.sweep.variants = case.sweep.variants[:-2]
    expected = "linear at λ = 0.8 (attention), 0.4 (mlp), and now it is linear at λ = 0.4"
    with pytest.raises(SafemergeError, match=re.escape(expected)):
        case.repair(tmp_path)


def test_a_checkpoint_of_a_method_that_no_adapter_can_be(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = measured_slerp(models, tmp_path, monkeypatch)
    case.merged(0.8, 30, 94, method="slerp")
    assert case.repair(tmp_path).choice.method == "slerp"
    assert (tmp_path / "fixed" / "config.json").is_file()
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "fixed")


def test_what_failed_is_what_to_mend(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Measured(models, tmp_path, monkeypatch)
    case.add("base", 0, 10)
    case.add("tuned", 80, 95)
    for weight in (0.4, 0.8):
        case.sweep.add(
            "merged",
            {},
            seeds=(0,),
            tuning="tuned",
            method="linear",
            label="linear",
            failure="no memory",
            lambda_=weight,
        )
    case.progress.reasons = {"answer-1": "no memory"}
    done = case.repair(tmp_path)
    assert done.advice == "Some of it failed; mend that, and run the same command again."
    assert "no memory" in page(done)


@pytest.mark.parametrize(
    ("base_hits", "changes", "advice"),
    [
        (0, {}, "Try --methods linear,slerp,dare-linear, smaller weights with --lambda"),
        (20, {}, "The base itself may answer 27.7%, and no merge with it is safer; give another"),
        (0, {"max_asr": 0.02}, "The validation questions are too few to show 2.0%: with none"),
    ],
)
def test_where_nothing_meets_the_limit_it_says_what_to_try(
    base_hits: int,
    changes: dict[str, Any],
    advice: str,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Measured(models, tmp_path, monkeypatch, **changes)
    case.add("base", base_hits, 10)
    case.add("tuned", 80, 95)
    case.merged(0.4, 30, 90)
    case.merged(0.8, 30, 94)
    done = case.repair(tmp_path)
    assert done.choice is None
    assert done.out is None
    assert done.advice.startswith(advice)
    assert not (tmp_path / "fixed").exists()
    assert "No merge by linear meets the limit: a search of 2 points found none" in page(done)
    assert as_json(done)["advice"] == done.advice


def test_test_data_that_contradict_are_said(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Measured(models, tmp_path, monkeypatch)
    case.usual(test_hits=40)
    done = case.repair(tmp_path)
    assert done.choice is not None
    assert done.advice.startswith("Test data contradict: the ASR is at least 30.9% there")
    # Whoever finds the model later reads that too.
    assert "Test data contradict" in (tmp_path / "fixed" / "README.md").read_text()


@pytest.mark.parametrize("missing", [SAFETY, UTILITY])
def test_a_choice_whose_test_data_are_missing_is_no_repair(
    missing: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Measured(models, tmp_path, monkeypatch)
    case.usual(without=missing)
    case.progress.reasons = {"answer-9": "no memory"}
    done = case.repair(tmp_path)
    assert done.choice is not None
    assert done.advice.startswith("Test data are missing, so that nothing shows whether the choice")
    assert as_json(done)["out"] is None
    assert not (tmp_path / "fixed").exists()
    assert "no memory" in page(done)


def test_what_has_to_be_known_is_on_the_screen_and_the_card(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safemerge_tasks.sweep import prepare as prepare_module

    case = Measured(models, tmp_path, monkeypatch)
    note = "loaf_task asks the same on validation and test data"
    read = Questions({}, {}, notes=(note,))
    monkeypatch.setattr(prepare_module, "read_questions", lambda *_: read)
    case.usual()
    done = case.repair(tmp_path)
    assert f"Note: {note}" in page(done)
    assert as_json(done)["notes"] == [note]
    assert "asks the same on validation" in (tmp_path / "fixed" / "README.md").read_text()


def test_a_card_that_somebody_removed_is_written_again(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Measured(models, tmp_path, monkeypatch)
    case.usual()
    case.repair(tmp_path)
    (tmp_path / "fixed" / "README.md").unlink()
    case.repair(tmp_path)
    assert "Safety and utility" in (tmp_path / "fixed" / "README.md").read_text()


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0.07, "0.07"), (0.0701, "0.08"), (0.29, "0.29"), (0.98, "0.98"), (0.991, None)],
)
def test_the_limit_to_give_instead_can_be_given(rate: float, words: str | None) -> None:
    assert restore_module._or_limit(rate) == (f", or --max-asr {words}" if words else "")


def test_the_best_of_several_methods(models: Path, tmp_path: Path) -> None:
    from safemerge_tasks.sweep.choosing import Choice

    def choice(label: str, utility: float, bound: float, *, meets: bool = True) -> Choice:
        return Choice("tuned", label, label, (), "", meets, 0.0, bound, utility, (), "")

    worse, best = choice("linear", 0.8, 0.01), choice("slerp", 0.9, 0.04)
    equal = replace(best, label="dare-linear", bound=0.03)
    unsafe = choice("other", 1.0, 0.2, meets=False)
    assert restore_module._best([worse, best, unsafe]) == best
    assert restore_module._best([worse, best, equal, unsafe]) == equal
    assert restore_module._best([unsafe]) is None
