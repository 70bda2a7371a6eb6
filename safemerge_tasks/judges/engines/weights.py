"""Whether a judge's weights can be had, said before anything slow starts."""

from functools import cache
from pathlib import Path

from safemerge_tasks.errors import SafemergeError


@cache
def check_weights(model: str, revision: str | None) -> None:
    """Make sure that `model` is a local checkpoint or one the Hub lets us read.

    Raises:
        SafemergeError: missing, gated or unreachable, with the way out.
    """
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise SafemergeError(
                f"{model} is not a checkpoint (it has no config.json): give judge_model=DIR of a "
                "folder with weights, config and tokenizer."
            )
        return
    if model.startswith((".", "/", "~")):
        raise SafemergeError(f"judge_model={model} does not exist: give a folder or a Hub id.")
    _check_hub(model, revision)


def _check_hub(model: str, revision: str | None) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    way_out = (
        "or give a local copy with judge_model=DIR, or save the responses now with judge=deferred "
        "and run `safemerge judge` where the weights are."
    )
    try:
        hf_hub_download(model, "config.json", revision=revision)
    except GatedRepoError as error:
        raise SafemergeError(
            f"The judge's weights {model} are gated: accept the terms on their Hub page and log "
            f"in with `hf auth login`, {way_out}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise SafemergeError(
            f"The judge's weights {model} are not on this machine and the Hub cannot be reached: "
            f"connect, {way_out}"
        ) from error
    except (RepositoryNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise SafemergeError(
            f"judge_model={model} is neither a folder nor a model on the Hub: correct it, {way_out}"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise SafemergeError(
            f"The judge's weights {model} could not be looked up ({type(error).__name__}): "
            f"connect, {way_out}"
        ) from error
