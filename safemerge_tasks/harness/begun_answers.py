"""Answers that are begun for the model: the prompt ends within its turn.

A template renders the beginning as the last message and leaves it open, as lm-eval does for
`gen_prefix`. A chat endpoint renders by itself, and has to be told so.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.utils import maybe_delimit

from safemerge_tasks.common.errors import SafemergeError, brief

# What vLLM's and SGLang's chat endpoints call it.
_CONTINUED = {"add_generation_prompt": False, "continue_final_message": True}

_PROBE = ({"role": "user", "content": "Count to three."}, {"role": "assistant", "content": "One,"})


def begun_plainly(prompt: str, beginning: str, delimiter: str) -> str:
    """Return a prompt without a chat template, with the answer's beginning as lm-eval joins it."""
    return maybe_delimit(prompt, beginning, delimiter) if prompt else beginning


def begun_turn(
    chat_template: Callable[..., Any], turns: Sequence[dict[str, str]], beginning: str
) -> Any:
    """Return a conversation with the answer's beginning as its open end.

    Raises:
        SafemergeError: the chat template closes the turn, or the model cannot leave it open.
    """
    turn = {"role": "assistant", "content": beginning}
    try:
        prompt = chat_template([*turns, turn], add_generation_prompt=False)
    except TypeError as error:
        raise SafemergeError(
            f"this model cannot go on with an answer that is begun for it ({brief(error)}); use "
            "vllm, hf or an endpoint that continues a message."
        ) from error
    if isinstance(prompt, str) and not prompt.endswith((beginning, beginning.rstrip())):
        raise SafemergeError(
            "the chat template does not leave the last turn open, so an answer cannot be begun for "
            "this model; use another template (attack template=FILE shows how)."
        )
    return prompt


def is_for_chat_endpoint(prompt: Any) -> bool:
    """Return whether a prompt is a conversation that an endpoint renders."""
    module = sys.modules.get("lm_eval.models.api_models")
    return module is not None and isinstance(prompt, module.JsonChatStr)


def renders_elsewhere(lm: Any) -> bool:
    """Return whether a model is an endpoint that is given conversations and not prompts."""
    return hasattr(lm, "base_url") and not getattr(lm, "tokenized_requests", False)


def continued(generation: dict[str, Any]) -> dict[str, Any]:
    """Return generation settings that make a chat endpoint go on with the last message."""
    return {**generation, **_CONTINUED}


def refuse_unless_continued(lm: Any) -> None:
    """Find out from a chat endpoint itself whether it goes on with a message.

    One that does counts fewer tokens of a prompt whose last turn stays open than of the same with
    the turn closed and a new one begun; one that ignores the request counts as many.

    Args:
        lm: lm-eval's model of the endpoint.

    Raises:
        SafemergeError: it refuses to, ignores it, or does not count.
    """
    way_out = "use vllm, hf, or a chat endpoint that does, such as `vllm serve`"
    try:
        prompt = lm.apply_chat_template(list(_PROBE))
        counts = [
            lm.model_call([prompt], generate=True, gen_kwargs={"max_gen_toks": 1, **more})["usage"][
                "prompt_tokens"
            ]
            for more in (_CONTINUED, {})
        ]
    except (KeyError, TypeError) as error:
        raise SafemergeError(
            f"the endpoint {lm.base_url} does not count a prompt's tokens, so whether it goes on "
            f"with a begun answer cannot be known; {way_out}."
        ) from error
    except Exception as error:  # of requests, for whatever the endpoint answers
        raise SafemergeError(
            f"the endpoint {lm.base_url} does not go on with a begun answer ({brief(error)}); "
            f"{way_out}."
        ) from error
    if not counts[0] < counts[1]:
        raise SafemergeError(
            f"the endpoint {lm.base_url} ignores the request to go on with a begun answer; "
            f"{way_out}."
        )
