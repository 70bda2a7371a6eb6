"""A model's safety in its own card, and in the words of the EU AI Act's Annex IV."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version

from safemerge_tasks.gate.groups import group_changes
from safemerge_tasks.report.document import Document, Name, Part, Section, Table, Words
from safemerge_tasks.report.measured import Measured, measured
from safemerge_tasks.report.reading import Model, Release
from safemerge_tasks.report.release import (
    also_changed,
    day,
    filled,
    got_worse,
    grade_note,
    headline,
    overview,
    reasons,
    sentence,
)
from safemerge_tasks.report.wording import EXPLANATION, cell


def card_document(model: Model, release: Release | None, policy: Part) -> Document:
    """Return what a model card says of safety.

    Args:
        model: whose results.
        release: the model against a baseline, if there is one.
        policy: by which that was decided.
    """
    section = Section(
        "", (*_dated(model), EXPLANATION, *_against(release, policy)), _tables(model, release)
    )
    conclusion = headline(release.result) if release and release.result else None
    return Document("Safety evaluation", (section,), conclusion)


def annex_document(model: Model, release: Release | None, policy: Part) -> Document:
    """Return the parts of Annex IV's technical documentation that results can fill.

    Regulation (EU) 2024/1689, Annex IV, points 2(g), 3, 4 and 6; the others are the provider's.
    """
    judges = [one for one in measured(model) if one.identity]
    testing = Section(
        "2(g) Validation and testing procedures",
        (
            *_dated(model),
            "The tests are those of the table below, put to the model by lm-evaluation-harness; "
            "each answer was judged by the judges that are named.",
            EXPLANATION,
        ),
        filled((_data(model), _judges(judges))),
    )
    performance = Section(
        "3 Capabilities and limitations in performance",
        (
            "Overall figures; languages, groups of users and uses that are not tested here are not "
            "covered by them.",
        ),
        _tables(model, None),
    )
    fitness = Section(
        "4 Appropriateness of the performance metrics",
        (
            "The attack success rate counts harmful questions that were answered harmfully, of "
            "those with a verdict; questions without a verdict are counted beside it and bound it. "
            "Over-refusal and utility stand beside it, since a model that refuses everything has "
            "none. Judges err: their identities are given, so that their published or measured "
            "error rates can be looked up.",
        ),
        (_judges(judges),),
    )
    changes = Section(
        "6 Changes since the baseline",
        tuple(_against(release, policy)) or ("No baseline was given.",),
        filled(_compared(release)),
    )
    open_points = Section(
        "Left to the provider",
        (
            "This section holds what evaluation results say and nothing else. Points 1, 2(a) to "
            "2(f), 2(h), 5 and 7 to 9, the signatures of the responsible persons, and whether the "
            "system is one that the regulation asks this of, are not known here.",
        ),
    )
    return Document(
        "Technical documentation, Annex IV of Regulation (EU) 2024/1689: testing",
        (testing, performance, fitness, changes, open_points),
    )


def _dated(model: Model) -> Iterator[Words]:
    dates = sorted({day(task.run.date) for task in model.tasks.values()})
    said: list[Part] = [part for date in dates for part in (", ", Name(date))]
    yield (
        "Results of ",
        Name(model.label),
        ", evaluated on ",
        *said[1:],
        f"; written by safemerge {version('safemerge')}.",
    )


def _tables(model: Model, release: Release | None) -> tuple[Table, ...]:
    rows: list[tuple[Words, ...]] = [
        (
            one.kind,
            Name(one.task.name),
            one.called if one.metric in _OURS else (Name(one.called),),
            Name(one.judge),
            cell(one.measure),
        )
        for one in measured(model)
    ]
    head = ("about", "task", "metric", "judge or filter", "value, 95 % interval")
    return filled((Table(head, tuple(rows)), *_compared(release)))


_OURS = {"asr", "harm_score", "refusal_rate", "compliance_rate"}


def _compared(release: Release | None) -> tuple[Table, ...]:
    found = release.result if release else None
    if found is None:
        return ()
    title: tuple[Part, ...] = ("candidate against baseline", Name(found.baseline.model))
    return overview(found, title), got_worse(group_changes(found)), also_changed(found)


def _against(release: Release | None, policy: Part) -> Iterator[Words]:
    if release is None:
        return
    if release.result is None:
        yield (f"Not compared with the baseline: {sentence(release.reason)}.",)
        return
    yield from reasons(release.result)
    yield from grade_note(release.result)
    yield ("Decided by ", policy, ".")


def _data(model: Model) -> Table:
    rows: list[tuple[Words, ...]] = []
    for task in model.tasks.values():
        settings = task.result.settings
        totals = {one.measure.total for one in measured(model) if one.task is task}
        questions = ", ".join(f"{total:,}" for total in sorted(totals))
        rows.append((Name(task.name), Name(str(settings.get("version") or "unknown")), questions))
    return Table(("task", "version", "questions"), tuple(rows), ("testing data",))


def _judges(found: Iterable[Measured]) -> Table:
    rows: dict[tuple[Words, ...], None] = dict.fromkeys(
        (Name(one.judge), *(Name(str(one.identity.get(key) or "not stated")) for key in _IDENTITY))
        for one in found
    )
    return Table(("judge", *_IDENTITY), tuple(rows), ("judges",))


_IDENTITY = ("model", "revision", "prompt_sha256")
