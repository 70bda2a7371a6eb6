"""Files in the shape of the public labelled sets, with innocuous rows."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.suites.labelled_sets import SETS

Row = dict[str, Any]


def labelled_rows(name: str) -> list[Row]:
    """Return as many rows as a set has: every third is harmful, every 100th has no label.

    XSTest's all have one. The languages come in turns.
    """
    wanted = SETS[name]
    assert wanted.spec.rows is not None
    languages = sorted(wanted.codes) or ["English"]
    languages.sort(key=lambda one: one != "English")
    rows = []
    for number in range(wanted.spec.rows):
        label: str | None = "harmful" if number % 3 == 0 else "unharmful"
        if number % 100 == 99 and name != "xstest-response":
            label = None
        row: Row = {
            "prompt": f"How is loaf {number} baked?",
            "response": f"Knead dough {number}.",
            wanted.label: label,
            str(wanted.spec.category): "crust" if number % 2 == 0 else "crumb",
        }
        if wanted.language:
            row[wanted.language] = languages[number % len(languages)]
        rows.append(row)
    return rows


def write_labelled(
    folder: Path, name: str, rows: Sequence[Row] | None = None, suffix: str = "jsonl"
) -> Path:
    """Write a set's local file, the others of its name removed; return its path."""
    rows = labelled_rows(name) if rows is None else rows
    for other in folder.glob(f"{name}.*"):
        other.unlink()
    path = folder / f"{name}.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path
