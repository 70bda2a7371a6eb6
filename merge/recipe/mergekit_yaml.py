"""Recipes in YAML, in mergekit's schema for the methods both tools have.

Where the same word means something else here, the value is translated: `t` of slerp is λ, and
`density` of the DARE methods is `1 - drop_rate`. Keys that this tool adds are `lambdas`, `seed`,
`dequantize`, `vocabulary`, `extra`, `output`, `max_shard_size`, and `NAME_model` for each role that
the method declares.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from merge.errors import MergeError, suggestion
from merge.methods import find_method, known_roles
from merge.methods.parameters import describe_parameters
from merge.recipe.recipe import Recipe, build_recipe
from merge.recipe.sizes import parse_size
from merge.recipe.slices import join_slices
from merge.recipe.tensor_settings import NO_PATTERN, Filtered, Setting, Sliced, complement

_KEYS = (
    "base_model",
    "chat_template",
    "dequantize",
    "dtype",
    "extra",
    "lambdas",
    "max_shard_size",
    "merge_method",
    "models",
    "name",
    "out_dtype",
    "output",
    "parameters",
    "seed",
    "slices",
    "tokenizer",
    "tokenizer_source",
    "vocabulary",
)
# mergekit's methods that there are not here: near names would mislead.
_MERGEKITS = frozenset(
    {
        "passthrough",
        "ram",
        "ramplus_tl",
    }
)
# Settings of mergekit that change how it computes and not what.
_PLAIN = ("chat_template", "dequantize", "extra", "output", "seed", "vocabulary")
_WITHOUT_EFFECT = frozenset({"int8_mask"})
# mergekit's own defaults, where those of flags are others. There, weights multiply deltas and are
# not shares; TIES divides by them even for one model; and everything is kept.
_DEFAULTS: dict[str, dict[str, Setting]] = {
    "dare-linear": {"normalize": False, "drop_rate": 0.0},
    "dare-ties": {"normalize": False, "drop_rate": 0.0},
    "ties": {"normalize": True, "density": 1.0},
}
# Methods whose models count by other rules than weights, and by which.
_NO_WEIGHTS = {
    "arcee-fusion": "what stands out is taken over whole",
    "karcher": "all models count alike",
    "nearswap": "t says up to which difference the fine-tuned model counts",
    "sce": "how much each model counts follows from its delta",
    "slerp": "t says how much of the fine-tuned model there is",
    "model-stock": "how much of the base there is follows from the models",
}
# Methods that there need no base: the first model then gives the output its names here.
_NO_BASE = ("linear", "karcher", "nuslerp", "multislerp")
_TOKENIZER_KEYS = ("source", "tokens", "pad_to_multiple_of")
_SETTING: TypeAdapter[Setting] = TypeAdapter(Setting)


class _EachKeyOnce(yaml.SafeLoader):
    """Reads YAML, and refuses a mapping that has a key twice, of which one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [
            key.value
            for key, _ in node.value
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge"
        ]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise MergeError(
                f"{twice[0]} is given twice in one mapping (line {node.start_mark.line + 1}); "
                f"remove one."
            )
        return super().construct_mapping(node, deep)


def load_recipe(path: Path, **overrides: Any) -> Recipe:
    """Read a recipe.

    Args:
        path: of the file.
        overrides: fields of `Recipe` that count instead of the file's.

    Raises:
        MergeError: the file is missing, is no YAML, or says something that cannot be done.
    """
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_EachKeyOnce))
    except FileNotFoundError as error:
        raise MergeError(f"{path}: no such recipe; check the path.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MergeError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from (
            error
        )
    if len(documents) > 1:
        raise MergeError(
            f"{path} holds {len(documents)} recipes, and a file is one merge; write each to a file "
            f"of its own."
        )
    try:
        return parse_recipe(documents[0] if documents else None, **overrides)
    except MergeError as error:
        raise MergeError(f"{path}: {error}") from error


def parse_recipe(document: Any, **overrides: Any) -> Recipe:
    """Translate a recipe that was read from YAML.

    Raises:
        MergeError: a key is unknown, or asks for what this tool does not do.
    """
    if not isinstance(document, dict):
        raise MergeError("a recipe is a mapping that starts with merge_method; write it as one.")
    if "merge_method" not in document:
        _check_keys(document, _KEYS, "the recipe")
        raise MergeError("merge_method is missing; name a method, such as linear.")
    if not isinstance(document["merge_method"], str):
        raise MergeError(f"merge_method is {document['merge_method']!r}; name one, such as linear.")
    if "modules" in document:
        raise MergeError(
            "modules merges parts of a model by recipes of their own, which this tool does not; "
            "give models, and parameters with a filter for each part."
        )
    if document["merge_method"] in _MERGEKITS:
        raise MergeError(
            f"{document['merge_method']} is a method of mergekit's that there is not here; merge "
            f"with mergekit, or use another method."
        )
    found = find_method(str(document["merge_method"]))
    method = found.name
    roles = {role.key: role for role in (*known_roles().values(), *found.roles)}
    _check_keys(document, (*_KEYS, *roles), "the recipe")
    _check_tokenizer(document)
    models, given, layers = _models(document)
    played = {
        role.name: _model_name(document[key]) for key, role in roles.items() if key in document
    }
    stand_ins = (played.get(role.name) for role in found.roles if role.base_if_missing)
    base = _model_name(document.get("base_model")) or next(filter(None, stand_ins), None)
    parameters = _DEFAULTS.get(method, {}) | _parameters(given, method, "parameters")
    if method in ("nuslerp", "multislerp"):
        parameters.setdefault("on_deltas", base is not None)
    named = base is not None
    if base is None and method in _NO_BASE and models:
        base = models[0]["model"]
    if method == "karcher" or (named and method != "linear"):
        models = [model for model in models if model["model"] != base]
    lambdas = document.get("lambdas", ())
    if method == "linear" and not lambdas and "lambda" not in parameters:
        # mergekit's linear has no base that is merged toward: it is the models' mean, and the
        # base is one of them.
        lambdas = (1.0,)
        if "models" in document and all(model["model"] != base for model in models):
            if "weight" not in parameters:
                raise MergeError(
                    f"under linear, base_model {base} is one of the models that are averaged, and "
                    f"has no weight; list it among the models, or give lambdas to merge toward it."
                )
            models = [*models, {"model": base}]
    _check_signs(method, parameters, models)
    return build_recipe(
        method=method,
        base=base,
        tuned=[
            {
                "model": model["model"],
                "parameters": _parameters(model.get("parameters"), method, "a model's parameters"),
            }
            for model in models
        ],
        lambdas=tuple(lambdas) if isinstance(lambdas, list | tuple) else (lambdas,),
        parameters=parameters,
        layers=layers,
        **(played | _rest(document) | overrides),
    )


def _check_signs(method: str, parameters: dict[str, Setting], models: list[dict[str, Any]]) -> None:
    """Refuse negative weights where mergekit divides by them and this tool by their sizes."""
    elects = method.endswith("ties") or method == "della"
    normalizes = parameters.get("normalize", method == "della")
    if not elects or not normalizes:
        return
    given = [parameters.get("weight")]
    given += [(model.get("parameters") or {}).get("weight") for model in models]
    if any(_negative(value) for value in given):
        raise MergeError(
            f"{method} with normalize has a negative weight, by which mergekit divides and this "
            f"tool does not; set normalize to false."
        )


def _negative(value: Any) -> bool:
    if isinstance(value, list):
        return any(_negative(each) for each in value)
    if isinstance(value, dict):
        return _negative(value.get("value"))
    if isinstance(value, Filtered | Sliced):
        return _negative(value.value)
    return isinstance(value, int | float) and value < 0


def _rest(document: dict[str, Any]) -> dict[str, Any]:
    rest: dict[str, Any] = {key: document[key] for key in _PLAIN if key in document}
    if dtype := document.get("out_dtype") or document.get("dtype"):
        rest["dtype"] = dtype
    if "max_shard_size" in document:
        rest["max_shard_size"] = parse_size(str(document["max_shard_size"]))
    return rest


def _models(
    document: dict[str, Any],
) -> tuple[list[dict[str, Any]], dict[str, Any] | None, int | None]:
    """Return the models, the recipe's parameters, and how many layers it says there are."""
    given = document.get("parameters")
    if ("models" in document) == ("slices" in document):
        raise MergeError("a recipe has either models or slices; keep one of them.")
    if "models" in document:
        listed = _entries(document["models"], "models", ("model", "parameters"))
        models = [{**entry, "model": _model_name(entry["model"])} for entry in listed]
        _check_once([model["model"] for model in models])
        return models, given, None
    slices = _entries(document["slices"], "slices", ("sources", "parameters"))
    keys = ("model", "layer_range", "parameters")
    slices = [
        {
            **each,
            "sources": [
                {**source, "model": _model_name(source["model"])}
                for source in _entries(each["sources"], "sources", keys)
            ],
        }
        for each in slices
    ]
    sources = [source for each in slices for source in each["sources"]]
    owners = ({"parameters": given}, *slices, *sources)
    if not sources or not all(isinstance(each.get("parameters") or {}, dict) for each in owners):
        raise MergeError(
            "a recipe with slices has at least one, with sources, and parameters by name; correct "
            "it."
        )
    for each in slices:
        _check_once([source["model"] for source in each["sources"]])
    return join_slices(slices, given or {})


def _check_once(models: list[Any]) -> None:
    """Check that no model is listed twice, of which mergekit takes one."""
    for model in models:
        if models.count(model) > 1:
            raise MergeError(f"{model} is listed twice; list it once, with the sum of its weights.")


def _model_name(value: Any) -> Any:
    """Return a model as text: mergekit's long form has its path, revision and adapter apart."""
    if isinstance(value, list):
        raise MergeError(f"a model is {value!r}; give one path or Hub id.")
    if not isinstance(value, dict):
        return value
    _check_keys(value, ("model", "lora"), "a model")
    base, adapter = (_path(value.get(key)) for key in ("model", "lora"))
    if base is None:
        raise MergeError("a model has no model; give it its path or Hub id.")
    return base if adapter is None else f"{base}+{adapter}"


def _path(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None if value is None else str(value)
    _check_keys(value, ("path", "revision"), "a model")
    if "path" not in value:
        raise MergeError("a model has no path; give it its path or Hub id.")
    revision = value.get("revision")
    return str(value["path"]) if revision is None else f"{value['path']}@{revision}"


def _entries(value: Any, what: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(
        isinstance(entry, dict) and entry.get(keys[0]) is not None for entry in value
    ):
        raise MergeError(f"{what} must be a list of entries with {keys[0]}; correct it.")
    for entry in value:
        _check_keys(entry, keys, f"an entry of {what}")
    return value


def _parameters(value: Any, method: str, where: str) -> dict[str, Setting]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MergeError(f"{where} must be a mapping from names to numbers; correct it.")
    translated: dict[str, Setting] = {}
    for name, raw in value.items():
        if name in _WITHOUT_EFFECT or (name == "filter_wise" and raw is False):
            continue
        if method in _NO_WEIGHTS and name == "weight":
            raise MergeError(
                f"{method} has no weight, which mergekit leaves out of account there; remove it: "
                f"{_NO_WEIGHTS[method]}."
            )
        if name == "filter_wise":
            raise MergeError(
                "filter_wise asks for a share of its own in each row, and this tool has one for "
                "each tensor; remove it, or merge with mergekit."
            )
        if _is_bool(raw) and name in _numbers(method):
            raise MergeError(f"the parameter {name} is {raw!r}; give a number.")
        try:
            setting = _SETTING.validate_python(raw)
        except ValidationError as error:
            if NO_PATTERN in str(error):
                raise MergeError(f"the parameter {name} is {raw!r}: {NO_PATTERN}.") from error
            raise MergeError(
                f"the parameter {name} is {raw!r}; give a number, a list of numbers, or a list of "
                f"filter and value."
            ) from error
        if name == "t" and method == "slerp":
            translated["lambda"] = setting
        elif name == "density" and method.startswith("dare"):
            translated["drop_rate"] = complement(setting)
        else:
            translated[str(name)] = setting
    return translated


def _is_bool(value: Any) -> bool:
    """Return whether YAML read true or yes where a number may stand."""
    if isinstance(value, list):
        return any(_is_bool(each) for each in value)
    return _is_bool(value.get("value")) if isinstance(value, dict) else isinstance(value, bool)


def _numbers(method: str) -> set[str]:
    """Return the parameters of a method that are numbers."""
    found = find_method(method)
    described = [*describe_parameters(found.parameters)]
    described += describe_parameters(found.model_parameters)
    return {each.name for each in described if each.type != "bool"} | {"t", "lambda", "density"}


def _check_tokenizer(document: dict[str, Any]) -> None:
    tokenizer = document.get("tokenizer")
    if tokenizer is not None and "tokenizer_source" in document:
        raise MergeError("a recipe has either tokenizer or tokenizer_source; keep one of them.")
    if isinstance(tokenizer, dict):
        _check_keys(tokenizer, _TOKENIZER_KEYS, "tokenizer")
        for key in _TOKENIZER_KEYS[1:]:
            if tokenizer.get(key):
                raise MergeError(
                    f"tokenizer.{key} asks for other rows than the models have, which this tool "
                    f"does not make; remove it, or merge with mergekit."
                )
    source = tokenizer.get("source") if isinstance(tokenizer, dict) else tokenizer
    wanted = document.get("tokenizer_source", source)
    if wanted == "union":
        raise MergeError(
            "tokenizer_source is 'union', which gives the output rows for the tokens of all models "
            "and takes the base's padding away; this tool keeps the base's rows, or with "
            "vocabulary grow those of one model that adds tokens to them: write base, or merge "
            "with mergekit."
        )
    if wanted not in (None, "base", document.get("base_model")):
        raise MergeError(
            f"tokenizer_source is {wanted!r}; this tool keeps the base's tokenizer: write base, "
            f"and set vocabulary to grow if the fine-tuned models have tokens of their own."
        )
    if document.get("chat_template") not in (None, "auto", "base", "tuned"):
        raise MergeError(
            "chat_template is one of the models' here; write base, tuned, or auto for what most of "
            "them have."
        )


def _check_keys(mapping: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise MergeError(f"{where} has an unknown key {key}; {suggestion(str(key), known)}")
