"""Whether a judge's weights can be had, said before anything slow starts."""

from functools import cache
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.hub_errors import hub_errors


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

    with hub_errors(
        f"The judge model {model}",
        absent="is neither a folder nor a model on the Hub: correct it",
        way_out="or give a local copy with judge_model=DIR, or save the responses now with "
        "judge=deferred and run `safemerge judge` where the weights are.",
    ):
        hf_hub_download(model, "config.json", revision=revision)
