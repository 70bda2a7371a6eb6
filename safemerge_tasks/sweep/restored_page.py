"""The one screen at the end of a repair, and the table in the repaired model's card."""

from safemerge_tasks.report.document import Document, Mark, Name, Section, Table, Words
from safemerge_tasks.report.release import mark
from safemerge_tasks.statistics.decision import severest
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.repaired import RESTORED, Repaired
from safemerge_tasks.sweep.report.findings import TUNED
from safemerge_tasks.sweep.report.numbers import over_seeds

MOST_REASONS = 3


def table(repaired: Repaired) -> Table:
    """Return base, fine-tuned and repaired model on test data."""
    tasks, choice = repaired.tasks, repaired.choice
    columns = (*tasks.safety, *tasks.utility)
    rows: list[tuple[Words, ...]] = []
    for name, group in repaired.models():
        shown = name
        if name == RESTORED and choice:
            shown = f"{RESTORED}: {choice.method}, {point_words(choice.point)}"
        rows.append((shown, *(over_seeds(group, "test", [one]) for one in columns)))
    head: list[Words] = ["model"]
    head += [(Name(one.task), ", less is safer") for one in tasks.safety]
    head += [Name(one.task) for one in tasks.utility]
    return Table(tuple(head), tuple(rows), ("Test data",))


def restored_document(repaired: Repaired) -> Document:
    """Return before and after, what it cost, the gate's word, and where everything is."""
    notes: list[Words] = []
    if choice := repaired.choice:
        assert choice.bound is not None
        notes += [
            f"The rule, on validation data: {choice.rule}. Taken: {point_words(choice.point)}, "
            f"which is surely at most {choice.bound:.1%}; {choice.reason}.",
            _cost(repaired),
            _gate(repaired),
        ]
    else:
        for one in repaired.findings.choices:
            notes.append((f"No merge by {one.method} meets the limit: ", Name(one.reason), "."))
    reasons = dict.fromkeys(repaired.failed.values())
    notes += [(Mark("failed", "bad"), ": ", Name(reason)) for reason in [*reasons][:MOST_REASONS]]
    if repaired.advice:
        notes.append(repaired.advice)
    notes += [f"Note: {note}" for note in repaired.notes]
    if repaired.out:
        notes.append(("The restored model: ", Name(str(repaired.out))))
    notes.append(("The report: ", Name(str(repaired.written[0]))))
    return Document("", (Section("", tables=(table(repaired),)), Section("", tuple(notes))))


def _cost(repaired: Repaired) -> str:
    values = {
        name: group.mean("test", repaired.tasks.utility).value for name, group in repaired.models()
    }
    before, after = values.get(TUNED), values.get(RESTORED)
    judged = f"{repaired.answers:,} answers of merged models were judged"
    if before is None or after is None:
        return f"{judged}."
    return f"Score on test data: {after - before:+.1%} against the fine-tuned model; {judged}."


def _gate(repaired: Repaired) -> Words:
    gated = repaired.gated
    if gated is None:
        return "The gate had nothing to compare with the base."
    if not gated.comparisons:
        return ("The gate cannot compare it with the base: ", Name(gated.obstacle or ""))
    decision = severest([one.decision for one in gated.comparisons])
    return ("The gate against the base: ", mark(decision))
