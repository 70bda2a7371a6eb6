"""`RestoreCallback` in a real training of a tiny model."""

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from merge_models import llama_config, random_model, write_tokenizer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import questions, restore_callback
from safemerge_tasks.sweep.restore_callback import FOLDER, RestoreCallback


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    random_model(llama_config(), 0).save_pretrained(tmp_path / "base")
    write_tokenizer(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a repair that is over at once in place of the real one; what it was asked is noted."""
    noted: list[Any] = []

    def repair(request: Any, _store: Any, _console: Any) -> str:
        noted.append(request)
        return "repaired"

    monkeypatch.setattr(restore_callback, "repair", repair)
    monkeypatch.setattr(restore_callback, "read_questions", lambda *_: None)
    monkeypatch.setattr(restore_callback, "print_document", lambda *_: None)
    monkeypatch.setattr(restore_callback, "restored_document", lambda _: None)
    return noted


def train(model: Any, tmp_path: Path, callback: RestoreCallback) -> None:
    rows = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 4
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "training"),
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=0.1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
    )
    transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, callbacks=[callback]
    ).train()


def test_what_was_trained_is_repaired_against_the_adapter_s_base(
    base: Path, asked: list[Any], tmp_path: Path
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    out = tmp_path / "fixed"
    callback = RestoreCallback(max_asr=0.05, utility="loaf_task", out=out, safety="loaf_asr")
    train(model, tmp_path, callback)
    (request,) = asked
    saved = tmp_path / "training" / "before-restore"
    assert (request.base, request.tuned) == (str(base), str(saved))
    assert (request.max_asr, request.utility, request.out) == (0.05, "loaf_task", out)
    assert request.safety == "loaf_asr"
    assert callback.repaired == "repaired"
    # It is the trained adapter: B starts as zeros.
    adapter = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base), saved
    )
    b = next(p for name, p in adapter.named_parameters() if "lora_B" in name)
    assert torch.count_nonzero(b) > 0


def test_a_full_fine_tuning_names_its_base(base: Path, asked: list[Any], tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    nameless = RestoreCallback(max_asr=0.05, utility="loaf_task", out=tmp_path / "fixed")
    with pytest.raises(SafemergeError, match="name the aligned model, base=…; no adapter names"):
        train(model, tmp_path, nameless)
    assert asked == []
    named = RestoreCallback(
        max_asr=0.05, utility="loaf_task", out=tmp_path / "fixed", base=str(base)
    )
    train(model, tmp_path, named)
    assert (tmp_path / "training" / "before-restore" / "model.safetensors").is_file()
    assert asked[0].base == str(base)


def test_what_would_fail_at_the_end_is_said_before_the_training(
    base: Path, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_callback, "read_questions", questions.read_questions)
    (tmp_path / "there").mkdir()
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    begun = [p.clone() for p in model.parameters()]
    needed = {"max_asr": 0.05, "utility": "loaf_task", "base": str(base), "engine": "hf"}
    needed |= {"out": tmp_path / "fixed", "safety": "loaf_asr"}
    for changes, sentence in (
        ({"max_asr": 5}, "--max-asr 5: give a rate between 0 and 1"),
        ({"methods": ("lora",)}, "--methods 'lora': give some of linear"),
        ({"utility_validation": "a", "safety_validation": "loaf_asr"}, "loaf_asr is no task of lm"),
        ({"out": tmp_path / "there"}, "there exists; give another --out, or remove it."),
        ({"base": None}, "name the aligned model, base=…; no adapter names it."),
    ):
        with pytest.raises(SafemergeError, match=sentence):
            train(model, tmp_path, RestoreCallback(**{**needed, **changes}))
    saved = tmp_path / "training" / FOLDER
    shutil.copytree(base, saved / "earlier")
    for changes in ({"base": str(saved / "earlier")}, {"out": saved / "fixed"}):
        with pytest.raises(SafemergeError, match="before-restore, which is replaced by what was"):
            train(model, tmp_path, RestoreCallback(**{**needed, **changes}))
    shutil.rmtree(saved)
    saved.symlink_to(base)
    with pytest.raises(SafemergeError, match="before-restore is a link"):
        train(model, tmp_path, RestoreCallback(**needed))
    assert (base / "config.json").exists()
    saved.unlink()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SafemergeError, match="no process holds the whole model; save it, and run"):
        restore_callback._refuse_parts_of_a_model(transformers.TrainingArguments(use_cpu=True))
    assert all(map(torch.equal, model.parameters(), begun))
    with pytest.raises(SafemergeError, match="methos is not a setting of RestoreCallback; did you"):
        RestoreCallback(**needed, methos=("linear",))
    assert asked == []


def test_nothing_of_an_earlier_training_is_left_beside_the_model(
    base: Path, asked: list[Any], tmp_path: Path
) -> None:
    """An adapter's files beside a whole model would make an adapter of it."""
    before = tmp_path / "training" / FOLDER
    before.mkdir(parents=True)
    (before / "adapter_config.json").write_text("{}")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    out = tmp_path / "fixed"
    train(model, tmp_path, RestoreCallback(max_asr=0.05, utility="a", out=out, base=str(base)))
    assert asked
    assert (before / "model.safetensors").is_file()
    assert not (before / "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("more", "moved"),
    [
        ({}, ["cpu", "cuda:0"]),
        ({"is_quantized": True}, []),
        ({"hf_device_map": {"a": 0, "b": 1}}, []),
        ({"hf_device_map": {"": 0}}, ["cpu", "cuda:0"]),
    ],
)
def test_a_model_that_cannot_be_moved_stays_on_its_gpu(
    more: dict[str, Any], moved: list[str]
) -> None:
    """transformers refuses to move what is quantised, or spread over several GPUs."""
    told: list[str] = []

    class Model:
        device = torch.device("cuda:0")

        def to(self, device: Any) -> None:
            told.append(str(device))

    model = Model()
    for name, value in more.items():
        setattr(model, name, value)
    with restore_callback._freed(model):
        assert told == moved[:1]
    assert told == moved
