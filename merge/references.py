"""Names of models, as people write them, and the local folders they stand for.

``path/or/hub-id``, ``hub-id@revision``, and ``model+adapter`` for a LoRA adapter on a model of its
own.
"""

from dataclasses import dataclass
from pathlib import Path

from merge.errors import MergeError

ADAPTER_CONFIG = "adapter_config.json"
# What a merge reads of a repository on the Hub. Weights in other formats stay there.
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py", "*.tiktoken"]
_BIN_WEIGHTS = ["*.bin"]


@dataclass(frozen=True)
class ModelReference:
    """A model folder or Hub id, at a revision, perhaps with an adapter on top."""

    model: str
    revision: str | None = None
    adapter: "ModelReference | None" = None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Read ``model[@revision][+adapter[@revision]]``; an existing folder's name is literal."""
        text = text.strip()
        if not text:
            raise MergeError("A model's name is empty; give a folder or a Hub id.")
        if Path(text).expanduser().exists():
            return cls(text)
        model, plus, adapter = text.partition("+")
        if plus:
            return cls(*_split_revision(model), adapter=cls.parse(adapter))
        return cls(*_split_revision(text))

    def __str__(self) -> str:
        text = self.model if self.revision is None else f"{self.model}@{self.revision}"
        return text if self.adapter is None else f"{text}+{self.adapter}"


@dataclass(frozen=True)
class LocalModel:
    """A reference's files on this machine, and the commit they are from if the Hub says."""

    folder: Path
    commit: str | None = None


def locate(reference: ModelReference) -> LocalModel:
    """Return the folder that holds a model's files, downloading them if it is a Hub id.

    Raises:
        MergeError: there is no such folder, and it is not a Hub id or the Hub does not answer.
    """
    folder = Path(reference.model).expanduser()
    if folder.is_dir():
        return LocalModel(folder)
    if folder.exists():
        raise MergeError(
            f"{reference.model} is a file; name the folder that holds config.json and the weights."
        )
    if not _is_hub_id(reference.model):
        raise MergeError(
            f"{reference.model}: no such folder; check the path, or give a Hub id as owner/name."
        )
    return _download(reference)


def _split_revision(text: str) -> tuple[str, str | None]:
    model, _, revision = text.partition("@")
    return model, revision or None


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith(("/", ".", "~"))


def _download(reference: ModelReference) -> LocalModel:
    from huggingface_hub import snapshot_download

    def fetch(patterns: list[str]) -> Path:
        try:
            return Path(
                snapshot_download(
                    reference.model, revision=reference.revision, allow_patterns=patterns
                )
            )
        # The Hub's client raises its own errors, the HTTP library's and OSError; all mean the same
        # here, and the message says which it was.
        except Exception as error:
            raise MergeError(
                f"{reference}: there is no such folder, and the Hub did not deliver it "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]}); check the name, "
                f"the network and your access."
            ) from error

    folder = fetch(HUB_FILES)
    if not any(folder.glob("*.safetensors")):
        folder = fetch([*HUB_FILES, *_BIN_WEIGHTS])
    return LocalModel(folder, commit=folder.name)
