"""An OpenAI-compatible chat endpoint in this process that answers by a script."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted"


@dataclass(frozen=True)
class Answer:
    """What the endpoint sends."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0


def says(text: str | None, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    """Return an ordinary completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return Answer({"id": "1", "object": "chat.completion", "created": 0, "model": MODEL,
                   "choices": [choice]})  # fmt: skip


def fails(status: int, message: str = "no") -> Answer:
    """Return an error that asks not to wait long before the next try."""
    return Answer({"error": {"message": message}}, status, {"retry-after-ms": "1"})


@dataclass
class Endpoint:
    """A running endpoint and what it was asked."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """Return each request's last message, or its prompt."""
        return [
            request["messages"][-1]["content"]
            if "messages" in request
            else str(request.get("prompt"))
            for request in self.requests
        ]


@contextmanager
def serve(
    script: Callable[[int, str], Answer],
    models: Answer | None = None,
    places: Mapping[str, Callable[[dict[str, Any]], Answer]] | None = None,
) -> Iterator[Endpoint]:
    """Serve on loopback.

    Args:
        script: gets the number of the request and its message.
        models: the list of models; else one, called `MODEL`.
        places: paths beside that of completions, and what answers the body sent there.
    """
    lock = threading.Lock()
    stopped = threading.Event()

    def missing(_body: dict[str, Any]) -> Answer:
        return Answer({"detail": "Not Found"}, 404)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if places is not None and self.path != "/v1/models":
                self._send(places.get(self.path, missing)({}))
                return
            model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"}
            self._send(models or Answer({"object": "list", "data": [model]}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                endpoint.requests.append(json.loads(body))
                endpoint.keys.append(self.headers["Authorization"])
                number = len(endpoint.requests) - 1
            if places is None or self.path == "/v1/completions":
                answer = script(number, endpoint.messages[number])
            else:
                answer = places.get(self.path, missing)(endpoint.requests[number])
            stopped.wait(answer.wait)
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            plain = isinstance(answer.body, str)
            data = answer.body.encode() if plain else json.dumps(answer.body).encode()
            try:
                self.send_response(answer.status)
                self.send_header("Content-Type", "text/html" if plain else "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                return  # the client has given up

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            return

    class Server(ThreadingHTTPServer):
        # Clients come a hundred at once; of more than wait here connections are reset.
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
