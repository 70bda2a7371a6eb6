"""One sentence for what a user wrote wrongly: place, key, value and way out."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import mistakes, nearest, unknown_key, validated


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Oven(_Strict):
    degrees: int = Field(200, ge=0)
    fan: bool = False


class Flour(_Strict):
    grain: str
    grams: float = 500


class Dough(_Strict):
    bought: str


def _flour(given: Any) -> Any:
    return {"grain": given} if isinstance(given, str) else given


class Recipe(_Strict):
    name: str
    oven: Oven | None = None
    flours: tuple[Annotated[Flour, BeforeValidator(_flour)], ...] = Field(("rye",), min_length=1)
    ovens: dict[str, Oven] = {}
    made_of: Flour | Dough = Dough(bought="sourdough")
    salt: int | Literal["a pinch"] = "a pinch"
    shapes: Literal["all"] | tuple[str, ...] = "all"

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.name == "toast":
            raise ValueError("toast is made from bread; bake that first")
        if self.name == "cake":
            raise SafemergeError("there is no cake; eat bread.")
        return self


def said(given: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(SafemergeError) as raised:
        validated(Recipe, {"name": "bread", **given}, thing="a key of a recipe", **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_right_becomes_a_model() -> None:
    found = validated(Recipe, {"name": "bread", "flours": ["rye"]}, thing="a key of a recipe")
    assert found.flours == (Flour(grain="rye"),)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"ovn": 1}, "ovn is not a key of a recipe; did you mean oven?"),
        (
            {"zzz": 1},
            "zzz is not a key of a recipe; known are name, oven, flours, ovens, made_of, salt, "
            "shapes; correct or remove it.",
        ),
        ({"oven": {"degres": 1}}, "oven.degres is not a key of a recipe; did you mean degrees?"),
        (
            {"oven": {"zzz": 1}},
            "oven.zzz is not a key of a recipe; known are degrees, fan; correct or remove it.",
        ),
        (
            {"flours": ["rye", {"grain": "oat", "gram": 5}]},
            "flours.1.gram is not a key of a recipe; did you mean grams?",
        ),
        (
            {"ovens": {"big": {"degres": 1}}},
            "ovens.big.degres is not a key of a recipe; did you mean degrees?",
        ),
    ],
)
def test_unknown_keys(given: dict[str, Any], sentence: str) -> None:
    assert said(given) == sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"oven": {"degrees": -1}},
            "oven.degrees is -1: Input should be greater than or equal to 0; correct it.",
        ),
        (
            {"ovens": {"big": {"fan": "perhaps"}}},
            "ovens.big.fan is 'perhaps': Input should be a valid boolean, unable to interpret "
            "input; correct it.",
        ),
        ({"oven": 200}, "oven is 200: Input should be a valid dictionary; correct it."),
        ({"name": {"a": 1}}, "name: Input should be a valid string; correct it."),
        (
            {"flours": []},
            "flours is []: Tuple should have at least 1 item after validation, not 0; correct it.",
        ),
        ({"flours": [{"grams": 1}]}, "flours.0.grain is missing; add it."),
    ],
)
def test_impossible_values(given: dict[str, Any], sentence: str) -> None:
    assert said(given) == sentence


def test_a_long_value_is_cut() -> None:
    assert f"oven.degrees is '{'9x' * 39}…: Input" in said({"oven": {"degrees": "9x" * 500}})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        # Both need a key that is missing; one has what was meant.
        ({"made_of": {"bougth": "x"}}, "made_of.bougth is not .*; did you mean bought"),
        ({"made_of": {"grain": "rye", "gram": 1}}, "made_of.gram is not .*; did you mean grams"),
        ({"made_of": 1}, "made_of is 1: Input should be a valid dictionary; correct it"),
        ({"salt": [1]}, r"salt is \[1\]: Input should be a valid integer, or 'a pinch'; correct"),
        ({"shapes": ["round", 1]}, "shapes.1 is 1: Input should be a valid string; correct it"),
    ],
)
def test_values_of_several_possible_types(given: dict[str, Any], sentence: str) -> None:
    """What the type that was not meant lacks is not the user's mistake."""
    with pytest.raises(SafemergeError, match=f"^{sentence}"):
        validated(Recipe, {"name": "bread", **given}, thing="a key of a recipe")


def test_checks_between_keys_speak_for_themselves() -> None:
    assert said({"name": "toast"}) == "toast is made from bread; bake that first."
    assert said({"name": "toast"}, where="a.yaml").startswith("a.yaml: toast is made")
    assert said({"name": "cake"}, where="a.yaml") == "a.yaml: there is no cake; eat bread."


def test_of_several_mistakes_the_first_and_how_many() -> None:
    given = {"oven": {"degrees": -1}, "flours": [{"grain": 1}], "slat": 1}
    assert said(given, where="a.yaml") == (
        "a.yaml, the first of 3 mistakes: slat is not a key of a recipe; did you mean salt?"
    )
    assert said(given).startswith("the first of 3 mistakes: slat is not")


def test_a_misspelt_key_is_one_mistake() -> None:
    assert said({"flours": [{"grian": "rye"}]}) == (
        "flours.0.grian is not a key of a recipe; did you mean grain?"
    )


def test_keys_as_the_user_spells_them() -> None:
    def spelt(field: str) -> str:
        return f"bread_{field}"

    assert said({"slat": 1}, spelt=spelt).startswith("bread_slat is not")
    assert said({"slat": 1}, spelt=spelt).endswith("did you mean bread_salt?")
    assert "known are bread_name, bread_oven" in said({"zzz": 1}, spelt=spelt)
    assert said({"oven": {"degrees": -1}}, spelt=spelt).startswith("bread_oven.degrees is -1: ")


def test_all_mistakes() -> None:
    with pytest.raises(ValidationError) as raised:
        Recipe.model_validate({"nam": "bread", "salt": "two"})
    found = [str(one) for one in mistakes(raised.value, Recipe, thing="a key of a recipe")]
    assert found == [
        "nam is not a key of a recipe; did you mean name?",
        "name is missing; add it.",
        "salt is 'two': Input should be a valid integer, unable to parse string as an integer, or "
        "'a pinch'; correct it.",
    ]


def test_names() -> None:
    assert nearest("flor", ["salt", "flour"]) == "flour"
    assert nearest("zzz", ["salt", "flour"]) is None
    assert str(unknown_key("slt", ["salt"], "a shelf")) == "slt is not a shelf; did you mean salt?"
    assert str(unknown_key("slt", [], "a shelf")) == "slt is not a shelf; remove it."
