"""What vLLM's workers do for a sweep: put a variant's weights into the model that they run.

A merge is computed where its tensors go. An engine in processes of its own could not be handed an
iterator, and every rank of a parallel one takes its own part of each tensor.
"""

from collections.abc import Mapping
from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.platforms import current_platform

from safemerge_tasks.sweep.serving.merges import Merge

NAME = f"{__name__}.TakesWeights"


class TakesWeights:
    """Becomes a base class of vLLM's worker, whose methods `LLM.collective_rpc` calls."""

    reload_weights: Any
    model_runner: Any

    def put_weights(self, checkpoint: str, merge: Mapping[str, Any] | None) -> None:
        """Replace the model's weights by others of the same shapes.

        Args:
            checkpoint: the folder of the weights.
            merge: fields of a `Merge` that makes them instead.
        """
        if merge is None:
            self.reload_weights(weights_path=checkpoint)
        else:
            self.reload_weights(weights_iterator=Merge(**merge).tensors())
        if not current_platform.is_cpu():
            return
        # Packed once, on a CPU, and packed anew for weights of its own alone: where the embeddings
        # are the output's too, the old ones would go on giving the logits.
        for layer in self.model_runner.get_model().modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)
