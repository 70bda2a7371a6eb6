"""What a merged folder holds, and that transformers loads it."""

import json

import pytest
import torch
import transformers
import yaml
from merge_models import copy_with, edit_json, weights
from safetensors import safe_open

from merge import MergeError, Options, merge, verify
from merge.models.saved_vector import MANIFEST
from merge.output.manifest import read_manifest, write_manifest


@pytest.fixture
def merged(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    return tmp_path / "out"


def test_transformers_loads_it(merged):
    model = transformers.AutoModelForCausalLM.from_pretrained(merged)
    assert model.dtype == torch.bfloat16
    stored = weights(merged)
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    logits = model(torch.tensor([[1, 2, 3]])).logits
    assert logits.shape == (1, 3, 64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "w5"}], tokenize=False)


def test_folder_is_complete(merged, models):
    names = {path.name for path in merged.iterdir()}
    assert names == {path.name for path in models(0).iterdir()} | {
        "README.md",
        "safemerge_manifest.json",
    }
    with safe_open(merged / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_remote_code_and_extra_templates_come_along(tmp_path, models):
    base = copy_with(models(0), tmp_path / "base", {})
    (base / "modeling_own.py").write_text("X = 1\n")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates/tools.jinja").write_text("{{ x }}")
    (base / "trainer_state.json").write_text("{}")
    (base / "optimizer.pt").write_text("")
    merge("linear", base=base, tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    assert (tmp_path / "out/modeling_own.py").read_text() == "X = 1\n"
    assert (tmp_path / "out/additional_chat_templates/tools.jinja").is_file()
    assert not (tmp_path / "out/trainer_state.json").exists()
    assert not (tmp_path / "out/optimizer.pt").exists()


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_config_tells_the_true_dtype(tmp_path, models, key):
    base = copy_with(models(0), tmp_path / "base", {})
    config = json.loads((base / "config.json").read_text())
    config[key] = config.pop("dtype")
    (base / "config.json").write_text(json.dumps(config))
    merge(
        "linear",
        base=base,
        tuned=[models(1)],
        lambdas=[0.5],
        dtype="float16",
        out=tmp_path / "out",
    )
    assert json.loads((tmp_path / "out/config.json").read_text())[key] == "float16"
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.float16}


def test_card(merged, models):
    text = (merged / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["tags"] == ["merge", "safemerge"]
    assert front["base_model"] == [models(0).name, models(1).name]
    assert "λ = 0.5" in text
    assert str(models(0).parent) not in text


def test_manifest(merged, models):
    manifest = read_manifest(merged)
    assert manifest["recipe"]["method"] == "linear"
    assert manifest["lambda"] == 0.5
    assert [entry["role"] for entry in manifest["inputs"]] == ["base", "tuned"]
    assert manifest["inputs"][0]["folder"] == models(0).name
    # Where the inputs were is nobody else's business.
    text = (merged / MANIFEST).read_text()
    assert str(models(0).parent) not in text
    assert str(merged.parent) not in text
    assert manifest["inputs"][0]["checksum"] != manifest["inputs"][1]["checksum"]
    assert manifest["tensors"].keys() == weights(merged).keys()
    assert verify(merged) == [merged]


def test_input_checksum_is_of_the_content(tmp_path, merged, models):
    merge(
        "linear",
        base=models(0, shard="4KB"),
        tuned=[models(2)],
        lambdas=[0.5],
        out=tmp_path / "other",
    )
    one, other = read_manifest(merged)["inputs"], read_manifest(tmp_path / "other")["inputs"]
    assert one[0]["checksum"] == other[0]["checksum"]
    assert one[1]["checksum"] != other[1]["checksum"]


@pytest.mark.parametrize(
    "stored", [torch.zeros(2, 4, dtype=torch.float16), torch.zeros(4, 2, dtype=torch.bfloat16)]
)
def test_input_checksum_is_of_shape_and_type_too(tmp_path, models, stored):
    """The same bytes as other numbers, or in another shape, are another model."""
    checksums = []
    for number, tensor in enumerate((torch.zeros(2, 4, dtype=torch.bfloat16), stored)):
        one = copy_with(models(0), tmp_path / f"model{number}", {"extra": tensor})
        merge("linear", base=one, tuned=[one], lambdas=[0.5], out=tmp_path / f"out{number}")
        checksums.append(read_manifest(tmp_path / f"out{number}")["inputs"][0]["checksum"])
    assert checksums[0] != checksums[1]


def test_a_manifest_of_another_format(merged):
    manifest = read_manifest(merged)
    write_manifest(manifest | {"format": 2}, merged)
    with pytest.raises(MergeError, match="has format 2, this version reads 1"):
        verify(merged)


def test_verify_reads_manifests_from_before_blocks_were_an_option(tmp_path, models, monkeypatch):
    monkeypatch.undo()
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.pop("checksum_block") == 262_144
    write_manifest(manifest, tmp_path / "out")
    assert verify(tmp_path / "out") == [tmp_path / "out"]


def test_verify_knows_the_size_of_blocks(tmp_path, models):
    options = Options(block_elements=33)
    out = tmp_path / "out"
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[1], out=out, options=options)
    assert "blocks of 33 elements" in read_manifest(out)["checksum_algorithm"]
    assert verify(out) == [out]


def test_a_part_of_the_model_has_the_true_dtype_too(tmp_path, models):
    base = copy_with(models(0), tmp_path / "base", {})
    config = json.loads((base / "config.json").read_text())
    config["text_config"] = {"dtype": "bfloat16", "model_type": "llama"}
    config["vision_config"] = {"torch_dtype": "bfloat16"}
    (base / "config.json").write_text(json.dumps(config))
    merge("linear", base=base, tuned=[base], lambdas=[1], dtype="float16", out=tmp_path / "out")
    written = json.loads((tmp_path / "out/config.json").read_text())
    assert written["dtype"] == written["text_config"]["dtype"] == "float16"
    assert written["vision_config"]["torch_dtype"] == "float16"


@pytest.mark.parametrize(("spare", "files"), [(0, 1), (-1, 2)])
def test_a_file_may_be_as_large_as_the_limit(tmp_path, models, spare, files):
    size = sum(tensor.nbytes for tensor in weights(models(0)).values())
    merge(
        "linear",
        base=models(0),
        tuned=[models(1)],
        lambdas=[0.5],
        max_shard_size=size + spare,
        out=tmp_path / "out",
    )
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == files


def test_shards_are_loaded_by_transformers(tmp_path, models):
    merge(
        "linear",
        base=models(0),
        tuned=[models(1)],
        lambdas=[0.5],
        max_shard_size=3000,
        out=tmp_path / "out",
    )
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    stored = weights(tmp_path / "out")
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert verify(tmp_path / "out") == [tmp_path / "out"]


def test_integer_and_bool_buffers_are_kept(tmp_path, models):
    extra = {
        "model.steps": torch.tensor([7, -3], dtype=torch.int64),
        "model.mask": torch.tensor([True, False, True]),
    }
    base = copy_with(models(0), tmp_path / "base", extra)
    tuned = copy_with(models(1), tmp_path / "tuned", extra)
    merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    merged = weights(tmp_path / "out")
    assert all(torch.equal(merged[name], value) for name, value in extra.items())


def test_every_flipped_bit_is_found(merged):
    """But in the card, which people edit and models do not read."""
    for path in sorted(path for path in merged.iterdir() if path.name != "README.md"):
        original = path.read_bytes()
        step = max(1, len(original) // 40)
        for position in range(0, len(original), step):
            changed = bytearray(original)
            changed[position] ^= 1 << (position % 8)
            path.write_bytes(changed)
            with pytest.raises(MergeError):
                verify(merged)
        path.write_bytes(original)
    assert verify(merged) == [merged]


def test_missing_added_and_truncated_files_are_found(merged):
    (merged / "extra.txt").write_text("x")
    with pytest.raises(MergeError, match="extra.txt was added"):
        verify(merged)
    (merged / "extra.txt").unlink()
    (merged / "generation_config.json").unlink()
    weights_file = merged / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-2])
    with pytest.raises(MergeError, match=r"generation_config.json is missing; .*not a whole"):
        verify(merged)


def test_verify_without_manifest(models):
    with pytest.raises(MergeError, match="no safemerge_manifest.json"):
        verify(models(0))


def test_verify_checks_every_lambda(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.2, 0.4], out=tmp_path / "out")
    assert len(verify(tmp_path / "out")) == 2
    edit_json(tmp_path / "out/lambda-0.4/config.json", vocab_size=1)
    with pytest.raises(MergeError, match="config.json was changed"):
        verify(tmp_path / "out")


def test_output_that_exists_is_left_alone(tmp_path, models):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(MergeError, match="not empty"):
        merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
