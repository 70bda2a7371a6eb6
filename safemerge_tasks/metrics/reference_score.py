"""What is measured of one answer that has a reference, in the form lm-eval keeps."""

import json
from dataclasses import asdict, dataclass
from typing import Self

HIGHER_IS_BETTER = {
    "bertscore_precision": True,
    "bertscore_recall": True,
    "bertscore_f1": True,
    "call_match": True,
    "empty_rate": False,
    "unscored_rate": False,
    "truncated_rate": False,
}


@dataclass(frozen=True, slots=True)
class Similarity:
    """BERTScore of one answer; an answer without a word has 0 in all three."""

    precision: float
    recall: float
    f1: float


EMPTY = Similarity(0.0, 0.0, 0.0)
"""An empty answer shares nothing with its reference; bert-score's own rule, and counted."""


@dataclass(frozen=True, slots=True)
class ReferenceScore:
    """One answer's measurements.

    Attributes:
        similarity: None where the encoder failed, which `unscored` explains.
        empty: there is no answer, only white space or thinking that never ended.
        call: the answer makes the reference's function call; None where nobody asked.
        truncated: the response reached the token limit; None where that is not known.
        unscored: why there is no similarity.
    """

    similarity: Similarity | None
    empty: bool
    call: bool | None = None
    truncated: bool | None = None
    unscored: str | None = None

    def to_json(self) -> str:
        """Return one JSON string: lm-eval turns anything nested into Python's `str` of it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back `to_json`."""
        fields = json.loads(text)
        similarity = fields.pop("similarity")
        return cls(similarity=Similarity(**similarity) if similarity else None, **fields)

    def metrics(self) -> dict[str, float]:
        """Return the document's metrics; those that cannot be told are left out."""
        found = {
            "empty_rate": float(self.empty),
            "unscored_rate": float(self.similarity is None),
        }
        if self.similarity is not None:
            found |= {f"bertscore_{key}": value for key, value in asdict(self.similarity).items()}
        if self.call is not None:
            found["call_match"] = float(self.call)
        if self.truncated is not None:
            found["truncated_rate"] = float(self.truncated)
        return found
