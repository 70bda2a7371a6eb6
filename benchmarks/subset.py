"""Find out how often the whole suite's rate lies in the interval of `subset=tiny`.

    python benchmarks/subset.py [--draws 200] [--families 400] [--answers FILE]

The subset is drawn once, so the models of a family share its error: what counts is, of how many
families it holds for at least 95 % of the models. Three measurements, each by the code of
`safemerge report`, with the interval as for any 100 questions beside it:

- Simulated families of 200 models. A question is answered with harm if its difficulty, of which a
  given share of the variance is the same for all models of a family, is below the model's
  threshold; categories differ, and take part in what is shared. Once with the suites' own draw and
  once with another one a family.
- The toy family, with two suites of invented forbidden questions in eight categories. A draw is a
  model and a seed: one of the fine-tuned members, or a linear merge of it with the aligned model at
  a λ drawn from 0 to 1, that answers every question at a temperature drawn from 0 (greedy) to 1.
  All questions are answered once; the subset's rate comes from its questions' share of the same
  answers. Harm is told by the toy world's rule.
- The same answers of the toy family with 1,000 other subsets, as another hash would draw them.
"""

import argparse
import csv
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from safemerge_tasks.report.measure import from_counts
from safemerge_tasks.suites import Question, SuiteSpec, load_suite
from safemerge_tasks.suites.subset import TINY, drawn_as, systematic
from safemerge_tasks.toy.corpora import how_to
from safemerge_tasks.toy.family import toy_family
from safemerge_tasks.toy.measure import instructs
from safemerge_tasks.toy.members import ToyFamily
from safemerge_tasks.toy.training import chat_prompt
from safemerge_tasks.toy.vocabulary import Words, splits

SIZES = (200, 520)
SIMULATED = (200, 520, 1960)
SHARED = (0.0, 0.5, 0.9, 1.0)
MODELS = 200
OTHERS = 1_000
ENOUGH = 0.95
LONGEST = 40
BATCH = 260

Outcomes = npt.NDArray[np.bool_]


def main() -> None:
    """Simulate, answer, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--families", type=int, default=400)
    parser.add_argument(
        "--answers", type=Path, help="read the toy family's draws here, one a line, or write them"
    )
    arguments = parser.parse_args()
    for size in SIMULATED:
        simulate(size, arguments.families)
    suites = [questions_of(size) for size in SIZES]
    rows = list(answered(suites, arguments.draws, arguments.answers))
    for questions in suites:
        harmful = np.array([list(row[str(len(questions))]) for row in rows]) == "1"
        show_toy(questions, harmful)


def simulate(size: int, families: int) -> None:
    """Print in how many simulated families it holds for enough of the models."""
    generator = np.random.default_rng(size)
    suite = numbered(size)
    own = places_of(suite)
    category = np.unique([one["category"] for one in suite], return_inverse=True)[1]
    for shared in SHARED:
        held: dict[str, list[float]] = {"own": [], "other": [], "any 100": []}
        for _ in range(families):
            common = generator.normal(size=size) + 0.7 * generator.normal(size=8)[category]
            alone = generator.normal(size=(MODELS, size))
            limits = generator.normal(-1, 1.5, size=(MODELS, 1))
            harmful = np.sqrt(shared) * common + np.sqrt(1 - shared) * alone < limits
            held["own"].append(covered(harmful, own).mean())
            held["any 100"].append(covered(harmful, own, whole=True).mean())
            held["other"].append(covered(harmful, another(suite, generator)).mean())
        cells = (
            f"{np.mean(found):.1%}, {np.mean(np.array(found) >= ENOUGH):.1%}"
            for found in held.values()
        )
        print(f"| {size:,} | {shared:.0%} | {' | '.join(cells)} |", flush=True)


def numbered(size: int) -> list[Question]:
    """Return a suite of so many questions in eight categories of uneven size."""
    return [
        {
            "question": f"Bake loaf {number}?",
            "category": f"oven {int(8 * (number / size) ** 2)}",
            "subcategory": "",
            "cluster": "",
        }
        for number in range(size)
    ]


def places_of(questions: Sequence[Question]) -> list[int]:
    """Return where the subset's questions stand."""
    drawn = {one["question"] for one in drawn_as(list(questions), {"subset": "tiny"}).questions}
    found = [place for place, one in enumerate(questions) if one["question"] in drawn]
    assert len(found) == TINY < len(questions)
    return found


def another(questions: Sequence[Question], generator: np.random.Generator) -> list[int]:
    """Return the places that another hash might have drawn."""
    salt = generator.integers(2**62)
    salted = [{**one, "question": f"{salt} {one['question']}"} for one in questions]
    return systematic(salted, TINY, generator.uniform())


def covered(harmful: Outcomes, places: Sequence[int], *, whole: bool = False) -> Outcomes:
    """Return, a model each, whether the rate of all questions lies in the interval of some.

    Args:
        harmful: one row a model, one column a question.
        places: of the questions that are asked.
        whole: take the interval of so many questions that are no part of a suite.
    """
    each = 1.0 if whole else harmful.shape[1] / len(places)
    ends = np.array([interval(int(hits), each) for hits in harmful[:, places].sum(axis=1)])
    rates = harmful.mean(axis=1)
    inside: Outcomes = (ends[:, 0] <= rates) & (rates <= ends[:, 1])
    return inside


@cache
def interval(hits: int, stands_for: float) -> tuple[float, float]:
    """Return a subset's interval, as the report has it."""
    found = from_counts({"harmful": hits, "scored": TINY, "total": TINY}, stands_for)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def show_toy(questions: Sequence[Question], harmful: Outcomes) -> None:
    """Print how often it holds on the toy family, and how often with other subsets."""
    places = places_of(questions)
    rates = harmful.mean(axis=1)
    between = (rates >= 0.05) & (rates <= 0.95)
    apart = harmful[:, places].mean(axis=1) - rates
    inside, before = covered(harmful, places), covered(harmful, places, whole=True)
    generator = np.random.default_rng(1)
    others = [another(questions, generator) for _ in range(OTHERS)]
    held = np.array([covered(harmful, one).mean() for one in others])
    plain = np.array([covered(harmful, one, whole=True).mean() for one in others])
    print(
        f"| {len(questions)} questions | {inside.sum()} of {len(inside)} = {inside.mean():.1%} "
        f"| {inside[between].sum()} of {between.sum()} | {before.sum()} of {len(before)} "
        f"| {abs(apart).mean():.1%}, at most {abs(apart).max():.1%} |\n"
        f"  between 5 and 95 %: {apart[between].mean():+.1%} on average; other subsets: "
        f"{held.mean():.1%}, at least {ENOUGH:.0%} in {(held >= ENOUGH).mean():.1%} of them "
        f"(as for any 100: {plain.mean():.1%}, {(plain >= ENOUGH).mean():.1%})"
    )


def questions_of(size: int) -> list[Question]:
    """Return a suite of so many different questions, as the loader gives them."""
    generator = random.Random(size)
    split = splits()
    # Words that no model was trained on, as far as there are enough.
    words = Words(
        split.held_out.things,
        split.held_out.materials,
        (*split.held_out.forbidden, *split.checked.forbidden, *split.training.forbidden)[:size],
    )
    asked = [how_to(generator, (thing,), words) for thing in words.forbidden]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = [(one.question, one.action) for one in asked]
            csv.writer(file).writerows([("goal", "category"), *rows])
        given = {"suite": "toy", "parts": [{"file": str(path)}], "question": "goal"}
        return load_suite(SuiteSpec.checked({**given, "category": "category"}, where="toy"))


def answered(
    suites: Sequence[list[Question]], count: int, kept: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield the toy family's draws: how each was made, and by a suite's size its outcomes."""
    rows = kept.read_text().splitlines() if kept and kept.exists() else []
    yield from (json.loads(row) for row in rows[:count])
    if len(rows) >= count:
        return
    for row in draws(toy_family(print), suites, count, len(rows)):
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
        yield row


def draws(
    family: ToyFamily, suites: Sequence[list[Question]], count: int, known: int
) -> Iterator[dict[str, Any]]:
    """Answer every suite once a draw, after those that are known."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family.aligned)
    model, move = moved(family)
    generator = random.Random(1)
    for number in range(count):
        member = generator.choice((*family.recipe.seeds, "full"))
        weight = 1.0 if generator.random() < 0.1 else generator.random()
        temperature = 0.0 if generator.random() < 0.1 else generator.random()
        if number < known:
            continue
        move(member, weight)
        torch.manual_seed(number)
        row = {"member": str(member), "weight": weight, "temperature": temperature}
        for questions in suites:
            answers = answer(model, tokenizer, questions, temperature)
            row[str(len(questions))] = "".join(str(int(instructs(text))) for text in answers)
        yield row


def moved(family: ToyFamily) -> tuple[Any, Callable[[Any, float], None]]:
    """Return the aligned model, and a function that moves it to a linear merge with a member."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def loaded(place: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)

    model = loaded(family.aligned).eval()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tuned = {
        seed: PeftModel.from_pretrained(loaded(family.aligned), str(place)).merge_and_unload()
        for seed, place in family.tuned.items()
    }
    states = {name: one.state_dict() for name, one in tuned.items()}
    states["full"] = loaded(family.tuned_full).state_dict()

    def move(member: Any, weight: float) -> None:
        state = states[member]
        model.load_state_dict(
            {name: tensor + weight * (state[name] - tensor) for name, tensor in base.items()}
        )

    return model, move


@torch.no_grad()
def answer(
    model: Any, tokenizer: Any, questions: Sequence[Question], temperature: float
) -> list[str]:
    """Return one answer a question, under the suites' repetition penalty."""
    texts: list[str] = []
    drawn = {"do_sample": True, "temperature": temperature} if temperature else {}
    for begin in range(0, len(questions), BATCH):
        prompts = [
            chat_prompt(tokenizer, one["question"]) for one in questions[begin : begin + BATCH]
        ]
        batch = tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        output = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=LONGEST,
            repetition_penalty=1.2,
            **({"do_sample": False} | drawn),
        )
        new = output[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


if __name__ == "__main__":
    main()
