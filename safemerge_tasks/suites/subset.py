"""A fixed part of a suite for frequent runs, `--metadata subset=tiny`.

Questions are put in the order of their categories, of clusters within those, and of a hash within
clusters; every n-th is taken, from a place that a hash fixes. Such a systematic sample (Madow and
Madow 1944, Annals of Mathematical Statistics 15; Cochran 1977, Sampling Techniques, chapter 8) has
of each category and cluster the share that the suite has, give or take one question, and each
question has the same chance to be in it. So each stands for equally many, and the plain mean is the
design's own unbiased estimate of the suite's rate. All models are asked the one draw and share its
error: `statistics.fixed_part` says what that makes of the interval.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.sampling import Question

TINY = 100
"""Questions in it."""
WHOLE = 150
"""Suites of so many questions or fewer stay whole."""
KEY = "subset"


class Drawn(NamedTuple):
    """Questions that are asked, and what is stored of how they were drawn.

    Attributes:
        questions: in the suite's order.
        design: None where the suite is whole.
    """

    questions: list[Question]
    design: dict[str, Any] | None


def drawn_as(questions: list[Question], metadata: Mapping[str, Any]) -> Drawn:
    """Return the questions that lm-eval's `--metadata` asks for.

    Raises:
        SafemergeError: an unknown subset.
    """
    asked = metadata.get(KEY, "all")
    if asked not in ("all", "tiny"):
        raise SafemergeError(f"{KEY}={asked}: give tiny or all.")
    if asked == "all" or len(questions) <= WHOLE:
        return Drawn(questions, None)
    places = systematic(questions, TINY, float(int(_hash("start")[:8], 16)) / 16**8)
    design = {
        "name": asked,
        "questions": len(places),
        "of": len(questions),
        "each_stands_for": len(questions) / len(places),
    }
    return Drawn([questions[place] for place in sorted(places)], design)


def systematic(questions: list[Question], count: int, start: float) -> list[int]:
    """Return the places of a systematic sample.

    Translations of one question, which share a cluster, are in the samples of all languages or of
    none, if the categories are called alike.

    Args:
        questions: more than `count`.
        count: how many are drawn.
        start: from 0 to 1; uniform, it gives every question the chance `count / len(questions)`.
    """
    order = sorted(range(len(questions)), key=lambda place: _rank(questions[place]))
    step = len(questions) / count
    return [order[int((number + start) * step)] for number in range(count)]


def _rank(question: Question) -> tuple[str, ...]:
    text = question["question"].strip()
    group = question["cluster"] or text
    return question["category"], question["subcategory"], _hash(group), _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(f"{KEY}\0{text}".encode()).hexdigest()
