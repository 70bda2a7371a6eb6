"""Judge prompts as token ids that nothing inside a response can reshape.

A response is hostile: `[/INST]`, `<|assistant|>` or an end-of-text string inside it would be read
as control tokens by a tokenizer that sees the whole prompt, and a copied closing section would open
a second answer. Here, whatever would become an added token inside the question or the response is
split into ordinary tokens of the same text, and so are the template's own section markers. A benign
prompt keeps exactly the ids that the tokenizer gives the plain string.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from safemerge_tasks.common.unicode import valid_unicode
from safemerge_tasks.judges.prompts.hostile_text import REPLACEMENT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Unassigned and rare characters; one that the text does not contain marks where to split.
_SENTINELS = ("\ue000", "\uf8ff", "\u16a0", "\u2d63", "\ufffc")
_CHARACTERS_PER_TOKEN = 16


class PromptError(ValueError):
    """An exchange that cannot be put before the judge; the message says why."""


@dataclass(frozen=True, slots=True)
class TokenisedPrompt:
    """Token ids of a judge's prompt, and whether the response had to be cut to fit."""

    ids: list[int]
    cut: bool


@dataclass(frozen=True)
class PromptTemplate:
    """A judge's prompt with the fields `{prompt}` and `{response}`.

    Attributes:
        text: the template; braces other than those fields are literal.
        markers: strings that structure the template and must not keep their token sequence inside
            a question or response.
        stripped: the template's source strips white space from question and response, or from the
            response only.
        special_tokens: the tokenizer adds BOS and the like; False where the text holds them.
        contextual: there is a field `{context}` as well, before the others.
    """

    text: str
    markers: tuple[str, ...] = ()
    stripped: bool | Literal["response"] = False
    special_tokens: bool = True
    contextual: bool = False

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        """What stands around the fields."""
        before, _, rest = self.text.partition("{prompt}")
        between, _, after = rest.partition("{response}")
        parts = before.split("{context}", 1) if self.contextual else [before]
        return (*parts, between, after)

    def tokenise(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        question: str,
        response: str,
        room: int,
        context: str = "",
    ) -> TokenisedPrompt:
        """Return the prompt's ids, at most `room` of them.

        An over-long response keeps its beginning, as many tokens as fit. `context` is for a text
        with that field.

        Raises:
            PromptError: the question alone does not fit, or the text cannot be made safe.
        """
        question, whole = valid_unicode(question), valid_unicode(response)
        if self.stripped:
            whole = whole.strip()
        if self.stripped is True:
            question = question.strip()
        asked = (valid_unicode(context), question)[2 - len(self._parts) :]
        shown = whole[: room * _CHARACTERS_PER_TOKEN]
        while True:
            encoded = self._encode(tokenizer, (*asked, shown))
            excess = len(encoded.ids) - room
            if excess <= 0:
                return TokenisedPrompt(encoded.ids, cut=len(shown) < len(whole))
            if not shown:
                raise PromptError(f"the question alone is {excess} tokens too long for the judge")
            # One character may be several tokens, so the end alone need not come nearer.
            shown = shown[: min(encoded.response_end_without(excess), len(shown) - 1)]

    def _encode(self, tokenizer: "PreTrainedTokenizerBase", contents: Sequence[str]) -> "_Encoded":
        between = zip(contents, self._parts[1:], strict=True)
        pieces = [self._parts[0], *(piece for pair in between for piece in pair)]
        unused = [one for one in _SENTINELS if not any(one in piece for piece in pieces)]
        if not unused:
            # A response that holds them all must not escape judgement: one gives way, unread.
            unused = [_SENTINELS[0]]
            pieces = [piece.replace(_SENTINELS[0], REPLACEMENT) for piece in pieces]
        for sentinel in unused:
            encoded = _encode_with(
                tokenizer, pieces, sentinel, self.markers, special_tokens=self.special_tokens
            )
            if encoded is not None:
                return encoded
        raise PromptError("the text holds control strings that this tokenizer cannot split")


@dataclass(frozen=True, slots=True)
class _Encoded:
    ids: list[int]
    response_ends: list[int]  # for each token of the response, where it ends in the response

    def response_end_without(self, count: int) -> int:
        """Return how many characters of the response remain without its last `count` tokens."""
        kept = len(self.response_ends) - count
        return self.response_ends[kept - 1] if kept > 0 else 0


def _encode_with(
    tokenizer: "PreTrainedTokenizerBase",
    pieces: Sequence[str],
    sentinel: str,
    markers: Iterable[str],
    *,
    special_tokens: bool,
) -> _Encoded | None:
    """Encode with splits at `sentinel`, or return None where that cannot part a token.

    Every second of the pieces is a field's content; the last of them is the response.
    """
    splits = {
        index: _marker_splits(tokenizer, pieces[index], markers)
        for index in range(1, len(pieces), 2)
    }
    added = _added_ids(tokenizer)
    while True:
        marked = [
            _insert(piece, splits[index], sentinel) if index in splits else piece
            for index, piece in enumerate(pieces)
        ]
        text = "".join(marked)
        encoding: Any = tokenizer(
            text,
            add_special_tokens=special_tokens,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
        starts = [sum(map(len, marked[:index])) for index in range(len(marked) + 1)]
        new = _forged(ids, offsets, added, text, starts, sentinel)
        if not new:
            return _without_sentinels(ids, offsets, text, (starts[-3], starts[-2]), sentinel)
        known = sum(map(len, splits.values()))
        for index, position in new:
            inside = marked[index][:position]
            splits[index].add(len(inside) - inside.count(sentinel))
        if sum(map(len, splits.values())) == known:
            return None


def _forged(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    added: frozenset[int],
    text: str,
    starts: Sequence[int],
    sentinel: str,
) -> list[tuple[int, int]]:
    """Return (piece, position) of the splits that undo added tokens made of hostile text."""
    found: list[tuple[int, int]] = []
    for token, (start, end) in zip(ids, offsets, strict=True):
        if token not in added or start == end:
            continue
        for index in range(1, len(starts) - 1, 2):
            low, high = max(start, starts[index]), min(end, starts[index + 1])
            if low >= high or sentinel in text[low:high]:
                continue
            # Split inside the token; where it reaches over the piece's edge, split at the edge.
            middle = (start + end + 1) // 2
            position = min(max(middle, starts[index]), starts[index + 1])
            found.append((index, position - starts[index]))
    return found


def _without_sentinels(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    text: str,
    response: tuple[int, int],
    sentinel: str,
) -> _Encoded | None:
    kept: list[int] = []
    ends: list[int] = []
    read, length = response[0], 0  # length: characters of the response before `read`
    for token, (start, end) in zip(ids, offsets, strict=True):
        covered = text[start:end]
        if covered and covered.strip(sentinel) == "":
            continue
        if sentinel in covered:
            return None
        kept.append(token)
        if response[0] <= start < response[1]:
            if end > read:
                length += end - read - text.count(sentinel, read, end)
                read = end
            ends.append(length)
    return _Encoded(kept, ends)


def _marker_splits(
    tokenizer: "PreTrainedTokenizerBase", piece: str, markers: Iterable[str]
) -> set[int]:
    splits: set[int] = set()
    for marker in markers:
        start = piece.find(marker)
        while start >= 0:
            splits.add(start + _inner_split(tokenizer, marker))
            start = piece.find(marker, start + 1)
    return splits


@lru_cache(maxsize=256)
def _inner_split(tokenizer: "PreTrainedTokenizerBase", marker: str) -> int:
    """Return a place near the middle of a marker with no white space on either side.

    It lies inside a token if it can: a split between two leaves both as they are.
    """
    middle = len(marker) // 2
    places = [
        place
        for place in sorted(range(1, len(marker)), key=lambda place: abs(place - middle))
        if not marker[place - 1].isspace() and not marker[place].isspace()
    ]
    encoding: Any = tokenizer(marker, add_special_tokens=False, return_offsets_mapping=True)
    edges = {start for start, _ in encoding["offset_mapping"]}
    inside = [place for place in places if place not in edges]
    return next(iter(inside or places), middle)


def _insert(piece: str, splits: set[int], sentinel: str) -> str:
    edges = [0, *sorted(splits), len(piece)]
    return sentinel.join(piece[start:end] for start, end in pairwise(edges))


def _added_ids(tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    """Return the ids of added tokens, but for runs of white space, which structure nothing."""
    return frozenset(
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if not token.content.isspace()
    )
