"""A server that runs already, like OpenAI's: what it serves, and what it loads beside that.

- vLLM 0.32 (`entrypoints/serve/lora/api_router.py`, `…/serve/dev/rpc`, `…/serve/dev/cache`): POST
  `/v1/load_lora_adapter`; `/collective_rpc` of `reload_weights`, then `/reset_prefix_cache`. Where
  it has several engines, each of these reaches all of them.
- sglang (`python/sglang/srt/entrypoints/http_server.py`, read at commit 0025436eab05): POST
  `/load_lora_adapter`; `/update_weights_from_disk`, then `/flush_cache`.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from openai import APIConnectionError, OpenAI, OpenAIError

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.sweep.serving.adapters import check_servable
from safemerge_tasks.sweep.serving.probe import LIMITS
from safemerge_tasks.sweep.spec import EngineSpec


class _Ways(NamedTuple):
    """Where a kind of server is told to load what it does not serve, and what that needs."""

    load: str
    unload: str
    for_adapters: str
    reload: str
    weights: Callable[[str], dict[str, Any]]
    forget: str
    for_weights: str


_VLLM = _Ways(
    "v1/load_lora_adapter",
    "v1/unload_lora_adapter",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora, --max-lora-rank (and --api-server-count 1 "
    "beside --data-parallel-size)",
    "collective_rpc",
    lambda place: {"method": "reload_weights", "kwargs": {"weights_path": place}},
    "reset_prefix_cache",
    "VLLM_SERVER_DEV_MODE=1",
)
_SGLANG = _Ways(
    "load_lora_adapter",
    "unload_lora_adapter",
    "--enable-lora, --max-lora-rank and --lora-target-modules",
    "update_weights_from_disk",
    lambda place: {"model_path": place},
    "flush_cache",
    "a version that has /update_weights_from_disk",
)


class Server:
    """A server that serves a sweep's base.

    Args:
        base: folder or Hub id.
        engine: says where the server is.

    Attributes:
        url: its base URL.
        key: what it wants to be told with every request; None if nothing.
        name: what it calls the base.
        says_base: whether it calls the base as the sweep does.
        about: what it says of itself: model, dtype, version, tokens.

    Raises:
        SafemergeError: it does not answer, or serves something else.
    """

    def __init__(self, base: str, engine: EngineSpec) -> None:
        assert engine.url is not None
        self.url = engine.url.rstrip("/")
        self.key = _key(engine)
        self._client = OpenAI(
            base_url=self.url,
            # It needs none, the client insists on one.
            api_key=self.key or "none",
            max_retries=int(engine.model_args.get("max_retries", 3)),
            timeout=float(engine.model_args.get("timeout", 300)),
        )
        self.says_base = False
        card = self._find(base, engine)
        self.name = str(card["id"])
        self.is_sglang = card.get("owned_by") == "sglang"
        self._ways = _SGLANG if self.is_sglang else _VLLM
        self.about = {
            "model": card.get("root") or self.name,
            "by": card.get("owned_by"),
            **self._versions(),
            "max_model_len": engine.model_args.get("max_length") or card.get("max_model_len"),
        }
        if self.about["max_model_len"] is None:
            raise SafemergeError(
                f"{self.url} does not say how many tokens it takes; write engine: {{model_args: "
                "{max_length: …}}."
            )

    def _find(self, base: str, engine: EngineSpec) -> dict[str, Any]:
        """Return what the server's list of models says of the base."""
        try:
            cards = [card.model_dump() for card in self._client.models.list()]
        except APIConnectionError as error:
            raise SafemergeError(
                f"engine.url {self.url} does not answer: start the server, or correct it."
            ) from error
        except OpenAIError as error:
            raise SafemergeError(
                f"engine.url {self.url} does not list its models ({brief(error)}): correct it, or "
                "name the variable of its key in engine.api_key_env."
            ) from error
        name = engine.model_args.get("model")
        whole = [card for card in cards if not card.get("parent") and name in (None, card["id"])]
        own = [card for card in whole if _same(base, card["id"]) or _same(base, card.get("root"))]
        self.says_base = bool(own)
        # Under another name it may be the base all the same, which the probe finds out.
        found = own or (whole if len(whole) == 1 and engine.probe else [])
        if not found:
            served = ", ".join(card["id"] for card in cards) or "nothing"
            raise SafemergeError(
                f"engine.url {self.url} serves {served}, and not {name or base}: start it with the "
                "base, or write what it calls it in engine: {model_args: {model: …}}."
            )
        return found[0]

    def _versions(self) -> dict[str, Any]:
        """Return the server's version and the type of its weights, where it tells them."""

        def get(path: str) -> dict[str, Any]:
            found: object = None
            with suppress(OpenAIError, ValueError):  # not every server tells
                found = self._client.get(self._place(path), cast_to=object)
            return found if isinstance(found, dict) else {}

        if self.is_sglang:
            info = model = get("get_server_info")
        else:
            info = get("version")
            config = get("server_info?config_format=json").get("vllm_config")
            model = config.get("model_config", {}) if isinstance(config, dict) else {}
        dtype = str(model.get("dtype")).removeprefix("torch.")
        return {"version": info.get("version"), "dtype": dtype if dtype in LIMITS else None}

    @contextmanager
    def with_adapter(self, folder: Path) -> Iterator[str]:
        """Load an adapter under a name that nobody else has, and take it away at the end.

        Raises:
            SafemergeError: it is not served as it is, or the server takes none.
        """
        check_servable(folder)
        name = f"safemerge-{uuid.uuid4().hex}"
        try:
            self._post(self._ways.load, {"lora_name": name, "lora_path": str(folder)})
        except OpenAIError as error:
            raise SafemergeError(
                f"{self.url} does not load {folder} ({brief(error)}): it has to see that folder, "
                f"and to be started with {self._ways.for_adapters}."
            ) from error
        try:
            yield name
        finally:
            with suppress(OpenAIError):  # of a server that is gone
                self._post(self._ways.unload, {"lora_name": name})

    def load_weights(self, place: str) -> None:
        """Put other weights in the place of those that are served.

        Raises:
            SafemergeError: the server does not.
        """
        try:
            self._post(self._ways.reload, self._ways.weights(place))
            forgot = self._post(self._ways.forget, {})
        except OpenAIError as error:
            raise SafemergeError(
                f"{self.url} does not load {place} ({brief(error)}): for whole checkpoints it has "
                f"to see their folders, and to be started with {self._ways.for_weights}."
            ) from error
        if isinstance(forgot, dict) and not forgot.get("success", True):
            raise SafemergeError(
                f"{self.url} keeps what it computed with other weights than {place}: others use "
                "it; give the sweep a server of its own."
            )

    def _post(self, path: str, body: dict[str, Any]) -> object:
        return self._client.post(self._place(path), body=body, cast_to=object)

    def _place(self, path: str) -> str:
        return f"{self.url.removesuffix('/v1')}/{path}"


def _key(engine: EngineSpec) -> str | None:
    if engine.api_key_env is None:
        return None
    if not (key := os.environ.get(engine.api_key_env)):
        raise SafemergeError(
            f"engine.api_key_env names {engine.api_key_env}, which is not set in the environment; "
            "set it to the server's key."
        )
    return key


def _same(base: str, other: str | None) -> bool:
    """Return whether a server's name or path of a model is the base's."""
    if other is None or base == other:
        return other is not None
    return Path(base).exists() and Path(other).exists() and Path(base).samefile(other)
