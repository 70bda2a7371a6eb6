"""A judged response in the form that lm-eval keeps as its filtered response."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from safemerge_tasks.verdicts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Scored:
    """A verdict and what the harness alone knows of the response.

    Attributes:
        verdict: what the judge says.
        truncated: the response reached the token limit; None where that is not known.
        judge: whose verdict it is.
        incoherent: the answer is no text; None where there is no answer.
    """

    verdict: Verdict
    truncated: bool | None = None
    judge: str = ""
    incoherent: bool | None = None

    def to_json(self) -> str:
        """Return one JSON string: lm-eval turns anything nested into Python's `str` of it."""
        fields = {"truncated": self.truncated, "judge": self.judge, "incoherent": self.incoherent}
        return json.dumps({"verdict": self.verdict.as_fields(), **fields})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "verdict": Verdict(**fields["verdict"])})


def to_json(scored: Sequence[Scored]) -> str:
    """Return one JSON string for a request's answers; of one alone, as `Scored.to_json` has it."""
    if len(scored) == 1:
        return scored[0].to_json()
    return json.dumps([json.loads(one.to_json()) for one in scored])


def from_json(text: str) -> list[Scored]:
    """Read back `to_json`."""
    found = json.loads(text)
    return [
        Scored.from_json(json.dumps(one)) for one in (found if isinstance(found, list) else [found])
    ]
