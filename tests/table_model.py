"""A model for lm-eval whose answers a test writes down."""

from typing import Any, Self

from lm_eval.api.model import LM


class TableModel(LM):
    """All but `generate_until`, which a test's own class gives."""

    tokenizer = "words"

    @classmethod
    def create_from_arg_obj(cls, arg_dict: Any, additional_config: Any = None) -> Self:
        return cls()

    def tok_encode(self, text: str, **_: Any) -> list[str]:
        return text.split()

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages)

    def chat_template(self, _: Any = None) -> str:
        return "role and content"

    @property
    def tokenizer_name(self) -> str:
        return "table"

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any) -> Any:
        raise NotImplementedError
