"""Chat templates, special tokens and tokenizers follow the model whose they are."""

import json
from contextlib import nullcontext

import pytest
import torch
import transformers
from merge_models import copy_with, edit_json, weights, write_tokenizer

from merge import MergeError, merge
from merge.models.prompts import read_template
from merge.models.vocabularies import read_vocabulary, sentencepieces

OTHER = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"


def merged(tmp_path, base, tuned, **arguments):
    return merge(
        "linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out", **arguments
    )


def with_template(folder, template):
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture
def pair(tmp_path, models):
    return [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]


def test_another_template_is_noted(tmp_path, pair):
    with_template(pair[1], OTHER)
    done = merged(tmp_path, *pair)
    assert [note for note in done.notes if "--chat-template tuned takes" in note]
    assert read_template(tmp_path / "out") == read_template(pair[0])


@pytest.mark.parametrize("place", ["file", "settings", "list", "old file"])
def test_the_tuned_models_template_on_request(tmp_path, pair, place):
    with_template(pair[1], OTHER if place == "file" else None)
    if place == "settings":
        edit_json(pair[1] / "tokenizer_config.json", chat_template=OTHER)
    if place == "list":
        named = [{"name": "tools", "template": "x"}, {"name": "default", "template": OTHER}]
        edit_json(pair[1] / "tokenizer_config.json", chat_template=named)
    if place == "old file":
        (pair[1] / "chat_template.json").write_text(json.dumps({"chat_template": OTHER}))
    assert merged(tmp_path, *pair, chat_template="tuned").notes == ()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    turns = [{"role": "user", "content": "w1"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "<w1>"


def test_the_tuned_models_template_where_the_base_has_none(tmp_path, pair):
    with_template(pair[0], None)
    done = merged(tmp_path, *pair)
    assert [note for note in done.notes if "as the base has none" in note]
    assert read_template(tmp_path / "out") == read_template(pair[1])


def test_an_adapters_template(tmp_path, models, adapters):
    import shutil

    adapter = with_template(shutil.copytree(adapters(1), tmp_path / "adapter"), OTHER)
    done = merged(tmp_path, models(0), adapter)
    assert [note for note in done.notes if "not that of adapter" in note]
    assert merged(tmp_path / "two", models(0), adapter, chat_template="tuned").notes == ()


def test_a_template_that_nobody_has(tmp_path, pair):
    for folder in pair:
        with_template(folder, None)
    with pytest.raises(MergeError, match="none of the fine-tuned models has one"):
        merged(tmp_path, *pair, chat_template="tuned")


def grown(pair):
    """Give the second model a token of its own that it ends with."""
    write_tokenizer(pair[1], ("<end>",))
    edit_json(pair[1] / "tokenizer_config.json", eos_token="<end>")
    for folder in pair:
        edit_json(folder / "config.json", eos_token_id=2)
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    return pair


@pytest.mark.parametrize("stored", [2, [2, 3], [60, 2]])
def test_ids_follow_the_tokenizer(tmp_path, pair, stored):
    base, tuned = grown(pair)
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": stored}))
    merged(tmp_path, base, tuned, vocabulary="grow")
    config = json.loads((tmp_path / "out/config.json").read_text())
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert config["eos_token_id"] == 60
    expected = {2: 60, (2, 3): [2, 3, 60], (60, 2): [60, 2]}
    key = tuple(stored) if isinstance(stored, list) else stored
    assert generation["eos_token_id"] == expected[key]


def test_another_end_is_noted(tmp_path, pair):
    edit_json(pair[1] / "config.json", eos_token_id=7)
    edit_json(pair[0] / "config.json", eos_token_id=2)
    done = merged(tmp_path, *pair)
    assert [note for note in done.notes if note.startswith("eos_token_id is 2")]


def piece_file(pieces):
    """A sentencepiece model: field 1 is a piece, with its text in field 1 and a score in 2."""

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    score = bytes([2 << 3 | 5]) + b"\0\0\0\0"
    trainer = field(2, b"\x08\x01")
    return b"".join(field(1, field(1, piece.encode()) + score) for piece in pieces) + trainer


def slow(folder, kind, added):
    """Replace a fast tokenizer by the files of a slow one, with tokens added or not."""
    words = [f"w{index}" for index in range(60)]
    (folder / "tokenizer.json").unlink()
    if kind == "sentencepiece":
        (folder / "tokenizer.model").write_bytes(piece_file(words))
    if kind == "vocab.json":
        (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    if kind == "vocab.txt":
        (folder / "vocab.txt").write_text("\n".join(words))
    if added:
        (folder / "added_tokens.json").write_text(json.dumps(added))
    return folder


@pytest.mark.parametrize("kind", ["sentencepiece", "vocab.json", "vocab.txt"])
def test_slow_tokenizers_count_like_fast_ones(tmp_path, models, kind):
    base = slow(copy_with(models(0), tmp_path / "base", {}), kind, {})
    longer = {}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old = weights(models(1))[name]
        longer[name] = torch.cat([old, torch.ones(2, old.shape[1], dtype=old.dtype)])
    tuned = copy_with(models(1), tmp_path / "tuned", longer)
    edit_json(tuned / "config.json", vocab_size=66)
    slow(tuned, kind, {"<tool>": 60, "<call>": 61})
    with pytest.raises(MergeError, match=r'tokens that .* lacks \("<tool>", "<call>"\)'):
        merged(tmp_path, base, tuned)
    merged(tmp_path, base, tuned, vocabulary="grow")
    assert read_vocabulary(tmp_path / "out") == read_vocabulary(tuned)
    assert (tmp_path / "out/added_tokens.json").is_file()


def test_the_bases_fast_tokenizer_does_not_stay_beside_a_slow_one(tmp_path, models):
    tuned = slow(copy_with(models(1), tmp_path / "tuned", {}), "vocab.json", {"<tool>": 60})
    merged(tmp_path, models(0), tuned, vocabulary="grow")
    assert not (tmp_path / "out/tokenizer.json").exists()


def test_an_unreadable_tokenizer_is_noted(tmp_path, models):
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    (tuned / "tokenizer.json").unlink()
    (tuned / "tokenizer.model").write_bytes(b"no protocol buffer")
    done = merged(tmp_path, models(0), tuned)
    assert [note for note in done.notes if "cannot be read here" in note]


def test_pieces_of_no_model():
    assert sentencepieces(b"") is None
    assert sentencepieces(b"\x0a\xff") is None
    assert sentencepieces(piece_file(["a", "▁b"])) == ["a", "▁b"]


def test_the_unaligned_models_tokens_are_compared_too(tmp_path, models):
    from merge_models import VOCABULARY

    unaligned = copy_with(models(2), tmp_path / "unaligned", {})
    path = unaligned / "tokenizer.json"
    text = path.read_text()
    tokenizer = json.loads(text)
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["w1"], vocabulary["w2"] = vocabulary["w2"], vocabulary["w1"]
    path.write_text(json.dumps(tokenizer))
    assert len(vocabulary) < VOCABULARY
    with pytest.raises(MergeError, match="give the same ids to different tokens"):
        merge(
            "resta", base=models(0), tuned=[models(1)], unaligned=str(unaligned),
            out=tmp_path / "out",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"do_sample": False, "temperature": 0.6, "top_p": 0.9}, "temperature and top_p"),
        ({"top_k": 20}, "top_k"),
        ({"do_sample": True, "temperature": 0.6}, None),
        ({"do_sample": False, "temperature": 1.0, "top_k": 50}, None),
    ],
)
def test_settings_of_sampling_without_sampling(tmp_path, models, settings, named):
    """transformers itself decides what can be saved again."""
    base = copy_with(models(0), tmp_path / "base", {})
    (base / "generation_config.json").write_text(json.dumps(settings))
    done = merge("linear", base=base, tuned=[models(1)], lambdas=[0.5], out=tmp_path / "out")
    noted = [note for note in done.notes if "without do_sample" in note]
    assert bool(noted) == bool(named)
    assert named is None or f"sets {named} without" in noted[0]
    generation = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    # Newer versions save what is as it was read.
    generation.max_new_tokens = 7
    with pytest.raises(ValueError, match="invalid") if named else nullcontext():
        generation.save_pretrained(tmp_path / "again")


UNREAD = {
    "tekken.json": ('{"vocab": [1]}', '{"vocab": [2]}'),
    "qwen.tiktoken": ("IQ== 0", "Ig== 0"),
    "source.spm": ("a", "b"),
    "vocab.json": ('{"eng": {"a": 1}}', '{"eng": {"a": 2}}'),
}


@pytest.mark.parametrize("name", UNREAD)
def test_tokenizers_of_other_kinds_are_not_silently_taken_for_none(tmp_path, models, name):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, text in zip(folders, UNREAD[name], strict=True):
        (folder / "tokenizer.json").unlink()
        (folder / name).write_text(text)
    notes = merged(tmp_path, *folders).notes
    assert [note for note in notes if "its tokens were not compared" in note]
    assert (tmp_path / "out" / name).read_text() == UNREAD[name][0]


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model"])
def test_pieces_by_another_name(tmp_path, models, name):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, last in zip(folders, ("here", "there"), strict=True):
        (folder / "tokenizer.json").unlink()
        (folder / name).write_bytes(piece_file(["a", "b", last]))
    with pytest.raises(MergeError, match="give the same ids to different tokens"):
        merged(tmp_path, *folders)


def test_tokens_that_only_the_settings_name(tmp_path, models):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, added in zip(folders, ({}, {"61": {"content": "<new>"}}), strict=True):
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
        edit_json(folder / "tokenizer_config.json", added_tokens_decoder=added)
    with pytest.raises(MergeError, match='has tokens that .* lacks ."<new>"'):
        merged(tmp_path, *folders)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer"])
def test_another_way_to_split_is_noted(tmp_path, models, part):
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1))
    kind = {"normalizer": "Lowercase", "pre_tokenizer": "BertPreTokenizer"}[part]
    edit_json(tuned / "tokenizer.json", **{part: {"type": kind}})
    assert [note for note in merged(tmp_path, base, tuned).notes if "splits text otherwise" in note]
