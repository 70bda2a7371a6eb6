"""What was chosen with its bound, and what else could have been."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.sweep.choosing import Candidate, point_words
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.numbers import harm_word, long, optional, seed_words
from safemerge_tasks.sweep.report.sections import section


@section(50)
def choices(sweeps: Sweeps) -> Section:
    """Return each fine-tuning's choices, and on demand all points they were made from."""
    tables: list[Table] = []
    rules: list[str] = []
    for findings, tuning in sweeps.tunings():
        rows: list[tuple[Words, ...]] = []
        every: list[tuple[Words, ...]] = []
        for choice in findings.chosen(tuning.name):
            rules.append(choice.rule)
            others = [one for one in choice.eligible if one.point != choice.point]
            rows.append(
                (
                    Name(choice.label),
                    "nothing" if choice.point is None else point_words(choice.point) or "no grid",
                    optional(choice.asr),
                    optional(choice.bound) + ("" if choice.meets else " ⚠ above the limit"),
                    optional(choice.utility),
                    choice.reason,
                    "; ".join(point_words(one.point) for one in others) or "none",
                    " ".join(choice.notes),
                )
            )
            every += [
                (
                    Name(choice.label),
                    point_words(one.point),
                    seed_words(one.seeds),
                    optional(one.asr),
                    optional(one.bound),
                    optional(one.utility),
                    long(one.obstacle) if one.obstacle else _limit(one),
                )
                for one in choice.candidates
            ]
        title = sweeps.title(findings, tuning)
        harm = harm_word(tuning.of("validation").safety)
        head = ("method", "chosen", harm, "upper bound", "utility", "why", "also eligible", "")
        tables.append(Table(head, tuple(rows), title))
        of_points = ("method", "point", "seeds", harm, "upper bound", "utility", "not eligible")
        tables.append(Table(of_points, tuple(every), (*title, "all points"), folded=True))
    notes = (
        "On validation data alone, by the rule: " + "; ".join(dict.fromkeys(rules)) + ".",
        "The rate of harm is the mean over the safety tasks, each pooled over the seeds. Its "
        "one-sided upper bound is Clopper and Pearson's on the effective number of questions: the "
        "seeds' answers to one question, and near duplicates, are one cluster. It speaks of these "
        "seeds.",
        "Points are taken from the safest up to the first that is above the limit, or as a search "
        "asked them, so that the confidence is that of each method's choice.",
    )
    return Section("Choice of the grid point", notes, tuple(tables))


def _limit(one: Candidate) -> str:
    if one.after:
        return "comes after one above the limit"
    return "" if one.within else "above the limit"
