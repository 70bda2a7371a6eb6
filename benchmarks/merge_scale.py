"""Show that a merge's memory does not grow with the model, and how long it takes on a device.

    python benchmarks/merge_scale.py [--root DIR] [--sizes 0.5b,1.1b,3b] [--device cpu]

With `--sparse` the models are empty files of the right size, which is enough for memory and says
nothing about time. For a machine with an NVIDIA GPU: `--sizes 8b --device cpu`, then the same with
`--device cuda`.
"""

import argparse
import json
import shutil
from pathlib import Path

from merge_bench import SAFEMERGE, timed, warm
from merge_models import config, make_all, tensor_shapes

from merge.formats.safetensors import build_header


def make_sparse(models: Path, size: str) -> None:
    """Make a base and a fine-tuned model whose files have headers and holes."""
    header, entries = build_header(
        {name: ("BF16", shape) for name, shape in tensor_shapes(size).items()}
    )
    for name in ("base", "tuned1"):
        folder = models / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config(size)))
        with (folder / "model.safetensors").open("wb") as file:
            file.write(header)
            file.truncate(max(entry.offset + entry.nbytes for entry in entries.values()))


def main() -> None:
    """Make each size's models, merge them, print a row, and remove them unless told to keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/safemerge/bench")
    parser.add_argument("--sizes", default="0.5b,1.1b,3b")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sparse", action="store_true", help="all weights zero, no disk needed")
    parser.add_argument("--keep", action="store_true", help="keep models made for this run")
    arguments = parser.parse_args()
    print("| parameters | device | wall | peak memory |\n|---|---|---|---|")
    for size in arguments.sizes.split(","):
        models = arguments.root / (f"{size}-sparse" if arguments.sparse else size)
        existed = models.exists()
        if arguments.sparse:
            make_sparse(models, size)
        else:
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
