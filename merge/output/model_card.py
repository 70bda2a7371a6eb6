"""The model card of an output, in the form the Hub reads."""

from pathlib import Path

import yaml

from merge.engine.plan import Plan
from merge.models.model_location import ModelReference


def model_card(plan: Plan, lambda_: float | None) -> str:
    """Return the text of an output's ``README.md``."""
    front = {
        "base_model": [public_name(name) for name in _names(plan)],
        "library_name": "transformers",
        "tags": ["merge", "safemerge"],
    }
    title = " + ".join(public_name(model.model) for model in plan.recipe.tuned)
    title = f"{title} merged by {plan.method.name}" if title else plan.method.name
    if lambda_ is not None:
        title += f", λ = {lambda_:g}"
    formula = (plan.method.__doc__ or "").strip().split("\n\n")[0]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
            "---",
            "",
            f"# {title}",
            "",
            f"Made with safemerge: {' '.join(formula.split())}",
            "",
            "```yaml",
            _recipe_text(plan, lambda_),
            "```",
            "",
            "`safemerge_manifest.json` has every input's identity and every tensor's checksum;",
            "`safemerge verify` checks them.",
            "",
        ]
    )


def public_name(name: str) -> str:
    """Return a model's name without the folders above it, which are nobody else's business."""
    reference = ModelReference.parse(name)
    path = Path(reference.model).expanduser()
    shown = path.absolute().name if path.exists() else reference.model
    return shown if reference.adapter is None else f"{shown}+{public_name(str(reference.adapter))}"


def _names(plan: Plan) -> list[str]:
    recipe = plan.recipe
    named = [recipe.base, recipe.aligned, *(model.model for model in recipe.tuned)]
    return list(dict.fromkeys(name for name in named if name is not None))


def _recipe_text(plan: Plan, lambda_: float | None) -> str:
    recipe = plan.recipe.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    for role in ("base", "aligned", "unaligned", "vector"):
        if role in recipe:
            recipe[role] = public_name(recipe[role])
    for model in recipe.get("tuned", []):
        model["model"] = public_name(model["model"])
    if lambda_ is not None:
        recipe["lambdas"] = [lambda_]
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)).strip()
