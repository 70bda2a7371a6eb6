"""Training rows of one's own, divided into those to train on and those to validate with."""

from collections.abc import Iterable

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.exchanges import Exchange, TuningData, without_repeats
from safemerge_tasks.finetune.row_files import Placed
from safemerge_tasks.finetune.row_shapes import exchange_of
from safemerge_tasks.suites.sampling import divide
from safemerge_tasks.suites.spec import HoldOut

DEFAULT_SHARE = 0.1


def own_rows(
    source: str,
    name: str,
    rows: Iterable[Placed],
    split_seed: int,
    share: float | None,
    system_prompt: str,
) -> TuningData:
    """Return rows divided by the order of a hash of seed and text.

    Args:
        source: where they are from, for errors.
        name: what the data is called.
        rows: each with its place.
        split_seed: the order's.
        share: of the rows, for validation; 0.1 unless given, none if 0.
        system_prompt: for rows that have none of their own.

    Raises:
        SafemergeError: a row cannot be learnt from: file, line and fix.
    """
    exchanges = [exchange_of(row, place) for row, place in rows]
    if not exchanges:
        raise SafemergeError(f"{source} has no rows; give one JSON object a line.")
    share = DEFAULT_SHARE if share is None else share
    if share == 0:
        return TuningData(name, exchanges, [], system_prompt, split_seed)
    rest, validation = (
        _part(source, exchanges, split_seed, share, keep) for keep in ("rest", "held_out")
    )
    train, left_out = without_repeats(rest, validation)
    return TuningData(name, train, validation, system_prompt, split_seed, left_out)


def _part(source: str, rows: list[Exchange], seed: int, share: float, keep: str) -> list[Exchange]:
    hold_out = HoldOut.model_validate({"seed": seed, "share": share, "keep": keep})
    if round(len(rows) * share) in (0, len(rows)):
        raise SafemergeError(
            f"{source} has {len(rows)} rows, too few to hold {share:g} of them out for validation; "
            "add rows or set `validation_share: 0`."
        )
    # The place finds the row again: rows may be equal.
    questions = [
        {"category": "", "subcategory": "", "question": row.question, "place": str(place)}
        for place, row in enumerate(rows)
    ]
    return [rows[int(one["place"])] for one in divide(questions, hold_out, source)]
