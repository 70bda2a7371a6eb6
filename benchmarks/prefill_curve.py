"""Attack SmolLM2's aligned, fine-tuned and merged models: is a merge safe in the first tokens only?

    safemerge demo --model smollm2
    python benchmarks/prefill_curve.py [--lambda 0.4] [--out DIR] [--limit N]

The demo trains the models and keeps them; here its first fine-tuned adapter is merged with the
aligned model, at λ = 1 (fine-tuned) and at others, and `safemerge attack` puts AdvBench's test
questions, which SAFEMERGE_DATA_DIR holds or which are fetched, with 0, 1, 2, 5, 10 and all tokens
of its own targets begun, without the system prompt, and eight answers drawn. Refusals are told by
keywords. A table for each model is printed, `prefill-curve.svg` written.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from safemerge_tasks.smollm2.members import WHOLE, aligned
from safemerge_tasks.sweep.models import MODEL, find_sources
from safemerge_tasks.sweep.prepare import default_store
from safemerge_tasks.sweep.smollm2_demo import MAX_LENGTH, TASKS, demo_sweep

ATTACKS = "plain,prefill:1,prefill:2,prefill:5,prefill:10,prefill,no-system,sample:8"


def main() -> None:
    """Merge and attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lambda", dest="weights", default="0.4", help="of merges, by commas")
    parser.add_argument("--out", type=Path, default=Path("prefill-curve"))
    parser.add_argument("--attacks", default=ATTACKS)
    parser.add_argument("--limit", help="the first questions alone")
    arguments = parser.parse_args()
    base, adapter = trained()
    weights = [*map(float, arguments.weights.split(",")), 1.0]
    models = {}
    for weight in weights:
        name = "fine-tuned" if weight == 1 else f"merged-{weight:g}"
        folder = arguments.out / "models" / name
        if not folder.is_dir():
            words = ["--method", "linear", "--lambda", str(weight), "--dtype", "float32"]
            safemerge(
                "merge", *words, "--base", str(base), "--tuned", str(adapter), "--out", str(folder)
            )
        models[name] = folder
    link = arguments.out / "models" / "aligned"
    if not link.exists():
        link.symlink_to(base)
    asked = [link, models.pop("fine-tuned"), *models.values()]
    safemerge(
        *("attack", *map(str, asked), "--suite", "smollm2_advbench", "--include-path", str(TASKS)),
        *("--attacks", arguments.attacks, "--judge", "keywords"),
        *("--model-args", f"dtype=float32,enforce_eager=True,max_model_len={MAX_LENGTH}"),
        *("--out", str(arguments.out / "results")),
        *("--plot", str(arguments.out / "prefill-curve.svg")),
        *(("--limit", arguments.limit) if arguments.limit else ()),
    )


def trained() -> tuple[Path, Path]:
    """Return the demo's aligned model and its first adapter."""
    base = aligned(WHOLE, print)
    (tuned,) = find_sources(demo_sweep(WHOLE, "vllm", None, print)).tuned.values()
    step = tuned[WHOLE.seeds[0]].step
    assert step is not None
    adapter = default_store().folder(step.key) / MODEL
    if not adapter.is_dir():
        sys.exit("The demo's models are not in the cache; run `safemerge demo --model smollm2`.")
    return base, adapter


def safemerge(*words: str) -> None:
    """Run a command of safemerge."""
    command = [sys.executable, "-m", "safemerge_tasks", *words]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
