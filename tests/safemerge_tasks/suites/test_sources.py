"""Where questions are looked for, and what is said where they are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import SuiteSpec, load_suite

SpecOf = Callable[[str], SuiteSpec]


def spec(**given: Any) -> SuiteSpec:
    return SuiteSpec.checked({"suite": "own", "question": "q", **given}, where="own")


class Hub:
    """Stands in for `datasets.load_dataset` and remembers how it was called."""

    def __init__(self, outcome: list[dict[str, Any]] | Exception) -> None:
        self.outcome = outcome
        self.asked: tuple[Any, ...] = ()

    def __call__(self, *names: Any, **options: Any) -> datasets.Dataset:
        self.asked = (*names, options)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return datasets.Dataset.from_list(self.outcome)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Hub]:
    def answer(outcome: Any) -> Hub:
        stand_in = Hub(outcome)
        monkeypatch.setattr(datasets, "load_dataset", stand_in)
        return stand_in

    return answer


def test_rows_of_a_split(hub: Callable[[Any], Hub]) -> None:
    asked = hub([{"q": "Bake?", "n": 1}])
    questions = load_suite(spec(hub="we/bread", config="rye", split="zh", revision="abc"))
    assert questions[0]["question"] == "Bake?"
    assert asked.asked == ("we/bread", "rye", {"split": "zh", "revision": "abc"})


def test_a_local_copy_of_the_rows_goes_before_the_hub(
    data: Path, hub: Callable[[Any], Hub]
) -> None:
    hub(AssertionError("the Hub was asked"))
    (data / "own.jsonl").write_text('{"q": "Paint?"}\n')
    assert load_suite(spec(hub="we/bread", split="train"))[0]["question"] == "Paint?"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ValueError('Unknown split "zh".\nShould be one of [en].'),
            r"split \"zh\"\. Should be one",
        ),
        (ConnectionError("no route"), r"could not be fetched \(ConnectionError\): connect, or put"),
        (
            datasets.exceptions.DatasetGenerationError("bad file"),
            r"own \(we/bread\): bad file",
        ),
    ],
)
def test_rows_that_cannot_be_had(
    hub: Callable[[Any], Hub], error: Exception, sentence: str
) -> None:
    hub(error)
    with pytest.raises(SafemergeError, match=sentence):
        load_suite(spec(hub="we/bread", split="zh"))


def test_rows_without_a_network() -> None:
    with pytest.raises(SafemergeError, match=r"own \(we/bread\) .*SAFEMERGE_DATA_DIR/own\.jsonl"):
        load_suite(spec(hub="we/bread", split="zh"))


def test_a_file_without_a_network(spec_of: SpecOf) -> None:
    with pytest.raises(
        SafemergeError, match=r"raw\.githubusercontent\.com .*SAFEMERGE_DATA_DIR/dangerousqa\.json"
    ):
        load_suite(spec_of("dangerousqa_asr"))


def test_a_fetched_file_is_not_asked_for_again(
    spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path)
    suite = spec_of("dangerousqa_asr")
    assert suite.url is not None
    name = datasets.utils.file_utils.hash_url_to_filename(suite.url)
    (tmp_path / name).write_text(str([f"Bake {n}?" for n in range(200)]).replace("'", '"'))
    assert len(load_suite(suite)) == 200


def test_a_file_named_in_full_may_move_to_the_data_folder(tmp_path: Path, data: Path) -> None:
    gone = str(tmp_path / "elsewhere" / "prompts.csv")
    with pytest.raises(SafemergeError, match=r"SAFEMERGE_DATA_DIR/prompts\.csv"):
        load_suite(spec(parts=[{"file": gone}]))
    (data / "prompts.csv").write_text("q\nBake?\n")
    assert load_suite(spec(parts=[{"file": gone}]))[0]["question"] == "Bake?"


def test_a_file_beside_its_yaml(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("q\nBake?\n")
    given = {"suite": "own", "question": "q", "parts": [{"file": "prompts.csv"}]}
    suite = SuiteSpec.checked(given, where="own", beside=tmp_path)
    assert load_suite(suite)[0]["question"] == "Bake?"
    elsewhere = SuiteSpec.checked(given, where="own", beside=tmp_path / "elsewhere")
    assert elsewhere.parts[0].file == "prompts.csv"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "give `parts`, or `hub` with `split`"),
        ({"split": "train"}, "`split` needs `hub`"),
        ({"parts": [{"fil": "x"}]}, r"parts\.0\.fil is not .* did you mean file\?"),
        (
            {"parts": [{"file": "x"}], "sample": {"cout": 1}},
            r"first of 2 .* sample\.cout is not .* did you mean count\?",
        ),
        ({"parts": [{"file": "x"}], "parallel": True}, "`parallel` needs `category`"),
        ({"parts": [{"file": "x"}], "header": False}, "`question` is a column number"),
        (
            {"parts": [{"file": "x"}], "format": "xml"},
            r"format is 'xml': Input should be 'csv', 'json'",
        ),
    ],
)
def test_keys_that_do_not_fit_together(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=rf"own: dataset_kwargs.*{sentence}"):
        spec(**given)


def test_all_problems_of_the_keys_at_once() -> None:
    given = {"suite": "Own!", "questoin": "q", "parts": [{"file": "x"}], "rows": 0}
    problems = SuiteSpec.problems(given)
    assert len(problems) == 4
    assert any("did you mean question?" in problem for problem in problems)
