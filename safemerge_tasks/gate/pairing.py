"""The same questions of two evaluations beside each other, and what keeps them from comparing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results.evaluation import Evaluation, ScoredQuestion, Scores, TaskResult

ACCEPTABLE = {
    "version": "version",
    "judge": "judge",
    "prompts": "prompts",
    "chat template": "chat-template",
    "generation": "generation",
    "system prompt": "prompts",
    "few-shot examples": "prompts",
    "repeats": "generation",
    "attack": "attack",
    "beginning of answers": "prompts",
    "thinking": "thinking",
    "question set": "questions",
}
"""What may differ → the word that accepts it."""

EXAMPLES = 3


class QuestionPair(NamedTuple):
    """One question in both evaluations."""

    baseline: ScoredQuestion
    candidate: ScoredQuestion


class Difference(NamedTuple):
    """Something that is not the same in both evaluations."""

    task: str
    what: str
    detail: str

    @property
    def accepted_by(self) -> str:
        """The word of `--accept` for it."""
        return ACCEPTABLE[self.what]


def accepted_words(given: Iterable[str]) -> list[str]:
    """Return the words of `--accept`, which may hold several with commas between them.

    Raises:
        SafemergeError: one is not known.
    """
    known = sorted(set(ACCEPTABLE.values()))
    words = [part.strip() for one in given for part in one.split(",") if part.strip()]
    for word in words:
        if word not in known:
            raise SafemergeError(f"--accept {word} is not known; known are {', '.join(known)}.")
    return words


def pair(baseline: Scores | None, candidate: Scores | None) -> list[QuestionPair] | None:
    """Return the questions that both have; equal documents pair in their order.

    Args:
        baseline: sorted by document, as `results.loading` leaves them; None without samples, when
            there is nothing to pair.
        candidate: likewise.
    """
    if baseline is None or candidate is None:
        return None
    old, new = baseline.questions, candidate.questions
    pairs = []
    i = j = 0
    while i < len(old) and j < len(new):
        left, right = old[i].key, new[j].key
        if left == right:
            pairs.append(QuestionPair(old[i], new[j]))
        i += left <= right
        j += right <= left
    return pairs


def differences(
    task: str,
    baseline: TaskResult,
    candidate: TaskResult,
    judge: str,
    pairs: Sequence[QuestionPair] | None,
) -> list[Difference]:
    """Return all that keeps two results of a task under one judge from being comparable.

    Args:
        task: its name.
        baseline: the task's result there.
        candidate: the task's result there.
        judge: whose verdicts are compared.
        pairs: `pair` of both; None where there are no samples to pair.
    """
    found = [
        Difference(task, what, f"{_short(old)} in the baseline, {_short(new)} in the candidate")
        for what in {**baseline.settings, **candidate.settings}
        if (old := baseline.settings.get(what)) != (new := candidate.settings.get(what))
    ]
    old_judge, new_judge = baseline.judges.get(judge), candidate.judges.get(judge)
    if old_judge != new_judge:
        found.append(Difference(task, "judge", f"{judge}: {_keys(old_judge, new_judge)}"))
    if pairs is not None:
        found += _questions(task, baseline.scores[judge], candidate.scores[judge], pairs)
    elif (old_size := _size(baseline, judge)) != (new_size := _size(candidate, judge)):
        detail = f"{old_size} questions in the baseline, {new_size} in the candidate"
        found.append(Difference(task, "question set", detail))
    return found


def refuse(
    baseline: Evaluation, candidate: Evaluation, found: Iterable[Difference], accept: Sequence[str]
) -> list[Difference]:
    """Return the accepted differences.

    Raises:
        SafemergeError: there are others; names each.
    """
    everything = list(found)
    refused = [one for one in everything if one.accepted_by not in accept]
    if refused:
        words = " ".join(dict.fromkeys(f"--accept {one.accepted_by}" for one in refused))
        named = "; ".join(f"{one.task}: {one.what} ({one.detail})" for one in refused)
        raise SafemergeError(
            f"{candidate.source} cannot be compared with {baseline.source}, because these differ: "
            f"{named}. Evaluate both alike, or add {words}."
        )
    return everything


def _questions(
    task: str, baseline: Scores, candidate: Scores, pairs: Sequence[QuestionPair]
) -> list[Difference]:
    found = []
    sizes = len(baseline.questions), len(candidate.questions)
    if sizes != (len(pairs), len(pairs)):
        old, new = (Counter(one.key for one in side.questions) for side in (baseline, candidate))
        names = {one.key: one.id for side in (baseline, candidate) for one in side.questions}
        examples = [names[key] for key in list((old - new) + (new - old))[:EXAMPLES]]
        detail = (
            f"{len(pairs)} in common, {sizes[0] - len(pairs)} only in the baseline, "
            f"{sizes[1] - len(pairs)} only in the candidate, such as {', '.join(examples)}"
        )
        found.append(Difference(task, "question set", detail))
    changed = [new.id for old, new in pairs if old.prompt != new.prompt]
    if changed:
        detail = f"{len(changed)} questions, such as {', '.join(changed[:EXAMPLES])}"
        found.append(Difference(task, "prompts", detail))
    return found


def _size(result: TaskResult, judge: str) -> int:
    if judge in result.scores:
        return len(result.scores[judge].questions)
    return max((rate.questions for rate in result.rates.get(judge, {}).values()), default=0)


def _keys(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    if old is None or new is None:
        return f"not described in the {'baseline' if old is None else 'candidate'}"
    return ", ".join(
        f"{key} {_short(old.get(key))} and {_short(new.get(key))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
