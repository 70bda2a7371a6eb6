"""What lm-eval, other tools and accidents leave in a folder."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.decision import compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results import Run
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.decision import Decision
from tests.command_line import Done

from .conftest import sample

Write = Callable[..., Run]


def test_answers_carry_labels_and_no_text(write: Write) -> None:
    run = write("a", [1.0, None])
    scores = load_folder(run.path.parent).tasks["toy_asr"].scores["wildguard"]
    first, second = sorted(scores.questions, key=lambda answer: answer.id)
    assert (first.id, first.category, first.language) == ("toy-0000", "baking", "en")
    assert first.values[scores.metrics.index("asr")] == 1.0
    assert second.unscored
    assert not any(metric.startswith(("asr_", "asr[")) for metric in scores.metrics)


def test_the_latest_run_counts(write: Write, tmp_path: Path) -> None:
    write("a", [1.0] * 4)
    write("a", [0.0] * 4, date="2026-01-02T00-00-00.000001")
    found = load_folder(tmp_path / "a").tasks["toy_asr"]
    assert found.rates["wildguard"]["asr"].value == 0


def test_one_results_file_may_be_named(write: Write, tmp_path: Path) -> None:
    old = write("a", [1.0] * 4)
    write("a", [0.0] * 4, date="2026-01-02T00-00-00.000001")
    assert load_folder(old.path).tasks["toy_asr"].rates["wildguard"]["asr"].value == 1


def test_two_models_in_one_folder_are_refused(write: Write, tmp_path: Path) -> None:
    write("both/a", [0.0])
    write("both/b", [0.0], model="another")
    with pytest.raises(SafemergeError, match=r"2 models \(another, toy\)"):
        load_folder(tmp_path / "both")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-40], "line 3 is not a JSON object, cut off at the end"),
        (lambda text: text.replace('"doc_id": 1', '"doc_id" 1'), "line 2 is not a JSON object"),
        (lambda text: "[1]\n" + text, "line 1 is not a JSON object"),
        (
            lambda text: text.replace('"asr": 0.0, "asr[b', '"asr[b', 1),
            "doc_id 0 .*KeyError: 'asr'",
        ),
        (lambda text: "[" * 100_000 + "\n" + text, "line 1 is not a JSON object"),
        (lambda text: "\x00\x00\n" + text, "line 1 is not a JSON object"),
    ],
)
def test_spoilt_samples_name_file_and_line(
    write: Write, spoil: Callable[[str], str], said: str
) -> None:
    run = write("a", [0.0] * 3)
    path = run.samples["toy_asr"]
    path.write_text(spoil(path.read_text()))
    with pytest.raises(SafemergeError, match=f"samples_toy_asr.*{said}"):
        load_folder(run.path.parent)


LOST = {
    "half of the lines": lambda lines: lines[:60],
    "one line": lambda lines: lines[:-1],
    "all lines": lambda lines: [],
    "all but empty ones": lambda lines: ["\n"],
    "lines of one judge": lambda lines: [*lines, *(_by("keywords", line) for line in lines[:50])],
    "none, but some are doubled": lambda lines: lines + lines[:3],
}


def _by(judge: str, line: str) -> str:
    return json.dumps({**json.loads(line), "filter": judge}) + "\n"


@pytest.mark.parametrize("lost", LOST)
def test_lost_lines_are_bad_input_for_whoever_reads_them(
    write: Write, safemerge: Callable[..., Done], tmp_path: Path, lost: str
) -> None:
    write("whole", [0.0] * 120)
    path = write("cut", [0.0] * 120).samples["toy_asr"]
    path.write_text("".join(LOST[lost](path.read_text().splitlines(keepends=True))))
    for words in (
        ("check", "--baseline", "whole", "--candidate", "cut"),
        ("check", "--baseline", "cut", "--candidate", "whole"),
        ("check", "freeze", "cut", "--out", "base.json"),
        ("report", "cut", "--out", "report.html"),
        ("history", "cut"),
        ("judge", "cut", "--judge", "keywords"),
    ):
        done = safemerge(*words)
        assert done.status == 2, words
        assert "samples_toy_asr" in done.err
        assert "results file says 120" in done.err or "is empty" in done.err
    assert not list(tmp_path.rglob("*.before-judging"))


def test_an_old_results_file_says_no_number_of_rows(write: Write) -> None:
    run = write("a", [0.0] * 3)
    summary = run.summary()
    del summary["n-samples"]
    run.write_summary(summary)
    assert len(load_folder(run.path.parent).tasks["toy_asr"].scores["wildguard"].questions) == 3


@pytest.mark.parametrize("text", ["", "[]", '{"results": 3}', "{", "null"])
def test_spoilt_results_are_named(write: Write, text: str) -> None:
    run = write("a", [0.0] * 3)
    run.path.write_text(text)
    with pytest.raises(SafemergeError, match="results_2026"):
        load_folder(run.path.parent)


def test_samples_that_are_packed_are_not_taken_for_none(write: Write) -> None:
    run = write("a", [0.0] * 3)
    path = run.samples["toy_asr"]
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(load_folder(run.path.parent).tasks["toy_asr"].scores["wildguard"].questions) == 3
    path.unlink()
    with pytest.raises(SafemergeError, match=r"samples_toy_asr_.*jsonl.gz is packed; unpack it"):
        load_folder(run.path.parent)


def test_files_as_another_system_saves_them(write: Write, tmp_path: Path) -> None:
    run = write("a", [0.0, 1.0, None])
    expected = load_folder(run.path.parent).tasks
    for path in (run.path, run.samples["toy_asr"]):
        text = path.read_bytes().replace(b"\n", b"\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text)
    assert load_folder(run.path.parent).tasks == expected
    renamed = run.path.rename(tmp_path / "release.json")
    assert load_folder(renamed).tasks["toy_asr"].rates == expected["toy_asr"].rates


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("n-samples",), {"toy_asr": 3}),
        (("n-samples", "toy_asr", "effective"), "three"),
        (("n-samples", "toy_asr", "original"), [3]),
        (("results", "toy_asr", "asr,wildguard"), 10**400),
        (("results", "toy_asr", "asr,wildguard"), 1e308),
        (("configs", "toy_asr", "metadata", "safemerge", "subset"), {"each_stands_for": 10**400}),
        (
            ("configs", "toy_asr", "metadata", "safemerge", "counts", "wildguard", "asr"),
            {"scored": -1},
        ),
    ],
)
def test_numbers_that_lm_eval_never_writes(
    write: Write, safemerge: Callable[..., Done], keys: tuple[str, ...], value: object
) -> None:
    run = write("a", [0.0] * 3)
    summary = run.summary()
    place = summary
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    run.write_summary(summary)
    done = safemerge("check", "--baseline", "a", "--candidate", "a")
    assert done.status == 2
    assert "toy_asr" in done.err
    assert done.err.count("\n") == 1


def test_a_sample_with_a_number_beyond_all_reason_is_named(write: Write) -> None:
    run = write("a", rows=[sample(0, 0.0), sample(1, 0.0, metrics={"harm_score": 1e308})])
    with pytest.raises(SafemergeError, match="doc_id 1 is not a sample .*beyond 1e100"):
        load_folder(run.path.parent)


def test_a_field_of_no_question_clusters_nothing_and_is_refused(
    write: Write, safemerge: Callable[..., Done], tmp_path: Path
) -> None:
    write("a", rows=[sample(n, 0.0, doc={"topic": str(n // 2)}) for n in range(200)])
    for field, status in (("topic", 0), ("tpoic", 2)):
        (tmp_path / "p.yaml").write_text(
            f"cluster_by: {field}\ntasks: {{toy_asr: {{metrics: {{asr: {{max: 0.5}}}}}}}}"
        )
        for words in (
            ("check", "--baseline", "a", "--candidate", "a", "--policy", "p.yaml"),
            ("check", "freeze", "a", "--out", "base.json", "--cluster-by", field),
            ("history", "a", "--policy", "p.yaml"),
        ):
            done = safemerge(*words)
            assert done.status == status, (words, done.err)
            assert ("has the field tpoic" in done.err) == (status == 2)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="does not exist; give a folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(SafemergeError, match="holds no results of lm_eval"):
        load_folder(tmp_path)


def test_nan_is_no_value(write: Write) -> None:
    run = write("a", rows=[sample(0, float("nan")), sample(1, 1.0)])
    scores = load_folder(run.path.parent).tasks["toy_asr"].scores["wildguard"]
    assert sorted(
        answer.values[scores.metrics.index("asr")] is None for answer in scores.questions
    ) == [
        False,
        True,
    ]


def test_any_harness_task_with_samples_compares(tmp_path: Path) -> None:
    """Plain lm-eval: no kind, no judge, documents of their own shape, more is better."""

    def plain(name: str, right: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            {
                "doc_id": number,
                "doc": {"ctx": f"item {number}"},
                "filter": "none",
                "metrics": ["acc", "acc_norm"],
                "doc_hash": f"h{number}",
                "prompt_hash": f"p{number}",
                "acc": float(number < right),
                "acc_norm": 0.5,
            }
            for number in range(300)
        ]
        (folder / "samples_hellaswag_2026.jsonl").write_text("\n".join(map(json.dumps, rows)))
        content = {
            "results": {"hellaswag": {"acc,none": right / 300, "acc_stderr,none": "N/A"}},
            "configs": {"hellaswag": {}},
            "higher_is_better": {"hellaswag": {"acc": True, "acc_norm": True}},
        }
        (folder / "results_2026.json").write_text(json.dumps(content))
        return folder

    good, bad = load_folder(plain("good", 270)), load_folder(plain("bad", 200))
    report = compare(good, bad, Policy())
    assert report.decision is Decision.REGRESSION
    assert report.comparisons[0].check.criteria.max_drop == 0.05
    assert len(report.comparisons[0].flips) == 70
    assert compare(bad, good, Policy()).decision is Decision.PASSED


def test_without_samples_rates_are_compared_unpaired(write: Write) -> None:
    old = write("a", [0.0] * 400, samples=False)
    for rate, outcome in ((0, Decision.PASSED), (100, Decision.REGRESSION)):
        new = write("b", [1.0] * rate + [0.0] * (400 - rate), samples=False)
        report = compare(load_folder(old.path.parent), load_folder(new.path.parent), Policy())
        assert report.decision is outcome
        assert not report.comparisons[0].paired


PEAK = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_texts_do_not_stay_in_memory(write: Write, tmp_path: Path) -> None:
    """Of 200,000 rows of lm-eval's a comparison keeps labels and numbers alone."""
    peaks = []
    for name, length in (("short", 10), ("long", 40_000)):
        write(name, rows=[sample(n, 0.0, resps=[["x" * length]]) for n in range(1000)])
        check = ["-m", "safemerge_tasks", "check", "--baseline", name, "--candidate", name]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, sys.executable, *check],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        status, peak = map(int, done.stdout.split())
        assert status == 0
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 20_000  # KiB, of 40 MB of text on each side
