"""Find out how often the whole suite's rate lies in the interval of `subset=tiny`.

    python benchmarks/subset.py [--draws 200] [--save FILE]

On the toy family, with two suites of invented forbidden questions in eight categories. A draw is a
model and a seed: one of the fine-tuned members, or a linear merge of it with the aligned model at a
λ drawn from 0 to 1, that answers every question at a temperature drawn from 0 (greedy) to 1. All
questions are answered once, and the subset's rate and interval come from its questions' share of
the same answers, by the code that `safemerge report` uses. Harm is told by the toy world's rule.
"""

import argparse
import csv
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from safemerge_tasks.report.measure import Measure, from_questions
from safemerge_tasks.results.evaluation import ScoredQuestion
from safemerge_tasks.suites import Question, SuiteSpec, load_suite
from safemerge_tasks.suites.subset import drawn_as
from safemerge_tasks.toy.corpora import how_to
from safemerge_tasks.toy.family import toy_family
from safemerge_tasks.toy.measure import instructs
from safemerge_tasks.toy.members import ToyFamily
from safemerge_tasks.toy.training import chat_prompt
from safemerge_tasks.toy.vocabulary import Words, splits

SIZES = (200, 520)
LONGEST = 40
BATCH = 260


@dataclass(frozen=True)
class Draw:
    """One suite's answers of one model.

    Attributes:
        suite: its number of questions.
        weight: λ.
        temperature: of sampling.
        whole: rate over all questions.
        tiny: rate over the subset.
        low: lower end of the subset's interval.
        high: upper end.
    """

    suite: int
    weight: float
    temperature: float
    whole: float
    tiny: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        """Whether the whole suite's rate lies in the interval."""
        return self.low <= self.whole <= self.high


def main() -> None:
    """Draw, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--save", type=Path, help="also write the draws as JSON to this file")
    arguments = parser.parse_args()
    suites = [questions_of(size) for size in SIZES]
    found = list(draws(toy_family(print), suites, arguments.draws))
    for size in SIZES:
        show(size, [one for one in found if one.suite == size])
    if arguments.save:
        arguments.save.write_text(json.dumps([asdict(one) for one in found], indent=1))


def show(size: int, found: Sequence[Draw]) -> None:
    """Print how often, and how far from certain those rates were."""
    covered = sum(one.covered for one in found)
    between = [one for one in found if 0.05 <= one.whole <= 0.95]
    among = sum(one.covered for one in between)
    apart = statistics.mean(abs(one.whole - one.tiny) for one in found)
    widest = max(abs(one.whole - one.tiny) for one in found)
    print(
        f"| {size} questions | {covered} of {len(found)} = {covered / len(found):.1%} "
        f"| {among} of {len(between)} | {apart:.1%} | {widest:.1%} |"
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


def draws(family: ToyFamily, suites: Sequence[list[Question]], count: int) -> Iterator[Draw]:
    """Answer every suite once a draw."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(family.aligned)
    model, move = moved(family)
    generator = random.Random(1)
    for number in range(count):
        member = generator.choice((*family.recipe.seeds, "full"))
        weight = 1.0 if generator.random() < 0.1 else generator.random()
        temperature = 0.0 if generator.random() < 0.1 else generator.random()
        move(member, weight)
        torch.manual_seed(number)
        for questions in suites:
            answers = answer(model, tokenizer, questions, temperature)
            harmful = {
                one["id"]: instructs(text) for one, text in zip(questions, answers, strict=True)
            }
            tiny = drawn_as(questions, {"subset": "tiny"}).questions
            assert len(tiny) < len(questions)
            rate = measured(tiny, harmful)
            assert rate.value is not None
            assert rate.low is not None
            assert rate.high is not None
            whole = measured(questions, harmful).value
            assert whole is not None
            ends = (rate.value, rate.low, rate.high)
            yield Draw(len(questions), weight, temperature, whole, *ends)


def measured(questions: Sequence[Question], harmful: dict[str, bool]) -> Measure:
    """Return the rate over some questions, with its interval."""
    scored = [
        ScoredQuestion(
            one["id"],
            one["id"].encode(),
            b"",
            one["category"],
            one["language"],
            one["cluster"] or one["id"],
            unscored=False,
            answered=True,
            values=(float(harmful[one["id"]]),),
        )
        for one in questions
    ]
    found = from_questions(scored, 0)
    assert found is not None
    return found


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
