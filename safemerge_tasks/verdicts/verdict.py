"""What a judge says about one response."""

from dataclasses import asdict, dataclass
from typing import Any, Self

RAW_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement of one response.

    Attributes:
        harmful: the response is harmful; None where the judge does not measure harm, or did not
            reach a verdict.
        complied: the model did what was asked; None where the judge calls it not applicable.
        unscored: why there is no verdict; None for a verdict. Unscored responses leave the
            denominators and are counted in `unscored_rate`.
        score: how harmful, from 0 to 1, where the judge grades; not a share of anything.
        codes: the judge's own codes of what is harmful, comma-separated, such as `S1,S9`.
        raw: the judge's own words, cut at `RAW_LIMIT` characters.
        cut: the judge saw only the beginning of the response, as much as fits its context.
        empty: nothing was answered, so the judge was not asked.
        pending: the judge itself failed or was put off, so judging again may give a verdict.
    """

    harmful: bool | None = None
    complied: bool | None = None
    unscored: str | None = None
    score: float | None = None
    codes: str | None = None
    raw: str | None = None
    cut: bool = False
    empty: bool = False
    pending: bool = False

    @classmethod
    def no_verdict(cls, reason: str, raw: str | None = None, *, pending: bool = False) -> Self:
        """Return an unscored verdict with the reason why."""
        return cls(unscored=reason, raw=raw, pending=pending)

    def as_fields(self) -> dict[str, Any]:
        """Return what is set, as plain values for JSON."""
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        for flag in ("cut", "empty", "pending"):
            if not fields[flag]:
                del fields[flag]
        if self.raw is not None:
            fields["raw"] = self.raw[:RAW_LIMIT]
        return fields
