"""A stand-in for the Hub on loopback: its addresses and headers, as far as its client asks.

Uploads go the Hub's way: small files in the commit, large ones first to where the answer to a batch
request says, by their SHA-256; a commit that names one which did not arrive is refused.
"""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Serves folders as models; counts the bytes it gave of each file.

    With a folder for uploads it takes models too, if they come with the right token.
    """

    TOKEN = "hf_stand-in"

    def __init__(self, models: dict[str, Path], uploads: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models
        self.uploads = uploads
        self.served: dict[str, int] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}

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

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlparse(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {HubServer.TOKEN}":
            self._say({"error": "Invalid credentials"}, status=401)
        elif path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._say(self._create(json.loads(content)))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._say({"objects": [self._place(one) for one in json.loads(content)["objects"]]})
        elif "/preupload/" in path:
            files = json.loads(content)["files"]
            self._say({"files": [_mode(file) for file in files]})
        elif "/commit/" in path:
            model = path.removeprefix("/api/models/").partition("/commit/")[0]
            self._commit(model, [json.loads(line) for line in content.splitlines()])
        else:
            self._say({}, status=404)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != name:
            self._say({"error": "The content is not what its name says"}, status=400)
            return
        self.server.large[name] = content
        self._say({})

    def _create(self, wanted: dict[str, object]) -> object:
        name = f"{wanted['organization']}/{wanted['name']}"
        assert self.server.uploads is not None
        folder = self.server.uploads / name
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
        self.server.models[name] = folder
        # The second is what newer clients send.
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.server.private[name] = bool(private)
        return {"url": f"{self.server.url}/{name}", "name": name, "id": name}

    def _place(self, wanted: dict[str, object]) -> object:
        href = f"{self.server.url}/large/{wanted['oid']}"
        return {**wanted, "actions": {"upload": {"href": href}}}

    def _commit(self, model: str, lines: list[dict[str, object]]) -> None:
        for line in lines:
            value = line["value"]
            assert isinstance(value, dict)
            if line["key"] == "header":
                continue
            path = self.server.models[model] / value["path"]
            path.parent.mkdir(exist_ok=True)
            if line["key"] == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif value["oid"] in self.server.large:
                path.write_bytes(self.server.large[value["oid"]])
            else:
                self._say({"error": f"{value['path']} was not uploaded"}, status=400)
                return
        url = f"{self.server.url}/{model}/commit/{COMMIT}"
        self._say({"commitUrl": url, "commitOid": COMMIT, "hookOutput": "", "success": True})

    def _say(self, answer: object, status: int = 200) -> None:
        self._send(json.dumps(answer).encode(), status=status, body=True)

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


def _mode(file: dict[str, object]) -> object:
    large = str(file["path"]).endswith(".safetensors")
    return {
        "path": file["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
        "oid": None,
    }


def hub_environment(url: str, home: Path) -> dict[str, str]:
    """Return the environment of a process whose Hub is a server here."""
    return os.environ | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }


@contextmanager
def hub(models: dict[str, Path], uploads: Path | None = None) -> Iterator[HubServer]:
    """Serve folders as models for as long as the context lasts."""
    server = HubServer(models, uploads)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
