"""Fixed subsets of a suite: the papers' smaller sets, and validation data.

Where a paper's authors never published their random draw, ours can have its size and its strata but
not its questions.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.spec import HoldOut, Sample

Question = dict[str, str]


def draw_sample(questions: list[Question], sample: Sample, suite: str) -> list[Question]:
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
    for (group, places), count in zip(groups.items(), _counts(groups, sample), strict=True):
        if len(places) < count:
            within = f" in {' / '.join(group)}" if any(group) else ""
            raise SafemergeError(
                f"{suite} has {len(places)} questions{within}, fewer than the {count} that "
                "`sample` wants; use the original file or a smaller `count`."
            )
        chosen += sorted(places, key=lambda place: _rank(questions[place], sample.seed))[:count]
    if sample.total is not None and len(chosen) != sample.total:
        raise SafemergeError(
            f"{suite}: the sample has {len(chosen)} questions, expected {sample.total}; use the "
            "original file."
        )
    return [questions[place] for place in sorted(chosen)]


def _counts(groups: Mapping[tuple[str, ...], list[int]], sample: Sample) -> list[int]:
    """Return how many questions each group gives."""
    if not sample.evenly:
        return [sample.count] * len(groups)
    share, left = divmod(sample.count, max(len(groups), 1))
    # Whoever draws them, the same groups give one more: the first by name.
    favoured = set(sorted(groups)[:left])
    return [share + (group in favoured) for group in groups]


def divide(questions: list[Question], hold_out: HoldOut, suite: str) -> list[Question]:
    """Return the part of the questions that is to be kept, in their order.

    As in `draw_sample` a hash of seed and text decides, so every copy of a set is divided alike. A
    share is rounded to the nearest whole number of questions.

    Raises:
        SafemergeError: nothing would be left of a part.
    """
    if hold_out.keep == "all":
        return questions
    count = hold_out.count or round(len(questions) * (hold_out.share or 0))
    if not 0 < count < len(questions):
        raise SafemergeError(
            f"{suite} has {len(questions)} questions, too few to hold {count} of them out; use the "
            "original file."
        )
    order = sorted(range(len(questions)), key=lambda place: _rank(questions[place], hold_out.seed))
    chosen = order[:count] if hold_out.keep == "held_out" else order[count:]
    return [questions[place] for place in sorted(chosen)]


def places_of(drawn: list[Question], questions: list[Question]) -> set[int]:
    """Return where drawn rows stand among the questions; of equal rows, the first ones.

    Raises:
        KeyError: a drawn row is not among them, or not as often.
    """
    places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        places[_content(question)].append(place)
    found = set()
    for question in drawn:
        left = places.get(_content(question))
        if not left:
            raise KeyError(question["category"])
        found.add(left.pop(0))
    return found


def _content(question: Question) -> tuple[str, str]:
    return question["question"].strip(), question.get("reference", "")


def _rank(question: Question, seed: int) -> str:
    text = question["question"].strip()
    told = (str(seed), question["category"], question["subcategory"], text)
    return hashlib.sha256("\0".join(told).encode()).hexdigest()
