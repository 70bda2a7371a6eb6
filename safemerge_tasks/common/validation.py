"""What is wrong with what a user wrote, from pydantic's complaints: key, value and way out."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from safemerge_tasks.common.errors import SafemergeError

Model = TypeVar("Model", bound=BaseModel)
Spelling = Callable[[str], str]

_SHOULD_BE = "Input should be "
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Mistake:
    """One mistake: what is wrong, and the way out, empty where the first part says it."""

    what: str
    way_out: str = ""

    def __str__(self) -> str:
        sentence = f"{self.what}; {self.way_out}" if self.way_out else self.what
        return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def validated(
    model: type[Model],
    given: Mapping[str, Any],
    *,
    thing: str,
    where: str = "",
    spelt: Spelling = str,
) -> Model:
    """Return what a user wrote as a model.

    Args:
        model: says which keys there are, and what they may be.
        given: the keys.
        thing: what a key is here, such as "a key of a sweep".
        where: begins the error sentence, such as a file.
        spelt: turns a field of the model into what the user writes for it.

    Raises:
        SafemergeError: there are mistakes; names the first and how many there are.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = _complaints(error, model)
        count = len(_apart(found))
        places = [where, f"the first of {count} mistakes" if count > 1 else ""]
        begins = ", ".join(filter(None, places))
        sentence = str(found[0].as_mistake(thing, spelt))
        raise SafemergeError(f"{begins}: {sentence}" if begins else sentence) from error
    except SafemergeError as error:
        # Of a check within the model, which does not know what it reads.
        raise SafemergeError(f"{where}: {error}" if where else str(error)) from error


def mistakes(
    error: ValidationError, model: type[BaseModel], *, thing: str, spelt: Spelling = str
) -> list[Mistake]:
    """Return all mistakes, unknown keys first; arguments are those of `validated`."""
    return [one.as_mistake(thing, spelt) for one in _complaints(error, model)]


def unknown_key(key: str, known: Iterable[str], thing: str, spelt: Spelling = str) -> Mistake:
    """Return what to say of a key that does not exist: the nearest known one, else all of them."""
    return Mistake(f"{spelt(key)} is not {thing}", _known_instead(key, list(known), spelt))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one probably means."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


@dataclass(frozen=True)
class _Complaint:
    """One of pydantic's errors, at the place in the user's file.

    Attributes:
        path: keys and list indices.
        siblings: the keys known there.
        choice: where the path first meets a value of several possible types, and the type that
            complains; pydantic has every one of them complain.
    """

    kind: str
    message: str
    value: Any
    path: tuple[str, ...]
    siblings: tuple[str, ...]
    choice: tuple[tuple[str, ...], str] | None

    @property
    def unknown(self) -> bool:
        return self.kind == "extra_forbidden"

    @property
    def nearest(self) -> str | None:
        return nearest(self.path[-1], self.siblings) if self.unknown else None

    def as_mistake(self, thing: str, spelt: Spelling) -> Mistake:
        if not self.path:
            return Mistake(self.message)
        key = ".".join((spelt(self.path[0]), *self.path[1:]))
        if self.unknown:
            spelt_here = spelt if len(self.path) == 1 else str
            way_out = _known_instead(self.path[-1], self.siblings, spelt_here)
            return Mistake(f"{key} is not {thing}", way_out)
        if self.kind == "missing":
            return Mistake(f"{key} is missing", "add it")
        # A check of our own says itself what to do.
        way_out = "" if self.kind == "value_error" else "correct it"
        return Mistake(f"{key}{_shown(self.value)}: {self.message}", way_out)


def _known_instead(name: str, known: Sequence[str], spelt: Spelling) -> str:
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {spelt(near)}?"
    if not known:
        return "remove it"
    return f"known are {', '.join(map(spelt, known))}; correct or remove it"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ""
    text = repr(value)
    return f" is {text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + '…'}"


def _apart(complaints: Sequence[_Complaint]) -> list[_Complaint]:
    """Leave out missing keys that a misspelt one was meant to be."""
    meant = {(*one.path[:-1], one.nearest) for one in complaints if one.nearest is not None}
    return [one for one in complaints if one.kind != "missing" or one.path not in meant]


def _complaints(error: ValidationError, model: type[BaseModel]) -> list[_Complaint]:
    by_choice: dict[object, list[_Complaint]] = {}
    for details in error.errors():
        one = _complaint(details, model)
        by_choice.setdefault(one.choice[0] if one.choice else object(), []).append(one)
    found = [one for group in by_choice.values() for one in _of_the_type_meant(group)]
    # A misspelt key also leaves the right one missing; what was misspelt says more.
    return sorted(_true(found), key=lambda one: not one.unknown)


def _true(complaints: Sequence[_Complaint]) -> list[_Complaint]:
    """Leave out that a list is too short where it is for items that are wrong themselves."""
    within = {one.path[:end] for one in complaints for end in range(len(one.path))}
    return [one for one in complaints if one.kind != "too_short" or one.path not in within]


def _of_the_type_meant(group: Sequence[_Complaint]) -> Sequence[_Complaint]:
    """Leave out the complaints of types that the user did not mean."""
    if group[0].choice is None:
        return group
    by_type: dict[str, list[_Complaint]] = {}
    for one in group:
        assert one.choice is not None
        by_type.setdefault(one.choice[1], []).append(one)
    place = group[0].choice[0]
    # A type that complains of something within the value can read the value as a whole.
    fitting = [
        of_type
        for of_type in by_type.values()
        if all(len(one.path) > len(place) for one in of_type)
    ]
    if fitting:
        return min(fitting, key=lambda ones: (len(ones), all(one.nearest is None for one in ones)))
    return [_joined(group)]


def _joined(group: Sequence[_Complaint]) -> _Complaint:
    """Make one complaint of those of all the types that a value may have."""
    messages = list(dict.fromkeys(one.message for one in group))
    if all(message.startswith(_SHOULD_BE) for message in messages):
        messages = [message.removeprefix(_SHOULD_BE) for message in messages]
        messages[0] = _SHOULD_BE + messages[0]
    first = group[0]
    return _Complaint(
        first.kind, ", or ".join(messages), first.value, first.path, first.siblings, None
    )


def _complaint(details: ErrorDetails, model: type[BaseModel]) -> _Complaint:
    kind: Any = model
    path: list[str] = []
    choice: tuple[tuple[str, ...], str] | None = None
    home: Any = None
    for part in details["loc"]:
        types = _types(kind)
        if len(types) > 1:
            # Where there is a choice, the next part is no key but the name of a type.
            choice = choice or (tuple(path), str(part))
            kind = next((one for one in types if getattr(one, "__name__", None) == part), None)
            continue
        home = types[0] if types else None
        path.append(str(part))
        kind = _inside(home, part)
    return _Complaint(
        details["type"],
        # The names of our classes are nothing to the user.
        details["msg"].removeprefix("Value error, ").partition(" or instance of ")[0],
        details["input"],
        tuple(path),
        tuple(home.model_fields) if _is_model(home) else (),
        choice,
    )


def _types(annotation: Any) -> list[Any]:
    """Return the types that a value may have, None apart."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [one for each in get_args(annotation) for one in _types(each)]
    return [] if annotation in (None, NoneType) else [annotation]


def _inside(kind: Any, part: int | str) -> Any:
    """Return the annotation of a model's field, a mapping's value or a sequence's item."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        # Keys that a model knows only when it is read have one type.
        further = get_args(kind.__annotations__.get("__pydantic_extra__"))
        return field.annotation if field else next(iter(further[1:]), None)
    arguments = get_args(kind)
    if not arguments:
        return None
    return arguments[1] if get_origin(kind) is dict else arguments[0]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
