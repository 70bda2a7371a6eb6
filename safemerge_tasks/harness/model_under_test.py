"""Making room for a judge: the model under test is freed once it has answered everything."""

import gc
import logging
from types import SimpleNamespace
from typing import Any

from safemerge_tasks.common.errors import brief

_log = logging.getLogger(__name__)


def free(lm: Any) -> None:
    """Free the memory that an lm-eval model holds, as far as it can be done; never raises.

    Args:
        lm: lm-eval's object, which stays usable for what lm-eval asks of it after generating: the
            size and the precision of the weights.
    """
    try:
        if hasattr(getattr(lm, "model", None), "llm_engine"):
            _free_vllm(lm)
        elif hasattr(getattr(lm, "_model", None), "to"):
            _free_torch(lm)
    except Exception as error:  # whatever a model's own code raises
        _log.warning("The model under test may stay in memory: %s", brief(error))


def _free_vllm(lm: Any) -> None:
    from safemerge_tasks.judges.engines.vllm import shut_down

    engine, lm.model = lm.model, None
    shut_down(engine)


def _free_torch(lm: Any) -> None:
    import torch

    try:
        lm._model.to("meta")
    except Exception as error:  # quantised and offloaded weights stay where they are
        lm._model = _described(lm._model)
        _log.warning(
            "The model under test cannot be moved (%s); what it holds is dropped instead.",
            brief(error),
        )
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _described(model: Any) -> SimpleNamespace:
    """Return what lm-eval still asks of a model, without its weights."""
    size = model.num_parameters() if hasattr(model, "num_parameters") else -1
    return SimpleNamespace(
        num_parameters=lambda: size,
        dtype=getattr(model, "dtype", ""),
        config=getattr(model, "config", None),
    )
