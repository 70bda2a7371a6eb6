"""Adapters that vLLM cannot serve are refused from their files, with the reason."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.adapters import Needs, check_servable, max_lora_rank
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Recording, Request

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter(folder: Path, rank: int = 8, **settings: Any) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    factors = {
        f"{LAYER}.lora_A.weight": torch.zeros(rank, 4),
        f"{LAYER}.lora_B.weight": torch.zeros(4, rank),
    }
    save_file(factors, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_needs_its_rank_and_its_modules(tmp_path: Path) -> None:
    assert check_servable(adapter(tmp_path / "a", 12)) == Needs(12, frozenset({"q_proj"}))


def test_an_engine_serves_what_all_adapters_need() -> None:
    both = Needs(8, frozenset({"q_proj"})) | Needs(4, frozenset({"lm_head"}))
    assert both == Needs(8, frozenset({"q_proj", "lm_head"}))
    assert both.updates_head


@pytest.mark.parametrize(("largest", "needed"), [(8, 8), (12, 16), (1, 1), (257, 320)])
def test_the_engine_holds_the_largest_rank(largest: int, needed: int) -> None:
    assert max_lora_rank(largest) == needed


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "target_parameters"),
        ({"bias": "all"}, "bias=all"),
        ({"lora_bias": True}, "LoRA biases"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_what_vllm_cannot_serve_is_refused(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    folder = adapter(tmp_path / "a", **settings)
    with pytest.raises(SafemergeError, match=f"a cannot be served by vLLM: .*{reason}.*merge it"):
        check_servable(folder)


def test_settings_that_change_nothing_are_no_obstacle(tmp_path: Path) -> None:
    settings = {"use_dora": False, "modules_to_save": None, "bias": "none", "use_rslora": True}
    assert (
        check_servable(adapter(tmp_path / "a", init_lora_weights="gaussian", **settings)).rank == 8
    )


def test_tensors_that_vllm_would_leave_out_are_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    saved = {
        f"{LAYER}.lora_A.weight": torch.zeros(8, 4),
        f"{LAYER}.lora_B.weight": torch.zeros(4, 8),
        "base_model.model.model.embed_tokens.weight": torch.zeros(3, 4),
    }
    save_file(saved, folder / "adapter_model.safetensors")
    with pytest.raises(SafemergeError, match="embed_tokens.weight"):
        check_servable(folder)


def test_ranks_that_vllm_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="rank 600 is over 512"):
        check_servable(adapter(tmp_path / "a", 600))


def test_what_is_no_adapter_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="adapter_config.json cannot be read"):
        check_servable(tmp_path)


@pytest.mark.skipif(not find_spec("vllm"), reason="no vLLM fits this machine")
def test_an_adapter_that_cannot_be_served_fails_by_itself(tmp_path: Path) -> None:
    """No engine starts: none of the two is left to be asked."""
    from safemerge_tasks.sweep.serving import vllm_answers

    odd = adapter(tmp_path / "odd", use_dora=True)
    head = adapter(tmp_path / "head")
    factors = {f"base_model.model.lm_head.lora_{one}.weight": torch.zeros(4, 4) for one in "AB"}
    save_file(factors, head / "adapter_model.safetensors")
    rolling = Request("loglikelihood_rolling", "water", 0, 0, 0, ("Water.",))
    recording = Recording(Evaluation(tasks=("water",), base="base"), (rolling,), 1)
    asked = [
        (Asked(one.name, tmp_path / "requests", tmp_path / one.name, adapter=one), recording)
        for one in (odd, head)
    ]
    failed: dict[str, str] = {}
    listener = Listener(lambda _name: None, failed=failed.__setitem__)
    vllm_answers.adapters("base", asked, EngineSettings(), listener)
    assert failed.keys() == {"odd", "head"}
    assert "is a DoRA adapter" in failed["odd"]
    assert "updates lm_head" in failed["head"]
