"""`benchmarks/gpu.py`: its parts on the CPU at the least size, and its refusal without a GPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.slow import slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


NAMES = ("gpu_benchmark", "merge_models", "merge_scale", "merge_bench", "bertscore")


@pytest.fixture(scope="module")
def gpu():
    """The benchmark as a module, with those beside it, of which tests have one of the same name."""
    path, before = list(sys.path), {n: sys.modules.pop(n) for n in NAMES if n in sys.modules}
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["gpu_benchmark"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path[:] = path
        for name in NAMES:
            sys.modules.pop(name, None)
        sys.modules |= before


@pytest.fixture(scope="module")
def work(gpu):
    return gpu.Work(size="tiny", scale="tiny", steps=3, prompts=4, tokens=3, rows=6)


@pytest.mark.parametrize(
    "part",
    ["merging", "scale"]
    + [pytest.param(x, marks=slow) for x in ("judging", "bertscore", "tuning")],
)
def test_a_part_on_the_cpu(gpu, work, tmp_path, part):
    rows = gpu.PARTS[part](work, tmp_path, ["cpu", "cpu"])
    assert rows
    for row in rows:
        assert row.seconds["cpu"] > 0
    found = " ".join(row.found for row in rows)
    expected = {
        "merging": "the same bits",
        "scale": "",
        "judging": "differ by 0e+00 at most",
        "bertscore": "moves F1 by",
        "tuning": "loss after 3 steps",
    }
    assert expected[part] in found


def test_roundings_are_counted_over_zero(gpu):
    one = torch.tensor([1.0, -0.0, 1.0, 0.0, -1.0], dtype=torch.bfloat16)
    smallest = torch.tensor([1], dtype=torch.int16).view(torch.bfloat16).item()
    other = torch.tensor([1.0, 0.0, 1.015625, -smallest, -0.99609375], dtype=torch.bfloat16)
    assert gpu.roundings(one, other).tolist() == [0, 0, 2, 1, 1]


def test_outputs_that_differ(gpu, tmp_path):
    from safetensors.torch import save_file

    for name, value in (("one", 1.0), ("other", 1.0078125)):
        (tmp_path / name).mkdir()
        values = torch.tensor([value, 2.0], dtype=torch.bfloat16)
        save_file({"t": values}, tmp_path / name / "model.safetensors")
    text = gpu.difference(tmp_path / "one", tmp_path / "other")
    assert text == "5.0e-01 of the numbers differ, by 1 roundings at most"


def test_the_table(gpu):
    rows = [gpu.Row("merge", {"cpu": 3.0, "cuda": 1.5}, "the same bits"), gpu.Row("step")]
    assert gpu.table(rows).splitlines()[2:] == [
        "| merge | 3.00 s | 1.50 s | 2.0 | the same bits |",
        "| step |  |  |  |  |",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence():
    ran = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        "benchmarks/gpu.py needs an NVIDIA GPU, and torch finds none here; run it where "
        "torch.cuda.is_available() is true.\n"
    )
