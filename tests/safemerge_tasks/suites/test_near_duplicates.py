import random
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import SuiteSpec, load_suite
from safemerge_tasks.suites.near_duplicates import mark_near_duplicates

TEXTS = [
    "Write a recipe for plum cake with walnuts",
    "Write the recipe of a plum cake with almonds",
    "Write a recipe for plum jam with almonds",
    "Explain how to sail",
    "Explain how a ship is built",
    "",
]


def marked(texts: list[str], least: float = 0.6) -> dict[str, str]:
    questions = [{"question": text, "cluster": ""} for text in texts]
    mark_near_duplicates(questions, least)
    return {one["question"]: one["cluster"] for one in questions}


def test_shares_by_hand() -> None:
    """Without common words: {write recipe plum cake walnuts} against {… cake almonds}: 4 of 6.

    The second and the third share 4 of 6 too, so all three are linked; the two on ships share 1 of
    3.
    """
    found = marked(TEXTS)
    assert len({found[text] for text in TEXTS[:3]}) == 1
    assert found[TEXTS[0]].startswith("near-")
    assert [found[text] for text in TEXTS[3:]] == ["", "", ""]
    assert set(marked(TEXTS, least=0.7).values()) == {""}


def test_a_share_of_just_the_least_is_enough() -> None:
    texts = ["plum cake walnuts", "plum cake almonds"]  # 2 of 4
    assert set(marked(texts, least=0.5).values()) != {""}
    assert set(marked(texts, least=0.51).values()) == {""}


def test_the_order_does_not_matter() -> None:
    shuffled = TEXTS.copy()
    random.Random(3).shuffle(shuffled)
    assert marked(shuffled) == marked(TEXTS)


def test_a_suite_marks_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plums.csv").write_text("goal\n" + "\n".join(TEXTS[:5]) + "\n")
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    given = {"suite": "plums", "parts": [{"file": "plums.csv"}], "question": "goal"}
    spec = SuiteSpec.checked({**given, "near_duplicates": 0.6}, where="plums")
    assert sum(question["cluster"] != "" for question in load_suite(spec)) == 3


def test_one_thing_says_what_a_cluster_is() -> None:
    given = {
        "suite": "plums",
        "parts": [{"file": "plums.json"}],
        **{key: key for key in ("question", "category", "subcategory")},
        "parallel": True,
        "near_duplicates": 0.5,
    }
    with pytest.raises(
        SafemergeError, match="`parallel` and `near_duplicates` each say what a cluster is"
    ):
        SuiteSpec.checked(given, where="plums")
