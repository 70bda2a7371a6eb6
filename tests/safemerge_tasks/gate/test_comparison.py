"""What pairs, what is refused, and what each limit of a policy does."""

from collections.abc import Callable
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results import Run
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.decision import Decision

from .conftest import JUDGE, sample

Write = Callable[..., Run]
CLEAN = [0.0] * 120


def gate(a: Run, b: Run, accept: tuple[str, ...] = (), **metric: Any) -> GateResult:
    policy = Policy()
    if metric:
        policy = Policy.model_validate({"tasks": {"toy_asr": {"metrics": {"asr": metric}}}})
    sides = (load_folder(run.path.parent) for run in (a, b))
    return compare(*sides, policy, accept)


@pytest.mark.parametrize(
    ("more", "said", "word"),
    [
        ({"versions": {"toy_asr": 2.0}}, "version .1.0 in the baseline, 2.0", "version"),
        ({"chat_template_sha": "dead"}, "chat template .c0ffee", "chat-template"),
        ({"n-shot": {"toy_asr": 3}}, "few-shot", "prompts"),
        ({"system_instruction_sha": "beef"}, "system prompt", "prompts"),
        ({"judge": {**JUDGE, "revision": "other"}}, "judge .*revision abc and other", "judge"),
        ({"judge": {**JUDGE, "prompt_sha256": "0"}}, "judge .*prompt_sha256", "judge"),
    ],
)
def test_other_settings_are_refused_by_name_unless_accepted(
    write: Write, more: dict[str, Any], said: str, word: str
) -> None:
    a, b = write("a", CLEAN), write("b", CLEAN, **more)
    with pytest.raises(SafemergeError, match=f"toy_asr: {said}.*--accept {word}"):
        gate(a, b)
    report = gate(a, b, (word,))
    assert report.decision is Decision.PASSED
    assert len(report.accepted) == 1


def test_generation_settings_are_compared(write: Write) -> None:
    a, b = write("a", CLEAN), write("b", CLEAN)
    summary = b.summary()
    summary["configs"]["toy_asr"]["generation_kwargs"] = {"temperature": 0.7}
    b.write_summary(summary)
    with pytest.raises(SafemergeError, match="generation .*0.7.*--accept generation"):
        gate(a, b)


def test_another_engine_is_the_same_judge(write: Write) -> None:
    other = {**JUDGE, "engine": "hf", "engine_version": "5.0", "dtype": "bfloat16"}
    assert gate(write("a", CLEAN), write("b", CLEAN, judge=other)).decision is Decision.PASSED


def test_other_questions_are_counted_and_named(write: Write) -> None:
    a = write("a", CLEAN)
    b = write("b", rows=[sample(number, 0.0) for number in range(1, 121)])
    said = "119 in common, 1 only in the baseline, 1 only in the candidate, such as toy-0000"
    with pytest.raises(SafemergeError, match=said):
        gate(a, b)
    assert gate(a, b, ("questions",)).comparisons[0].increase.questions == 119


def test_other_prompts_for_the_same_questions(write: Write) -> None:
    b = write("b", rows=[sample(n, 0.0, prompt_hash=f"{n % 2 or n}") for n in range(120)])
    with pytest.raises(SafemergeError, match="prompts .120 questions"):
        gate(write("a", CLEAN), b)


def test_equal_documents_pair_in_their_order(write: Write) -> None:
    rows = [
        sample(
            n, float(n == 1), doc={"id": "same", "category": "", "language": "en", "question": "?"}
        )
        for n in range(2)
    ]
    report = gate(write("a", rows=rows), write("b", rows=rows), max=0.9)
    assert report.comparisons[0].increase.questions == 2
    assert not report.comparisons[0].flips


def test_translations_are_one_question(write: Write) -> None:
    """Ten questions in three languages flip together: 30 flips, 10 independent ones."""

    def rows(flipped: int) -> list[dict[str, Any]]:
        return [
            sample(n, float(n // 3 < flipped), doc={"cluster": f"q{n // 3}"}) for n in range(300)
        ]

    three = gate(write("a", rows=rows(0)), write("b", rows=rows(3)), max_increase=0.2)
    assert three.comparisons[0].increase.clusters == 100
    assert three.decision is Decision.PASSED  # nine flips, but of three questions
    assert gate(write("a", rows=rows(0)), write("c", rows=rows(10))).decision is Decision.REGRESSION


def test_unscored_questions_leave_the_pairs_and_bound_the_change(write: Write) -> None:
    report = gate(write("a", CLEAN), write("b", [None] * 5 + CLEAN[5:]))
    one = report.comparisons[0]
    assert one.increase.questions == 115
    assert one.possible == pytest.approx((0, 5 / 120))
    # If all five are harmful, five more of 120 are worse: up to 8.6 %.
    assert report.decision is Decision.UNDECIDED
    assert one.most.upper > 5 / 120
    assert gate(
        write("c", CLEAN), write("d", [None] * 5 + CLEAN[5:]), max_increase=0.1
    ).decision is (Decision.PASSED)
    many = gate(write("e", CLEAN), write("f", [None] * 7 + CLEAN[7:]), max_increase=0.2)
    assert many.decision is Decision.UNDECIDED
    assert "5.8% have no verdict" in many.comparisons[0].reason


def test_what_is_proven_whatever_is_missing_is_a_regression(write: Write) -> None:
    """32 of 520 without a verdict and all others harmful: the change is 93.8 % at the least."""
    a = write("a", [0.0] * 520)
    report = gate(a, write("b", [None] * 32 + [1.0] * 488))
    assert report.decision is Decision.REGRESSION
    assert "at least 9" in report.comparisons[0].reason
    assert gate(a, write("c", [None] * 32 + [1.0] * 488), max=0.1).decision is Decision.REGRESSION
    # Also 7 of 120 with 50 harmful: 41.7 % at the least.
    many = gate(write("d", CLEAN), write("e", [None] * 7 + [1.0] * 50 + CLEAN[57:]))
    assert many.decision is Decision.REGRESSION


@pytest.mark.parametrize("limit", [{"max_increase": 0.02}, {"max_increase": 0.05}, {"max": 0.05}])
def test_what_may_be_harmful_is_not_passed(write: Write, limit: dict[str, float]) -> None:
    """26 of 520 without a verdict are 5.0 %, no more than allowed, and may all be harmful."""
    a, b = write("a", [0.0] * 520), write("b", [None] * 26 + [0.0] * 494)
    report = gate(a, b, **limit)
    assert report.decision is Decision.UNDECIDED
    assert gate(a, b, max_increase=0.08).decision is Decision.PASSED


def test_what_the_baseline_has_no_verdict_on_may_have_been_harmless(write: Write) -> None:
    a, b = write("a", [None] * 26 + [0.0] * 494), write("b", [1.0] * 26 + [0.0] * 494)
    assert gate(a, b).decision is Decision.UNDECIDED


def test_missing_answers_of_a_metric_where_more_is_better(write: Write) -> None:
    def rows(values: list[float | None]) -> list[dict[str, Any]]:
        found = [sample(number, value) for number, value in enumerate(values)]
        for row in found:
            row["metrics"] = ["acc" if name == "asr" else name for name in row["metrics"]]
            if "asr" in row:
                row["acc"] = row.pop("asr")
        return found

    told = {"higher_is_better": {"toy_asr": {"acc": True}}}
    full = write("a", rows=rows([1.0] * 520), **told)
    some = write("b", rows=rows([None] * 26 + [1.0] * 494), **told)

    def says(limits: dict[str, float]) -> Decision:
        asked = {"tasks": {"toy_asr": {"metrics": {"acc": limits}}}}
        sides = (load_folder(run.path.parent) for run in (full, some))
        return compare(*sides, Policy.model_validate(asked)).decision

    assert says({"max_drop": 0.05}) is Decision.UNDECIDED
    assert says({"max_drop": 0.08}) is Decision.PASSED


def test_max_limits_the_candidate_itself(write: Write) -> None:
    """24 of 120 are 20 %, and their bounds 14.2 % and 27.0 %."""
    a, b = write("a", [1.0] * 30 + CLEAN[30:]), write("b", [1.0] * 24 + CLEAN[24:])
    assert gate(a, b, max=0.271).decision is Decision.PASSED
    assert gate(a, b, max=0.2).decision is Decision.UNDECIDED
    assert gate(a, b, max=0.19).decision is Decision.UNDECIDED
    assert gate(a, b, max=0.14).decision is Decision.REGRESSION


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (0, 10), (9, 100)])
def test_few_clean_questions_do_not_prove_a_low_rate(write: Write, hits: int, total: int) -> None:
    outcomes = [1.0] * hits + [0.0] * (total - hits)
    report = gate(write("a", outcomes), write("b", outcomes), max=0.1)
    assert report.decision is Decision.UNDECIDED
    needed = report.comparisons[0].needed
    assert needed is not None
    assert needed > total
    assert f"about {needed:,} questions would decide" in report.comparisons[0].reason


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_drop": 0.05}, "better where it is lower.*max_drop cannot limit it; use max_incr"),
        ({"max": 0.1, "categories": {"*": {"max_drop": 0.1}}}, "max_drop cannot limit it"),
        ({"max": 10}, "max: 10 allows everything; write 0.10 for 10 %"),
        ({"max": 1}, "max: 1 allows everything; write 0.01 for 1 %"),
        ({"max_increase": 2.5}, "max_increase: 2.5 allows everything; write 0.025 for 2.5 %"),
        ({"categories": {"baking": {"max": 20}}}, "write 0.20 for 20 %"),
    ],
)
def test_limits_that_contradict_the_metric_are_refused(
    write: Write, limits: dict[str, Any], said: str
) -> None:
    """Also where the candidate is wholly harmful, which a wrong direction would call better."""
    with pytest.raises(SafemergeError, match=f"toy_asr: asr is .*{said}"):
        gate(write("a", CLEAN), write("b", [1.0] * 120), **limits)


@pytest.mark.parametrize("limit", ["max", "max_increase"])
def test_a_metric_that_should_be_high_has_no_upper_limit(write: Write, limit: str) -> None:
    told = {"higher_is_better": {"toy_asr": {"asr": True}}}
    with pytest.raises(SafemergeError, match=f"better where it is higher.*{limit} cannot"):
        gate(write("a", CLEAN, **told), write("b", CLEAN, **told), **{limit: 0.1})


def test_a_direction_that_is_not_stored_is_the_policys(write: Write) -> None:
    told = {"higher_is_better": {}}
    sides = write("a", CLEAN, **told), write("b", [1.0] * 120, **told)
    assert gate(*sides, max_drop=0.05).decision is Decision.PASSED


def test_surely_worse_within_the_margin_is_for_the_policy_to_say(write: Write) -> None:
    """Four new harmful answers of 520 are surely more than none, and surely below 5 %."""
    a, b = write("a", [0.0] * 520), write("b", [1.0] * 5 + [0.0] * 515)
    warned = gate(a, b)
    assert warned.decision is Decision.PASSED
    assert warned.comparisons[0].warning
    assert warned.warnings == 1
    assert gate(a, b, max_increase=0.05, surely_worse="fail").decision is Decision.REGRESSION


def test_too_few_questions_are_undecided_even_if_all_flip(write: Write) -> None:
    a, b = write("a", CLEAN), write("b", [1.0] * 120)
    assert gate(a, b, max_increase=0.1, min_questions=121).decision is Decision.UNDECIDED
    assert gate(a, b, max_increase=0.1, min_questions=120).decision is Decision.REGRESSION


def test_categories_have_limits_of_their_own(write: Write) -> None:
    worse = [float(n % 3 == 1) for n in range(120)]
    a, b = write("a", CLEAN), write("b", worse)
    report = gate(a, b, categories={"*": {"max_increase": 0.1}, "baking": {"max": 0.5}})
    found = {one.check.category: one.decision for one in report.comparisons}
    assert found == {
        "gardening": Decision.REGRESSION,
        "knitting": Decision.PASSED,
        "baking": Decision.PASSED,
    }
    with pytest.raises(SafemergeError, match="no category 'sailing'; it has 'baking'"):
        gate(a, b, categories={"sailing": {"max": 0.5}})


def test_a_family_of_checks_is_adjusted(write: Write) -> None:
    """Five new harmful answers among 40 are p = 1/64 alone, and 3/64 as one of three."""
    worse = [float(n % 3 == 1 and n < 15) for n in range(120)]
    report = gate(write("a", CLEAN), write("b", worse), categories={"*": {"max_increase": 0.5}})
    one = next(one for one in report.comparisons if one.check.category == "gardening")
    assert one.increase.p_value < 0.05
    assert one.family_p == pytest.approx(3 * one.increase.p_value)


def test_the_judge_is_required(write: Write) -> None:
    run = write("a", CLEAN)
    asked = {"judge": "llama_guard_3", "tasks": {"toy_asr": {"metrics": {"asr": {"max": 0.1}}}}}
    found = load_folder(run.path.parent)
    with pytest.raises(SafemergeError, match="not judged by llama_guard_3 but by wildguard; run"):
        compare(found, found, Policy.model_validate(asked))
    with pytest.raises(SafemergeError, match=r"by wildgard but by wildguard; did you mean wildg"):
        compare(found, found, Policy.model_validate({**asked, "judge": "wildgard"}))


@pytest.mark.parametrize("name", ["other_task", "toy"])
def test_a_task_that_is_not_there(write: Write, name: str) -> None:
    found = load_folder(write("a", CLEAN).path.parent)
    asked = Policy.model_validate({"tasks": {name: {"metrics": {"asr": {"max": 0.1}}}}})
    with pytest.raises(SafemergeError, match=f"no results of {name}; it has toy_asr"):
        compare(found, found, asked)


def test_pending_verdicts_are_not_a_judge(write: Write) -> None:
    rows = [sample(n, None, filter="deferred") for n in range(20)]
    waiting = {"toy_asr": {"alias": "toy_asr", "unscored_rate,deferred": 1.0}}
    with pytest.raises(SafemergeError, match="safemerge judge"):
        gate(*(write(name, rows=rows, results=waiting) for name in "ab"))


def test_a_judge_of_ones_own_is_compared_by_its_files_content(write: Write) -> None:
    """Named by its path as well as by its row; another content is another judge."""
    judge = {"name": "mine.py", "file_sha256": "aa"}

    def written(name: str, judge: dict[str, Any]) -> Run:
        rows = [sample(n, 0.0, filter="mine.py") for n in range(120)]
        run = write(name, rows=rows, judge=judge)
        summary = run.summary()
        row = summary["results"]["toy_asr"]
        row["asr,mine.py"] = row.pop("asr,wildguard")
        run.write_summary(summary)
        return run

    a, b, c = written("a", judge), written("b", judge), written("c", {**judge, "file_sha256": "bb"})
    for named in ("judges/mine.py:make", "mine.py"):
        policy = Policy.model_validate(
            {"judge": named, "tasks": {"toy_asr": {"metrics": {"asr": {"max": 0.1}}}}}
        )
        sides = [load_folder(run.path.parent) for run in (a, b, c)]
        assert compare(sides[0], sides[1], policy, ()).decision is Decision.PASSED
        with pytest.raises(SafemergeError, match="mine.py: file_sha256 aa and bb"):
            compare(sides[0], sides[2], policy, ())
