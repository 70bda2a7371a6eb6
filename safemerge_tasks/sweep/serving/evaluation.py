"""What is asked of every variant: lm-eval's own settings, as JSON."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from safemerge_tasks.attacks.names import BETWEEN, AttackName
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.own_modules import own_modules


@dataclass(frozen=True)
class Evaluation:
    """The arguments of lm-eval that shape requests and scores, the same for every variant.

    Attributes:
        tasks: names of tasks and groups.
        base: folder or Hub id whose tokenizer and chat template serve every variant.
        include_path: folder of further tasks.
        metadata: lm-eval's `--metadata`. Judging is a later step, so `judge=deferred` is added.
        limit: documents a task, the first ones, or a share of them below 1.
        data_dir: `SAFEMERGE_DATA_DIR` while the tasks load.
        num_fewshot: examples, where a task does not say.
        apply_chat_template: render prompts with the base's chat template, or that of this name.
        fewshot_as_multiturn: examples are turns of their own.
        chat_template_args: further variables of the chat template, such as `enable_thinking`.
        system_instruction: the user's system prompt.
        gen_kwargs: goes over every task's generation_kwargs.
        seeds: of random, numpy, torch and the choice of examples, as lm-eval's `--seed`.
        bootstrap_iters: for standard errors without a formula.
        confirm_run_unsafe_code: lm-eval's flag of that name.
        trust_remote_code: for the tokenizer and the configuration of the base.
    """

    tasks: tuple[str, ...]
    base: str
    include_path: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limit: float | None = None
    data_dir: str | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool | str = True
    fewshot_as_multiturn: bool = True
    chat_template_args: Mapping[str, Any] = field(default_factory=dict)
    system_instruction: str | None = None
    gen_kwargs: Mapping[str, Any] | None = None
    seeds: tuple[int, int, int, int] = (0, 1234, 1234, 1234)
    bootstrap_iters: int = 100_000
    confirm_run_unsafe_code: bool = False
    trust_remote_code: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def to_key(self) -> dict[str, Any]:
        """Return plain JSON values with attacks' files by what is in them, wherever they are."""
        plain = self.to_json()
        plain["tasks"] = [
            f"{task}{between}{_told(attack)}" if between else task
            for task, between, attack in (name.partition(BETWEEN) for name in self.tasks)
        ]
        if "attack" in plain["metadata"]:
            plain["metadata"]["attack"] = _told(str(plain["metadata"]["attack"]))
        return plain

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Raises:
            SafemergeError: a field is unknown.
        """
        unknown = value.keys() - {known.name for known in fields(cls)}
        if unknown:
            raise SafemergeError(
                f"{sorted(unknown)[0]} is no field of an evaluation; write it with this version."
            )
        return cls(**{**value, "tasks": tuple(value["tasks"]), "seeds": _seeds(value)})

    @property
    def task_metadata(self) -> dict[str, Any]:
        """What tasks get as lm-eval's metadata, alike for every variant."""
        return {"pretrained": self.base, **self.metadata, "judge": "deferred"}


def _told(attack: str) -> str:
    """Return an attack with its file's content in place of the file's folder."""
    name = AttackName.read(attack)
    if name.file is None or not name.file.is_file():
        return attack
    files = own_modules(name.file) if name.function else [name.file]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{name.row} {digest.hexdigest()}"


def _seeds(value: Mapping[str, Any]) -> tuple[int, int, int, int]:
    first, second, third, fourth = value.get("seeds", Evaluation.seeds)
    return first, second, third, fourth
