"""Judging saved responses and telling what came of it, for `safemerge judge` and `eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.judges.settings import JudgeSettings


def judge_saved(
    results_dir: Path,
    asked: "list[JudgeSettings]",
    *,
    as_json: bool = False,
    thinking: str | None = None,
) -> None:
    """Judge with each judge in turn, print what they found, and fail if anything is left over.

    Raises:
        SafemergeError: nothing to judge, a judge that cannot work, or responses it failed on.
    """
    from safemerge_tasks.cli._agreement import agreement_of, as_records, print_agreement
    from safemerge_tasks.judges import make_judge
    from safemerge_tasks.judges.judging.saved_results import judge_folder
    from safemerge_tasks.judges.names import AUTO
    from safemerge_tasks.results import find_runs

    refuse_deferred(asked)
    find_runs(results_dir)  # for its error, which comes before a judge's
    for settings in asked:
        # Before the first one's work: that a later one cannot work would be found out after it.
        if settings.name != AUTO:  # the languages say who that is
            make_judge(settings).check()
    console = Console(stderr=True)
    with console.status("judging") as status:

        def show(task: str) -> None:
            status.update(f"judging {escape(task)}")

        found = [
            judged
            for settings in asked
            for judged in judge_folder(results_dir, settings, show, thinking=thinking)
        ]
    told = agreement_of(results_dir, [one.judge for one in found])
    if as_json:
        reports = [
            {"judge": one.judge, "identity": one.identity, "results": one.tables} for one in found
        ]
        several = {"judges": reports, "agreement": as_records(told)}
        print(json.dumps(reports[0] if len(reports) == 1 else several, indent=2))
    else:
        from safemerge_tasks.cli._judged_table import print_tables

        for one in found:
            print_tables(one)
        print_agreement(told)
    fruitless = [one.judge for one in found if not one.scored]
    if fruitless:
        raise SafemergeError(
            f"{', '.join(fruitless)} reached no verdict on any response; the reasons are above."
        )
    pending = sum(one.pending for one in found)
    if pending:
        raise SafemergeError(
            f"the judge failed on {pending} responses, which stay unscored; the reasons are "
            "above, and the same command judges again."
        )


def refuse_deferred(asked: "list[JudgeSettings]") -> None:
    """Refuse to judge later what is to be judged now.

    Raises:
        SafemergeError: that is asked for.
    """
    if any(settings.name == "deferred" for settings in asked):
        raise SafemergeError("--judge deferred judges nothing; name the judge, such as wildguard.")
