"""A real `vllm serve` on loopback."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.e2e.conftest import start

START_UP = 240


@contextmanager
def serving(
    model: Path,
    name: str,
    folder: Path,
    context: int = 2048,
    more: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve a checkpoint and give the base URL; `folder` takes the server's output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *(str(Path(sys.executable).with_name("vllm")), "serve", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", name),
        *("--enforce-eager", "--dtype", "float32", "--max-model-len", str(context)),
        *more,
    ]
    process = start(words, folder, environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        family_of_processes = [process, *psutil.Process(process.pid).children(recursive=True)]
        for one in family_of_processes:
            one.terminate()
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_UP
    while time.monotonic() < deadline:
        assert process.poll() is None, Path(process.args_err).read_text()[-3000:]  # type: ignore[attr-defined]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"no server within {START_UP} s")
