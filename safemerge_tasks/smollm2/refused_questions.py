"""Harmful questions that the alignment teaches to refuse, read by the suites that have them."""

import random

from safemerge_tasks.suites.load import load_suite
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.task_files import read_task_file

TASKS = ("dangerousqa/dangerousqa_asr.yaml", "catqa/catqa_asr_en.yaml")


def refused_questions(count: int) -> list[str]:
    """Return that many questions, the same whenever they are drawn.

    Raises:
        SafemergeError: a suite is neither in SAFEMERGE_DATA_DIR nor where it is published.
    """
    questions: list[str] = []
    for name in TASKS:
        content = read_task_file(packaged_folder() / name).content
        spec = SuiteSpec.model_validate(content["dataset_kwargs"])
        questions += [one["question"] for one in load_suite(spec)]
    random.Random(2412).shuffle(questions)  # noqa: S311 - nothing to guess
    return questions[:count]
