"""`--metadata subset=tiny`: what is drawn, and how often its interval holds the suite's rate."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.pairing import differences, pair
from safemerge_tasks.results import write_run
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.intervals import wilson_interval
from safemerge_tasks.suites import Question, SuiteSpec, load_suite
from safemerge_tasks.suites.subset import TINY, drawn_as, systematic
from tests.lm_eval_files import sample_row, summary_of

SpecOf = Callable[[str], SuiteSpec]

TASK = {"subset": "tiny"}


def bakery(count: int, categories: int = 7, cluster: int = 1) -> list[Question]:
    """Return questions in uneven categories, `cluster` near-duplicates each."""
    return [
        {
            "question": f"Bake loaf {n // cluster} in way {n % cluster}?",
            "category": f"oven {int(categories * (n / count) ** 2)}",
            "subcategory": "",
            "cluster": f"near-{n // cluster}" if cluster > 1 else "",
        }
        for n in range(count)
    ]


def test_categories_have_their_share() -> None:
    questions = bakery(520)
    drawn, design = drawn_as(questions, TASK)
    assert design == {"name": "tiny", "questions": 100, "of": 520, "each_stands_for": 5.2}
    whole = Counter(one["category"] for one in questions)
    for category, count in Counter(one["category"] for one in drawn).items():
        assert abs(count - whole[category] * 100 / 520) < 1 + 1e-9
    assert drawn == [one for one in questions if one in drawn]


def test_near_duplicates_have_their_share() -> None:
    questions = bakery(600, categories=1, cluster=12)
    drawn, _ = drawn_as(questions, TASK)
    assert len({one["question"] for one in drawn}) == TINY
    # 12 of 600 are 2 of 100, or 1 or 3 where the clusters begin and end.
    assert set(Counter(one["cluster"] for one in drawn).values()) == {2}


def test_whoever_draws_and_in_whatever_order() -> None:
    questions = bakery(520, cluster=3)
    shuffled = [questions[place] for place in np.random.default_rng(5).permutation(520)]
    drawn = {one["question"] for one in drawn_as(questions, TASK).questions}
    assert {one["question"] for one in drawn_as(shuffled, TASK).questions} == drawn
    # The draw may never change: two results of different draws could not be compared.
    assert sorted(drawn)[:3] == FROZEN


FROZEN = ["Bake loaf 0 in way 2?", "Bake loaf 1 in way 1?", "Bake loaf 100 in way 0?"]


def test_every_question_has_the_same_chance() -> None:
    questions = bakery(230)
    starts = (np.arange(2300) + 0.5) / 2300
    times = Counter(place for start in starts for place in systematic(questions, 100, start))
    assert set(times.values()) == {1000}
    assert len(times) == 230


@pytest.mark.parametrize("count", [1, 100, 150])
def test_small_suites_stay_whole(count: int) -> None:
    questions = bakery(count)
    assert drawn_as(questions, TASK) == (questions, None)
    assert drawn_as(bakery(900), {"subset": "all"}) == (bakery(900), None)


@pytest.mark.parametrize("asked", ["small", 100, None, True])
def test_another_subset_is_refused(asked: object) -> None:
    with pytest.raises(SafemergeError, match=f"subset={asked}: give tiny or all"):
        drawn_as(bakery(200), {"subset": asked})


def test_translations_are_drawn_together(every_suite: Path, spec_of: SpecOf) -> None:
    for tasks in (
        [f"catqa_asr_{language}" for language in ("en", "zh", "vi")],
        [f"multijail_asr_{language}" for language in ("en", "th", "sw")],
    ):
        drawn = [drawn_as(load_suite(spec_of(task)), TASK).questions for task in tasks]
        first, *others = [[one["cluster"] for one in questions] for questions in drawn]
        assert len(set(first)) == TINY
        assert all(one == first for one in others)


def harm(questions: list[Question], generator: np.random.Generator) -> np.ndarray:
    """Return a model's outcomes: its harm differs by category, and is alike within clusters."""
    base = generator.beta(0.4, 1.2)
    by_category = {
        one["category"]: np.clip(base + generator.normal(0, 0.25), 0, 1) for one in questions
    }
    mood: dict[str, float] = {}
    for one in questions:
        mood.setdefault(one["cluster"] or one["question"], generator.uniform())
    alike = generator.uniform(0, 0.9)
    own = generator.uniform(size=len(questions))
    follows = generator.uniform(size=len(questions)) < alike
    lots = np.array([mood[one["cluster"] or one["question"]] for one in questions])
    chance = np.array([by_category[one["category"]] for one in questions])
    return (np.where(follows, lots, own) < chance).astype(float)


@pytest.mark.parametrize(
    ("count", "categories", "cluster"),
    [(520, 1, 1), (550, 11, 1), (520, 5, 4), (1960, 10, 2), (313, 6, 1), (200, 1, 10)],
)
def test_the_suites_rate_lies_in_the_subsets_interval(
    count: int, categories: int, cluster: int
) -> None:
    """In at least 95 % of 200 models, with one fixed draw."""
    questions = bakery(count, categories, cluster)
    numbers = {one["question"]: n for n, one in enumerate(questions)}
    places = [numbers[one["question"]] for one in drawn_as(questions, TASK).questions]
    generator = np.random.default_rng(11)
    inside = 0
    errors = []
    for _ in range(200):
        outcomes = harm(questions, generator)
        low, high = wilson_interval(outcomes[places].sum(), len(places))
        inside += low <= outcomes.mean() <= high
        errors.append(outcomes[places].mean() - outcomes.mean())
    assert inside >= 190
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(200) + 0.005


def test_the_first_hundred_would_not_do() -> None:
    """What the test above can find: a part that is not spread over the categories."""
    questions = bakery(550, 11)
    generator = np.random.default_rng(11)
    inside = 0
    for _ in range(200):
        outcomes = harm(questions, generator)
        low, high = wilson_interval(outcomes[:100].sum(), 100)
        inside += low <= outcomes.mean() <= high
    assert inside < 150


def test_a_task_asks_the_subset_and_says_so(every_suite: Path, repository: Path) -> None:
    def asked(subset: str) -> list[dict[str, object]]:
        manager = TaskManager(
            include_path=str(repository / "task_configs"),
            include_defaults=False,
            metadata={"judge": "keywords", "subset": subset},
        )
        tasks = manager.load("safemerge_overrefusal")["tasks"].values()
        stored = [task.dump_config()["metadata"]["safemerge"].get("subset") for task in tasks]
        return [
            {"task": task.config.task, "size": len(task.eval_docs), "stored": one}
            for task, one in zip(tasks, stored, strict=True)
        ]

    whole = {one["task"]: (one["size"], one["stored"]) for one in asked("all")}
    tiny = {one["task"]: (one["size"], one["stored"]) for one in asked("tiny")}
    assert whole["orbench_overrefusal"] == (1319, None)
    size, stored = tiny["orbench_overrefusal"]
    assert (size, stored["of"]) == (100, 1319)  # type: ignore[index]
    assert tiny["jailbreakbench_overrefusal"] == (100, None)


def test_the_gate_pairs_subsets_and_refuses_a_whole_suite_beside_one(tmp_path: Path) -> None:
    questions = bakery(520)

    def results(name: str, asked: list[Question]) -> Path:
        numbers = {one["question"]: n for n, one in enumerate(questions)}
        rows = [
            sample_row(place, "odd", {"asr": float(numbers[one["question"]] % 2)}, dict(one))
            for place, one in enumerate(asked)
        ]
        # As lm-eval numbers them: by their place in what is asked.
        for row, one in zip(rows, asked, strict=True):
            row["doc"]["id"] = one["question"]
            row["doc_hash"] = row["prompt_hash"] = one["question"]
        summary = summary_of({"bakery_asr": {}}, questions=len(rows))
        write_run(tmp_path / name, "2026-01-01", summary, {"bakery_asr": rows})
        return tmp_path / name

    tiny = drawn_as(questions, TASK).questions
    folders = results("a", tiny), results("b", tiny[::-1]), results("c", questions)
    old, new, whole = (load_folder(folder).tasks["bakery_asr"] for folder in folders)
    pairs = pair(old.scores["odd"], new.scores["odd"])
    assert pairs is not None
    assert len(pairs) == TINY
    assert differences("t", old, new, "odd", pairs) == []
    (told,) = (
        one
        for one in differences("t", old, whole, "odd", pair(old.scores["odd"], whole.scores["odd"]))
        if one.what == "question set"
    )
    assert told.detail.startswith("100 in common, 0 only in the baseline, 420 only in")
