"""The encoder behind BERTScore: loaded by bert-score, its length limit set from its config."""

import copy
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.weights_fingerprint import weights_fingerprint
from safemerge_tasks.metrics.bertscore.embedding import Embedding
from safemerge_tasks.metrics.bertscore.settings import BertScoreSettings

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

# In these families positions are counted from the padding token's id + 1.
_OFFSET_POSITIONS = frozenset(
    ("camembert", "data2vec-text", "longformer", "roberta", "xlm-roberta", "xlm-roberta-xl")
)
_UNKNOWN_LENGTH = 512
_BATCH_TOKENS = 16_384


class Encoder:
    """An encoder cut off at its layer, on its device; loads at first use."""

    def __init__(self, settings: BertScoreSettings) -> None:
        self._settings = settings
        self._loaded: tuple[Any, Any] | None = None
        self._dtype = "float32"

    @property
    def layer(self) -> int:
        """The layer whose output is used, counted from 1.

        Raises:
            SafemergeError: bert-score recommends none for this encoder, and none is given.
        """
        from bert_score.utils import model2layers

        layer = self._settings.layer or model2layers.get(self._settings.model)
        if layer is None:
            raise SafemergeError(
                f"bert-score recommends no layer for {self._settings.model}; add "
                f"bertscore_layer=N to --metadata."
            )
        return int(layer)

    @property
    def device(self) -> "torch.device":
        """Where it runs: as set, else this process's own GPU, else the CPU.

        Raises:
            SafemergeError: the setting names no device.
        """
        import torch

        if self._settings.device is not None:
            return self._device_named(self._settings.device)
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("cpu")

    def check(self) -> None:
        """Look at what can be wrong before anything is generated; no weights are read.

        Raises:
            SafemergeError: no such encoder, layer or device.
        """
        config = self._config()
        layer, layers = self.layer, getattr(config, "num_hidden_layers", None)
        if layers is not None and layer > layers:
            raise SafemergeError(
                f"bertscore_layer={layer}: {self._settings.model} has {layers} layers."
            )
        # bert-score goes by the name, and would fill another model's weights with random numbers.
        if "t5" in self._settings.model and "t5" not in str(config.model_type):
            raise SafemergeError(
                f"bertscore_model={self._settings.model}: bert-score takes it for a T5 "
                "model because its name contains t5; move it, or link to it by another name."
            )
        # Nobody asks for a GPU here: doing so before vLLM forks its engine can break CUDA there.
        if self._settings.device is not None:
            self._device_named(self._settings.device)

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """Return the embeddings of texts, none of which may be empty."""
        from bert_score.utils import get_bert_embedding, sent_encode

        model, tokenizer = self._open()
        # The weights of the words: bert-score's own, for scores without idf.
        weights: defaultdict[int, float] = defaultdict(lambda: 1.0)
        weights[tokenizer.sep_token_id] = 0
        weights[tokenizer.cls_token_id] = 0
        lengths = [len(sent_encode(tokenizer, text)) for text in texts]
        found: list[Embedding | None] = [None] * len(texts)
        for batch in batches(lengths, self._settings.batch_size):
            vectors, mask, idf = get_bert_embedding(
                [texts[n] for n in batch], model, tokenizer, weights, device=self.device
            )
            vectors, mask, idf = vectors.float().cpu(), mask.cpu(), idf.cpu()
            for row, n in enumerate(batch):
                length = int(mask[row].sum())
                # A copy, so that the padded batch is not kept.
                found[n] = Embedding(vectors[row, :length].clone(), idf[row, :length].clone())
        return [embedding for embedding in found if embedding is not None]

    def identity(self) -> dict[str, Any]:
        """Return what embeddings depend on."""
        import bert_score
        import transformers

        return {
            "model": self._settings.model,
            "weights": weights_fingerprint(self._settings.model, None),
            "layer": self.layer,
            "max_length": self.max_length(),
            "dtype": self._dtype,
            "bert_score": bert_score.__version__,
            "transformers": transformers.__version__,
        }

    def max_length(self) -> int:
        """Return how many tokens of a text are read."""
        return int(self._open()[1].model_max_length)

    def reduced(self) -> "Encoder":
        """Return the same encoder in half precision."""
        model, tokenizer = self._open()
        half = Encoder(self._settings)
        half._loaded = (copy.deepcopy(model).half(), tokenizer)
        half._dtype = "float16"
        return half

    def _open(self) -> tuple[Any, Any]:
        """Return model and tokenizer.

        Raises:
            SafemergeError: the weights cannot be had.
        """
        if self._loaded is None:
            from bert_score.utils import get_model, get_tokenizer

            config = self._config()
            try:
                model = get_model(self._settings.model, self.layer).float().to(self.device)
                tokenizer = get_tokenizer(self._settings.model)
            except (OSError, ValueError, AssertionError) as error:
                raise self._unloadable(error) from error
            tokenizer.model_max_length = min(tokenizer.model_max_length, longest_text(config))
            self._loaded = (model, tokenizer)
        return self._loaded

    def _device_named(self, name: str) -> "torch.device":
        import torch

        try:
            return torch.device(name)
        except RuntimeError as error:
            raise SafemergeError(f"bertscore_device={name!r} is no torch device.") from error

    def _config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self._settings.model)
        except (OSError, ValueError, KeyError) as error:
            raise self._unloadable(error) from error

    def _unloadable(self, error: Exception) -> SafemergeError:
        first = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
        return SafemergeError(
            f"bertscore_model={self._settings.model} cannot be loaded ({first}); give a "
            f"folder with bertscore_model=DIR, or fetch it with `hf download` first."
        )


def batches(lengths: Sequence[int], largest: int) -> Iterator[list[int]]:
    """Yield places of texts of like length, the longest first; little of a batch is padding.

    bert-score sorts by words and fills every batch. Long texts in full batches outgrow a CPU's
    caches, so a batch has a limit of tokens too.

    Args:
        lengths: tokens of each text.
        largest: texts in a batch.
    """
    order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
    while order:
        size = max(1, min(largest, _BATCH_TOKENS // lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def longest_text(config: Any) -> int:
    """Return how many tokens an encoder has positions for.

    A tokenizer without a limit of its own says a huge number, which tokenizers refuse under
    transformers 5, so the limit comes from the encoder.
    """
    for name in ("max_position_embeddings", "n_positions", "seq_length"):
        positions = getattr(config, name, None)
        if isinstance(positions, int) and positions > 0:
            offset = config.pad_token_id + 1 if config.model_type in _OFFSET_POSITIONS else 0
            return positions - offset
    return _UNKNOWN_LENGTH
