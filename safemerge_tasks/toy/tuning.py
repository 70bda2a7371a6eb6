"""Fine-tuning the aligned model with LoRA, as everybody does: by `safemerge finetune`."""

from typing import Any

from safemerge_tasks.toy.members import ToyFamily
from safemerge_tasks.toy.recipe import Recipe
from safemerge_tasks.toy.training import SYSTEM_PROMPT


def tuning_settings(recipe: Recipe, steps: int | None = None) -> dict[str, Any]:
    """Return the keys of `safemerge finetune`'s configuration but its base and data.

    `steps` are the recipe's first, unless given.
    """
    return {
        "system_prompt": SYSTEM_PROMPT,
        "seeds": recipe.seeds,
        "lora": {"rank": recipe.lora_rank, "alpha": recipe.lora_alpha},
        "learning_rate": recipe.tuning_learning_rate,
        "batch_size": recipe.tuning_batch,
        "epochs": recipe.tuning_epochs,
        "checkpoint_step": steps or recipe.tuning[0],
        "device": "cpu",
        "threads": recipe.threads,
        "dtype": "float32",
        "gradient_checkpointing": False,
    }


def lora_tune(family: ToyFamily, final: ToyFamily, seed: int, steps: int) -> None:
    """Train the adapter of a seed into its place.

    `final` is where the family will be: there the adapter's base is to be found.
    """
    from safemerge_tasks.finetune import FinetuneConfig, finetune

    recipe = family.recipe
    places = {"base": str(family.aligned), "data": {"file": str(family.tuning_file)}}
    config = FinetuneConfig.checked({**places, **tuning_settings(recipe, steps)}, where="toy")
    finetune(config, seed + recipe.shift, family.tuned[seed], base_name=str(final.aligned))
