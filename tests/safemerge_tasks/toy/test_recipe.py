"""The recipe, and stand-ins for other machines."""

from dataclasses import replace

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.recipe import TOY, toy_recipe


def test_without_the_variable_it_is_the_recipe() -> None:
    assert toy_recipe({}) is not None
    assert toy_recipe({}) == TOY


def test_a_stand_in() -> None:
    made = toy_recipe({"SAFEMERGE_TOY": "shift=2,threads=2,perturbation=0.001"})
    assert made == replace(TOY, shift=2, threads=2, perturbation=0.001)


@pytest.mark.parametrize("text", ["seed=1", "shift=one", "shift", "threads=1.5"])
def test_what_is_no_stand_in_is_named(text: str) -> None:
    with pytest.raises(SafemergeError, match=f"'{text}' is none of shift, threads, perturbation"):
        toy_recipe({"SAFEMERGE_TOY": text})


def test_every_phase_has_a_seed_of_its_own_and_the_shift_moves_all() -> None:
    phases = ("pretraining", "alignment", "unaligning", "guard", "questions", "tuning data", "exam")
    seeds = [TOY.seed_of(phase) for phase in phases]
    assert len(set(seeds)) == len(phases)
    assert [replace(TOY, shift=3).seed_of(phase) - 3 for phase in phases] == seeds
