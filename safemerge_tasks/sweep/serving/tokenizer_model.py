"""lm-eval's Hugging Face model without its weights: prompts and tokens, no answers."""

import re
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import configure_pad_token

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.evaluation import Evaluation


def _template(base: str, templates: Any, name: str) -> str:
    known = templates if isinstance(templates, dict) else {}
    if name not in known:
        raise SafemergeError(
            f"tasks.apply_chat_template: {base} has no chat template called {name}; it has "
            f"{', '.join(sorted(known)) or 'none with a name'}."
        )
    return str(known[name])


class TokenizerModel(HFLM):  # type: ignore[misc]
    """The base's tokenizer and chat template, as every backend of lm-eval uses them.

    HFLM's methods for prompts need a tokenizer and a configuration only; its constructor, which
    loads weights, is not called. Subclasses answer all kinds of requests by
    one method, `_reply`.
    """

    def __init__(self, evaluation: Evaluation, max_length: int | None = None) -> None:
        from transformers import AutoConfig, AutoTokenizer

        TemplateLM.__init__(self)
        trust = evaluation.trust_remote_code
        try:
            self._config = AutoConfig.from_pretrained(evaluation.base, trust_remote_code=trust)
            tokenizer = AutoTokenizer.from_pretrained(evaluation.base, trust_remote_code=trust)
        except (OSError, ValueError) as error:
            raise SafemergeError(
                f"{evaluation.base} has no tokenizer and configuration that can be loaded: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if isinstance(named := evaluation.apply_chat_template, str):
            # lm-eval itself looks the name up for what it saves, and asks with the default.
            tokenizer.chat_template = _template(evaluation.base, tokenizer.chat_template, named)
        for name in evaluation.chat_template_args if tokenizer.chat_template else ():
            if not re.search(rf"\b{re.escape(name)}\b", str(tokenizer.chat_template)):
                raise SafemergeError(
                    f"tasks.chat_template_args: the chat template of {evaluation.base} has no "
                    f"{name}, which would do nothing; remove it, or correct it."
                )
        self.tokenizer = configure_pad_token(tokenizer, model_config=self._config)
        # As lm-eval's vLLM model does, which always hands `enable_thinking` over.
        self.chat_template_args = {"enable_thinking": None, **evaluation.chat_template_args}
        self.custom_prefix_token_id = None
        self.add_bos_token = None
        self._max_length = max_length
        self.batch_sizes: dict[int, int] = {}

    def get_model_info(self) -> dict[str, Any]:
        """Return nothing: there are no weights to describe."""
        return {}

    def _reply(self, kind: str, requests: list[Any]) -> list[Any]:
        raise NotImplementedError

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """Return texts."""
        return self._reply("generate_until", requests)

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """Return the log likelihoods of continuations, and whether they are the likeliest."""
        return self._reply("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """Return the log likelihoods of texts."""
        return self._reply("loglikelihood_rolling", requests)
