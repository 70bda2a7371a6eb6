"""A fixed subset of a suite, for the papers' smaller sets.

The papers draw their subsets at random and never published the draw, so ours can have their size
and their strata but not their questions.
"""

import hashlib
from collections import defaultdict

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.suites.spec import Sample

Question = dict[str, str]


def draw(questions: list[Question], sample: Sample, suite: str) -> list[Question]:
    """Return the sampled questions in their order.

    The order of a hash of seed and text decides, so the subset depends on neither the order of the
    rows nor a random number generator.

    Raises:
        SafemergeError: a group has fewer questions than the sample wants, or there are more or
            fewer groups than its total says.
    """
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        groups[tuple(question[key] for key in sample.per)].append(place)
    chosen: list[int] = []
    for group, places in groups.items():
        if len(places) < sample.count:
            within = f" in {' / '.join(group)}" if any(group) else ""
            raise SafemergeError(
                f"{suite} has {len(places)} questions{within}, fewer than the {sample.count} that "
                "`sample` wants; use the original file or a smaller `count`."
            )
        chosen += sorted(places, key=lambda place: _rank(questions[place], sample))[: sample.count]
    if sample.total is not None and len(chosen) != sample.total:
        raise SafemergeError(
            f"{suite}: the sample has {len(chosen)} questions, expected {sample.total}; use the "
            "original file."
        )
    return [questions[place] for place in sorted(chosen)]


def _rank(question: Question, sample: Sample) -> str:
    told = (str(sample.seed), question["category"], question["subcategory"], question["question"])
    return hashlib.sha256("\0".join(told).encode()).hexdigest()
