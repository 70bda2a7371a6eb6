"""`RestoreCallback` in a real training of a tiny model."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from merge_models import llama_config, random_model, write_tokenizer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep import restore_callback
from safemerge_tasks.sweep.restore_callback import RestoreCallback


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
