"""Judging saved responses and telling what came of it, for `safemerge judge` and `eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.cli._live_run import LiveRun
    from safemerge_tasks.judges.judging.saved_results import Judged
    from safemerge_tasks.judges.settings import JudgeSettings


def judge_all(
    results_dir: Path,
    asked: "list[JudgeSettings]",
    live: "LiveRun",
    thinking: str | None = None,
) -> "list[Judged]":
    """Judge with each judge in turn.

    Raises:
        SafemergeError: nothing to judge, or a judge that cannot work.
    """
    from safemerge_tasks.judges import make_judge
    from safemerge_tasks.judges.judging.saved_results import judge_folder
    from safemerge_tasks.judges.names import AUTO

    refuse_deferred(asked)
    for settings in asked:
        # Before the first one's work: that a later one cannot work would be found out after it.
        if settings.name != AUTO:  # the languages say who that is
            make_judge(settings).check()
    return [
        judged
        for settings in asked
        for judged in judge_folder(
            results_dir, settings, lambda task: live.stage(f"judging {task}"), thinking=thinking
        )
    ]


def print_found(results_dir: Path, found: "list[Judged]", *, as_json: bool) -> None:
    """Print what judges found, and how far they agree."""
    from safemerge_tasks.cli._agreement import agreement_of, as_records, print_agreement

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


def refuse_unfinished(found: "list[Judged]") -> None:
    """Fail if anything is left over.

    Raises:
        SafemergeError: a judge reached no verdict, or failed on some responses.
    """
    fruitless = [one.judge for one in found if not one.scored]
    if fruitless:
        raise SafemergeError(
            f"{', '.join(fruitless)} reached no verdict on any response; the reasons are above."
        )
    pending = sum(one.pending for one in found)
    if pending:
        raise SafemergeError(
            f"the judge failed on {pending} responses, which stay unscored; the reasons are "
            "above, and `safemerge judge` judges them again."
        )


def refuse_deferred(asked: "list[JudgeSettings]") -> None:
    """Refuse to judge later what is to be judged now.

    Raises:
        SafemergeError: that is asked for.
    """
    if any(settings.name == "deferred" for settings in asked):
        raise SafemergeError("--judge deferred judges nothing; name the judge, such as wildguard.")
