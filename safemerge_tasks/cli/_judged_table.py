"""What a judge found, as tables on the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.judges.judging.saved_results import Judged
from safemerge_tasks.results.category_rows import is_subcategory_row


def print_tables(judged: Judged, console: Console | None = None) -> None:
    """Print one table a results file: task, metric, value, standard error.

    Sub-categories are left to the results file, where their counts are as well.
    """
    console = console or Console()
    for path, tasks in judged.tables.items():
        # File and metric names come from outside, so none is read as rich's markup.
        table = Table(title=Text(f"{Path(path).parent.name}, judged by {judged.judge}"))
        for heading in ("task", "metric"):
            table.add_column(heading)
        for heading in ("value", "standard error"):
            table.add_column(heading, justify="right")
        for task, rows in tasks.items():
            for key, value in rows.items():
                metric, _, name = key.partition(",")
                if metric.endswith("_stderr") or is_subcategory_row(metric):
                    continue
                stderr = rows[f"{metric}_stderr,{name}"]
                shown = stderr if isinstance(stderr, str) else f"{stderr:.4f}"
                table.add_row(Text(task), Text(metric), f"{value:.4f}", shown)
        console.print(table)
    for what, alpha in judged.identity.get("krippendorff_alpha", {}).items():
        console.print(f"Agreement of the judges on {what}: Krippendorff's alpha {alpha:.2f}")
