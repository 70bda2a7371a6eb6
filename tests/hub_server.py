"""A stand-in for the Hub on loopback: its addresses and headers, as far as its client asks."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves folders as models; counts the bytes it gave of each file."""

    def __init__(self, models: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models
        self.served: dict[str, int] = {}

    @property
    def url(self) -> str:
        """What `HF_ENDPOINT` names."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None: ...

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        for model, folder in self.server.models.items():
            if path.startswith(f"/api/models/{model}"):
                self._send(json.dumps(self._describe(model, folder, path)).encode(), body=body)
                return
            if path.startswith(f"/{model}/resolve/"):
                file = folder / path.split("/", 5)[5]
                if file.is_file():
                    self._file(file, body=body)
                    return
        self._send(b"{}", status=404, body=body, extra={"X-Error-Code": "RepoNotFound"})

    def _describe(self, model: str, folder: Path, path: str) -> object:
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        if "/tree/" in path:
            return [
                {"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": "0" * 40}
                for f in files
            ]
        return {"id": model, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}

    def _file(self, file: Path, *, body: bool) -> None:
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        extra = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status = 200
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1 if last else len(content), len(content))
            extra["Content-Range"] = f"bytes {first}-{stop - 1}/{len(content)}"
            content, status = content[int(first) : stop], 206
        if body:
            self.server.served[file.name] = self.server.served.get(file.name, 0) + len(content)
        self._send(content, status=status, body=body, extra=extra)

    def _send(
        self, content: bytes, *, status: int = 200, body: bool, extra: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def hub(models: dict[str, Path]) -> Iterator[HubServer]:
    """Serve folders as models for as long as the context lasts."""
    server = HubServer(models)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
