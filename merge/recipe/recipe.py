"""What to merge: the inputs, the method, its parameters, and what the output should be."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from merge.errors import MergeError, suggestion
from merge.methods import find_method, known_roles
from merge.methods.method import Method, Values
from merge.methods.parameters import Parameters, describe_parameters, read_parameters
from merge.recipe.layer_groups import at_group, check_groups
from merge.recipe.tensor_settings import (
    NO_PATTERN,
    Number,
    Place,
    Setting,
    evaluate,
    has_slices,
)

DEFAULT_SHARD_SIZE = 5 * 10**9
LAMBDA = "lambda"
# Parameters that have a flag of their own on the command line.
_FLAGS = ("density", "drop_rate", "gamma")

Dtype = Literal["float32", "float16", "bfloat16"]
# λ of one output.
Lambda = Number | dict[str, Number]
Vocabulary = Literal["refuse", "grow", "base"]


class TunedModel(BaseModel):
    """A fine-tuned model and the parameters that are its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    parameters: dict[str, Setting] = Field(default_factory=dict)


class Recipe(BaseModel):
    """Everything that decides a merge's result.

    Attributes:
        method: name of the method.
        base: the model merged toward, which also gives the tokenizer and configuration.
        tuned: the fine-tuned models.
        lambdas: weights of the fine-tuned side; several give several outputs. One is a number, or
            a number for each of several groups of layers, such as ``{"early": 0.2, "late": 0.8}``.
        parameters: the method's parameters.
        seed: of the random methods.
        dtype: of the output's floating-point tensors; each keeps its own in the base if not given.
            fp8 is of the matrices in its layers, as 8-bit codes with a scale for each row.
        dequantize: whether quantised inputs are taken as the numbers that they stand for.
        layers: how many layers the models must have, where the recipe says so.
        output: what to write: a checkpoint, or an adapter where that is exact.
        vocabulary: what happens when the models' vocabularies differ in size.
        extra: what happens with tensors that not every model has: base keeps the base's own.
        chat_template: whose the output has: base, tuned, or auto for what most models have; if not
            given the base's, or where that has none the fine-tuned models'.
        max_shard_size: bytes of tensors per output file.

    Any further key is the name of a role that the method declares, and its value a model.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, str] = Field(init=False)

    method: str
    base: str | None = None
    tuned: tuple[TunedModel, ...] = ()
    lambdas: tuple[Lambda, ...] = ()
    parameters: dict[str, Setting] = Field(default_factory=dict)
    seed: int = 0
    dtype: Literal["float32", "float16", "bfloat16", "fp8"] | None = None
    dequantize: bool = False
    layers: int | None = None
    output: Literal["checkpoint", "adapter"] = "checkpoint"
    vocabulary: Vocabulary = "refuse"
    extra: Literal["refuse", "base"] = "refuse"
    chat_template: Literal["base", "tuned", "auto"] | None = None
    max_shard_size: int = Field(default=DEFAULT_SHARD_SIZE, gt=0)

    @property
    def roles(self) -> dict[str, str]:
        """The models that the method takes besides, by the roles that it declares."""
        return dict(self.__pydantic_extra__)

    @property
    def main(self) -> str | None:
        """The model that the output is called and cut after: the base, or who stands in for it."""
        stand_ins = (role for role in find_method(self.method).roles if role.base_if_missing)
        named = (self.roles.get(role.name) for role in stand_ins)
        return self.base or next((name for name in named if name), None)

    @property
    def has_slices(self) -> bool:
        """Whether a parameter is given slice by slice."""
        own = [self.parameters, *(model.parameters for model in self.tuned)]
        return any(has_slices(setting) for given in own for setting in given.values())

    def lambdas_at(self, place: Place) -> tuple[float, ...]:
        """Return λ for one tensor, once for each output; `(1.0,)` for methods without λ."""
        method = find_method(self.method)
        if not method.takes_lambda:
            return (1.0,)
        if self.lambdas:
            return tuple(
                at_group(value, place) if isinstance(value, dict) else value
                for value in self.lambdas
            )
        given = self.parameters.get(LAMBDA, method.default_lambda)
        assert given is not None, "check_recipe lets no required parameter go missing"
        value = float(evaluate(given, place, what=LAMBDA))
        _check_lambda(value, method)
        return (value,)

    def values_at(self, place: Place) -> Values:
        """Return the method's parameters for one tensor."""
        method = find_method(self.method)
        return Values(
            _read(method.parameters, self.parameters, place),
            [
                _read(method.model_parameters, self.parameters | model.parameters, place)
                for model in self.tuned
            ],
        )


def _read(model: type[Parameters], given: Mapping[str, Setting], place: Place) -> Parameters:
    """Return those of the given parameters that a model has, for one tensor."""
    known = {name: given[name] for name in model.model_fields if name in given}
    return read_parameters(
        model, {name: evaluate(setting, place, what=name) for name, setting in known.items()}
    )


def build_recipe(**fields: Any) -> Recipe:
    """Make a recipe and check all that can be checked without the inputs.

    Raises:
        MergeError: a field is unknown or wrong, or does not fit the method.
    """
    if isinstance(fields.get("method"), str):
        # A method in a file of the user's own has a name from here on, and its folder is nobody's
        # business.
        fields["method"] = find_method(fields["method"]).name
    for name in sorted(fields.keys() - Recipe.model_fields.keys() - known_roles().keys()):
        raise MergeError(
            f"The recipe has an unknown key {name}; "
            f"{suggestion(name, [*Recipe.model_fields, *known_roles()])}"
        )
    # A role that nobody plays.
    fields = {
        name: value
        for name, value in fields.items()
        if value is not None or name in Recipe.model_fields
    }
    try:
        recipe = Recipe(**fields)
    except ValidationError as error:
        raise MergeError(_explain(error, Recipe.model_fields)) from error
    check_recipe(recipe)
    return recipe


def check_recipe(recipe: Recipe) -> None:
    """Check that a recipe gives its method what it declares, no less and nothing else.

    Raises:
        MergeError: it does not.
    """
    method = find_method(recipe.method)
    _check_models(recipe, method)
    _check_roles(recipe, method)
    _check_dtype(recipe)
    _check_lambdas(recipe, method)
    _check_parameters(recipe, method)
    if not _has_filters(recipe):
        problem = method.check(len(recipe.tuned), recipe.values_at(Place("", 0.0)))
        if problem:
            raise MergeError(f"{problem}.")


def _check_models(recipe: Recipe, method: Method) -> None:
    if method.base and recipe.main is None:
        raise MergeError(f"The method {method.name} needs a base model; give --base.")
    fewest, most = method.tuned
    count = len(recipe.tuned)
    if count < fewest or (most is not None and count > most):
        wanted = f"at least {fewest}" if most is None else f"{fewest}"
        raise MergeError(
            f"The method {method.name} takes {wanted} fine-tuned "
            f"{'model' if wanted == '1' else 'models'}, the recipe has {count}; "
            f"{'add' if count < fewest else 'remove a'} --tuned."
        )
    names = [tuned.model for tuned in recipe.tuned]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MergeError(f"--tuned {twice[0]} is given twice; remove one.")


def _check_dtype(recipe: Recipe) -> None:
    if recipe.dtype == "fp8" and recipe.output == "adapter":
        raise MergeError("No engine serves an adapter in fp8; remove --as adapter or --dtype fp8.")
    if recipe.dtype == "fp8" and recipe.method == "safety-vector":
        raise MergeError("A safety vector is no model to serve in fp8; write --dtype float32.")


def _check_roles(recipe: Recipe, method: Method) -> None:
    """Check that every role the method needs is played, and no other."""
    given = recipe.roles
    for role in method.roles:
        if role.name in Recipe.model_fields or not role.name.isidentifier():
            raise MergeError(
                f"The method {method.name} declares a role {role.name!r}, which means something "
                f"else or is no word; rename it."
            )
    for name in given:
        if all(role.name != name for role in method.roles):
            other = known_roles()[name]
            raise MergeError(
                f"The method {method.name} takes no {other.flag} ({other.help}); remove it."
            )
    replaced: set[str] = set()
    for role in (each for each in method.roles if each.name in given):
        both = [each.flag for each in method.roles if each.name in given.keys() & role.instead_of]
        if both:
            raise MergeError(
                f"{role.flag} says already what {' and '.join(both)} would; remove one of them."
            )
        replaced |= set(role.instead_of)
    for role in method.roles:
        if not role.required or role.name in given.keys() | replaced:
            continue
        others = [each for each in method.roles if role.name in each.instead_of]
        if not others:
            raise MergeError(f"The method {method.name} needs {role.help}; give {role.flag}.")
        choice = " or ".join(f"{each.flag} ({each.help})" for each in (role, *others))
        raise MergeError(f"The method {method.name} needs either {choice}.")


def _check_lambdas(recipe: Recipe, method: Method) -> None:
    given = recipe.lambdas or LAMBDA in recipe.parameters
    if not method.takes_lambda:
        if given:
            raise MergeError(f"The method {method.name} has no λ; remove --lambda.")
        return
    if recipe.lambdas and LAMBDA in recipe.parameters:
        raise MergeError("The recipe has both lambdas and a parameter lambda; keep one of them.")
    if not given and method.default_lambda is None:
        raise MergeError(f"The method {method.name} needs λ; give --lambda, such as --lambda 0.5.")
    for given_value in recipe.lambdas:
        if isinstance(given_value, dict):
            check_groups(given_value)
        for value in given_value.values() if isinstance(given_value, dict) else [given_value]:
            _check_lambda(value, method)
    names = [lambda_name(value) for value in recipe.lambdas]
    if len(set(names)) < len(names):
        raise MergeError(f"--lambda names a value twice: {', '.join(names)}; remove one.")


def _check_lambda(value: float, method: Method) -> None:
    low, high = method.lambda_range
    if not low <= value <= high:
        raise MergeError(
            f"λ is {value:g}; for {method.name} it must lie between {low:g} and {high:g}."
        )


def _check_parameters(recipe: Recipe, method: Method) -> None:
    each = describe_parameters(method.model_parameters, per_model=True)
    everything = [*describe_parameters(method.parameters), *each]
    names = [parameter.name for parameter in everything]
    lambda_ = [LAMBDA] if method.takes_lambda else []
    for given in recipe.parameters:
        _check_known(given, [*names, *lambda_], f"the method {method.name}")
    for model in recipe.tuned:
        for given in model.parameters:
            _check_known(
                given, [parameter.name for parameter in each], f"a model under {method.name}"
            )
    for parameter in everything:
        places = [model.parameters for model in recipe.tuned] if parameter.per_model else []
        everywhere = bool(places) and all(parameter.name in own for own in places)
        if parameter.required and parameter.name not in recipe.parameters and not everywhere:
            flag = parameter.name.replace("_", "-")
            raise MergeError(
                f"The method {method.name} needs {parameter.name} ({parameter.help}); give "
                f"{f'--{flag}' if parameter.name in _FLAGS else f'--set {flag}=…'}."
            )


def _check_known(given: str, known: Iterable[str], owner: str) -> None:
    known = sorted(known)
    if given not in known:
        hint = suggestion(given, known, f"it takes {', '.join(known) or 'none'}")
        raise MergeError(f"{given} is not a parameter of {owner}; {hint}")


def _has_filters(recipe: Recipe) -> bool:
    settings = [*recipe.parameters.values()]
    for model in recipe.tuned:
        settings += model.parameters.values()
    return any(isinstance(setting, list) for setting in settings)


def _explain(error: ValidationError, fields: Mapping[str, Any]) -> str:
    for each in error.errors():
        if NO_PATTERN in each["msg"]:
            return f"The recipe has the filter {each['input']!r}: {NO_PATTERN}."
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = suggestion(str(first["loc"][-1]), fields)
        return f"The recipe has an unknown key {where}; {hint}"
    return f"The recipe's {where} is {first['input']!r}: {first['msg']}; correct it."


def lambda_name(value: Lambda) -> str:
    """Return the name of the folder that one of several λ goes to."""
    if isinstance(value, dict):
        return "lambda-" + "-".join(f"{group}-{own:g}" for group, own in value.items())
    return f"lambda-{value:g}"


def shown_lambda(value: Lambda) -> str:
    """Return what a λ is called where people read it."""
    if isinstance(value, dict):
        return "λ = " + ", ".join(f"{own:g} ({group})" for group, own in value.items())
    return f"λ = {value:g}"
