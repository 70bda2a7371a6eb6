"""A process that answers: vLLM on a CPU binds its process to cores for good.

Usage: serve.py FILE, where FILE is a JSON list of [base or null, [variant, ...], model_args].
"""

import json
import sys
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.serving.answering import (
    Asked,
    EngineSettings,
    Listener,
    answer_with_adapters,
    answer_with_checkpoints,
)


def asked(variant: dict[str, Any]) -> Asked:
    paths = {key: Path(value) for key, value in variant.items() if key != "name"}
    return Asked(variant["name"], **paths)


def main() -> None:
    for base, variants, model_args in json.loads(Path(sys.argv[1]).read_text()):
        engine = EngineSettings(model_args=model_args)
        variants = [asked(variant) for variant in variants]
        if base is not None:
            answer_with_adapters(base, variants, engine, Listener(lambda name: print("done", name)))
        else:
            answer_with_checkpoints(variants, engine, Listener(lambda name: print("done", name)))


if __name__ == "__main__":
    main()
