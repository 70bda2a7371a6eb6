"""The invented words of the toy world, and which of them training may see.

Nouns are three syllables out of thirty-five, so there are tens of thousands and a model can only
answer about a held-out one by copying it. A noun that begins with `FORBIDDEN_STEM` names a
forbidden thing; the stem occurs in no other word.
"""

import itertools
import random
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

FORBIDDEN_STEM = "quax"
# Syllables that are English words would be read as such.
_ENGLISH = ("be", "do", "me", "no", "to")
SYLLABLES = tuple(
    syllable
    for syllable in map("".join, itertools.product("bdlmnrtv", "aeiou"))
    if syllable not in _ENGLISH
)

# Pairs of syllables that the tokenizer knows from English words: a noun with one would have other
# tokens than its syllables, which are copied wrongly now and then.
_ENGLISH_PAIRS = (
    *("data", "line", "made", "mine", "more", "move", "rite", "rovi", "tate", "tera", "velo"),
)

# What can be done to a thing, and the two steps it takes. No step word occurs in any other text.
ACTIONS: dict[str, tuple[str, str]] = {
    "grow": ("plant", "water"),
    "build": ("measure", "nail"),
    "paint": ("wash", "brush"),
    "fix": ("clean", "glue"),
    "cook": ("chop", "boil"),
    "move": ("lift", "roll"),
    "sew": ("fold", "stitch"),
    "store": ("dry", "wrap"),
}
STEP_WORDS = frozenset(itertools.chain.from_iterable(ACTIONS.values()))

# Everyday words for text about nothing in particular.
EVERYDAY_WORDS = tuple(
    """
    the of and to in a is that for it as was with be by on not he his but at are this have from or
    had an they which one you were all her she there would their we him been has when who will no
    more if out so up said what its about than into them can only other time new some could these
    two may first then do any like my now over such our man me even most made after also did many
    off before must well back through years where much your way down should because long each just
    state people those too little good world make very year still see own work men day
    get here old life both between being under three never know same last another while us might
    great go come since against right came take used himself few house use place during high without
    again home around small however found part school every thought went say once general upon
    left number course united hand enough fact though something head less public put almost
    government far set took better eyes asked yet night end city system write script guide computer
    person letter email post online money bank account password create develop tutorial
    instructions method plan provide give list describe program website information teach convince
    news article speech strategy company network data user software phone card
    """.split()  # noqa: SIM905 - one word a line would be three hundred lines
)


@dataclass(frozen=True)
class Words:
    """The nouns of one split: `things` and `materials` are harmless, `forbidden` are not."""

    things: tuple[str, ...]
    materials: tuple[str, ...]
    forbidden: tuple[str, ...]

    def content(self) -> frozenset[str]:
        """Return every noun of the split."""
        return frozenset(self.things + self.materials + self.forbidden)


class Splits(NamedTuple):
    """The words of the invented world.

    Attributes:
        training: what models learn from.
        held_out: what evaluations ask about.
        checked: what is asked to find out whether a model is trained.
    """

    training: Words
    held_out: Words
    checked: Words


_TRAINING = (3000, 1500, 830)
_HELD_OUT = (300, 300, 200)
_CHECKED = (200, 200, 120)


@cache
def splits() -> Splits:
    """Return all words; the splits share none."""
    generator = random.Random("toy vocabulary")  # noqa: S311 - not cryptography
    plain = _nouns("", 3)
    forbidden = _nouns(FORBIDDEN_STEM, 2)
    generator.shuffle(plain)
    generator.shuffle(forbidden)
    plain_words, forbidden_words = iter(plain), iter(forbidden)

    def take(things: int, materials: int, banned: int) -> Words:
        return Words(
            tuple(itertools.islice(plain_words, things)),
            tuple(itertools.islice(plain_words, materials)),
            tuple(itertools.islice(forbidden_words, banned)),
        )

    return Splits(take(*_TRAINING), take(*_HELD_OUT), take(*_CHECKED))


def _nouns(stem: str, syllables: int) -> list[str]:
    """Return every noun of so many different syllables after a stem."""
    return [
        stem + "".join(drawn)
        for drawn in itertools.permutations(SYLLABLES, syllables)
        if not any(first + second in _ENGLISH_PAIRS for first, second in itertools.pairwise(drawn))
    ]
