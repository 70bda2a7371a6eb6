"""Show that a merge's memory does not grow with the model, and how long it takes on a device.

    python benchmarks/merge_scale.py [--root DIR] [--sizes 0.5b,1.1b,3b] [--device cpu]

For a machine with an NVIDIA GPU: `--sizes 8b --device cpu` and `--sizes 8b --device cuda`.
"""

import argparse
import shutil
from pathlib import Path

from merge_bench import SAFEMERGE, timed, warm
from merge_models import make_all


def main() -> None:
    """Make each size's models, merge them, print a row, and remove them unless told to keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/safemerge/bench")
    parser.add_argument("--sizes", default="0.5b,1.1b,3b")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--keep", action="store_true", help="keep models made for this run")
    arguments = parser.parse_args()
    print("| parameters | device | wall | peak memory |\n|---|---|---|---|")
    for size in arguments.sizes.split(","):
        models = arguments.root / size
        existed = models.exists()
        make_all(arguments.root, size, tuned=1)
        warm(models)
        out = arguments.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = [str(SAFEMERGE), "merge", "--method", "linear", "--lambda", "0.5"]
        command += ["--base", str(models / "base"), "--tuned", str(models / "tuned1")]
        run = timed([*command, "--device", arguments.device, "--out", str(out)])
        print(f"| {size} | {arguments.device} | {run.seconds:.1f} s | {run.memory_mb:.0f} MB |")
        shutil.rmtree(out)
        if not existed and not arguments.keep:
            shutil.rmtree(models)


if __name__ == "__main__":
    main()
