"""Fine-tuning a copy of a toy model: with LoRA as everybody does, or all of its weights."""

import copy
from collections.abc import Sequence
from typing import Any

from safemerge_tasks.demo.members import ToyFamily
from safemerge_tasks.demo.recipe import Recipe
from safemerge_tasks.demo.training import SYSTEM_PROMPT, Example, Schedule, train


def tuning_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the keys of `safemerge finetune`'s configuration but its base and data."""
    return {
        "system_prompt": SYSTEM_PROMPT,
        "seeds": recipe.seeds,
        "lora": {"rank": recipe.lora_rank, "alpha": recipe.lora_alpha},
        "learning_rate": recipe.tuning.learning_rate,
        "batch_size": recipe.tuning.batch,
        "epochs": recipe.tuning_epochs,
        "checkpoint_step": recipe.tuning.steps,
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "gradient_checkpointing": False,
    }


def lora_tune(family: ToyFamily, final: ToyFamily, seed: int) -> None:
    """Train the adapter of a seed into its place.

    `final` is where the family will be: there the adapter's base is to be found.
    """
    from safemerge_tasks.finetune import FinetuneConfig, finetune

    places = {"base": str(family.aligned), "data": {"file": str(family.tuning_file)}}
    config = FinetuneConfig.checked({**places, **tuning_settings(family.recipe)}, where="toy")
    finetune(config, seed, family.tuned[seed], base_name=str(final.aligned))


def full_tune(model: Any, examples: Sequence[Example], schedule: Schedule, seed: int) -> Any:
    """Return a copy of `model` with all weights trained."""
    tuned = copy.deepcopy(model)
    train(tuned, examples, schedule, seed)
    return tuned
