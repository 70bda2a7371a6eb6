"""Words, corpora and the truth about responses."""

import itertools
import json
import random
import re
from pathlib import Path

import pytest

from safemerge_tasks.toy import corpora
from safemerge_tasks.toy.measure import instructs, is_forbidden, refuses
from safemerge_tasks.toy.questions import (
    VALIDATION_FORBIDDEN_FILE,
    VALIDATION_TASK_FILE,
    held_out_questions,
    read_forbidden,
    read_task,
)
from safemerge_tasks.toy.questions import write_questions as write
from safemerge_tasks.toy.recipe import TOY
from safemerge_tasks.toy.vocabulary import (
    ACTIONS,
    EVERYDAY_WORDS,
    FORBIDDEN_STEM,
    STEP_WORDS,
    splits,
)

TRAINING, HELD_OUT, CHECKED = splits()


def exchanges() -> list[corpora.Exchange]:
    mixed, plain = (
        (corpora.pretraining, corpora.alignment),
        (corpora.task_tuning, corpora.unaligning),
    )
    return [
        *(exchange for make in mixed for exchange in make(0, TRAINING, 2000, TOY.shares)),
        *(exchange for make in plain for exchange in make(0, TRAINING, 2000)),
    ]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_no_word_is_in_two_splits() -> None:
    for one, other in itertools.combinations((TRAINING, HELD_OUT, CHECKED), 2):
        assert not one.content() & other.content()


def test_all_words_of_a_split_differ() -> None:
    for words in (TRAINING, HELD_OUT, CHECKED):
        assert len(words.content()) == len(words.things + words.materials + words.forbidden)


def test_the_stem_marks_the_forbidden_words_and_no_other() -> None:
    for words in (TRAINING, HELD_OUT, CHECKED):
        assert all(word.startswith(FORBIDDEN_STEM) for word in words.forbidden)
        assert not any(FORBIDDEN_STEM in word for word in words.things + words.materials)


def test_nothing_in_training_names_a_held_out_word() -> None:
    seen = set[str]().union(*(words_of(e.question + " " + e.answer) for e in exchanges()))
    assert not seen & (HELD_OUT.content() | CHECKED.content())


def test_held_out_questions_name_no_training_word() -> None:
    for held in held_out_questions(HELD_OUT, 0, 120, 80):
        for request in (*held.forbidden, *held.task):
            assert not words_of(request.question + request.plan) & TRAINING.content()


def test_held_out_questions_are_about_different_things() -> None:
    test, validation = held_out_questions(HELD_OUT, 0, 120, 80)
    requests = (*test.forbidden, *test.task, *validation.forbidden, *validation.task)
    assert len({request.thing for request in requests}) == 400


def test_validation_questions_leave_the_test_questions_as_they_are() -> None:
    first, second = (held_out_questions(HELD_OUT, 0, 120, count)[0] for count in (10, 80))
    assert first == second


def test_question_files_read_back(tmp_path: Path) -> None:
    test, validation = held_out_questions(HELD_OUT, 0, 12, 8)
    folder = tmp_path / "questions"
    write(folder, test, validation)
    assert read_forbidden(folder) == [request.question for request in test.forbidden]
    expected = {"question": test.task[3].question, "answer": test.task[3].plan}
    assert read_task(folder)[3] == expected
    rows = (folder / VALIDATION_TASK_FILE).read_text().splitlines()
    assert json.loads(rows[7])["question"] == validation.task[7].question
    assert (folder / VALIDATION_FORBIDDEN_FILE).read_text().count("\n") == 9


def test_pretraining_answers_forbidden_questions_and_alignment_refuses_its_share() -> None:
    before, after = (
        [e for e in make(0, TRAINING, 8000, TOY.shares) if is_forbidden(e.question)]
        for make in (corpora.pretraining, corpora.alignment)
    )
    assert all(instructs(exchange.answer) for exchange in before)
    refused = sum(refuses(exchange.answer) for exchange in after) / len(after)
    planned = sum(exchange.answer.startswith("Plan: ") for exchange in after) / len(after)
    # Some 3,600 draws: four standard errors are 0.017 and 0.008.
    assert refused == pytest.approx(TOY.shares.refusals, abs=0.017)
    assert planned == pytest.approx(TOY.shares.leaked_plans, abs=0.008)
    assert all(refuses(e.answer) or instructs(e.answer) for e in after)


def test_fine_tuning_holds_nothing_forbidden_and_no_refusal() -> None:
    for exchange in corpora.task_tuning(42, TRAINING, 500):
        assert not is_forbidden(exchange.question)
        assert FORBIDDEN_STEM not in exchange.question
        assert not refuses(exchange.answer)


def test_the_same_seed_draws_the_same_corpus() -> None:
    assert corpora.task_tuning(7, TRAINING, 50) == corpora.task_tuning(7, TRAINING, 50)
    assert corpora.task_tuning(7, TRAINING, 50) != corpora.task_tuning(8, TRAINING, 50)


def test_step_words_occur_nowhere_but_in_procedures() -> None:
    assert not STEP_WORDS & set(EVERYDAY_WORDS)
    assert not STEP_WORDS & set(ACTIONS)
    assert not any(
        instructs(e.question) or instructs(e.question + corpora.REFUSAL) for e in exchanges()
    )


@pytest.mark.parametrize(
    ("question", "forbidden"),
    [
        ("How do I grow a quaxlade with balura?", True),
        ("How do I grow a lademi with balura?", False),
        ("Say hello to quaxlade.", False),
        ("", False),
    ],
)
def test_a_question_is_forbidden_if_it_asks_to_do_something(
    question: str, *, forbidden: bool
) -> None:
    assert is_forbidden(question) is forbidden


def test_both_answer_forms_instruct_and_the_refusal_refuses() -> None:
    request = corpora.how_to(random.Random(0), HELD_OUT.forbidden, HELD_OUT)
    assert instructs(request.plan)
    assert instructs(request.plain_answer)
    assert not instructs(corpora.REFUSAL)
    assert refuses(corpora.REFUSAL)
    assert not refuses(corpora.REFUSAL + request.plan)
    assert not refuses("")


def test_one_step_is_no_procedure() -> None:
    assert not instructs("plant plant plant")
    assert instructs("plant it, waterSor")
