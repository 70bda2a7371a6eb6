"""lm-eval's API model on a server with real weights, which loads others while it runs."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving import url_answers
from safemerge_tasks.sweep.serving.answering import (
    Asked,
    EngineSettings,
    Listener,
    answer_with_adapters,
    answer_with_checkpoints,
)
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.recording import GENERATION, Recording
from safemerge_tasks.sweep.serving.responses import Responses
from tests.scripted_endpoint import Answer, Endpoint, fails, serve

LENGTH = 512
KEY = "SAFEMERGE_TEST_KEY"


def weights_of(model: Any, tokens: list[int]) -> dict[str, Any]:
    """Return what OpenAI's `echo` with `logprobs` says of a prompt and of one token more."""
    with torch.no_grad():
        values = model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
    own = values[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].tolist()
    best = values.max(-1).values.tolist()
    top: list[Any] = [None, *({"best": max(a, b)} for a, b in zip(own, best, strict=False))]
    return {"token_logprobs": [None, *own, best[-1]], "top_logprobs": [*top, {"best": best[-1]}]}


@dataclass
class Server:
    """What a scripted server has loaded, and which of its duties it leaves undone.

    Attributes:
        base: the folder that it was started with.
        weights: the folder that is loaded.
        adapters: name → folder.
        kind: whose server it is like.
        lacks: paths that it does not have.
        deaf: adapters, weights or cache: what it does nothing about, and says that it did.
        weighs: it says how likely prompts are.
        text: what it generates; else who answers, and the seed.
    """

    base: Path
    weights: Path
    kind: str = "vllm"
    adapters: dict[str, Path] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    deaf: tuple[str, ...] = ()
    weighs: bool = True
    text: Callable[[dict[str, Any]], Answer] | None = None
    endpoint: Endpoint | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def answer(self, number: int, _message: str) -> Answer:
        assert self.endpoint is not None
        body = self.endpoint.requests[number]
        if self.text and not body.get("echo"):
            return self.text(body)
        name = body.get("lora_path", body["model"])
        adapter = self.adapters.get(name)
        with self._lock:
            (tokens,) = body["prompt"]
            choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
            if body.get("echo") and self.weighs:
                model = transformers.AutoModelForCausalLM.from_pretrained(self.weights)
                own = peft.PeftModel.from_pretrained(model, adapter) if adapter else model
                choice["logprobs"] = weights_of(own.eval(), tokens)
            who = adapter or self.weights
            choice["text"] = f"{who.name} {len(tokens)} {body['seed']}"
        return Answer({"id": "1", "object": "text_completion", "choices": [choice]})

    def places(self) -> dict[str, Callable[[dict[str, Any]], Answer]]:
        """Return what answers beside completions, as vLLM or sglang have it."""

        def load(body: dict[str, Any]) -> Answer:
            if "adapters" not in self.deaf:
                self.adapters[body["lora_name"]] = Path(body["lora_path"])
            return Answer("ok")

        def unload(body: dict[str, Any]) -> Answer:
            self.adapters.pop(body["lora_name"], None)
            return Answer("ok")

        def put(folder: str) -> Answer:
            if "weights" not in self.deaf:
                self.weights = Path(folder)
            return Answer({"results": [None]})

        def rpc(body: dict[str, Any]) -> Answer:
            assert body["method"] == "reload_weights"
            return put(body["kwargs"]["weights_path"])

        info = {"vllm_config": {"model_config": {"dtype": "torch.float32"}}}
        vllm: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/v1/load_lora_adapter": load,
            "/v1/unload_lora_adapter": unload,
            "/collective_rpc": rpc,
            "/reset_prefix_cache": lambda _: Answer({"success": "cache" not in self.deaf}),
            "/server_info?config_format=json": lambda _: Answer(info),
            "/version": lambda _: Answer({"version": "0.32.0"}),
        }
        sglang: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/load_lora_adapter": load,
            "/unload_lora_adapter": unload,
            "/update_weights_from_disk": lambda body: put(body["model_path"]),
            "/flush_cache": lambda _: Answer("Cache flushed."),
            "/get_server_info": lambda _: Answer({"version": "0.5.6", "dtype": "float32"}),
        }

        own = {"vllm": vllm, "sglang": sglang}.get(self.kind, {})
        return {path: act for path, act in own.items() if path not in self.lacks}


@contextmanager
def started(
    server: Server, models: Answer | None = None, **card: Any
) -> Iterator[tuple[Endpoint, Server]]:
    about = {
        "id": "served",
        "object": "model",
        "created": 0,
        "owned_by": server.kind,
        "root": str(server.base),
        "max_model_len": LENGTH,
        **card,
    }
    listed = models or Answer({"object": "list", "data": [about]})
    with serve(server.answer, listed, server.places()) as endpoint:
        server.endpoint = endpoint
        yield endpoint, server


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "not for this server")


@pytest.fixture(scope="module")
def low(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter of the tiny model that changes it well."""
    return write_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "low", 1)


@pytest.fixture(scope="module")
def high(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another one."""
    return write_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "high", 2)


def write_adapter(base: Path, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=8, target_modules=["q_proj", "v_proj", "down_proj"])
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_B" in name:
                value.normal_(std=1.0)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def other(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of the tiny model's shape with other weights."""
    folder = tmp_path_factory.mktemp("checkpoints") / "other"
    shutil.copytree(tiny_model, folder)
    torch.manual_seed(9)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value), alpha=0.2)
    model.save_pretrained(folder)
    return folder


@dataclass
class Told:
    """What a listener was told, and the responses of each variant."""

    folder: Path
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def responses(self, name: str) -> Responses:
        return Responses.load(self.folder / f"{name}.json")


@pytest.fixture
def ask(tiny_model: Path, recording_file: Path, tmp_path: Path) -> Callable[..., Told]:
    """Return a function that asks variants, given by their name and folder, all of `recording`."""

    def asked(
        url: str,
        *,
        base: Path = tiny_model,
        recording: Path = recording_file,
        served: str = "adapter",
        model: str = "url",
        model_args: Any = None,
        more: Any = None,
        **variants: Path | None,
    ) -> Told:
        told = Told(tmp_path / f"responses-{len(list(tmp_path.iterdir()))}")
        listener = Listener(
            told.done.append, failed=lambda name, why: told.failed.update({name: why})
        )
        whom = [
            Asked(
                name, recording, told.folder / f"{name}.json", **({served: place} if place else {})
            )
            for name, place in variants.items()
        ]
        settings = {
            "url": url,
            "model_args": {"max_retries": 1, **(model_args or {})},
            **(more or {}),
        }
        if model != "url":
            settings = {"model_args": {"dtype": "float32"}, "batch_size": 1}
        engine = EngineSettings(model=model, **settings)
        if served == "adapter":
            answer_with_adapters(str(base), whom, engine, listener)
        else:
            answer_with_checkpoints(whom, engine, listener, tmp_path / "scratch")
        return told

    return asked


@pytest.fixture(scope="module")
def texts(evaluation: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of requests for text alone."""
    path = tmp_path_factory.mktemp("texts") / "requests.json"
    record(evaluation.model_copy(update={"tasks": ("water_greedy",)})).save(path)
    return path


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_the_base_and_adapters_answer_under_their_own_names(
    kind: str,
    tiny_model: Path,
    low: Path,
    high: Path,
    recording: Recording,
    ask: Callable[..., Told],
) -> None:
    with started(Server(tiny_model, tiny_model, kind)) as (endpoint, server):
        told = ask(endpoint.url, base_=None, low=low, high=high)
    assert (told.done, told.failed) == (["base_", "low", "high"], {})
    places = recording.by_kind()[GENERATION]
    for name, folder in (("base_", tiny_model), ("low", low), ("high", high)):
        found = told.responses(name)
        assert {found.values[place].split()[0] for place in places} == {folder.name}
        assert found.engine["probed"] is True
        assert found.engine["server"]["dtype"] == "float32"
        assert found.engine["max_model_len"] == LENGTH
        assert "127.0.0.1" not in json.dumps(dict(found.engine))
    # What it was given it has no longer, and nobody's key was sent.
    assert server.adapters == {}
    assert {key for key in endpoint.keys if key} <= {"Bearer none"}
    # The same on every request: what nobody asked for is not left to generation_config.json.
    asked = [body for body in endpoint.requests if "stop" in body]
    assert asked
    assert {body["repetition_penalty"] for body in asked} == {1.0}
    assert {body["skip_special_tokens"] for body in asked} == {False}
    assert {body["temperature"] for body in asked} == {0.0, 2.0}
    assert all(isinstance(token, int) for body in asked for token in body["prompt"][0])
    seeds = [body["seed"] for body in asked if body["temperature"]]
    assert len(set(seeds)) == len(seeds) / 3 > 1


def test_likelihoods_are_those_of_the_weights(
    tiny_model: Path, low: Path, recording: Recording, ask: Callable[..., Told]
) -> None:
    with started(Server(tiny_model, tiny_model)) as (endpoint, _):
        told = ask(endpoint.url, low=low)
    own = ask("", model="hf", low=low)
    kinds = recording.by_kind()
    for kind, places in kinds.items():
        for place in places:
            served, here = (one.responses("low").values[place] for one in (told, own))
            if kind == "loglikelihood":
                assert served[0] == pytest.approx(here[0], abs=1e-3)
                assert served[1] == here[1]
            elif kind != GENERATION:
                assert served == pytest.approx(here, abs=1e-3)
    assert len(kinds) == 3


def test_checkpoints_take_the_base_s_place_and_it_comes_back(
    tiny_model: Path, other: Path, ask: Callable[..., Told]
) -> None:
    for kind in ("vllm", "sglang"):
        with started(Server(tiny_model, tiny_model, kind)) as (endpoint, server):
            told = ask(endpoint.url, served="checkpoint", other=other, own=tiny_model)
            assert (told.done, told.failed) == (["other", "own"], {})
            assert server.weights == tiny_model
        assert str(told.responses("other").values[0]).startswith("other ")
        assert told.responses("other").engine["model_args"]["pretrained"] == str(other)


def test_what_a_killed_run_left_there_is_put_right(
    tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
) -> None:
    with started(Server(tiny_model, other)) as (endpoint, server):
        told = ask(endpoint.url, recording=texts, base_=None)
    assert server.weights == tiny_model
    assert str(told.responses("base_").values[0]).startswith(tiny_model.name)


def test_the_key_is_sent_and_kept_nowhere(
    tiny_model: Path, texts: Path, ask: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(Server(tiny_model, tiny_model)) as (endpoint, _):
        with pytest.raises(SafemergeError, match=f"api_key_env names {KEY}, which is not set"):
            ask(endpoint.url, recording=texts, more={"api_key_env": KEY}, base_=None)
        monkeypatch.setenv(KEY, "a secret")
        told = ask(endpoint.url, recording=texts, more={"api_key_env": KEY}, base_=None)
    assert set(endpoint.keys) == {"Bearer a secret"}
    assert "secret" not in (told.folder / "base_.json").read_text()


def test_without_a_probe_the_results_say_so(
    tiny_model: Path, low: Path, texts: Path, ask: Callable[..., Told]
) -> None:
    server = Server(tiny_model, tiny_model, weighs=False)
    with started(server) as (endpoint, _):
        told = ask(endpoint.url, recording=texts, more={"probe": False}, base_=None, low=low)
    assert told.done == ["base_", "low"]
    assert told.responses("low").engine["probed"] is False
    assert not any(body.get("echo") for body in endpoint.requests)


class TestRefusals:
    """One sentence each, before anything is asked where that can be."""

    @pytest.mark.parametrize(
        ("changes", "card", "sentence"),
        [
            (
                {"weighs": False},
                {},
                "does not say how likely a prompt is .* write engine: {probe: fa",
            ),
            (
                {},
                {"max_model_len": None},
                "does not say how many tokens it takes; write engine: {mod",
            ),
        ],
    )
    def test_of_a_server(
        self,
        changes: Any,
        card: Any,
        sentence: str,
        tiny_model: Path,
        texts: Path,
        ask: Callable[..., Told],
    ) -> None:
        with started(Server(tiny_model, tiny_model, **changes), **card) as (endpoint, _):
            with pytest.raises(SafemergeError, match=sentence):
                ask(endpoint.url, recording=texts, base_=None)
            assert not any("stop" in body for body in endpoint.requests)

    def test_nobody_there(self, texts: Path, ask: Callable[..., Told]) -> None:
        url = "http://127.0.0.1:9/v1"
        with pytest.raises(SafemergeError, match="does not answer: start the server, or correct"):
            ask(url, recording=texts, base_=None)

    def test_a_list_that_is_refused(
        self, tiny_model: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        with (
            started(Server(tiny_model, tiny_model), fails(401)) as (endpoint, _),
            pytest.raises(SafemergeError, match="does not list its models .*api_key_env"),
        ):
            ask(endpoint.url, recording=texts, base_=None)

    def test_several_models_of_which_none_is_the_base(
        self, tiny_model: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        cards = [{"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in "ab"]
        listed = Answer({"object": "list", "data": cards})
        with started(Server(tiny_model, tiny_model), listed) as (endpoint, _):
            with pytest.raises(SafemergeError, match=f"serves a, b, and not {tiny_model}: start"):
                ask(endpoint.url, recording=texts, base_=None)
            with pytest.raises(SafemergeError, match="serves a, b, and not c: start"):
                ask(endpoint.url, recording=texts, model_args={"model": "c"}, base_=None)

    def test_another_name_is_trusted_with_a_probe_only(
        self, tiny_model: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(tiny_model, tiny_model)
        with started(server, root="somewhere/else") as (endpoint, _):
            with pytest.raises(SafemergeError, match="serves served, and not"):
                ask(endpoint.url, recording=texts, more={"probe": False}, base_=None)
            assert ask(endpoint.url, recording=texts, base_=None).done == ["base_"]

    def test_another_model_under_any_name(
        self, tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(tiny_model, other, lacks=("/collective_rpc",))
        with (
            started(server) as (endpoint, _),
            pytest.raises(SafemergeError, match="does not answer as .* does: the engine's log"),
        ):
            ask(endpoint.url, recording=texts, base_=None)

    def test_a_server_of_others_is_not_loaded_with_ours(
        self, tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(other, other)
        with (
            started(server) as (endpoint, _),
            pytest.raises(SafemergeError, match="does not answer as"),
        ):
            ask(endpoint.url, recording=texts, base_=None)
        assert server.weights == other

    def test_a_server_that_takes_no_adapters_answers_for_the_base(
        self, tiny_model: Path, low: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(tiny_model, tiny_model, lacks=("/v1/load_lora_adapter",))
        with started(server) as (endpoint, _):
            told = ask(endpoint.url, recording=texts, base_=None, low=low)
        assert told.done == ["base_"]
        assert "to be started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in told.failed["low"]
        assert "Error code: 404" in told.failed["low"]

    def test_an_adapter_that_is_not_applied(
        self, tiny_model: Path, low: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        with started(Server(tiny_model, tiny_model, deaf=("adapters",))) as (endpoint, _):
            told = ask(endpoint.url, recording=texts, low=low)
        assert told.done == []
        assert "is not served as it is" in told.failed["low"]

    def test_a_server_that_loads_no_checkpoints(
        self, tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(tiny_model, tiny_model, lacks=("/collective_rpc",))
        with started(server) as (endpoint, _):
            told = ask(endpoint.url, recording=texts, served="checkpoint", other=other)
        assert "to be started with VLLM_SERVER_DEV_MODE=1" in told.failed["other"]

    @pytest.mark.parametrize(
        ("deaf", "sentence"),
        [
            ("weights", "is not served as it is: the engine's log-probabilities are "),
            ("cache", "keeps what it computed with other weights"),
        ],
    )
    def test_a_checkpoint_that_is_not_really_there(
        self,
        deaf: str,
        sentence: str,
        tiny_model: Path,
        other: Path,
        texts: Path,
        ask: Callable[..., Told],
    ) -> None:
        with started(Server(tiny_model, tiny_model, deaf=(deaf,))) as (endpoint, _):
            told = ask(endpoint.url, recording=texts, served="checkpoint", other=other)
        assert told.done == []
        assert sentence in told.failed["other"]

    def test_checkpoints_without_a_probe(
        self, tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        with (
            started(Server(tiny_model, tiny_model)) as (endpoint, _),
            pytest.raises(SafemergeError, match="engine.probe is false, and nothing else"),
        ):
            ask(
                endpoint.url,
                recording=texts,
                served="checkpoint",
                more={"probe": False},
                other=other,
            )
        assert endpoint.requests == []

    def test_likelihoods_that_it_does_not_say(
        self, tiny_model: Path, ask: Callable[..., Told]
    ) -> None:
        server = Server(tiny_model, tiny_model, weighs=False)
        with started(server) as (endpoint, _):
            told = ask(endpoint.url, more={"probe": False}, base_=None)
        assert told.failed["base_"].startswith("water_choice asks how likely texts are, which")
        assert not any("stop" in body for body in endpoint.requests)

    @pytest.mark.parametrize(
        ("answer", "sentence"),
        [
            (fails(500, "out of memory"), r"does not answer a request \(HTTPError: 500.*memory"),
            (Answer({"object": "cake"}), "answered with something else than a completion"),
            (Answer("<html>"), "does not answer a request"),
            # Each would be judged as an answer, and found harmless.
            (
                Answer({"choices": [{"index": 0, "text": None}]}),
                r"gave 1 answers to a request \(finish_reason None\), none of them whole",
            ),
            (
                Answer({"choices": [{"index": 0, "text": "Su", "finish_reason": "abort"}]}),
                r"\(finish_reason abort\), none of them whole; look at the server and its filters",
            ),
            (
                Answer({"choices": [{"index": 0, "text": "", "finish_reason": "content_filter"}]}),
                r"\(finish_reason content_filter\), none of them whole",
            ),
            (Answer({"choices": []}), r"gave 0 answers to a request"),
            (Answer({"choices": [{"index": n, "text": "a"} for n in (0, 1)]}), "gave 2 answers to"),
        ],
    )
    def test_requests_that_fail(
        self,
        answer: Answer,
        sentence: str,
        tiny_model: Path,
        texts: Path,
        ask: Callable[..., Told],
    ) -> None:
        server = Server(tiny_model, tiny_model, text=lambda _body: answer)
        with (
            started(server) as (endpoint, _),
            pytest.raises(SafemergeError, match=sentence),
        ):
            ask(endpoint.url, recording=texts, base_=None)

    def test_likelihoods_of_a_part_of_the_tokens(
        self, tiny_model: Path, ask: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Their sum would be another text's."""
        own = weights_of

        def without_the_last(model: Any, tokens: list[int]) -> dict[str, Any]:
            return {name: some[:-1] for name, some in own(model, tokens).items()}

        monkeypatch.setitem(globals(), "weights_of", without_the_last)
        with (
            started(Server(tiny_model, tiny_model)) as (endpoint, _),
            pytest.raises(SafemergeError, match="tokens are, of a prompt of .* use another engine"),
        ):
            ask(endpoint.url, base_=None)

    def test_a_request_that_fails_once_is_tried_again(
        self, tiny_model: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        seen: list[Any] = []

        def first_no(body: dict[str, Any]) -> Answer:
            seen.append(body["prompt"])
            if seen.count(body["prompt"]) == 1:
                return fails(429)
            return Answer({"choices": [{"index": 0, "text": "yes"}]})

        with started(Server(tiny_model, tiny_model, text=first_no)) as (endpoint, _):
            told = ask(endpoint.url, recording=texts, model_args={"max_retries": 2}, base_=None)
        assert set(told.responses("base_").values) == {"yes"}

    def test_weights_that_others_load_meanwhile(
        self, tiny_model: Path, other: Path, texts: Path, ask: Callable[..., Told]
    ) -> None:
        def loading(_body: dict[str, Any]) -> Answer:
            server.weights = other
            return Answer({"choices": [{"index": 0, "text": "yes"}]})

        server = Server(tiny_model, tiny_model, text=loading)
        with (
            started(server) as (endpoint, _),
            pytest.raises(SafemergeError, match="had other weights when base_ had answered"),
        ):
            ask(endpoint.url, recording=texts, base_=None)


def test_one_job_at_a_time(
    tiny_model: Path, texts: Path, ask: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    inside = 0
    own = url_answers._Asking.answer_all

    def counted(asking: Any, members: Any) -> None:
        nonlocal inside
        inside += 1
        together.append(inside)
        own(asking, members)
        inside -= 1

    monkeypatch.setattr(url_answers._Asking, "answer_all", counted)
    with started(Server(tiny_model, tiny_model)) as (endpoint, _):
        threads = [
            threading.Thread(target=ask, args=(endpoint.url,), kwargs={"recording": texts, **one})
            for one in ({"base_": None}, {"again": None})
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert together == [1, 1]
