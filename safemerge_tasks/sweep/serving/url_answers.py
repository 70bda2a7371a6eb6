"""lm-eval's own API model on a server that runs already: `vllm serve`, sglang, any like OpenAI's.

The base is what the server serves. Adapters are loaded beside it, whole checkpoints in its place
and the base again at the end. A probe before and after a variant's requests shows whose weights
answered them.
"""

import copy
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from filelock import FileLock, Timeout
from lm_eval.models import api_models
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.models.utils import normalize_gen_kwargs

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.sweep.serving.asked import Asked, EngineSettings, Listener
from safemerge_tasks.sweep.serving.lm_eval_answers import DEFAULT_SEED, answer, versions
from safemerge_tasks.sweep.serving.probe import (
    LIMITS,
    Mismatch,
    compare,
    load_reference,
    log_probabilities,
    probe_tokens,
)
from safemerge_tasks.sweep.serving.progress import Counter
from safemerge_tasks.sweep.serving.recording import GENERATION, Recording
from safemerge_tasks.sweep.serving.responses import Responses
from safemerge_tasks.sweep.serving.url_server import Server

_log = logging.getLogger(__name__)

CONCURRENT = 128
"""Requests at once; the server makes its batches of them."""

# The next variant's requests fill the server while the last ones of a variant end.
_VARIANTS_AT_ONCE = 2

# What a request leaves open a server takes from the model's generation_config.json, such as a
# repetition penalty of 1.05. lm-eval's models in a process do not, and keep special tokens.
_PLAIN = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
}

_CUT_OFF = ("abort", "content_filter", "error")
"""Reasons to end an answer that are neither the model's nor the request's."""

_Pairs = Sequence[tuple[Asked, Recording]]
_Values = list[float]


def adapters(base: str, asked: _Pairs, engine: EngineSettings, listener: Listener) -> None:
    """Load all adapters beside the base, and have them answer."""
    if not asked:
        return
    with _asking(base, asked, engine, listener) as asking, ExitStack() as stack:
        asked = asking.answerable(asked)
        names: dict[Path | None, str] = {None: asking.server.name}
        wrong: dict[Path | None, str] = {}
        for folder in dict.fromkeys(one.adapter for one, _ in asked if one.adapter is not None):
            try:
                names[folder] = stack.enter_context(asking.server.with_adapter(folder))
            except SafemergeError as error:
                wrong[folder] = str(error)
        own = asking.expected(base, names)
        # With all adapters loaded: vLLM's CPU build answers for the base as the last one of them
        # where there are no more slots than adapters.
        asking.check_base(base, own[None])
        for folder in [one for one in names if one is not None]:
            if mismatch := asking.mismatch(names[folder], own[folder], own[None]):
                wrong[folder] = (
                    f"{folder} is not served as it is: {mismatch}; merge it into a checkpoint "
                    "(exact: true)."
                )
        members = []
        for one, recording in asked:
            if one.adapter in wrong:
                listener.failed(one.name, wrong[one.adapter])
                continue
            facts = {"pretrained": base, "adapter": one.adapter and str(one.adapter)}
            name = names[one.adapter]
            members.append(_Member(one, recording, name, facts, own[one.adapter]))
        asking.answer_all(members)


def checkpoints(asked: _Pairs, engine: EngineSettings, listener: Listener, scratch: Path) -> None:
    """Load one checkpoint after the other in the base's place, and the base again at the end.

    A merge is a checkpoint for as long as it is asked.
    """
    if not asked:
        return
    if not engine.probe:
        raise SafemergeError(
            "engine.probe is false, and nothing else shows whose weights answer once they are "
            "loaded in place; remove it, or merge nothing but adapters."
        )
    base = asked[0][1].evaluation.base
    with _asking(base, asked, engine, listener) as asking:
        server = asking.server
        before = asking.expected(base, (None,))[None]
        left: dict[str, list[tuple[Asked, Recording]]] = {}
        for one, recording in asked:
            left.setdefault(one.weights, []).append((one, recording))
        try:
            for pairs in left.values():
                first = pairs[0][0]
                with ExitStack() as stack:
                    try:
                        place = str(first.checkpoint)
                        facts: dict[str, Any] = {"pretrained": place}
                        if first.merge is not None:
                            written = first.merge.written(scratch.resolve() / "checkpoint")
                            place = str(stack.enter_context(written))
                            facts = {"pretrained": None, "merge": first.merge.recipe}
                        server.load_weights(place)
                        own = asking.expected(place, (None,))[None]
                        if mismatch := asking.mismatch(server.name, own, before):
                            raise SafemergeError(
                                f"{first.name} is not served as it is: {mismatch}; use engine: "
                                "{model: vllm}."
                            )
                    except SafemergeError as error:
                        listener.all_failed(pairs, str(error))
                        continue
                    before = own
                    asking.answer_all(
                        [_Member(one, asks, server.name, facts, own) for one, asks in pairs]
                    )
        finally:
            try:
                server.load_weights(base)
            except SafemergeError as error:
                _log.warning("The base was not put back, the next run tries it again: %s", error)


class _Model(LocalCompletionsAPI):  # type: ignore[misc]
    """lm-eval's API model, with the tokens and settings of its models in a process.

    It is asked every request in a thread of a pool: by itself it asks together only what has the
    same settings, and every sampled request has a seed of its own.

    Attributes:
        key: the server's; no other is sent, whatever the environment holds.
        more: what every request says beside lm-eval's words.
        each: calls a function of lm-eval's for every request by itself.
    """

    key: str | None = None
    more: Mapping[str, Any]
    each: Callable[[Callable[..., Any], Sequence[Any]], list[Any]]
    # A tokenizer is not safe to use from two threads at once.
    lock = threading.Lock()

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        return self.each(super().generate_until, requests)

    def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        return self.each(super().loglikelihood, requests)

    def loglikelihood_rolling(self, requests: Any, **_: Any) -> list[float]:
        return self.each(super().loglikelihood_rolling, requests)

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **_: Any) -> Any:
        """Return tokens; a first one that the chat template wrote is not put there twice."""
        if not isinstance(string, str):
            return [self.tok_encode(one, add_special_tokens) for one in string]
        with self.lock:
            return HFLM.tok_encode(self, string, add_special_tokens) if string else []

    def parse_generations(self, outputs: Any, **_: Any) -> list[str]:
        """Return the one text; of what the server cut off itself nothing is an answer."""
        choices = outputs["choices"]
        reasons = [str(one.get("finish_reason")) for one in choices]
        if len(choices) != 1 or reasons[0] in _CUT_OFF or not isinstance(choices[0]["text"], str):
            raise SafemergeError(
                f"{self.base_url} gave {len(choices)} answers to a request (finish_reason "
                f"{', '.join(reasons)}), none of them whole; look at the server and its filters, "
                "and run again to go on."
            )
        return [choices[0]["text"]]

    def parse_logprobs(self, outputs: Any, tokens: Any, **how: Any) -> Any:
        """Return likelihoods, which lm-eval sums up whether or not there is one a token."""
        for output, prompt in zip(outputs, tokens, strict=True):
            said = len(output["choices"][0]["logprobs"]["token_logprobs"])
            if said != len(prompt) + 1:
                raise SafemergeError(
                    f"{self.base_url} says how likely {said} tokens are, of a prompt of "
                    f"{len(prompt)} and one more; use another engine, or tasks that generate."
                )
        return super().parse_logprobs(outputs, tokens, **how)

    def _create_payload(
        self,
        messages: Any,
        generate: bool = False,
        gen_kwargs: dict[str, Any] | None = None,
        **how: Any,
    ) -> dict[str, Any]:
        if generate:
            own = normalize_gen_kwargs(gen_kwargs or {}, self._max_gen_toks)
            gen_kwargs = {**_PLAIN, **own}
        made = super()._create_payload(messages, generate=generate, gen_kwargs=gen_kwargs, **how)
        return {**made, **self.more}


@dataclass(frozen=True)
class _Member:
    """Who is asked, what, under which name, what to keep about it, and what the probe expects."""

    one: Asked
    recording: Recording
    name: str
    facts: Mapping[str, Any]
    own: _Values | None


class _Asking:
    """Asks a server through lm-eval's model."""

    def __init__(
        self, base: str, tokenizer: str, engine: EngineSettings, listener: Listener, total: int
    ) -> None:
        self.server = Server(base, engine)
        self._engine = engine
        self._listener = listener
        self.counter = Counter(listener.progress, total)
        self._concurrent = int(engine.model_args.get("num_concurrent", CONCURRENT))
        self._arguments = {
            "add_bos_token": None,
            **{name: value for name, value in engine.model_args.items() if name != "model"},
            "num_concurrent": 1,
            "max_length": int(self.server.about["max_model_len"]),
        }
        self._model = _Model(
            base_url=f"{self.server.url}/completions",
            tokenizer=tokenizer,
            tokenizer_backend="huggingface",
            **self._arguments,
        )
        self._model.key = self.server.key
        self._tokens: list[int] = []

    def answerable(self, asked: _Pairs) -> _Pairs:
        """Return who can be asked; the others fail before anything is."""
        found, weighs = [], None
        for one, recording in asked:
            likelihoods = recording.by_kind().keys() - {GENERATION}
            if likelihoods and weighs is None:
                weighs = self._weigh(self.server.name, [1, 2]) is not None
            if likelihoods and not weighs:
                task = next(ask.task for ask in recording.requests if ask.kind in likelihoods)
                self._listener.failed(
                    one.name,
                    f"{task} asks how likely texts are, which {self.server.url} does not say (echo "
                    "with logprobs); use engine: {model: vllm}, or tasks that generate.",
                )
                continue
            found.append((one, recording))
        return found

    def expected(
        self, model: str, folders: Iterable[Path | None]
    ) -> dict[Path | None, _Values | None]:
        """Return what weights and adapters on them say to the probe; None where it is off."""
        if not self._engine.probe:
            return dict.fromkeys(folders)
        trust = bool(self._engine.model_args.get("trust_remote_code"))
        dtype = self.server.about["dtype"] or "auto"
        reference = load_reference(model, dtype, trust_remote_code=trust)
        self._tokens = probe_tokens(reference.config.get_text_config().vocab_size)
        return {one: log_probabilities(reference, self._tokens, one) for one in folders}

    def check_base(self, base: str, own: _Values | None) -> None:
        """Make sure that the base's own weights are served.

        Raises:
            SafemergeError: others are.
        """
        mismatch = self.mismatch(self.server.name, own)
        if mismatch and self.server.says_base:
            # A killed run leaves its last checkpoint in the base's place.
            with suppress(SafemergeError):
                self.server.load_weights(base)
            mismatch = self.mismatch(self.server.name, own)
        if mismatch:
            raise SafemergeError(
                f"{self.server.url} does not answer as {base} does: {mismatch}; start it with the "
                "base, or, for one that is quantised, write engine: {probe: false}."
            )

    def mismatch(
        self, name: str, own: _Values | None, before: _Values | None = None
    ) -> Mismatch | None:
        """Return how what answers differs from the weights that it is said to have."""
        if own is None:
            return None
        if (found := self._weigh(name, self._tokens)) is None:
            raise SafemergeError(
                f"{self.server.url} does not say how likely a prompt is (echo with logprobs), so "
                "nothing shows whose weights answer; write engine: {probe: false} to do without."
            )
        return compare(found, own, LIMITS[self.server.about["dtype"] or "bfloat16"], before)

    def _weigh(self, name: str, tokens: list[int]) -> _Values | None:
        """Return the log-probabilities of the tokens after the first; None if it gives none."""
        said = self._sentence(lambda: self._view(name).model_call([tokens], generate=False))
        try:
            weights = said["choices"][0]["logprobs"]["token_logprobs"][1 : len(tokens)]
            return (
                [float(weight) for weight in weights] if len(weights) == len(tokens) - 1 else None
            )
        except (KeyError, IndexError, TypeError):
            return None

    def _view(self, name: str) -> _Model:
        """Return lm-eval's model for what the server knows under a name."""
        view: _Model = copy.copy(self._model)
        # sglang's completions take an adapter beside the model.
        beside = self.server.is_sglang and name != self.server.name
        view.model = self.server.name if beside else name
        view.more = {"lora_path": name} if beside else {}
        return view

    def _sentence(self, ask: Callable[[], Any]) -> Any:
        """Return an answer; where lm-eval gave up after its retries, say so in a sentence."""
        try:
            return ask()
        except OSError as error:  # all that `requests` raises is one
            said = [brief(error), getattr(getattr(error, "response", None), "text", "")[:200]]
            raise SafemergeError(
                f"{self.server.url} does not answer a request ({' '.join(filter(None, said))}); "
                "look at the server, and run again to go on."
            ) from error
        except (KeyError, IndexError, TypeError) as error:
            raise SafemergeError(
                f"{self.server.url} answered with something else than a completion "
                f"({brief(error)}); it has to be like OpenAI's."
            ) from error

    def answer_all(self, members: Sequence[_Member]) -> None:
        """Have members answer, and save each one's responses once they are there."""
        begun: deque[tuple[Asked, Future[Responses]]] = deque()

        def finish() -> None:
            one, future = begun.popleft()
            future.result().save(one.out)
            self._listener.done(one.name)

        with (
            ThreadPoolExecutor(self._concurrent) as pool,
            ThreadPoolExecutor(_VARIANTS_AT_ONCE) as variants,
        ):
            for member in members:
                if not self._listener.unwanted(member.one):
                    begun.append((member.one, variants.submit(self._answer, member, pool)))
                if len(begun) == _VARIANTS_AT_ONCE:
                    finish()
            while begun:
                finish()

    def _answer(self, member: _Member, pool: Executor) -> Responses:
        def each(ask: Callable[..., Any], instances: Sequence[Any]) -> list[Any]:
            found = []
            for (value,) in pool.map(
                lambda one: self._sentence(lambda: ask([one], disable_tqdm=True)), instances
            ):
                found.append(value)
                self.counter.add(1)
            return found

        view = self._view(member.name)
        view.each = each
        about = {
            "model": "local-completions",
            "model_args": {**self._arguments, **member.facts},
            "server": self.server.about,
            "probed": member.own is not None,
            "max_model_len": self.server.about["max_model_len"],
            "versions": versions("peft"),
        }
        seed = int(self._engine.model_args.get("seed", DEFAULT_SEED))
        responses = answer(view, member.recording, about, seed)
        if mismatch := self.mismatch(member.name, member.own):
            raise SafemergeError(
                f"{self.server.url} had other weights when {member.one.name} had answered "
                f"({mismatch}); let nothing else load weights there meanwhile, and run again."
            )
        return responses


@contextmanager
def _asking(
    base: str, asked: _Pairs, engine: EngineSettings, listener: Listener
) -> Iterator[_Asking]:
    """Ask a server, one job of this machine at a time: a checkpoint replaces what others ask."""
    total = sum(len(recording.requests) for _, recording in asked)
    asking = _Asking(base, asked[0][1].evaluation.base, engine, listener, total)
    folder = cache_dir() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(asking.server.url.encode()).hexdigest()[:24]
    lock = FileLock(folder / f"{name}.lock")
    while not lock.is_locked:
        with suppress(Timeout):
            lock.acquire(timeout=10)
        asking.counter.add(0)
    # lm-eval draws a bar for every call, which here is every request.
    with patch.object(api_models, "tqdm", partial(api_models.tqdm, disable=True)):
        try:
            yield asking
        finally:
            lock.release()
