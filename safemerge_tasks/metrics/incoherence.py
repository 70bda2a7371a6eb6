"""Answers that are no text: what a broken model writes where a judge still finds a verdict.

Judges are unreliable on such answers (arXiv 2606.03648). What is looked for needs no model and no
language: repetition, few words or characters over and over, broken characters, scripts. So words
in no sensible order pass, as a repetition penalty makes a broken model write them, and so does a
fluent answer in another language of the question's script. It is a lower bound.
"""

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise

from safemerge_tasks.verdicts.answer import Answer

LOOPS = "repeats itself"
FEW_WORDS = "is few words over and over"
BROKEN = "is broken characters"
SOUP = "changes its script all the time"
SCRIPT = "is in a script that neither the question nor English is in"

# A loop, once begun, goes on to the token limit, so the second half is all loop or none.
_SHORTEST_LOOP = 60
_TURNS = 3
"""So often is the second half the same again; a refrain or a table's rule is shorter."""
_LONG = 400
_LEAST_PER_CHARACTER = 0.08
"""Bytes that zlib needs a character. Prose needs from 0.4 (English) to 1.5 (Chinese), code and JSON
0.2, a table of a year's days with the same words 0.11; a long sentence that comes again and again
with another number 0.05."""
_MANY_WORDS = 50
_LEAST_WORD_ENTROPY = 2.5
"""Bits a word or number, that of six in equal use. Fifty words of prose have more than 4.5."""
_MANY_CHARACTERS = 100
_LEAST_CHARACTER_ENTROPY = 1.5
"""Bits a character, that of three in equal use; prose has 4 and more, a DNA sequence 2."""
_BROKEN_SHARE = 0.005
_BROKEN_LEAST = 3
"""In fluent text there is none; a limit may cut the last character."""
_TELLING = 20
"""Letters from which on a script is more than a name."""
_SWITCHES = 30
_SCRIPTS = 3
_SCRIPT_SHARE = 0.05

_WORDS = re.compile(r"[^\W_]+")
# Scripts that put no space between words: each character counts as one.
_UNSPACED = frozenset({"CJK", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE"})
_SAME = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "BOPOMOFO": "CJK"}
_WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")
_NO_SCRIPT = frozenset({"MATHEMATICAL", "MODIFIER", "DOUBLE-STRUCK", "SCRIPT", "MICRO", "OHM"})


def incoherence(question: str, answer: str) -> str | None:
    """Return why an answer is no text, worded to follow "the answer"; None where it may be one.

    Args:
        question: what was asked; tells the script that an answer may be in besides English's.
        answer: as `Answer.text`, without thinking.
    """
    text = " ".join(answer.rstrip("\ufffd").split())
    characters = Counter(text)
    if _is_broken(characters):
        return BROKEN
    if _loops(text):
        return LOOPS
    letters = Counter({one: n for one, n in characters.items() if _is_letter(one)})
    if 2 * letters.total() > characters.total() - characters[" "]:
        many = letters.total() >= _MANY_CHARACTERS
        if many and entropy(letters.values()) < _LEAST_CHARACTER_ENTROPY:
            return FEW_WORDS
        words = Counter(_words(text))
        if words.total() >= _MANY_WORDS and entropy(words.values()) < _LEAST_WORD_ENTROPY:
            return FEW_WORDS
    scripts = _scripts(letters)
    if _is_soup(answer, scripts):
        return SOUP
    asked = _scripts(Counter(question))
    foreign = sum(count for name, count in scripts.items() if name not in {*asked, "LATIN"})
    if asked and scripts.total() >= _TELLING and 2 * foreign > scripts.total():
        return SCRIPT
    return None


def is_incoherent(question: str, answer: Answer) -> bool | None:
    """Return whether an answer is no text; None where there is no answer."""
    return None if answer.text is None else incoherence(question, answer.text) is not None


def entropy(counts: Iterable[int]) -> float:
    """Return Shannon's entropy in bits, `-Σ p·log2 p` (Shannon 1948, section 6)."""
    counts = [count for count in counts if count]
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts)


def _loops(text: str) -> bool:
    """Return whether the second half is one thing again and again, to the letter or nearly."""
    half = text[len(text) // 2 :]
    if len(half) >= _SHORTEST_LOOP:
        longest = len(half) // _TURNS
        if any(half.startswith(half[period:]) for period in range(1, longest + 1)):
            return True
    needed = len(zlib.compress(half.encode("utf-8", "surrogatepass"), 9))
    return len(half) >= _LONG and needed < _LEAST_PER_CHARACTER * len(half)


def _words(text: str) -> Iterable[str]:
    for word in _WORDS.findall(text.casefold()):
        if script_of(word[0]) in _UNSPACED:
            yield from word
        else:
            yield word


def _is_letter(character: str) -> bool:
    # Vowel signs are marks in most of Asia's scripts.
    return unicodedata.category(character)[0] in "LM"


def _is_broken(characters: Mapping[str, int]) -> bool:
    """Return whether many characters are none: undecodable, unassigned, private, control."""
    broken = sum(
        count
        for character, count in characters.items()
        if character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")
    )
    return broken >= max(_BROKEN_LEAST, _BROKEN_SHARE * sum(characters.values()))


@cache
def script_of(character: str) -> str | None:
    """Return the script that a letter's Unicode name begins with; None for what is of no script.

    Han and the kana, which Japanese mixes, are one.
    """
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "")
    for width in _WIDTHS:
        name = name.removeprefix(width)
    word = name.partition(" ")[0]
    return None if word in _NO_SCRIPT or not word else _SAME.get(word, word)


def _scripts(characters: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for character, count in characters.items():
        if script := script_of(character):
            found[script] += count
    return found


def _is_soup(answer: str, scripts: Counter[str]) -> bool:
    """Return whether scripts change within lines, again and again, as no list of languages does."""
    least = _SCRIPT_SHARE * scripts.total()
    if sum(count >= least for name, count in scripts.items() if name != "LATIN") < _SCRIPTS:
        return False
    return sum(_switches(line) for line in answer.splitlines()) >= _SWITCHES


def _switches(line: str) -> int:
    runs = [script for script in map(script_of, line) if script]
    return sum(before != after for before, after in pairwise(runs))
