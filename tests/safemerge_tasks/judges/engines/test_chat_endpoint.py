"""What an endpoint refuses, by the words of many, and what is done about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from safemerge_tasks.cli import app
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, Verdict, VerdictCache, judge_responses, make_judge
from safemerge_tasks.judges.judging.verdict_cache import FILE
from safemerge_tasks.results import HARMFUL_QUESTIONS, Run, find_runs, write_run
from tests.lm_eval_files import sample_row, summary_of
from tests.scripted_endpoint import MODEL, Answer, Endpoint, fails, says, serve

Script = Callable[[dict[str, Any]], Answer]

NO_LIMIT = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead."
)
NO_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) "
    "value is supported."
)


def refuses(message: str, parameter: str | None = None, status: int = 400) -> Answer:
    """Return a refusal as OpenAI words it, with or without the parameter's name of its own."""
    error = {"message": message, "type": "invalid_request_error", "param": parameter}
    return Answer({"error": {**error, "code": "unsupported_parameter"}}, status)


def judged(
    script: Script, responses: tuple[str, ...] = ("Mix flour.",), **settings: Any
) -> tuple[list[Verdict], Endpoint]:
    """Judge responses one after the other at an endpoint that looks at the whole request."""
    with serve(lambda number, _: script(endpoint.requests[number])) as endpoint:
        settings = {"name": "chat", "url": endpoint.url, "concurrency": 1, **settings}
        judge = make_judge(JudgeSettings(**settings))
        verdicts = judge_responses(judge, ["How is bread baked?"] * len(responses), responses)
        judge.close()
    return verdicts, endpoint


def newer(request: dict[str, Any]) -> Answer:
    """Answer as OpenAI's reasoning models do."""
    if "max_tokens" in request:
        return refuses(NO_LIMIT, "max_tokens")
    if "temperature" in request:
        return refuses(NO_TEMPERATURE, "temperature")
    return says("[[A]]")


def test_what_newer_models_want_is_found_out_once() -> None:
    verdicts, endpoint = judged(newer, ("Mix.", "Bake.", "Knead."))
    assert [verdict.harmful for verdict in verdicts] == [False] * 3
    # Two refusals, and from then on every request is taken at once.
    assert len(endpoint.requests) == 5
    assert endpoint.requests[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert endpoint.requests[-1]["max_completion_tokens"] == 4096


def test_many_at_once_find_it_out_alike() -> None:
    verdicts, endpoint = judged(newer, tuple(f"Mix {n}." for n in range(40)), concurrency=8)
    assert [verdict.harmful for verdict in verdicts] == [False] * 40
    assert len(endpoint.requests) <= 40 + 2 * 8


@pytest.mark.parametrize(
    "message",
    [
        "litellm.UnsupportedParamsError: gpt-5 models don't support temperature=0.0. Only "
        "temperature=1 is supported.",
        "`temperature` is deprecated for this model.",
        "temperature is not supported by this model",
        "1 validation error: body.temperature: Extra inputs are not permitted",
    ],
)
def test_no_temperature_in_other_gateways_words(message: str) -> None:
    def script(request: dict[str, Any]) -> Answer:
        return refuses(message) if "temperature" in request else says("[[B]]")

    (verdict,), endpoint = judged(script)
    assert verdict.harmful
    assert "max_tokens" in endpoint.requests[-1]


def test_a_question_about_an_ovens_temperature_is_no_refusal_of_the_parameter() -> None:
    message = "Blocked by policy: 'Which oven temperature suits rye bread best?'"
    (verdict,), endpoint = judged(lambda _: refuses(message))
    assert message[:20] in (verdict.unscored or "")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens "
        "(404 in the messages, 4096 in the completion).",
        "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context "
        "length is 4096 tokens and your request has 404 input tokens.",
    ],
)
def test_a_budget_beyond_the_context_leaves_the_limit_to_the_endpoint(message: str) -> None:
    def script(request: dict[str, Any]) -> Answer:
        return refuses(message) if "max_tokens" in request else says("[[A]]")

    (verdict,), endpoint = judged(script)
    assert verdict.harmful is False
    assert endpoint.requests[-1].keys() == {"model", "messages", "temperature"}
    # The exchange itself is too long: that one's reason.
    verdicts, endpoint = judged(
        lambda request: (
            refuses(message) if "long" in request["messages"][0]["content"] else says("[[A]]")
        ),
        ("Mix.", "a long one", "Bake."),
    )
    assert [verdict.harmful for verdict in verdicts] == [False, None, False]
    assert not verdicts[1].pending


@pytest.mark.parametrize(
    ("message", "parameter"),
    [
        ("Unsupported parameter: 'reasoning' is needed", "reasoning"),
        (NO_LIMIT, None),
        (NO_TEMPERATURE, "temperature"),
    ],
)
def test_what_cannot_be_mended_ends_all_asking(message: str, parameter: str | None) -> None:
    responses = tuple(f"Mix {n}." for n in range(9))
    verdicts, endpoint = judged(lambda _: refuses(message, parameter), responses)
    assert len(endpoint.requests) <= 2
    assert all(verdict.pending for verdict in verdicts)
    assert "does not take" in (verdicts[-1].unscored or "")
    assert "name another model with judge_served_model" in (verdicts[-1].unscored or "")


@pytest.mark.parametrize("text", ["Not [[A]] but", None])
def test_the_budget_is_a_setting_and_named_where_it_is_reached(text: str | None) -> None:
    (verdict,), endpoint = judged(lambda _: says(text, finish="length"), max_new_tokens=64)
    assert verdict.unscored == "the judge's reply reached judge_max_new_tokens=64; raise it"
    assert (verdict.pending, len(endpoint.requests)) == (True, 1)
    assert endpoint.requests[0]["max_tokens"] == 64


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run that awaits judging."""
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    rows = [
        sample_row(number, "deferred", {"unscored_rate": 1.0}, {"language": "en"})
        for number in range(6)
    ]
    results = {"kitchen_asr": {"unscored_rate,deferred": 1.0}}
    summary = summary_of(results, ours={"kitchen_asr": {"kind": HARMFUL_QUESTIONS}}, questions=6)
    write_run(tmp_path / "run", "2020-01-01", summary, {"kitchen_asr": rows})
    return find_runs(tmp_path / "run")[0]


def judge_at(endpoint: Endpoint, saved: Run) -> None:
    """Run `safemerge judge`, with verdicts kept."""
    words = ["judge", str(saved.path.parent), "--judge", "chat", "--url", endpoint.url]
    words += ["--metadata", f"judge_served_model={MODEL},judge_concurrency=1,judge_retries=0"]
    result = CliRunner().invoke(app, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception


BROKEN: dict[str, Answer] = {
    "parameter": refuses(NO_LIMIT, "max_tokens"),
    "budget": says(None, finish="length"),
    "key": fails(401, "no such key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_endpoint_that_is_set_up_wrongly_changes_nothing_and_is_asked_again_once_mended(
    saved: Run, name: str
) -> None:
    mended: list[bool] = []
    before = {path: path.read_bytes() for path in saved.path.parent.iterdir()}
    with serve(lambda *_: says("[[B]]") if mended else BROKEN[name]) as endpoint:
        with pytest.raises(SafemergeError, match="chat reached no verdict, and nothing was rewr"):
            judge_at(endpoint, saved)
        assert {path: path.read_bytes() for path in saved.path.parent.iterdir()} == before
        mended.append(True)
        judge_at(endpoint, saved)
        assert saved.summary()["results"]["kitchen_asr"]["asr,chat"] == 1
        asked = len(endpoint.requests)
        judge_at(endpoint, saved)
        assert len(endpoint.requests) == asked  # verdicts are kept


def test_nothing_but_unreadable_replies_is_no_success(saved: Run) -> None:
    with (
        serve(lambda *_: says("Hard to say.")) as endpoint,
        pytest.raises(SafemergeError, match="chat reached no verdict on any response"),
    ):
        judge_at(endpoint, saved)
    assert saved.summary()["results"]["kitchen_asr"]["unscored_rate,chat"] == 1


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (Verdict.no_verdict("the judge's endpoint refused the request: 400"), False),
        (Verdict.no_verdict("the judge's reply was too long (5 tries)", "Not [["), False),
        (Verdict.no_verdict("the judge's reply has no tag", "Hm."), True),
        (Verdict(harmful=True, raw="[[B]]"), True),
    ],
)
def test_failures_that_an_older_safemerge_kept_are_not_used(
    tmp_path: Path, verdict: Verdict, kept: bool
) -> None:
    cache = VerdictCache(tmp_path / FILE)
    judge = make_judge(JudgeSettings(name="chat", url="http://127.0.0.1:9/v1", served_model="m"))
    key = judge.cache_key()
    assert key is not None
    cache.keep(key, ["q"], ["r"], [Verdict(harmful=False)])
    cache._store.keep([(row[0], json.dumps(verdict.as_fields())) for row in _rows(cache, key)])
    assert cache.look_up(key, ["q"], ["r"]) == [verdict if kept else None]


def _rows(cache: VerdictCache, key: dict[str, Any]) -> list[tuple[bytes]]:
    from safemerge_tasks.judges.judging.verdict_cache import _keys

    return [(one,) for one in _keys(key, ["q"], ["r"])]


def test_the_budget_does_not_void_what_is_kept() -> None:
    keys = [
        make_judge(
            JudgeSettings(name="chat", url="http://x/v1", served_model="m", max_new_tokens=budget)
        ).cache_key()
        for budget in (64, 4096)
    ]
    assert keys[0] == keys[1]
