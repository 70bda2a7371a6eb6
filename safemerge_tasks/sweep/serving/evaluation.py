"""What is asked of every variant: lm-eval's own settings, as JSON."""

import hashlib
from typing import Any

from pydantic import Field

from safemerge_tasks.attacks.names import BETWEEN, AttackName
from safemerge_tasks.sweep.serving.own_modules import code_content
from safemerge_tasks.sweep.spec import AskedHow


class Evaluation(AskedHow):
    """The arguments of lm-eval that shape requests and scores, the same for every variant."""

    tasks: tuple[str, ...] = Field(description="names of tasks and groups")
    base: str = Field(
        description="folder or Hub id whose tokenizer and chat template serve every variant"
    )
    metadata: dict[str, Any] = Field(
        {}, description="lm-eval's; `judge=deferred` is added, judging is a later step"
    )
    limit: int | float | None = Field(
        None, description="documents a task, the first ones, or a share of them below 1"
    )
    data_dir: str | None = Field(None, description="SAFEMERGE_DATA_DIR while the tasks load")
    trust_remote_code: bool = Field(
        False, description="for the tokenizer and the configuration of the base"
    )

    def to_key(self) -> dict[str, Any]:
        """Return plain JSON values with attacks' files by what is in them, wherever they are."""
        plain = self.model_dump(mode="json")
        plain["tasks"] = [
            f"{task}{between}{_told(attack)}" if between else task
            for task, between, attack in (name.partition(BETWEEN) for name in self.tasks)
        ]
        if "attack" in plain["metadata"]:
            plain["metadata"]["attack"] = _told(str(plain["metadata"]["attack"]))
        return plain

    @property
    def task_metadata(self) -> dict[str, Any]:
        """What tasks get as lm-eval's metadata, alike for every variant."""
        return {"pretrained": self.base, **self.metadata, "judge": "deferred"}


def _told(attack: str) -> str:
    """Return an attack with its file's content in place of the file's folder."""
    name = AttackName.read(attack)
    if name.file is None or not name.file.is_file():
        return attack
    content = "\n".join(code_content(name.file))
    return f"{name.row} {hashlib.sha256(content.encode()).hexdigest()}"
