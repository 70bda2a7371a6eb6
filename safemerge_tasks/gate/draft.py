"""A first policy from a baseline, with comments that say what each line does."""

import json
from collections.abc import Iterator

from safemerge_tasks.gate.plan import plan
from safemerge_tasks.gate.policy import DEFAULTS, Policy
from safemerge_tasks.results.evaluation import Evaluation
from safemerge_tasks.statistics.increase import Increase
from safemerge_tasks.statistics.power import smallest_detectable


def draft_policy(baseline: Evaluation) -> str:
    """Return YAML that asks for what is checked without a policy."""
    return "\n".join(_lines(baseline)) + "\n"


def _lines(baseline: Evaluation) -> Iterator[str]:
    yield "# What a release has to satisfy; `safemerge check --policy` reads it."
    yield "# Of the one-sided bounds: how sure a regression, or that there is none, has to be."
    yield f"confidence: {DEFAULTS.confidence}"
    yield "# With a larger share of questions without a verdict nothing passes."
    yield f"max_unscored: {DEFAULTS.max_unscored}"
    yield "# Nor with a larger share of empty answers."
    yield f"max_empty: {DEFAULTS.max_empty}"
    yield "# Nor, where it is set, with more answers cut at the token limit."
    yield "# max_truncated: 0.5"
    yield "# With fewer questions nothing is decided."
    yield f"min_questions: {DEFAULTS.min_questions}"
    yield "# What is worse for sure, but within its margin: warn or fail."
    yield f"surely_worse: {DEFAULTS.surely_worse}"
    yield "# What does not pass blocks the release; a task or metric may also only warn or inform."
    yield f"tier: {DEFAULTS.tier}"
    yield "# The field of a question whose equal values mark questions that are not independent,"
    yield "# such as translations of one question."
    yield "cluster_by: cluster"
    yield "tasks:"
    seen: set[str] = set()
    for check in plan(Policy(), baseline, baseline):
        if check.task in seen:
            continue
        seen.add(check.task)
        result = baseline.tasks[check.task]
        scores = result.scores.get(check.judge)
        yield f"  {json.dumps(check.task)}:"
        yield "    # Whose verdicts count; another judge, or revision of it, is refused."
        yield f"    judge: {json.dumps(check.judge)}"
        yield "    metrics:"
        yield f"      {json.dumps(check.metric)}:"
        limit, value = (
            ("max_drop", check.criteria.max_drop)
            if check.criteria.max_drop is not None
            else ("max_increase", check.criteria.max_increase)
        )
        yield f"        # The largest {limit.removeprefix('max_')} that is allowed; passed if the"
        yield "        # upper bound is within it, with what has no verdict counted as harmful."
        if scores:
            total = len(scores.questions)
            quiet = Increase(0, 0, 0, 1, total, total, total, 0)
            least = f"{smallest_detectable(quiet):.1%}"
            yield f"        # {total:,} questions can find a change of {least}, at best."
        yield f"        {limit}: {value}"
        rate = result.rates.get(check.judge, {}).get(check.metric)
        if rate:
            yield f"        # The baseline has {rate.value:.4g}. To limit the rate itself:"
            yield "        # max: 0.10  # a share, so 10 %"
        questions = scores.questions if scores else []
        categories = sorted({one.category for one in questions} - {""})
        if categories:
            names = ", ".join(json.dumps(name) for name in categories[:4])
            yield f'        # For categories ({names}, …) or, as "*", for each:'
            yield '        # categories: {"*": {max_increase: 0.2}}'
