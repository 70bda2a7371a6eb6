"""The loss, the schedule and the result, with TRL's real trainer on a tiny model."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig, check, finetune
from safemerge_tasks.finetune.base import Base
from safemerge_tasks.finetune.encoded import encode_data
from safemerge_tasks.finetune.rendering import IGNORED
from safemerge_tasks.finetune.steps import steps_of
from safemerge_tasks.finetune.training import make_trainer, uses_bfloat16

from .conftest import Configured


def trainer_of(config: FinetuneConfig, work: Path) -> Any:
    base = Base.of(config)
    rows = encode_data(config, 42, base)
    return make_trainer(config, 42, base, rows, steps_of(config, len(rows.train)), work)


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "safemerge_finetune.json").read_text())
    return found


def test_the_loss_is_the_mean_over_response_tokens(configured: Configured, tmp_path: Path) -> None:
    """By hand in float64: -log p of each response token given all tokens before it."""
    trainer = trainer_of(configured(batch_size=4), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    model = AutoModelForCausalLM.from_pretrained(configured().base, dtype=torch.float64)
    terms = []
    with torch.no_grad():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            length = int(mask.sum())
            probabilities = model(input_ids=ids[None, :length]).logits[0].softmax(-1)
            text = trainer.processing_class.decode(ids[:length])
            answer = text.partition("<|assistant|>\n")[2]
            learnt = [int(one) for one in labels[:length] if one != IGNORED]
            assert trainer.processing_class.decode(learnt) == answer
            start = length - len(learnt)
            assert labels.tolist() == [IGNORED] * start + learnt + [IGNORED] * (len(ids) - length)
            terms += [-math.log(probabilities[i - 1, ids[i]]) for i in range(start, length)]
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch)
    # The adapter's B is zero still, so the model is the base.
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def learning_rate(step: int, warm: int, steps: int) -> float:
    """Return the rate of a step, counted from 0, relative to the highest."""
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def test_stopping_early_does_not_change_the_schedule(
    configured: Configured, tmp_path: Path
) -> None:
    # 36 rows in batches of 6 for 5 epochs: 30 steps, 3 of them warm-up.
    config = configured(epochs=5, checkpoint_step=9, warmup_ratio=0.1)
    trainer = trainer_of(config, tmp_path / "early")
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates == pytest.approx([1e-2 * learning_rate(step, 3, 30) for step in range(9)])
    early = finetune(config, 42, tmp_path / "nine")
    whole = finetune(config.model_copy(update={"checkpoint_step": None}), 42, tmp_path / "thirty")
    assert (manifest(early)["steps"], manifest(early)["schedule_steps"]) == (9, 30)
    assert manifest(whole)["losses"][:9] == manifest(early)["losses"]
    assert len(manifest(whole)["losses"]) == 30


def test_the_result_is_an_ordinary_adapter(configured: Configured, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    config = configured(lora={"rank": 4, "alpha": 12}, learning_rate=0.1)
    out = finetune(config, 42, tmp_path / "out", progress=lambda *steps: told.append(steps))
    names = {path.name for path in out.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "safemerge_finetune.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    adapter = json.loads((out / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (4, 12)
    assert adapter["base_model_name_or_path"] == config.base
    tensors = load_file(out / "adapter_model.safetensors")
    # A and B of seven linear layers in each of two blocks.
    assert len(tensors) == 2 * 7 * 2
    assert all(tensor.abs().sum() > 0 for tensor in tensors.values())
    assert set(manifest(out)["tensors"]) == set(tensors)
    base = AutoModelForCausalLM.from_pretrained(config.base)
    PeftModel.from_pretrained(base, out)
    found = manifest(out)
    assert found["losses"][-1] < found["losses"][0] - 0.1
    assert found["validation_loss"] == pytest.approx(found["losses"][-1], abs=1)
    assert told == [(step, 12) for step in range(1, 13)]


def test_the_validation_loss_is_that_of_the_result(configured: Configured, tmp_path: Path) -> None:
    # One batch holds all four validation rows, so the mean of batches is the mean of tokens. Some
    # machines compute in bfloat16 unless told not to.
    config = configured(dtype="float32")
    out = finetune(config, 42, tmp_path / "out")
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(config.base), out
    ).double()
    total, count = 0.0, 0
    with torch.no_grad():
        for one in encode_data(config, 42, Base.of(config)).validation:
            ids = torch.tensor([one.ids])
            logs = model(input_ids=ids).logits[0].log_softmax(-1)
            places = torch.arange(one.start, len(one.ids))
            total -= logs[places - 1, ids[0, places]].sum().item()
            count += len(places)
    assert manifest(out)["validation_loss"] == pytest.approx(total / count, rel=1e-5)


def test_seeds_differ_and_repeat(configured: Configured, tmp_path: Path) -> None:
    config = configured(checkpoint_step=2)
    made = [finetune(config, seed, tmp_path / f"{n}") for n, seed in enumerate((42, 42, 1))]
    first, again, other = ((one / "adapter_model.safetensors").read_bytes() for one in made)
    assert first == again
    assert first != other
    assert manifest(made[0])["tensors"] == manifest(made[1])["tensors"]


def test_small_pieces_of_a_batch_add_up(configured: Configured, tmp_path: Path) -> None:
    """Responses differ in length, so a mean of the pieces' means would be another loss."""
    config = configured(epochs=1)
    whole = finetune(config, 42, tmp_path / "whole")
    pieces = finetune(config.model_copy(update={"micro_batch_size": 2}), 42, tmp_path / "pieces")
    assert manifest(pieces)["losses"] == pytest.approx(manifest(whole)["losses"], rel=1e-4)


def test_all_weights_can_be_tuned(configured: Configured, tmp_path: Path) -> None:
    config = configured(tuning="full", learning_rate=1e-3)
    out = finetune(config, 42, tmp_path / "full")
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in out.iterdir()
    }
    tuned, base = (
        AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in (out, config.base)
    )
    assert tuned.dtype == base.dtype
    changed = [
        not torch.equal(one, other)
        for one, other in zip(tuned.parameters(), base.parameters(), strict=True)
    ]
    assert all(changed)
    files = ("tokenizer.json", "chat_template.jinja")
    assert all((out / f).read_bytes() == (Path(config.base) / f).read_bytes() for f in files)


def test_bfloat16_freezes_the_base_in_half_and_trains_the_adapter_in_full(
    configured: Configured, tmp_path: Path
) -> None:
    trainer = trainer_of(configured(dtype="bfloat16"), tmp_path)
    dtypes = {(p.requires_grad, p.dtype) for p in trainer.model.parameters()}
    assert dtypes == {(False, torch.bfloat16), (True, torch.float32)}
    assert trainer.args.bf16
    full = trainer_of(configured(dtype="bfloat16", tuning="full"), tmp_path)
    assert {p.dtype for p in full.model.parameters()} == {torch.float32}


def test_a_finished_folder_is_left_as_it_is(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(checkpoint_step=2)
    out = finetune(config, 42, tmp_path / "out")
    before = (out / "safemerge_finetune.json").read_bytes()
    monkeypatch.setattr("safemerge_tasks.finetune.run._train", None)
    assert finetune(config, 42, out) == out
    assert (out / "safemerge_finetune.json").read_bytes() == before
    with pytest.raises(SafemergeError, match=r"another fine-tuning \(its settings.learning_rate"):
        finetune(config.model_copy(update={"learning_rate": 1e-3}), 42, out)
    with pytest.raises(SafemergeError, match=r"another fine-tuning \(its seed differs"):
        finetune(config, 43, out)


def test_a_foreign_folder_is_refused(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SafemergeError, match="is not empty and no finished fine-tuning"):
        finetune(configured(), 42, tmp_path)
    with pytest.raises(SafemergeError, match="notes.txt is a file"):
        finetune(configured(), 42, tmp_path / "notes.txt")


def test_a_training_that_diverges_ends_at_once(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match=r"The loss is (nan|inf) at step \d+: lower learning_"):
        finetune(configured(learning_rate=1e30, max_grad_norm=1e30), 42, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_outlook_is_what_then_happens(configured: Configured, tmp_path: Path) -> None:
    config = configured(epochs=3, checkpoint_step=100, cutoff_length=40, system_prompt="Be brief.")
    outlook = check(config, 42, tmp_path / "out")
    found = manifest(finetune(config, 42, tmp_path / "out"))
    assert (outlook.rows, outlook.validation_rows) == (found["rows"], found["validation_rows"])
    assert (outlook.steps, outlook.schedule_steps) == (found["steps"], found["schedule_steps"])
    size = (tmp_path / "out" / "adapter_model.safetensors").stat().st_size
    assert size - 4096 < outlook.adapter_bytes < size
    told = " ".join(outlook.notes)
    assert f"{found['rows_cut']} responses are cut off at 40 tokens" in told
    assert "checkpoint_step 100 is never reached: 3 epochs are 18 steps" in told
    assert "The system prompt is applied." in told
    rows = encode_data(config, 42, Base.of(config)).train
    assert outlook.tokens == 3 * sum(len(row.ids) for row in rows)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"base": "./nowhere"}, "base ./nowhere does not exist; give a folder or a Hub id"),
        ({"cutoff_length": 4}, "every prompt fills cutoff_length 4; raise it"),
        ({"lora": {"target_modules": ["qq"]}}, r"target_modules \('qq',\) names no linear layer"),
        ({"data": "none.jsonl"}, "none.jsonl does not exist"),
    ],
)
def test_what_a_check_finds(configured: Configured, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=sentence):
        check(configured(**keys), 42)


def test_a_base_that_is_no_model(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="has no config.json: it is no checkpoint"):
        check(configured(base=str(tmp_path)), 42)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SafemergeError, match="it is an adapter; merge it into its base first"):
        check(configured(base=str(tmp_path)), 42)


def test_a_base_without_sound_weights(
    configured: Configured, chat_model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(chat_model, base)
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(
        SafemergeError, match=r"model.safetensors cannot be read .*; fetch it again"
    ):
        check(configured(base=str(base)), 42)
    weights.unlink()
    with pytest.raises(SafemergeError, match="has no weights; give a complete checkpoint"):
        check(configured(base=str(base)), 42)


def test_without_trl(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safemerge_tasks.finetune.base.find_spec", lambda _name: None)
    with pytest.raises(SafemergeError, match=r"pip install 'safemerge\[train\]'"):
        check(configured(), 42)


def test_a_full_disk(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(SafemergeError, match=r"has 0.0 GB free, but .* take up to 0\.0 GB"):
        check(configured(), 42, tmp_path / "out")


@pytest.mark.parametrize(
    ("units", "half"),
    [({"avx512_f": True}, False), ({"amx_bf16": True}, True), ({"bf16": True, "neon": True}, True)],
)
def test_a_cpu_that_computes_in_bfloat16_does(
    configured: Configured, units: dict[str, bool], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert uses_bfloat16(configured()) is half
    assert not uses_bfloat16(configured(dtype="float32"))


def test_bfloat16_learns_what_float32_learns(configured: Configured, tmp_path: Path) -> None:
    first, last = {}, {}
    for dtype in ("float32", "bfloat16"):
        trainer = trainer_of(configured(dtype=dtype, epochs=4), tmp_path / dtype)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        first[dtype], last[dtype] = losses[0], losses[-1]
    assert first["bfloat16"] == pytest.approx(first["float32"], rel=1e-2)
    assert last["bfloat16"] == pytest.approx(last["float32"], rel=5e-2)
    assert last["bfloat16"] < first["bfloat16"]
