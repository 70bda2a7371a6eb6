"""What the ASR of a category is called among the metrics: `asr[Category]`, `asr[Category][Part]`.

The brackets hold the name as the suite has it, so no two of its names share a row, and none is
taken for a metric's own name: not `corrected`, `stderr`, `C` beside `C++`, or an emoji. Older
results have lower-case words instead, `asr_category` and `asr_category__part`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from safemerge_tasks.results.labels import label

_ROW = re.compile(r"asr\[([^\[\]]+)\](?:\[([^\[\]]+)\])?")
_OLD = "asr_"
_NO_CATEGORY = "asr_corrected"
# What ends a name, a key (`metric,filter`), a cell of lm-eval's table, or a line.
_TAKEN = re.compile(r"[\[\],|%\x00-\x1f\x7f\x85\u2028\u2029]")


def category_rows(document: Mapping[str, str]) -> list[str]:
    """Return the names of the ASR rows that a question belongs to, besides the whole suite's."""
    category = _written(document.get("category"))
    if not category:
        return []
    subcategory = _written(document.get("subcategory"))
    names = [f"asr[{category}]"]
    return [*names, f"{names[0]}[{subcategory}]"] if subcategory else names


def is_category_row(metric: str) -> bool:
    """Return whether a metric is a category's or sub-category's ASR, in either spelling."""
    return bool(_ROW.fullmatch(metric)) or is_old_row(metric)


def is_old_row(metric: str) -> bool:
    """Return whether a metric is spelt as older results spell a category's ASR."""
    return metric.startswith(_OLD) and metric != _NO_CATEGORY


def is_subcategory_row(metric: str) -> bool:
    """Return whether a metric is a sub-category's ASR, in either spelling."""
    found = _ROW.fullmatch(metric)
    return bool(found and found[2]) or (is_old_row(metric) and "__" in metric)


def category_of(metric: str) -> str | None:
    """Return whose ASR a metric is; None unless it is a category's.

    Of older results this is the category in lower-case words.
    """
    if is_subcategory_row(metric):
        return None
    found = _ROW.fullmatch(metric)
    if found:
        return unquote(found[1])
    return metric.removeprefix(_OLD) if is_old_row(metric) else None


def same_row(metric: str, metrics: Iterable[str]) -> str | None:
    """Return which of some metrics is a metric, whichever way either of them is spelt.

    None where there is none, or several whose older names are the same.
    """
    known = list(metrics)
    if metric in known or not is_category_row(metric):
        return metric if metric in known else None
    older = old_name(metric)
    found = [
        one
        for one in known
        if is_category_row(one) and is_old_row(one) != is_old_row(metric) and old_name(one) == older
    ]
    return found[0] if len(found) == 1 else None


def old_name(metric: str) -> str:
    """Return a category's row as older results spell it; several may be spelt alike."""
    found = _ROW.fullmatch(metric)
    if not found:
        return metric
    return _OLD + "__".join(slug(unquote(name)) for name in found.groups() if name)


def slug(category: str) -> str:
    """Return a name in lower-case words joined by `_`; it may be another's as well, or empty."""
    plain = unicodedata.normalize("NFKC", category).casefold()
    return re.sub(r"\W+", "_", plain).strip("_")


def _written(name: str | None) -> str:
    """Return a name without the characters that would end it, each written as `%2C`."""
    plain = label(unicodedata.normalize("NFC", " ".join((name or "").split())))
    return _TAKEN.sub(lambda found: "".join(f"%{one:02X}" for one in found[0].encode()), plain)
