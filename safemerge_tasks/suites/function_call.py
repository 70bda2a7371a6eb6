"""The prompt for a function call, rendered from the function's JSON schema.

The form is that of Farn et al. 2024 (arXiv 2412.19512), to the byte: a blank line stands before the
last sentence only after `Required:` or where there are no parameters.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

from safemerge_tasks.common.errors import SafemergeError

FIRST = (
    "Construct a function call to answer the given question using keyword arguments based on the "
    "provided specifications:"
)
LAST = "Format your response as a single string using keyword arguments."


def prompt(doc: Mapping[str, str]) -> str:
    """Return the user's turn for a document with `question` and `function`.

    Args:
        doc: its `function` is JSON of a function description or of a list of them; a description
            is an object, or a string with one in JSON's or Python's notation. Where it is empty,
            the question is the whole turn already, as in the files of the paper's authors.

    Raises:
        SafemergeError: the function is described in another way.
    """
    if not doc["function"]:
        return doc["question"]
    described = [line for function in _functions(doc) for line in _described(function)]
    return "\n".join([FIRST, "", f"Question: {doc['question']}", "", *described, LAST])


def _functions(doc: Mapping[str, str]) -> list[Mapping[str, Any]]:
    content = _object(doc, doc["function"])
    listed = content if isinstance(content, list) else [content]
    functions = [_object(doc, one) if isinstance(one, str) else one for one in listed]
    if not functions or not all(isinstance(function, dict) for function in functions):
        raise _undescribed(doc)
    return functions


def _object(doc: Mapping[str, str], text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise _undescribed(doc)


def _described(function: Mapping[str, Any]) -> Iterator[str]:
    schema = function.get("parameters") or {}
    yield f"Function to be used: {_name(function)}"
    yield f"Description: {function.get('description') or 'none'}"
    yield "Parameters:"
    parameters = list(_parameters(schema))
    for number, (name, about) in enumerate(parameters, start=1):
        kind = about.get("type")
        description = about.get("description")
        typed = f" (type: {kind})" if kind else ""
        yield f"{number}. {name}{typed}" + (f" - {description}" if description else "")
    required = schema.get("required") if isinstance(schema, dict) else None
    if required is None:
        required = function.get("required") or []
    names = [one["name"] if isinstance(one, dict) else str(one) for one in required]
    if not schema:
        yield "No parameters"
    elif names:
        yield f"Required: [{', '.join(names)}]"
    if names or not parameters:
        yield ""


def _name(function: Mapping[str, Any]) -> str:
    for key in ("api_call", "api_name", "name"):
        if function.get(key):
            return str(function[key])
    return ""


def _parameters(schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and description of each parameter.

    The test set has JSON schemas. The training set also has lists of named parameters, lists by
    whether they are required, and plain objects from name to description.
    """
    if isinstance(schema, list):
        yield from ((str(one.get("name", "")), one) for one in schema if isinstance(one, dict))
    elif isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        # Null columns: what a Parquet file makes of a schema without the parameter.
        known = {key: value for key, value in schema["properties"].items() if value is not None}
        yield from ((key, _as_object(value)) for key, value in known.items())
    elif isinstance(schema, dict) and {"required", "optional"} >= schema.keys():
        for key in ("required", "optional"):
            yield from _parameters(schema.get(key) or [])
    elif isinstance(schema, dict):
        yield from ((key, _as_object(value)) for key, value in schema.items())


def _as_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {"description": str(value)}


def _undescribed(doc: Mapping[str, str]) -> SafemergeError:
    return SafemergeError(
        f"{doc.get('id', 'a question')}: its function is not described by a JSON object; use the "
        "original file."
    )
