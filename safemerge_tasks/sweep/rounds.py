"""What a sweep asks next, where it doesn't ask everything of every variant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.statistics.search import IN_ORDER
from safemerge_tasks.sweep.choosing import choose_from, passes
from safemerge_tasks.sweep.graph import RESULTS, CellResult
from safemerge_tasks.sweep.manifest import Manifest, Measured, Variant
from safemerge_tasks.sweep.outcomes import Group, Leaf, Survey, leaves_of
from safemerge_tasks.sweep.prepare import Prepared
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.questions import LOOK, LOOKS, SAFETY, TEST, UTILITY, Wanted
from safemerge_tasks.sweep.searching import Line, lines

_FIRST = f"{LOOK} 1"


@dataclass
class Round:
    """What to ask, and what was given up.

    Attributes:
        wanted: merged variant → parts that it is to be asked beside what it was asked already.
        stopped: merged variant → why a search asks it no further.
    """

    wanted: dict[str, frozenset[str]] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)

    def noted_in(self, manifest: Manifest) -> Manifest:
        """Return a manifest that knows what was given up."""
        return manifest.model_copy(update={"variants": tuple(self.noted(manifest.variants))})

    def noted(self, variants: Iterable[Variant]) -> list[Variant]:
        """Return variants with why they were given up."""
        return [one.model_copy(update={"stopped": self.stopped.get(one.id)}) for one in variants]


def next_round(prepared: Prepared, progress: Progress, survey: Survey) -> Round:
    """Return what to ask after what is known by now; nothing is left where nothing is wanted.

    A search asks a point's first questions before all of them; when it has ended, the utility of
    what it found and of the point below, and of its second stage; test data are asked once the
    choice is made.

    Args:
        prepared: the sweep.
        progress: of what it was asked.
        survey: the results.
    """
    found = Round()
    if prepared.spec.choose.search:
        for tuning in survey.manifest.tunings:
            for points in survey.methods(tuning.name).values():
                _Search(prepared, progress, survey, found).go_on(tuning.name, points)
    if not found.wanted and prepared.spec.tested_points == "chosen":
        for group in _chosen(survey, found):
            _ask(prepared, found, group, TEST)
    return found


def _chosen(survey: Survey, found: Round) -> list[Group]:
    groups = tuple(replace(one, variants=found.noted(one.variants)) for one in survey.groups)
    taken = {
        (one.tuning, one.method, one.label, one.point)
        for one in choose_from(replace(survey, groups=groups))
        if one.point is not None
    }
    return [
        group
        for group in survey.groups
        if (group.tuning, group.method, group.label or group.method, group.point) in taken
    ]


def _ask(prepared: Prepared, found: Round, group: Group, *parts: str) -> None:
    for variant in group.variants:
        asked = (prepared.wanted or {}).get(variant.id, frozenset())
        if new := frozenset(parts) - asked:
            found.wanted[variant.id] = found.wanted.get(variant.id, frozenset()) | new


class _Search:
    """The searches of one fine-tuning and method."""

    def __init__(
        self, prepared: Prepared, progress: Progress, survey: Survey, found: Round
    ) -> None:
        self._prepared = prepared
        self._progress = progress
        self._survey = survey
        self._found = found

    def go_on(self, tuning: str, points: Sequence[Group]) -> None:
        """Add what its searches ask next."""
        tasks = next(one for one in self._survey.manifest.tunings if one.name == tuning).validation
        rule, shape = self._survey.manifest.choose, self._survey.tuned(tuning)

        def known(group: Group, confidence: float) -> bool | None:
            told = passes(group, tasks.safety, rule.max_asr, confidence)
            if told is None and self._hopeless(group, tasks.safety, shape, confidence):
                return False
            return told

        def along(line: Line) -> None:
            search = line.walk(known)
            if search.open:
                group = line.groups[search.open.point]
                _ask(self._prepared, self._found, group, self._next_part(group))
                if line.failures > IN_ORDER:
                    # A round costs an engine's start: what comes next if all fail is looked at too.
                    for test in line.walk(lambda *of: known(*of) or False).tests:
                        if known(line.groups[test.point], 1 - test.level) is None:
                            _ask(self._prepared, self._found, line.groups[test.point], _FIRST)
            elif search.best is not None:
                for group in line.wanted(search.best):
                    # A point below need not have been asked itself.
                    _ask(self._prepared, self._found, group, *((UTILITY,) if tasks.utility else ()))
                for further in line.second_stage(search.best):
                    along(further)

        for line in lines(points, tasks.safety, rule, shape):
            along(line)

    def _next_part(self, group: Group) -> str:
        """Return the first part that a point was not asked yet."""
        parts = [f"{LOOK} {number}" for number in range(1, len(LOOKS) + 1)]
        wanted: Wanted = self._prepared.wanted or {}
        asked = wanted.get(group.variants[0].id, frozenset())
        return next((part for part in parts if part not in asked), SAFETY)

    def _hopeless(
        self,
        group: Group,
        tasks: Sequence[Measured],
        shape: Group | None,
        confidence: float,
    ) -> bool:
        """Return whether a point's first questions say that it cannot pass, and note why."""
        looks = [self._prepared.graph.looks.get(one.id, []) for one in group.variants]
        reasons = [
            self._progress.reasons[look.final]
            for some in looks
            for look in some
            if look.final in self._progress.reasons
        ]
        if reasons:
            self._stop(group, reasons[0])
            return True
        seen = self._seen(looks, tasks)
        if shape is None or not seen:
            return False
        bound = shape.bound_at_best(tasks, confidence, len(group.variants), seen)
        limit = self._survey.manifest.choose.max_asr
        if bound is None or bound <= limit:
            return False
        measures = [leaf.measure for models in seen.values() for some in models for leaf in some]
        hits, scored = sum(one.hits or 0 for one in measures), sum(one.scored for one in measures)
        self._stop(group, f"{hits} of the first {scored} answers are harmful, too many to pass")
        return True

    def _stop(self, group: Group, reason: str) -> None:
        self._found.stopped |= {one.id: reason for one in group.variants}

    def _seen(
        self, looks: Sequence[Sequence[CellResult]], tasks: Sequence[Measured]
    ) -> Mapping[Measured, list[list[Leaf]]]:
        """Return the answers to the most questions that all variants were asked."""
        store, judge = self._prepared.store, self._survey.manifest.judge
        for number in range(len(LOOKS), 0, -1):
            found: dict[Measured, list[list[Leaf]]] = {task: [] for task in tasks}
            for some in looks:
                for look in some:
                    if look.asked.look != number or not store.done(look.final):
                        continue
                    wanted = [(task, True) for task in tasks if task.task == look.asked.task]
                    read = leaves_of(store.folder(look.final) / RESULTS, wanted, judge)
                    for task, leaves in read.items():
                        if isinstance(leaves, str):
                            raise SafemergeError(f"{look.final}: {leaves}; run the sweep again.")
                        found[task].append(leaves)
            if all(len(models) == len(looks) for models in found.values()):
                return found
        return {}
