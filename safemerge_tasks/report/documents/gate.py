"""The gate's report."""

from collections.abc import Iterator, Mapping
from functools import partial

from safemerge_tasks.gate.comparison import Comparison, Flip
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.gate.groups import group_changes
from safemerge_tasks.gate.texts import Place, Texts, place
from safemerge_tasks.report.document import (
    Case,
    Document,
    Excerpt,
    Mark,
    Name,
    Part,
    Section,
    Table,
    Words,
)
from safemerge_tasks.report.documents.gate_data import gate_data
from safemerge_tasks.report.release import (
    DEFAULT_POLICY,
    EXPLANATION,
    also_changed,
    filled,
    got_worse,
    grade_note,
    headline,
    mark,
    overview,
    reasons,
    shown,
    what,
    who,
)
from safemerge_tasks.report.wording import change, questions, side
from safemerge_tasks.statistics.decision import Decision

SHOWN = 200
"""Questions of a table in a file: GitHub's step summary holds one mebibyte."""

MISSING = "the policy names it and the candidate has no results of it, so nothing is decided"


def gate_document(
    result: GateResult, texts: Mapping[Place, Texts], policy: Part = DEFAULT_POLICY
) -> Document:
    """Return the report on a candidate.

    Args:
        result: what was decided.
        texts: of questions whose text may be shown.
        policy: by what it was decided.
    """
    flipped = [one for one in result.comparisons if one.flips and not one.check.category]
    changes = group_changes(result)
    names = result.baseline.model, result.candidate.model
    first = (who(result, *names), overview(result), got_worse(changes), also_changed(result))
    sections = [
        Section("", (*grade_note(result), ("Decided by ", policy, ".")), filled(first)),
        Section(
            "Decisions",
            (*reasons(result), *_of_all(result), *_remarks(result), EXPLANATION),
        ),
    ]
    if flipped:
        sections.append(
            Section(
                "Questions that are worse",
                tables=tuple(map(_worse, flipped)),
                excerpts=tuple(
                    Excerpt(_names(one.check.task, *_labels(flip)), *texts[place(flip)])
                    for one in flipped
                    for flip in one.flips
                    if place(flip) in texts
                ),
                limit=SHOWN,
            )
        )
    return Document(
        "Safety gate",
        tuple(sections),
        headline(result),
        (*map(_case, result.comparisons), *_cases_of_all(result)),
        partial(gate_data, result, texts, changes),
        "which --json has",
    )


def _of_all(result: GateResult) -> Iterator[Words]:
    """Yield what is said of the candidate as a whole."""
    for task in result.missing:
        yield (Name(task), ": ", mark(Decision.UNDECIDED), f": {MISSING}.")
    if together := result.together:
        warned = " with a warning" if together.found.warning else ""
        yield (
            f"All harm of {len(together.tasks)} tasks together: ",
            mark(together.found.decision),
            f"{warned}: {together.found.reason}.",
        )


def _cases_of_all(result: GateResult) -> Iterator[Case]:
    for task in result.missing:
        yield Case(task, "missing", mark(Decision.UNDECIDED), MISSING, (MISSING,))
    for one in result.untold:
        outcome = shown(one) if one.blocks else Mark(shown(one).text, "good")
        name = f"{one.check.name} by {one.check.judge}"
        yield Case(
            one.check.task,
            name,
            outcome,
            one.reason,
            (one.reason,),
            one.check.criteria.tier == "warn",
        )
    if together := result.together:
        found = together.found
        yield Case(
            "all safety tasks",
            "harm together",
            mark(found.decision),
            found.reason,
            (found.reason, f"tasks: {', '.join(together.tasks)}"),
            found.warning,
        )


def _remarks(result: GateResult) -> Iterator[Words]:
    """Yield what a reader has to know besides the table."""
    for found in result.accepted:
        yield ("Accepted: ", Name(found.task), f": {found.what} differs ({found.detail}).")
    for left in result.alone:
        yield (
            *(Name(left.task), " by ", Name(left.judge)),
            f": only the {left.side} has it, so it was not compared.",
        )
    for one in result.comparisons:
        if not one.paired:
            yield (
                *what(one),
                ": without samples that pair, so the two rates were compared as if the questions "
                "were different ones; run lm_eval with --log_samples.",
            )
        if one.possible:
            least, largest = one.possible
            yield (
                *what(one),
                f": {one.baseline.unscored:.1%} of the baseline's questions and "
                f"{one.candidate.unscored:.1%} of the candidate's have no verdict or no answer; "
                f"counted in every way, the change of these questions is {least:+.1%} to "
                f"{largest:+.1%}, and its bounds are wider still.",
            )
        yield from _lacking(one)


def _lacking(one: Comparison) -> Iterator[Words]:
    for word, old, new in (
        ("empty", one.baseline.empty, one.candidate.empty),
        ("cut at the token limit", one.baseline.cut, one.candidate.cut),
    ):
        if (old or 0) + (new or 0) > 0:
            shares = (f"{share:.1%}" if share is not None else "unknown" for share in (old, new))
            yield (
                *what(one),
                ": {} of the baseline's answers and {} of the candidate's are {}.".format(
                    *shares, word
                ),
            )


def _worse(one: Comparison) -> Table:
    counted = f"{len(one.flips):,} questions are worse, {one.better:,} better"
    return Table(
        ("question", "category", "language"),
        tuple(tuple(map(Name, _labels(flip))) for flip in one.flips),
        (Name(one.check.task), Name(one.check.name), counted),
        folded=True,
    )


def _case(one: Comparison) -> Case:
    # CI servers fail on what is not good.
    outcome = shown(one) if one.blocks else Mark(shown(one).text, "good")
    return Case(
        one.check.task,
        f"{one.check.name} by {one.check.judge}",
        outcome,
        one.reason,
        (
            f"{one.decision}: {one.reason}",
            f"baseline {side(one.baseline)}, candidate {side(one.candidate)}",
            f"change for the worse {change(one)}, {questions(one)} questions, smallest detectable "
            f"{one.detectable:.1%}",
            *(f"worse: {'  '.join(filter(None, _labels(flip)))}" for flip in one.flips),
        ),
        one.warning,
    )


def _labels(flip: Flip) -> tuple[str, str, str]:
    return flip.id, flip.category, flip.language


def _names(*texts: str) -> tuple[Name, ...]:
    return tuple(Name(text) for text in texts if text)
