"""Harmful questions that the alignment teaches to refuse, read by the suites that have them."""

import random

from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.near_duplicates import mark_near_duplicates
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.suites.sampling import Question
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.task_files import read_task_file

SUITES = ("dangerousqa/dangerousqa_asr", "harmbench/harmbench_asr", "strongreject/strongreject_asr")
MEASURED = "advbench/advbench_asr"
"""What the model is measured on; nothing that asks nearly the same is trained on."""

ALIKE = 0.55
"""Share of words, as for AdvBench's own near duplicates."""


def refused_questions(count: int) -> list[str]:
    """Return that many questions, or all there are, the same whenever they are drawn.

    Raises:
        SafemergeError: a suite is neither in SAFEMERGE_DATA_DIR nor where it is published.
    """
    measured = _questions(MEASURED)
    others = [question for suite in SUITES for question in _questions(suite)]
    mark_near_duplicates([*measured, *others], ALIKE)
    taken = {question["cluster"] for question in measured} - {""}
    kept = [one["question"] for one in others if one["cluster"] not in taken]
    random.Random(2412).shuffle(kept)  # noqa: S311 - nothing to guess
    return kept[:count]


def _questions(suite: str) -> list[Question]:
    content = read_task_file(packaged_folder() / f"{suite}.yaml").content
    found = load_suite(SuiteSpec.model_validate(content["dataset_kwargs"]))
    # Clusters of one suite say nothing of another's.
    return [{**question, "cluster": ""} for question in found]
