"""The model card of an output, in the form the Hub reads."""

import yaml

from merge.engine.plan import Plan
from merge.output.public_names import public_name, public_recipe
from merge.recipe.recipe import Lambda, shown_lambda


def model_card(plan: Plan, lambda_: Lambda | None) -> str:
    """Return the text of an output's ``README.md``."""
    front = {
        "base_model": [public_name(name) for name in _names(plan)],
        "library_name": "transformers",
        "tags": ["merge", "safemerge"],
    }
    title = " + ".join(public_name(model.model) for model in plan.recipe.tuned)
    title = f"{title} merged by {plan.method.name}" if title else plan.method.name
    if lambda_ is not None:
        title += f", {shown_lambda(lambda_)}"
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


def _names(plan: Plan) -> list[str]:
    recipe = plan.recipe
    stand_ins = (recipe.roles.get(r.name) for r in plan.method.roles if r.base_if_missing)
    named = [recipe.base, *stand_ins, *(model.model for model in recipe.tuned)]
    return list(dict.fromkeys(name for name in named if name is not None))


def _recipe_text(plan: Plan, lambda_: Lambda | None) -> str:
    recipe = public_recipe(plan.recipe, exclude_defaults=True)
    if lambda_ is not None:
        recipe["lambdas"] = [lambda_]
    return str(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)).strip()
