"""Fine-tuning a copy of a toy model: with LoRA, or all of its weights."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.demo.recipe import Recipe
from safemerge_tasks.demo.training import Example, Schedule, train


def lora_tune(
    model: Any, examples: Sequence[Example], recipe: Recipe, seed: int, base_path: Path
) -> Any:
    """Return a `peft.PeftModel` around a copy of `model`, its adapter trained.

    All linear layers get an adapter. `base_path` is what the adapter will name as its base.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    adapted = get_peft_model(copy.deepcopy(model), config)
    adapted.peft_config["default"].base_model_name_or_path = str(base_path)
    train(adapted, examples, recipe.tuning, seed)
    return adapted


def full_tune(model: Any, examples: Sequence[Example], schedule: Schedule, seed: int) -> Any:
    """Return a copy of `model` with all weights trained."""
    tuned = copy.deepcopy(model)
    train(tuned, examples, schedule, seed)
    return tuned
