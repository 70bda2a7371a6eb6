"""One variant's responses on disk, parallel to a recording's requests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.recording import Recording


@dataclass(frozen=True)
class Responses:
    """What one variant answered.

    Attributes:
        recording: digest of the requests.
        values: a text, `[log likelihood, is greedy]` or a log likelihood for each request.
        greedy: for each request, whether it is a text that was not drawn at random.
        engine: what answered: lm-eval's model, versions, arguments, weights.
    """

    recording: str
    values: list[Any]
    greedy: list[bool]
    engine: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write the responses in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "recording": self.recording,
            "engine": dict(self.engine),
            "greedy": self.greedy,
            "responses": self.values,
        }
        replace_file(path, json.dumps(content))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read responses.

        Raises:
            SafemergeError: there are none.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                content["recording"], content["responses"], content["greedy"], content["engine"]
            )
        except FileNotFoundError as error:
            raise SafemergeError(f"{path} does not exist; answer the recording first.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise SafemergeError(
                f"{path} holds no responses; delete it and answer again."
            ) from error

    def fits(self, recording: Recording) -> bool:
        """Whether these answer a recording, completely."""
        return self.recording == recording.digest and len(self.values) == len(recording.requests)


class Agreement(NamedTuple):
    """How many greedy responses of two variants are the same text."""

    equal: int
    total: int


def compare_responses(responses_a: Path, responses_b: Path) -> Agreement:
    """Compare greedy responses; sampled ones and likelihoods are left out.

    Raises:
        SafemergeError: the two answer different requests.
    """
    one, other = Responses.load(responses_a), Responses.load(responses_b)
    if one.recording != other.recording or len(one.values) != len(other.values):
        raise SafemergeError(
            f"{responses_a} and {responses_b} answer different recordings, so they cannot be "
            "compared."
        )
    both = zip(one.values, other.values, one.greedy, strict=True)
    same = [first == second for first, second, greedy in both if greedy]
    return Agreement(sum(same), len(same))
