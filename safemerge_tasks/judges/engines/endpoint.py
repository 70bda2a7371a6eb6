"""An OpenAI-compatible endpoint: the client, and the name of the model it serves."""

import os

from openai import APIConnectionError, NotFoundError, OpenAI, OpenAIError

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.judges.settings import JudgeSettings


def connect(settings: JudgeSettings) -> OpenAI:
    """Return a client of `judge_url` that retries with exponential back-off; sends nothing yet."""
    return OpenAI(
        base_url=settings.url,
        # Local servers need no key, the client insists on one.
        api_key=settings.api_key() or "none",
        max_retries=settings.retries,
        timeout=settings.request_timeout,
    )


def find_served(client: OpenAI, settings: JudgeSettings, model: str | None) -> str:
    """Return the endpoint's own name for the model.

    Args:
        client: the endpoint.
        settings: may name the model with `judge_served_model`.
        model: the name that the endpoint gives it unless told otherwise; None if there is none.

    Raises:
        SafemergeError: no answer, the model is not served there, or it is not clear which is meant.
    """
    wanted = settings.served_model or model
    try:
        served = [entry.id for entry in client.models.list()]
    except NotFoundError as error:
        # Some gateways serve models without listing them.
        if settings.served_model:
            return settings.served_model
        raise _refused(settings, error) from error
    except APIConnectionError as error:
        raise SafemergeError(
            f"judge_url={settings.url} does not answer: start the server, or correct the URL."
        ) from error
    except OpenAIError as error:
        raise _refused(settings, error) from error
    if wanted in served:
        return wanted
    if settings.served_model is None and len(served) == 1:
        return served[0]
    lacks = f"does not serve {wanted!r} but {served}" if wanted else f"serves {served}"
    raise SafemergeError(f"judge_url={settings.url} {lacks}: set judge_served_model.")


def _refused(settings: JudgeSettings, error: OpenAIError) -> SafemergeError:
    key = f"the key in {settings.api_key_env}" if settings.api_key_env else "judge_api_key_env"
    return SafemergeError(
        f"judge_url={settings.url} refused to list its models ({brief(error)}): check the URL and "
        f"{key}{_unsent(settings)}."
    )


def _unsent(settings: JudgeSettings) -> str:
    if settings.api_key() or not os.environ.get("OPENAI_API_KEY"):
        return ""
    return " (OPENAI_API_KEY is sent there only with judge_api_key_env=OPENAI_API_KEY)"
