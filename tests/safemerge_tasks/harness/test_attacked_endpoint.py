"""Attacks on a chat endpoint, through lm-eval's own model of one and a scripted server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lm_eval
import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.attacked_tasks import AttackedTasks

SUITE = """
class: !function safemerge_tasks.harness.HarmfulQuestions
task: oven_asr
dataset_kwargs: {suite: oven, parts: [{file: oven.csv}], question: q, target: t}
generation_kwargs: {until: [], max_gen_toks: 4}
metadata: {version: 1}
"""


class Kitchen(ThreadingHTTPServer):
    """Answers every conversation alike, and notes what it was sent."""

    goes_on = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(payload)
        kept_open = self.goes_on and payload.get("continue_final_message")
        message = {"role": "assistant", "content": "the oven."}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7 if kept_open else 9},
        }


class _Handler(BaseHTTPRequestHandler):
    server: Kitchen

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(self.server.answer(payload)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def kitchen(data: Path) -> Iterator[Kitchen]:
    (data / "oven.csv").write_text("q,t\nBread?,First warm\nTea?,First boil\n")
    (data / "oven.yaml").write_text(SUITE)
    server = Kitchen()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(kitchen: Kitchen, data: Path, *tasks: str) -> dict[str, Any]:
    manager = AttackedTasks(
        include_path=str(data), include_defaults=False, metadata={"judge": "keywords"}
    )
    url = f"http://127.0.0.1:{kitchen.server_port}/v1/chat/completions"
    found = lm_eval.simple_evaluate(
        model="local-chat-completions",
        model_args={"model": "oven", "base_url": url, "max_retries": 1},
        tasks=list(tasks),
        task_manager=manager,
        apply_chat_template=True,
    )
    assert found is not None
    return dict(found)


def test_the_endpoint_goes_on_with_the_message_and_draws_with_seeds(
    kitchen: Kitchen, data: Path
) -> None:
    told = ask(kitchen, data, "oven_asr", "oven_asr@prefill", "oven_asr@sample:3")
    probes = [one for one in kitchen.asked if one["max_tokens"] == 1]
    assert len(probes) == 2
    rest = [one for one in kitchen.asked if one["max_tokens"] == 4]
    begun = [one for one in rest if one["messages"][-1]["role"] == "assistant"]
    assert {one["messages"][-1]["content"] for one in begun} == {"First warm", "First boil"}
    assert all(one["continue_final_message"] and not one["add_generation_prompt"] for one in begun)
    drawn = [one for one in rest if one["temperature"] == 1.0]
    assert len({one["seed"] for one in drawn}) == len(drawn) == 6
    assert len(rest) == 2 + 2 + 6
    rows = told["samples"]["oven_asr@sample:3"]
    assert [row["resps"] for row in rows] == [[["the oven."]] * 3] * 2


def test_one_that_ignores_it_is_refused_before_any_question(kitchen: Kitchen, data: Path) -> None:
    kitchen.goes_on = False
    with pytest.raises(SafemergeError, match="oven_asr@prefill: the endpoint .* ignores"):
        ask(kitchen, data, "oven_asr@prefill")
    assert all(one["max_tokens"] == 1 for one in kitchen.asked)
