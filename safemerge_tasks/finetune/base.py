"""The model to fine-tune: where it is, which weights it has, its tokenizer."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.file_hashes import files_hash
from safemerge_tasks.common.hub_errors import hub_errors
from safemerge_tasks.common.known_versions import refuse_unknown
from safemerge_tasks.common.path_names import resolve
from safemerge_tasks.finetune.config import FinetuneConfig
from safemerge_tasks.finetune.tensor_samples import sample_tensors

_WAY_OUT = "or give `base` as a local folder."


def need_trl() -> None:
    """Check that what fine-tunes is installed.

    Raises:
        SafemergeError: it is not, or a version whose trainer is not known here.
    """
    if find_spec("trl") is None:
        raise SafemergeError(
            "trl is not installed, which fine-tunes; `pip install 'safemerge[train]'`."
        )
    refuse_unknown("trl")


@dataclass(frozen=True)
class Base:
    """A model's place: a folder or a Hub id with a revision."""

    path: str
    revision: str | None
    trust_remote_code: bool

    @classmethod
    def of(cls, config: FinetuneConfig) -> "Base":
        """Return a configuration's base, the toy family trained if need be.

        Raises:
            SafemergeError: a folder that is missing or holds no model.
        """
        path = resolve(config.base)
        folder = Path(path).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                adapter = (folder / "adapter_config.json").is_file()
                what = "an adapter; merge it into its base first" if adapter else "no checkpoint"
                raise SafemergeError(f"base {path} has no config.json: it is {what}.")
            path = str(folder)
        elif path.startswith((".", "/", "~")):
            raise SafemergeError(f"base {path} does not exist; give a folder or a Hub id.")
        return cls(path, config.revision, config.trust_remote_code)

    @property
    def options(self) -> dict[str, Any]:
        """Return what every `from_pretrained` is given."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    @cached_property
    def config(self) -> Any:
        """The model's `transformers` configuration.

        Raises:
            SafemergeError: it cannot be had.
        """
        from transformers import AutoConfig

        with self._errors():
            return AutoConfig.from_pretrained(self.path, **self.options)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer.

        Raises:
            SafemergeError: it cannot be had.
        """
        from transformers import AutoTokenizer

        with self._errors():
            return AutoTokenizer.from_pretrained(self.path, **self.options)

    def model(self, dtype: Any) -> Any:
        """Return the model with its weights in a dtype.

        Raises:
            SafemergeError: it cannot be had.
        """
        from transformers import AutoModelForCausalLM

        with self._errors():
            return AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype, **self.options)

    def check_weights(self) -> None:
        """Check a local folder's weights, from their headers.

        Raises:
            SafemergeError: there are none, or a file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        folder = Path(self.path)
        if not folder.is_dir():
            return
        files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        if not files:
            raise SafemergeError(f"base {self.path} has no weights; give a complete checkpoint.")
        for file in files:
            if file.suffix == ".safetensors":
                try:
                    with safe_open(file, framework="pt"):
                        pass
                except (SafetensorError, OSError) as error:
                    raise SafemergeError(
                        f"{file} cannot be read ({error}); fetch it again."
                    ) from error

    def empty_model(self, dtype: Any) -> Any:
        """Return the model without weights, on the meta device."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                self.config, dtype=dtype, trust_remote_code=self.trust_remote_code
            )

    def stop_ids(self) -> list[int]:
        """Return the token ids at which the model's own generation stops."""
        from transformers import GenerationConfig

        try:
            found = GenerationConfig.from_pretrained(self.path, **self.options).eos_token_id
        except OSError:
            # Not every checkpoint has one; its config then holds the id.
            found = self.config.eos_token_id
        return [] if found is None else [found] if isinstance(found, int) else list(found)

    def identity(self) -> dict[str, Any]:
        """Return which weights these are: a folder's content, or the Hub's commit."""
        folder = Path(self.path)
        if not folder.is_dir():
            return {"name": self.path, "commit": getattr(self.config, "_commit_hash", None)}
        return {"name": self.path, "files": _content(folder)}

    def samples(self) -> dict[str, Any]:
        """Return how some tensors of a local folder begin, by which a merge knows the base again.

        Empty for a model on the Hub, which its commit tells, and for weights in other files.
        """
        folder = Path(self.path)
        return sample_tensors(folder) if folder.is_dir() else {}

    def _errors(self) -> Any:
        return hub_errors(
            f"base {self.path}",
            absent="is neither a folder nor a model on the Hub: correct it",
            way_out=_WAY_OUT,
        )


def _content(folder: Path) -> str:
    """Return a hash of the files that make a model what it is, told by their bytes."""
    wanted = {".safetensors", ".bin", ".json", ".model", ".jinja"}
    # A manifest tells how the model was made, not what it is.
    return files_hash(
        [
            path
            for path in sorted(folder.iterdir())
            if path.suffix in wanted and not path.name.startswith("safemerge_")
        ]
    )
