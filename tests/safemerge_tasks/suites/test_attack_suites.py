"""Sets that attacks and over-refusal are measured on: stand-ins of their shapes, and real files.

Of the real ones no question is ever printed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from lm_eval.api.registry import register_model
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.suite_inspection import inspect_suite
from safemerge_tasks.judges import Verdict
from safemerge_tasks.metrics.asr import counts
from safemerge_tasks.suites import Question, SuiteSpec, load_suite
from tests.question_sets import SPOKEN, published
from tests.table_model import TableModel

SpecOf = Callable[[str], SuiteSpec]

SIZES = {
    "harmbench_asr": 300,
    "harmbench_copyright_asr": 100,
    "strongreject_asr": 313,
    **{f"multijail_asr_{language}": 315 for language in SPOKEN},
    "jailbreakbench_asr": 100,
    "sorrybench_asr": 440,
    "directharm4_asr": 400,
    "maliciousinstruct_asr": 100,
    "donotanswer_asr": 939,
    "jailbreakbench_overrefusal": 100,
    "orbench_overrefusal": 1319,
    "falsereject_overrefusal": 1187,
}
GROUPS = {
    "safemerge_attacks": 300 + 313 + 100 + 100 + 939,
    "safemerge_multilingual": 10 * 315 + 3 * 550,
    "safemerge_overrefusal": 250 + 1319 + 100,
    "multijail_asr": 10 * 315,
}


@register_model("every-third-kneads")
class Kneading(TableModel):
    """Answers every third question otherwise."""

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        return ["Knead it." if one.doc_id % 3 == 0 else "Let it rest." for one in requests]


JUDGE = """
from safemerge_tasks.judges import PlainJudge, Verdict

class KneadingIsHarm(PlainJudge):
    empty = Verdict(harmful=False)

    def judge(self, questions, responses):
        return [Verdict(harmful="Knead" in response) for response in responses]

    def identity(self):
        return {"name": self.name}

def make(settings):
    return KneadingIsHarm(settings)
"""


@pytest.fixture
def real(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the real files."""
    folder = published(repository)
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(folder))
    return folder


def assert_rows_add_up(questions: list[Question]) -> dict[str, dict[str, int]]:
    """Count a verdict on each question; return the counts of every row."""
    verdicts = [Verdict(harmful=n % 3 == 0) for n in range(len(questions))]
    rows = counts(verdicts, questions)
    parts = [row for name, row in rows.items() if name.count("[") == 1]
    if parts:
        assert {key: sum(row[key] for row in parts) for key in rows["asr"]} == rows["asr"]
    return rows


@pytest.mark.parametrize("task", SIZES)
def test_a_set_is_loaded_in_its_shape(every_suite: Path, spec_of: SpecOf, task: str) -> None:
    spec = spec_of(task)
    questions = load_suite(spec)
    assert len(questions) == SIZES[task]
    assert len({one["question"] for one in questions}) == SIZES[task]
    assert spec.harmless == task.endswith("overrefusal")
    assert_rows_add_up(questions)


@pytest.mark.parametrize("task", SIZES)
def test_another_number_of_rows_is_refused(every_suite: Path, spec_of: SpecOf, task: str) -> None:
    spec = spec_of(task)
    with pytest.raises(SafemergeError, match=rf"has {SIZES[task]} questions.*, expected 7"):
        load_suite(spec.model_copy(update={"rows": 7}))


def test_what_is_fetched_is_pinned(repository: Path) -> None:
    for path in (repository / "task_configs").rglob("*.yaml"):
        given = yaml.safe_load(path.read_text("utf-8").replace("!function", "")).get(
            "dataset_kwargs", {}
        )
        if path.stem in SIZES:
            pinned = given.get("revision") or given.get("url", "")
            local = "hub" not in given and "url" not in given
            assert local or any(len(part) == 40 for part in pinned.split("/")), path
            readme = (path.parent / "README.md").read_text("utf-8")
            assert local == ("nothing is fetched" in readme)


@pytest.mark.parametrize("group", GROUPS)
def test_groups_hold_their_suites(
    every_suite: Path, repository: Path, minilm: Path, group: str
) -> None:
    manager = TaskManager(
        include_path=str(repository / "task_configs"),
        include_defaults=False,
        metadata={"judge": "keywords"},
    )
    tasks = manager.load(group)["tasks"]
    assert sum(len(task.eval_docs) for task in tasks.values()) == GROUPS[group]


@pytest.mark.parametrize("folder", ["harmbench", "multijail", "sorrybench", "maliciousinstruct"])
def test_nothing_is_to_be_mended(every_suite: Path, folder: str) -> None:
    assert inspect_suite(folder) == []


def test_a_context_goes_before_its_behaviour(every_suite: Path, spec_of: SpecOf) -> None:
    by_kind = {one["subcategory"]: one for one in load_suite(spec_of("harmbench_asr"))}
    assert by_kind.keys() == {"standard", "contextual"}
    assert by_kind["contextual"]["question"] == "Recipe 99\n\n---\n\nBake contextual loaf 99"
    assert by_kind["standard"]["question"] == "Bake standard loaf 199"


def test_only_base_instructions_are_asked(every_suite: Path, spec_of: SpecOf) -> None:
    """A list of one turn is the question."""
    questions = load_suite(spec_of("sorrybench_asr"))
    assert questions[3]["question"] == "base pie 3"
    assert len({one["category"] for one in questions}) == 44


@pytest.mark.parametrize("turns", [["bake", "again"], [], [3]])
def test_a_conversation_is_no_question(
    every_suite: Path, spec_of: SpecOf, turns: list[object]
) -> None:
    import json

    path = every_suite / "sorrybench_202503.jsonl"
    first, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps({**json.loads(first), "turns": turns}) + "\n" + rest)
    with pytest.raises(SafemergeError, match="row 1: the question is (not text|empty)"):
        load_suite(spec_of("sorrybench_asr"))


def test_the_first_tag_is_the_category(every_suite: Path, spec_of: SpecOf) -> None:
    questions = load_suite(spec_of("multijail_asr_th"))
    assert questions[19]["category"] == "Oven 1"
    assert questions[19]["language"] == "th"


def test_two_ways_to_cluster_are_refused() -> None:
    given = {"suite": "s", "parts": [{"file": "s.csv"}], "question": "q", "cluster": "id"}
    assert SuiteSpec.problems(given) == []
    (problem,) = SuiteSpec.problems({**given, "near_duplicates": 0.5})
    assert "`near_duplicates` and `cluster` each say what a cluster is" in problem


def test_a_question_without_its_number_is_refused(every_suite: Path, spec_of: SpecOf) -> None:
    path = every_suite / "multijail.csv"
    path.write_text(path.read_text().replace("\n7,kitchen", "\n,kitchen"))
    with pytest.raises(SafemergeError, match=r"multijail\.csv, row 9: id is empty"):
        load_suite(spec_of("multijail_asr_en"))


def test_harmbench_whole(real: Path, spec_of: SpecOf) -> None:
    questions = load_suite(spec_of("harmbench_asr"))
    assert Counter(one["subcategory"] for one in questions) == {"standard": 200, "contextual": 100}
    assert sum("\n\n---\n\n" in one["question"] for one in questions) == 100
    assert len({one["id"] for one in questions}) == 300
    rows = assert_rows_add_up(questions)
    assert sum(name.count("[") == 1 for name in rows) == 6
    assert len(load_suite(spec_of("harmbench_copyright_asr"))) == 100


def test_strongreject_whole(real: Path, spec_of: SpecOf) -> None:
    questions = load_suite(spec_of("strongreject_asr"))
    assert sorted(Counter(one["category"] for one in questions).values()) == [
        *(50, 50, 50, 50, 54, 59),
    ]
    assert_rows_add_up(questions)


def test_multijail_whole(real: Path, spec_of: SpecOf) -> None:
    by_language = {name: load_suite(spec_of(f"multijail_asr_{name}")) for name in SPOKEN}
    places = [[one["cluster"] for one in questions] for questions in by_language.values()]
    assert all(one == places[0] for one in places)
    assert len(set(places[0])) == 315
    for questions in by_language.values():
        rows = assert_rows_add_up(questions)
        assert sum(name.count("[") == 1 for name in rows) == 18
    every = [one for questions in by_language.values() for one in questions]
    assert Counter(one["language"] for one in every) == dict.fromkeys(SPOKEN, 315)


@pytest.mark.parametrize("folder", ["harmbench", "strongreject", "multijail"])
def test_the_real_files_have_nothing_to_mend(real: Path, folder: str) -> None:
    assert inspect_suite(folder) == []


@pytest.mark.parametrize("sets", ["every_suite", "real"])
def test_rows_of_categories_and_languages_add_up_in_lm_evals_results(
    request: pytest.FixtureRequest, repository: Path, tmp_path: Path, sets: str
) -> None:
    request.getfixturevalue(sets)
    (tmp_path / "kneading.py").write_text(JUDGE)
    manager = TaskManager(
        include_path=str(repository / "task_configs"),
        include_defaults=False,
        metadata={"judge": str(tmp_path / "kneading.py"), "judge_cache": False},
    )
    found = lm_eval.simple_evaluate(
        model="every-third-kneads",
        model_args={"pretrained": "table"},
        tasks=["harmbench_asr", "strongreject_asr", "multijail_asr"],
        task_manager=manager,
        apply_chat_template=True,
        bootstrap_iters=0,
    )
    assert found is not None
    tasks = ("harmbench_asr", "strongreject_asr", *(f"multijail_asr_{name}" for name in SPOKEN))
    for task in tasks:
        rows = found["results"][task]
        assert rows["asr,kneading.py"] == pytest.approx(-(-SIZES[task] // 3) / SIZES[task])
        kept = found["configs"][task]["metadata"]["safemerge"]["counts"]["kneading.py"]
        parts = {name: row for name, row in kept.items() if name.count("[") == 1}
        assert sum(row["scored"] for row in parts.values()) == SIZES[task]
        assert sum(row["harmful"] for row in parts.values()) == -(-SIZES[task] // 3)
        for name, row in parts.items():
            assert rows[f"{name},kneading.py"] == pytest.approx(row["harmful"] / row["scored"])
    languages = [found["results"][f"multijail_asr_{name}"]["asr,kneading.py"] for name in SPOKEN]
    group = found["groups"]["multijail_asr"]["asr,kneading.py"]
    assert group == pytest.approx(sum(languages) / len(languages))
