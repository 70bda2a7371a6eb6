"""`--metadata subset=tiny`: what is drawn, and how often its interval holds the suite's rate."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.frozen import freeze, load_frozen
from safemerge_tasks.gate.pairing import differences, pair
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.measure import from_counts, from_questions
from safemerge_tasks.report.reading import against_first, read_models
from safemerge_tasks.results import write_run
from safemerge_tasks.results.evaluation import ScoredQuestion
from safemerge_tasks.results.loading import load_folder
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


def held(questions: list[Question], places: list[int], generator: np.random.Generator) -> float:
    """Return for which share of 200 models the report's interval holds the suite's rate."""
    inside = 0
    for _ in range(200):
        outcomes = harm(questions, generator)
        scored = [
            ScoredQuestion(str(n), b"", b"", "", "", questions[n]["cluster"], False, True, (y,))
            for n, y in zip(places, outcomes[places].tolist(), strict=True)
        ]
        found = from_questions(scored, 0, stands_for=len(questions) / len(places))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= outcomes.mean() <= found.high
    return inside / 200


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
    assert held(questions, places, np.random.default_rng(11)) >= 0.95


def test_the_first_hundred_would_not_do() -> None:
    """What the test above can find: a part that is not spread over the categories."""
    assert held(bakery(550, 11), list(range(100)), np.random.default_rng(11)) < 0.85


@pytest.mark.parametrize("salt", ["", "another"])
def test_it_holds_for_most_models_of_most_families(salt: str) -> None:
    """Models of one family find the same questions hard, and the subset is one draw for all.

    With 90 % of difficulty shared it holds in some 95 % of families; chance takes a few of 120.
    """
    size, families = 1040, 120
    questions = [{**one, "question": salt + one["question"]} for one in bakery(size)]
    numbers = {one["question"]: n for n, one in enumerate(questions)}
    places = [numbers[one["question"]] for one in drawn_as(questions, TASK).questions]
    ends = {
        each: np.array(
            [
                (one.low, one.high)
                for hits in range(TINY + 1)
                if (one := from_counts({"harmful": hits, "scored": TINY, "total": TINY}, each))
            ]
        )
        for each in (1.0, size / TINY)
    }
    generator = np.random.default_rng(3)
    enough: Counter[float] = Counter()
    for _ in range(families):
        shared = generator.normal(size=size)
        own = generator.normal(size=(60, size))
        limits = generator.normal(-1, 1.5, size=(60, 1))
        outcomes = np.sqrt(0.9) * shared + np.sqrt(0.1) * own < limits
        rates, hits = outcomes.mean(axis=1), outcomes[:, places].sum(axis=1)
        for each, (low, high) in ((each, found[hits].T) for each, found in ends.items()):
            enough[each] += bool(((low <= rates) & (rates <= high)).mean() >= 0.95)
    assert enough[size / TINY] >= 0.9 * families
    assert enough[1.0] <= enough[size / TINY] - 0.05 * families


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


def test_the_stored_draw_reaches_report_gate_and_frozen_baseline(tmp_path: Path) -> None:
    asked, design = drawn_as(bakery(520), TASK)
    rows = [sample_row(n, "odd", {"asr": float(n < 30)}, dict(one)) for n, one in enumerate(asked)]
    ours = {"bakery_asr": {"kind": "harmful_questions", "subset": design}}
    summary = summary_of({"bakery_asr": {"asr,odd": 0.3}}, ours=ours)
    for name in "ab":
        write_run(tmp_path / name, "2026-01-01", summary, {"bakery_asr": rows})
    models = read_models([tmp_path / name for name in "ab"])
    (measure, *others) = [model.tasks["bakery_asr"].measure("odd", "asr") for model in models]
    assert others == [measure]
    # As in tests/safemerge_tasks/report/test_measure.py; (0.2189, 0.3958) for 100 of any.
    assert measure is not None
    assert (measure.low, measure.high) == pytest.approx((0.2068, 0.4133), abs=1e-4)
    by_category = models[0].tasks["bakery_asr"].by_group("odd", "asr", "category")
    some = [one for one in by_category.values() if one.scored > 1 and one.low is not None]
    for one in some:
        ends = from_counts({"harmful": one.hits, "scored": one.scored, "total": one.total}, 5.2)
        assert ends is not None
        assert (one.low, one.high) == (ends.low, ends.high)
    assert len(some) > 1
    (release,) = against_first(models, Policy())
    assert release.result is not None
    (comparison,) = release.result.comparisons
    for side in (comparison.baseline, comparison.candidate):
        assert (side.low, side.high) == (measure.low, measure.high)
    freeze(load_folder(tmp_path / "a"), tmp_path / "frozen.json", "cluster")
    assert load_frozen(tmp_path / "frozen.json", "cluster").tasks["bakery_asr"].stands_for == 5.2
