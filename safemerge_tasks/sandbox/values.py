"""Python values as plain JSON and back, so that only data crosses between a candidate and a test.

What arrives is made of Python's own types, whose comparisons no candidate can have written. Values
of derived types keep what their base type holds (`Counter` equals a dict); iterators arrive as
iterators, which equal nothing but can be listed; all else arrives as an `Opaque`, equal to nothing.

What is small on the wire and large once it is used (ranges, exponents, digits) is bounded as it
arrives: the test that uses it hears no time limit inside of C.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

_MOST_ITEMS = 1_000_000
"""Of an iterator, which may have no end, and of a range."""

_MOST_DIGITS = 20_000
"""Of a whole number, and of a decimal written out; also hexadecimal ones."""

_PLAIN = (type(None), bool, str, float)


class Opaque:
    """Stands for a value that cannot be sent."""


def encode(value: Any) -> Any:
    """Return a value as JSON types; a list stands for `[tag, content]`."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and -(2**63) < value < 2**63):
        return value
    for base, tag in _SEQUENCES.items():
        if isinstance(value, base):
            return [tag, [encode(item) for item in base.__iter__(value)]]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in dict.items(value)]]
    return _encode_scalar(value)


def _encode_scalar(value: Any) -> Any:
    if isinstance(value, int):
        # JSON's decimal digits are bounded, and quadratic to read.
        return ["int", int.__format__(value, "x")]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (bytes, bytearray)):
        return ["bytes" if isinstance(value, bytes) else "bytearray", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", [value.real, value.imag]]
    if isinstance(value, Fraction):
        return ["fraction", [encode(value.numerator), encode(value.denominator)]]
    if isinstance(value, Decimal):
        return ["decimal", str(value)]
    if isinstance(value, range):
        return ["range", [encode(part) for part in (value.start, value.stop, value.step)]]
    if isinstance(value, Iterator):
        return ["iterator", [encode(item) for item in islice(value, _MOST_ITEMS)]]
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return encode(value.item())
    return ["opaque", None]


def decode(data: Any) -> Any:
    """Read back `encode`.

    Raises:
        ValueError: this is nothing that `encode` returns, or it is too large to be used.
    """
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise ValueError("not an encoded value")
        return data
    try:
        tag, content = data
        return _DECODERS[tag](content)
    except (TypeError, KeyError, ArithmeticError) as error:
        raise ValueError("not an encoded value") from error


def _decode_set(content: Any) -> set[Any]:
    # One by one, so that a time limit's signal is heard between items whose hashes all collide.
    found = set()
    for item in content:
        found.add(decode(item))
    return found


def _decode_dict(content: Any) -> dict[Any, Any]:
    found = {}
    for key, item in content:
        found[decode(key)] = decode(item)
    return found


def _digits(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError("not digits")
    if len(content) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS:,} digits")
    return content


def _decode_decimal(content: Any) -> Decimal:
    found = Decimal(_digits(content))
    if abs(found.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"a decimal with an exponent beyond {_MOST_DIGITS:,}")
    return found


def _decode_range(content: Any) -> range:
    found = range(*map(_whole, content))
    if len(found) > _MOST_ITEMS:
        raise ValueError(f"a range of more than {_MOST_ITEMS:,} numbers")
    return found


def _whole(data: Any) -> int:
    found = decode(data)
    if not isinstance(found, int):
        raise TypeError("not a whole number")
    return found


_SEQUENCES: dict[Any, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}

_DECODERS: dict[str, Any] = {
    "list": lambda content: [decode(item) for item in content],
    "tuple": lambda content: tuple([decode(item) for item in content]),
    "set": _decode_set,
    "frozenset": lambda content: frozenset(_decode_set(content)),
    "dict": _decode_dict,
    "int": lambda content: int(_digits(content), 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda content: complex(*content),
    # Of a text it would make the number that an exponent there asks for.
    "fraction": lambda content: Fraction(*map(_whole, content)),
    "decimal": _decode_decimal,
    "range": _decode_range,
    "iterator": lambda content: iter([decode(item) for item in content]),
    "opaque": lambda _: Opaque(),
}
