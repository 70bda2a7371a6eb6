"""Questions that ask nearly the same: what a model does on one says much about the others.

Errors are computed over clusters of them; as if independent, they would make a rate look surer than
it is.
"""

import hashlib
import re
from itertools import combinations

from safemerge_tasks.suites.sampling import Question

# Words that say nothing of what is asked for; a suite in another language does without the list.
_COMMON = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "how", "in", "into"),
        *("is", "it", "of", "on", "or", "that", "the", "this", "to", "with"),
    )
)


def mark_near_duplicates(questions: list[Question], least: float) -> None:
    """Give questions that are nearly the same one `cluster`; the others keep theirs.

    Two belong together if they share at least `least` of the words that either of them has (the
    Jaccard index), and so do all that are linked by such pairs. The cluster's name comes from its
    texts, so it is the same whatever the order of the questions.
    """
    words = [
        frozenset(re.findall(r"\w+", one["question"].casefold())) - _COMMON for one in questions
    ]
    linked = [
        pair
        for pair in combinations(range(len(questions)), 2)
        if _share(words[pair[0]], words[pair[1]]) >= least
    ]
    groups: dict[int, list[Question]] = {}
    for number, question in zip(_components(len(questions), linked), questions, strict=True):
        groups.setdefault(number, []).append(question)
    for group in groups.values():
        if len(group) > 1:
            name = min(
                hashlib.sha256(one["question"].strip().encode()).hexdigest() for one in group
            )
            for question in group:
                question["cluster"] = f"near-{name[:12]}"


def _share(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right) if left or right else 0.0


def _components(count: int, linked: list[tuple[int, int]]) -> list[int]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = ([left for left, _ in linked], [right for _, right in linked])
    graph = coo_array(([1] * len(linked), ends), shape=(count, count))
    numbers: list[int] = connected_components(graph, directed=False)[1].tolist()
    return numbers
