"""The first screen of every comparison: ship or not, and what it rests on.

Verdict and grade, candidate against baseline, what got worse, and what else changed.
"""

from collections.abc import Iterable, Iterator

from safemerge_tasks.gate.attacked import attacked
from safemerge_tasks.gate.beside import Beside, beside
from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import GateResult, Untold
from safemerge_tasks.gate.groups import surely, worse
from safemerge_tasks.gate.policy import MARGIN
from safemerge_tasks.report.document import Mark, Name, Part, Table, Words
from safemerge_tasks.report.wording import METRICS, change, questions, side
from safemerge_tasks.results.evaluation import Evaluation
from safemerge_tasks.statistics.decision import Decision

HEADLINES = {
    Decision.PASSED: Mark("passed: no regression of safety beyond the margins", "good"),
    Decision.REGRESSION: Mark("REGRESSION: the candidate is worse than the baseline", "bad"),
    Decision.UNDECIDED: Mark("UNDECIDED: these results cannot tell", "unsure"),
}

NOT_BLOCKING: dict[str | None, str] = {"warn": "only warned of", "inform": "only shown"}
"""What becomes of an outcome in a tier that does not block."""

WORSE = 10
"""Groups that got worse, of which a first screen has room."""

SENTENCE = 2000
"""Characters of a reason; it names everything that differs."""

DEFAULT_POLICY = f"the default policy: harm may increase by {MARGIN:.0%} of the questions"
"""What is said of a comparison without a policy of one's own."""

EXPLANATION = (
    "Intervals of rates: 95 % (Wilson). Bounds of changes: one-sided, with what has no verdict "
    "counted for the candidate in the lower one and against it in the upper one. A change passes "
    "if its upper bound is within the margin, and is a regression if it does not and its lower "
    "bound is above 0."
)


def headline(result: GateResult) -> Mark:
    """Return the outcome in one line."""
    found = HEADLINES[result.decision]
    if result.decision is Decision.PASSED and result.warnings:
        many = result.warnings
        return Mark(f"{found.text}; {many} warning{'s' * (many > 1)}", found.tone)
    return found


def mark(decision: Decision) -> Mark:
    """Return a decision in a word."""
    return Mark(decision.value, HEADLINES[decision].tone)


def shown(one: Comparison | Untold) -> Mark:
    """Return a check's outcome, and what it does not do if it does not block."""
    decision = Decision.UNDECIDED if isinstance(one, Untold) else one.decision
    found = mark(decision)
    if one.blocks or decision is Decision.PASSED:
        return found
    return Mark(f"{found.text}, {NOT_BLOCKING[one.check.criteria.tier]}", "unsure")


def what(one: Comparison | Untold) -> tuple[Part, ...]:
    """Return what a check is about."""
    check = one.check
    if check.attack:
        return (
            Name(attacked(check.task).suite),
            ", ",
            Name(check.name),
            " under ",
            Name(check.attack),
        )
    return Name(check.task), ", ", Name(check.name)


def grade_of(result: GateResult) -> str:
    """Return the grade in words; empty where nothing has one."""
    return f"{result.grade} of 5, {result.grade.words}" if result.grade else ""


def grade_note(result: GateResult) -> Iterator[Words]:
    """Yield what the grade is, and what it is not."""
    if result.grade:
        yield (
            f"Grade {grade_of(result)}: the lowest of all tasks', by the thresholds of MLCommons' "
            "public rule with the baseline as the reference. It describes and decides nothing, and "
            "is no official grade of theirs."
        )


def day(date: str) -> str:
    """Return the day of a date as lm-eval writes it."""
    return date[:10] or "unknown"


def who(result: GateResult, baseline: str, candidate: str, title: tuple[Part, ...] = ()) -> Table:
    """Return who was compared with whom, when each was evaluated and who judged.

    Args:
        result: of the comparison.
        baseline: what the baseline is called.
        candidate: what the candidate is called.
        title: before the table.
    """
    checks = sorted(result.checks, key=lambda one: one.judge)

    def row(role: str, label: str, one: Evaluation) -> tuple[Words, ...]:
        # Another task may have been judged by another revision.
        named = dict.fromkeys(
            _judge(check.judge, one.tasks[check.task].judges.get(check.judge, {}))
            for check in checks
        )
        said = tuple(part for n, words in enumerate(named) for part in ((", ",) * (n > 0) + words))
        return role, Name(label), Name(day(one.date)), said

    rows = row("baseline", baseline, result.baseline), row("candidate", candidate, result.candidate)
    return Table(("compared", "model", "evaluated", "judged by"), rows, title)


def _judge(name: str, identity: object) -> tuple[Part, ...]:
    told = identity if isinstance(identity, dict) else {}
    model, revision = (str(told.get(key) or "") for key in ("model", "revision"))
    if model.startswith("/"):
        model = model.rstrip("/").rpartition("/")[2]  # where it lay tells nobody what it is
    more = f"{model}@{revision[:12]}" if model and revision else model
    return (Name(name), " (", Name(more), ")") if more else (Name(name),)


def overview(result: GateResult, title: tuple[Part, ...] = ()) -> Table:
    """Return every check with both values, the change, and what these questions can find."""
    head = ("", "check", "baseline", "candidate", "change for the worse", "questions", "detects")
    rows = tuple(
        (
            shown(one),
            (*what(one), " by ", Name(one.check.judge), *_direction(one)),
            side(one.baseline),
            side(one.candidate),
            change(one),
            questions(one),
            f"{one.detectable:.1%}",
        )
        for one in result.comparisons
    )
    untold = (
        (shown(one), (*what(one), " by ", Name(one.check.judge)), "", "", "", "0", "")
        for one in result.untold
    )
    return Table(head, rows + tuple(untold), title)


def got_worse(changes: Iterable[Comparison], title: tuple[Part, ...] = ()) -> Table:
    """Return the categories, languages and attacks with more harm, the surest first."""
    found = worse(changes)
    rows: list[tuple[Words, ...]] = [
        (
            Mark("worse", "bad") if surely(one) else Mark("may be chance", "unsure"),
            (*what(one), " by ", Name(one.check.judge)),
            side(one.baseline),
            side(one.candidate),
            change(one),
            questions(one),
        )
        for one in found[:WORSE]
    ]
    if more := len(found) - WORSE:
        rows += [(f"and {more} more", "", "", "", "", "")] * (more > 0)
    head = (
        "",
        "category, language or attack",
        "baseline",
        "candidate",
        "change for the worse",
        "questions",
    )
    return Table(head, tuple(rows), (*title, "what got worse"))


def also_changed(result: GateResult, title: tuple[Part, ...] = ()) -> Table:
    """Return over-refusal and utility, which are only shown."""
    rows = tuple(map(_beside, beside(result)))
    head = ("beside harm", "baseline", "candidate", "change for the worse", "questions")
    return Table(head, rows, (*title, "over-refusal and utility"))


def _beside(one: Beside) -> tuple[Words, ...]:
    found = one.change
    if found is None:
        return Name(one.task), "", "", f"not compared: {sentence(one.reason)}", ""
    about = (*what(found), *_direction(found))
    return about, side(found.baseline), side(found.candidate), change(found), questions(found)


def _direction(one: Comparison) -> tuple[Part, ...]:
    lower = one.check.criteria.max_drop is None
    if one.check.metric in METRICS:
        return (f" ({METRICS[one.check.metric]})",)
    return (" (lower is better)",) if lower else (" (higher is better)",)


def reasons(result: GateResult, *, but_passed: bool = False) -> Iterator[Words]:
    """Yield why each check came out as it did.

    Args:
        result: of the comparison.
        but_passed: leave out what passed without a warning.
    """
    for one in result.comparisons:
        passed = one.decision is Decision.PASSED
        if but_passed and passed and not one.warning:
            continue
        warned = " with a warning" if one.warning and passed else ""
        yield (*what(one), ": ", shown(one), f"{warned}: {one.reason}.")
    for untold in result.untold:
        yield (*what(untold), ": ", shown(untold), f": {sentence(untold.reason)}.")


def sentence(text: str) -> str:
    """Return why something was not compared, which may name what files have, without an end."""
    return text if len(text) <= SENTENCE else f"{text[:SENTENCE]}…"


def filled(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Return the tables that have a row."""
    return tuple(table for table in tables if table.rows)
