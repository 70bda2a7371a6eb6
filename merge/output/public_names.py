"""Inputs by their names: the folders above them are nobody else's business."""

from pathlib import Path
from typing import Any

from merge.engine.plan import Plan
from merge.models.model_location import ModelReference
from merge.recipe.recipe import Recipe


def public_name(name: str) -> str:
    """Return a model's name without the folders above it, which are nobody else's business."""
    reference = ModelReference.parse(name)
    path = Path(reference.model).expanduser()
    shown = path.absolute().name if path.exists() else reference.model
    return shown if reference.adapter is None else f"{shown}+{public_name(str(reference.adapter))}"


def public_recipe(recipe: Recipe, *, exclude_defaults: bool = False) -> dict[str, Any]:
    """Return a recipe for everyone to read, its models by their names."""
    shown = recipe.model_dump(mode="json", exclude_none=True, exclude_defaults=exclude_defaults)
    for role in ("base", *recipe.roles):
        if role in shown:
            shown[role] = public_name(shown[role])
    for model in shown.get("tuned", []):
        model["model"] = public_name(model["model"])
    return shown


def public_notes(plan: Plan) -> list[str]:
    """Return a plan's notes with names where they have paths."""
    folders = set()
    for model in plan.inputs.all():
        folders |= {str(model.folder), str(model.checkpoint.folder)}
        folders |= {str(model.folder.absolute()), str(model.checkpoint.folder.absolute())}
    notes = plan.notes
    # A folder before those above it.
    for folder in sorted(folders, key=len, reverse=True):
        notes = [note.replace(folder, Path(folder).name) for note in notes]
    return notes
