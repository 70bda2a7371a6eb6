"""The models that a method takes beside the base and the fine-tuned ones, each by its role."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A further input, declared by the methods that take it and nowhere else.

    It is `--NAME` on the command line, `NAME_model` in a recipe and `NAME=` in Python, and a
    method's formula asks its block for it by name.

    Attributes:
        name: a word in small letters; an underscore is a hyphen on the command line.
        help: what it is, as part of a sentence.
        required: whether a recipe has to name it.
        base_if_missing: whether the base plays it where a recipe names none.
        difference: whether it is a difference of weights that `safemerge vector` saved, and no
            model; a recipe calls it NAME then.
        instead_of: the roles whose place it takes, all at once.
    """

    name: str
    help: str
    required: bool = True
    base_if_missing: bool = False
    difference: bool = False
    instead_of: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """What it is on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """What it is in a recipe's YAML."""
        return self.name if self.difference else f"{self.name}_model"


ALIGNED = Role("aligned", "the safety vector's aligned end", required=False, base_if_missing=True)
UNALIGNED = Role("unaligned", "the safety vector's unaligned end")
VECTOR = Role(
    "vector",
    "a safety vector that `safemerge vector` saved",
    required=False,
    difference=True,
    instead_of=("aligned", "unaligned"),
)
# What a method declares that adds `aligned - unaligned`.
SAFETY_VECTOR = (ALIGNED, UNALIGNED, VECTOR)
