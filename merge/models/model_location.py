"""Names of models, as people write them, and the local folders they stand for.

``path/or/hub-id``, ``hub-id@revision``, and ``model+adapter`` for a LoRA adapter on a model of its
own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from merge.errors import MergeError
from merge.models.companion_names import COMPANIONS
from merge.models.hub_headers import hollow_copy

# What a merge reads of a repository on the Hub. Weights in other formats stay there.
HUB_FILES = ["*.safetensors", *COMPANIONS]
# Other forms of the same weights, and states of training, in repositories of weights.
HUB_SECOND_COPIES = ["consolidated*", "original/*", "metal/*", "checkpoint-*/*", "global_step*/*"]
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
        try:
            there = Path(text).expanduser().exists()
        except (OSError, RuntimeError) as error:
            # No such user's home, or longer than a name can be.
            raise MergeError(f"{text[:80]}: no such folder ({error}); check the path.") from error
        if there:
            return cls(text)
        model, plus, adapter = _split_adapter(text)
        if plus:
            whole = Path(model).expanduser().exists()
            own = (model, None) if whole else _split_revision(model)
            return cls(*own, adapter=cls.parse(adapter))
        return cls(*_split_revision(text))

    def __str__(self) -> str:
        text = self.model if self.revision is None else f"{self.model}@{self.revision}"
        return text if self.adapter is None else f"{text}+{self.adapter}"


@dataclass(frozen=True)
class LocalModel:
    """A reference's files on this machine.

    Attributes:
        commit: what they are from, if the Hub says.
        temporary: the folder was made for this run, and is to be removed.
        within: the folder that was named, where the files are in the only one below it.
    """

    folder: Path
    commit: str | None = None
    temporary: bool = False
    within: Path | None = None


def locate(reference: ModelReference, *, headers_only: bool = False) -> LocalModel:
    """Return the folder that holds a model's files, downloading them if it is a Hub id.

    With `headers_only` the weights of a Hub id may be headers without values.

    Raises:
        MergeError: there is no such folder, and it is not a Hub id or the Hub does not answer.
    """
    folder = Path(reference.model).expanduser()
    if folder.is_dir() and reference.revision is not None:
        raise MergeError(
            f"{reference}: {reference.model} is a folder here, which has no revisions; remove "
            f"@{reference.revision}, or give the Hub id from a place without such a folder."
        )
    if folder.is_dir():
        return LocalModel(folder)
    if folder.suffix == ".gguf" and folder.exists():
        raise MergeError(
            f"{reference.model} is GGUF, which is quantised; give the model it was made from."
        )
    if folder.exists():
        raise MergeError(
            f"{reference.model} is a file; name the folder that holds config.json and the weights."
        )
    if not _is_hub_id(reference.model):
        raise MergeError(
            f"{reference.model}: no such folder; check the path, or give a Hub id as owner/name."
        )
    return _download(reference, headers_only)


def _split_adapter(text: str) -> tuple[str, str, str]:
    """Split at the last + that ends an existing folder's name, or else at the first."""
    ends = [index for index, character in enumerate(text) if character == "+"]
    for end in reversed(ends):
        if Path(text[:end]).expanduser().is_dir():
            return text[:end], "+", text[end + 1 :]
    return text.partition("+")


def _split_revision(text: str) -> tuple[str, str | None]:
    model, _, revision = text.partition("@")
    return model, revision or None


def _is_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith(("/", ".", "~"))


def _download(reference: ModelReference, headers_only: bool) -> LocalModel:
    from huggingface_hub import snapshot_download

    def fetch(patterns: list[str], *, offline: bool = False) -> Path:
        folder = snapshot_download(
            reference.model,
            revision=reference.revision,
            allow_patterns=patterns,
            ignore_patterns=HUB_SECOND_COPIES,
            local_files_only=offline,
        )
        return Path(folder)

    try:
        if headers_only:
            folder, commit = hollow_copy(
                reference.model, reference.revision, HUB_FILES, HUB_SECOND_COPIES
            )
            return LocalModel(folder, commit, temporary=True)
        folder = fetch(HUB_FILES)
        if not any(folder.glob("*.safetensors")):
            folder = fetch([*HUB_FILES, *_BIN_WEIGHTS])
    # The Hub's client raises its own errors, the HTTP library's and OSError; all mean the same
    # here, and the message says which it was.
    except Exception as error:
        if headers_only and (cached := _cached(fetch)):
            return cached
        raise MergeError(
            f"{reference}: there is no such folder, and the Hub did not deliver it "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0]}); check the name, "
            f"the network and your access."
        ) from error
    return LocalModel(folder, commit=folder.name)


def _cached(fetch: Callable[..., Path]) -> LocalModel | None:
    """Return the Hub's own local copy if its weights are there."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = fetch([*HUB_FILES, *_BIN_WEIGHTS], offline=True)
    except LocalEntryNotFoundError:
        return None
    whole = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    return LocalModel(folder, commit=folder.name) if whole else None
