"""How much of a response a judge is shown, where its makers cut it by its tokenizer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from safemerge_tasks.common.unicode import valid_unicode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Clip:
    """A number of the judge's tokens, those that it adds to any text counted in.

    Attributes:
        tokens: of the response by itself, as the tokenizer's own truncation counts them.
        keep: what remains of a longer one.
    """

    tokens: int
    keep: Literal["beginning", "end"] = "beginning"

    def of(self, tokenizer: "PreTrainedTokenizerBase", response: str) -> str:
        """Return the part of a response that is shown; a character of several tokens stays whole.

        Text is cut, not ids, so that control strings in it can still be told from control tokens.
        """
        response = valid_unicode(response)
        room = self.tokens - tokenizer.num_special_tokens_to_add()
        length = self.tokens * _CHARACTERS_PER_TOKEN
        while True:
            part = response[:length] if self.keep == "beginning" else response[-length:]
            encoding: Any = tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
            offsets = encoding["offset_mapping"]
            if len(offsets) > room:
                end = self.keep == "end"
                return part[offsets[-room][0] :] if end else part[: offsets[room - 1][1]]
            if len(part) == len(response):
                return response
            length *= 2
