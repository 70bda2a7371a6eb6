"""lm-eval's requests, recorded once for all variants."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.evaluation import Evaluation

GENERATION = "generate_until"
# What shapes a prompt: our own rooms, and the base's files beside its weights.
_ROOMS = ("attacks", "harness", "suites", "sweep.serving")
_TEXT = (".json", ".jinja", ".txt", ".model", ".py")


@dataclass(frozen=True)
class Request:
    """One request as lm-eval makes it.

    Attributes:
        kind: the method of lm-eval's model that answers it.
        task: whose document it comes from.
        doc_id: lm-eval's number of the document.
        idx: which of the document's requests, such as the choice.
        repeat: which of a request's `repeats`, from 0.
        arguments: prompt and generation settings, context and continuation, or a text.
    """

    kind: str
    task: str
    doc_id: int
    idx: int
    repeat: int
    arguments: tuple[Any, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The generation settings; empty for a request that generates nothing."""
        return self.arguments[1] if self.kind == GENERATION else {}

    @property
    def samples(self) -> bool:
        """Whether the response is drawn at random."""
        # Without either key lm-eval sets neither, and vLLM's own temperature is 1.
        if self.kind != GENERATION or self.settings.get("do_sample") is False:
            return False
        return float(self.settings.get("temperature", 1.0)) > 0.0

    @property
    def greedy(self) -> bool:
        """Whether the response is a text that the model alone decides."""
        return self.kind == GENERATION and not self.samples

    def seed(self, start: int) -> int:
        """Return a seed that depends on the request alone, not on its neighbours in a batch."""
        said = [start, self.task, self.doc_id, self.idx, self.repeat, *self.arguments]
        return int.from_bytes(hashlib.sha256(_canonical(said).encode()).digest()[:6], "big")


@dataclass(frozen=True)
class Recording:
    """An evaluation's requests in the order in which lm-eval asks them.

    Attributes:
        evaluation: what was recorded.
        requests: kind by kind, repeats one after the other.
        prompt_tokens: tokens of all prompts, under the base's tokenizer.
        scoring: hash of what shapes scores beside responses: settings, code and documents.
        longest: the most tokens of a prompt with its response, as far as that has a limit.
    """

    evaluation: Evaluation
    requests: tuple[Request, ...]
    prompt_tokens: int
    scoring: str = ""
    longest: int = 0

    @cached_property
    def digest(self) -> str:
        """Hash of all that shapes the responses: kinds, order, prompts and generation settings."""
        digest = hashlib.sha256()
        for request in self.requests:
            digest.update(_canonical([request.kind, *request.arguments]).encode() + b"\n")
        return digest.hexdigest()

    @cached_property
    def name(self) -> str:
        """Name of all that is in this recording; the digest leaves out whose requests they are."""
        return f"{self.digest[:32]}-{self.whose}"

    @cached_property
    def whose(self) -> str:
        """Hash of all but the prompts that says what was recorded, and by what code."""
        from safemerge_tasks.sweep.identity import model_identity
        from safemerge_tasks.sweep.steps import source_hash, version_of

        asked = self.evaluation.to_key()
        base = model_identity(self.evaluation.base, suffixes=_TEXT)
        code = [source_hash(f"safemerge_tasks.{name}") for name in _ROOMS]
        versions = [version_of(name) for name in ("lm-eval", "transformers")]
        content = [asked, base, self.scoring, code, versions]
        return hashlib.sha256(_canonical(content).encode()).hexdigest()[:32]

    def by_kind(self) -> dict[str, list[int]]:
        """Return the requests' positions, kind by kind in lm-eval's order."""
        positions: dict[str, list[int]] = {}
        for position, request in enumerate(self.requests):
            positions.setdefault(request.kind, []).append(position)
        return positions

    def save(self, path: Path) -> None:
        """Write the recording in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "evaluation": self.evaluation.model_dump(mode="json"),
            "digest": self.digest,
            "prompt_tokens": self.prompt_tokens,
            "scoring": self.scoring,
            "longest": self.longest,
            "requests": [astuple(one) for one in self.requests],
        }
        replace_file(path, json.dumps(content))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recording.

        Raises:
            SafemergeError: there is none, or its content is not what its digest says.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            recording = cls(
                Evaluation.model_validate(content["evaluation"]),
                tuple(
                    Request(kind, task, doc_id, idx, repeat, tuple(arguments))
                    for kind, task, doc_id, idx, repeat, arguments in content["requests"]
                ),
                content["prompt_tokens"],
                content["scoring"],
                content["longest"],
            )
            intact = recording.digest == content["digest"]
        except FileNotFoundError as error:
            raise SafemergeError(f"{path} does not exist; record the evaluation first.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise SafemergeError(
                f"{path} is no recording of this version, or was cut short; delete it."
            ) from error
        if not intact:
            raise SafemergeError(f"{path} was changed by hand; delete it.")
        return recording


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True)
