"""A sweep of a whole fine-tuned model that has a token more than its base."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from merge import merge
from safemerge_tasks.sweep.manifest import Manifest
from tests.e2e.sweeping import Sweeps, small_sweep

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily


@pytest.fixture(scope="module")
def padded(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the toy fine-tuned model with its adapter merged and a padding token added."""
    import transformers

    root = tmp_path_factory.mktemp("padded")
    whole, out = root / "whole", root / "padded"
    merge("linear", base=family.aligned, tuned=[family.tuned[42]], lambdas=[1.0], out=whole)
    tokenizer = transformers.AutoTokenizer.from_pretrained(whole)
    model = transformers.AutoModelForCausalLM.from_pretrained(whole)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def test_merged_checkpoints_have_the_rows_that_the_sweep_asks_for(
    family: "ToyFamily", padded: Path, tmp_path: Path
) -> None:
    content = small_sweep(
        family,
        tunings=[{"name": "toy-task", "models": {42: str(padded)}}],
        methods=[{"method": "linear", "lambda": 0.8}, {"method": "slerp", "lambda": 0.8}],
        keep_checkpoints=True,
    )
    refused = Sweeps(tmp_path, content).start(tmp_path / "out", tmp_path / "store", "--plan")
    assert refused.wait(300) == 2
    said = " ".join((tmp_path / "printed-1").read_text().split())
    assert "merge.vocabulary base drops them and merge.vocabulary grow keeps them" in said

    sweeps = Sweeps(tmp_path, {**content, "merge": {"vocabulary": "grow"}})
    sweeps.run(tmp_path / "out", tmp_path / "store")
    manifest = Manifest.read(tmp_path / "out")
    assert {one.served for one in manifest.variants if one.kind != "base"} == {"checkpoint"}
    assert all(len(one.results) == 2 for one in manifest.variants)
    rows = load_file(padded / "model.safetensors")["model.embed_tokens.weight"].shape[0]
    merged = list((tmp_path / "store" / "steps").glob("merge-*/model/model.safetensors"))
    assert len(merged) == 2
    for path in merged:
        assert load_file(path)["model.embed_tokens.weight"].shape[0] == rows
