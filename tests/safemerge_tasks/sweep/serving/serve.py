"""A process that answers: vLLM on a CPU binds its process to cores for good.

Usage: serve.py FILE, where FILE is a JSON list of [base or null, [variant, ...], model_args].
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.serving.answering import (
    Asked,
    EngineSettings,
    Listener,
    answer_with_adapters,
    answer_with_checkpoints,
)
from safemerge_tasks.sweep.serving.merges import Merge


def asked(variant: dict[str, Any]) -> Asked:
    paths = {key: Path(variant[key]) for key in variant.keys() - {"name", "merge"}}
    merge = Merge(variant["merge"]) if "merge" in variant else None
    return Asked(variant["name"], **paths, merge=merge)


def main() -> None:
    for base, variants, model_args in json.loads(Path(sys.argv[1]).read_text()):
        engine = EngineSettings(model_args=model_args)
        variants = [asked(variant) for variant in variants]
        if base is not None:
            answer_with_adapters(base, variants, engine, Listener(lambda name: print("done", name)))
        else:
            scratch = Path(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent))
            told = Listener(
                lambda name: print("done", name), failed=lambda *why: print("failed", *why)
            )
            answer_with_checkpoints(variants, engine, told, scratch)
            print("left", sorted(path.name for path in scratch.rglob("*.safetensors")))


if __name__ == "__main__":
    main()
