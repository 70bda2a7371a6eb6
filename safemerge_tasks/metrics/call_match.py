"""Whether a response is the function call that the reference is, however it is written.

Both are parsed, never run: the same dotted name, and the same keywords with the same values.
"""

import ast
import re
import warnings
from dataclasses import dataclass
from typing import Any

LONGEST = 10_000
"""Characters; a longer response is no call, and deep nesting in it could exhaust the parser."""

_FENCE = re.compile(r"```[\w+-]*\s*\n(.*?)```", re.DOTALL)
# The references hold JSON's spellings as well as Python's.
_NAMED_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}


@dataclass(frozen=True)
class Call:
    """A call by its name and its keyword arguments in a form that compares by value."""

    name: str
    arguments: dict[str, Any]


def call_match(response: str, reference: str) -> bool | None:
    """Return whether a response makes the reference's call; None if the reference is no call.

    The response may stand in a Markdown fence, the first of which counts; other text around the
    call is a mismatch, because a program could not run it.
    """
    wanted = parse_call(reference)
    return None if wanted is None else parse_call(response) == wanted


def parse_call(text: str) -> Call | None:
    """Return the one call that a text consists of, or None.

    Keyword arguments only. Bare words are taken for strings, as some references leave out the
    quotes, and `true`, `false` and `null` for what JSON means by them.
    """
    fenced = _FENCE.search(text)
    source = (fenced[1] if fenced else text).strip()
    if len(source) > LONGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. on invalid escapes: they are the model's own
            node = ast.parse(source, mode="eval").body
        return _call(node)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call) or node.args:
        return None
    arguments = {word.arg: _value(word.value) for word in node.keywords if word.arg is not None}
    name = _dotted(node.func)
    # Fewer arguments than keywords: one came twice, or as **mapping.
    if name is None or len(arguments) != len(node.keywords):
        return None
    return Call(name, arguments)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _value(node: ast.expr) -> Any:
    """Return a value that equals another exactly if both are the same to a called function.

    Every value carries its kind, so that `True` is not 1; a list and a tuple are the same.
    """
    name = _dotted(node)
    if name is not None:
        return _constant(_NAMED_CONSTANTS.get(name.lower(), name))
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        kind, value = _value(node.operand)
        return (kind, -value) if kind == "number" else ("code", ast.dump(node))
    if isinstance(node, ast.List | ast.Tuple):
        return "list", [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        return "dict", dict(zip(keys, map(_value, node.values), strict=True))
    return "code", ast.dump(node)


def _constant(value: Any) -> tuple[str, Any]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("number" if is_number else type(value).__name__), value
