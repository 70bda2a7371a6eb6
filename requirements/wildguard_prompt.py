"""Copy WildGuard's prompt and licence from the package `wildguard` (needed once a version of it).

`python requirements/wildguard_prompt.py [--out FOLDER]`, where the package is installed. It is not
imported, because that imports vLLM and an engine of its own: the constant is read from its source.
The prompt's SHA-256 stands in safemerge_tasks/judges/prompts/wildguard.py.
"""

import argparse
import ast
from importlib import metadata
from pathlib import Path

PROMPTS = Path(__file__).resolve().parents[1] / "safemerge_tasks" / "judges" / "prompts"
CONSTANT = "WILDGUARD_INPUT_FORMAT"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROMPTS)
    out: Path = parser.parse_args().out
    package = metadata.distribution("wildguard")
    source = Path(str(package.locate_file("wildguard/utils.py"))).read_text(encoding="utf-8")
    (out / "wildguard.txt").write_text(constant(source), encoding="utf-8")
    (out / "wildguard.LICENSE.md").write_text(
        str(package.read_text("LICENSE.md")), encoding="utf-8"
    )


def constant(source: str) -> str:
    """Return the prompt that a module's source assigns."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if CONSTANT in names and isinstance(node.value.value, str):
                return node.value.value
    raise SystemExit(f"wildguard/utils.py assigns no string to {CONSTANT}")


if __name__ == "__main__":
    main()
