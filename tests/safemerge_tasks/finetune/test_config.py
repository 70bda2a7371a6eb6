"""The presets' values, and one sentence for everything that is wrong with a configuration."""

from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig, load_config
from safemerge_tasks.finetune.config import FileData, TaskData
from safemerge_tasks.finetune.steps import Batches, Steps, batches_of, steps_of


def config(**keys: Any) -> FinetuneConfig:
    return FinetuneConfig.checked({"base": "model", "data": "rows.jsonl", **keys}, where="c.yaml")


def test_the_preset_of_farn_2024_has_the_papers_values() -> None:
    found = config(preset="farn2024", data="chatdoctor")
    assert (found.tuning, found.lora.rank, found.lora.alpha) == ("lora", 8, 16)
    assert found.lora.target_modules == "all-linear"
    assert (found.learning_rate, found.schedule, found.warmup_ratio) == (1e-4, "cosine", 0.1)
    assert (found.batch_size, found.cutoff_length, found.epochs) == (8, 1024, 3)
    assert found.seeds == (42, 1024, 48763)
    assert found.checkpoint_step == 500
    assert found.split_seed_of(1024) == 42


@pytest.mark.parametrize("data", ["openfunctions", {"task": "openfunctions_bertscore_val"}])
def test_tool_use_stops_earlier(data: Any) -> None:
    assert config(preset="farn2024", data=data).checkpoint_step == 200


def test_the_schedule_is_that_of_all_epochs() -> None:
    assert steps_of(config(preset="farn2024"), 9000) == Steps(schedule=3375, last=500)
    assert steps_of(config(preset="farn2024", data="openfunctions"), 1990) == Steps(747, 200)
    assert steps_of(config(preset="farn2024"), 90) == Steps(36, 36)


def test_resta_2024_knows_both_regimes_and_no_early_checkpoint() -> None:
    found = config(preset="resta2024", tuning="full")
    assert (found.tuning, found.checkpoint_step, found.seeds) == ("full", None, (42,))


def test_own_keys_go_over_a_preset() -> None:
    found = config(preset="farn2024", lora={"rank": 4}, checkpoint_step=None, seeds=[1])
    assert (found.lora.rank, found.lora.alpha) == (4, 16)
    assert (found.checkpoint_step, found.seeds) == (None, (1,))


def test_short_names_of_data() -> None:
    for name in ("chatdoctor", "openfunctions", "magicoder", "flan_cot"):
        for data in (name, {"task": name}, {"task": f"{name}_bertscore_val"}):
            assert config(data=data).data == TaskData(task=f"{name}_bertscore_val")
    for name in ("rows.jsonl", "toy:tuning-data", "a/b.jsonl"):
        assert config(data=name).data == FileData(file=name)


def test_the_split_can_follow_the_seed() -> None:
    assert config(split_seed="by-seed").split_seed_of(1024) == 1024
    assert config(split_seed=7).split_seed_of(1024) == 7


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"learnig_rate": 1},
            r"c.yaml: learnig_rate is not a key .*; did you mean learning_rate\?",
        ),
        ({"lora": {"rnk": 1}}, r"c.yaml: lora.rnk is not a key .*; did you mean rank\?"),
        ({"data": {"tsk": "x"}}, r"c.yaml: data.tsk is not a key .*; did you mean task\?"),
        (
            {"data": {"file": "x", "shuffle": 1}},
            r"c.yaml: data.shuffle is not .*; known are file; correct or remove it",
        ),
        ({"data": "a/b/c"}, r"data 'a/b/c' is neither .*, nor a data set's id on the Hub\."),
        ({"data": "chatdocter"}, r"data 'chatdocter' is neither .*; did you mean chatdoctor\?"),
        ({"data": None}, r"c.yaml: data is None: Input should be a valid dictionary; correct it"),
        ({"preset": "farn"}, r"c.yaml: preset 'farn': give farn2024 or resta2024, or none"),
        ({"lora": {"rank": 0}}, r"lora.rank is 0: Input should be greater than or equal to 1"),
        ({"learning_rate": "fast"}, r"learning_rate is 'fast': Input should be a valid number"),
        ({"seeds": []}, r"seeds is \[\]: "),
        ({"seeds": [1, 1]}, r"c.yaml: `seeds` has one of them twice; remove one"),
        ({"tuning": "qlora"}, r"tuning is 'qlora': Input should be 'lora' or 'full'"),
        ({"data": "magicoder", "system_prompt": "x"}, r"`system_prompt` is the task's own"),
        ({"data": "magicoder", "validation_share": 0}, r"`validation_share` is the task's own"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=sentence) as error:
        config(**keys)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(SafemergeError, match=r"c.yaml: base is missing; add it"):
        FinetuneConfig.checked({"data": "x.jsonl"}, where="c.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("base: [", r"c.yaml, line \d is not YAML"),
        ("just words", r"c.yaml has no keys; it needs at least `base` and `data`"),
        ("", r"c.yaml has no keys"),
        ("base: m\ndata: d.jsonl\nepoch: 3", r"epoch is not .*; did you mean epochs\?"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SafemergeError, match=sentence):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(SafemergeError, match="none.yaml does not exist"):
        load_config(tmp_path / "none.yaml")


def test_data_may_lie_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    (tmp_path / "c.yaml").write_text("base: m\ndata: rows.jsonl\nlearning_rate: 1e-4\n")
    found = load_config(tmp_path / "c.yaml")
    assert found.data == FileData(file=str(tmp_path / "rows.jsonl"))
    assert found.learning_rate == 1e-4


def test_batches_are_divided_evenly_or_not_at_all() -> None:
    assert batches_of(config(batch_size=8), 1) == Batches(8, 1)
    assert batches_of(config(batch_size=8), 2) == Batches(4, 1)
    assert batches_of(config(batch_size=8, micro_batch_size=2), 2) == Batches(2, 2)
    assert batches_of(config(batch_size=8, micro_batch_size=16), 2) == Batches(4, 1)
    with pytest.raises(SafemergeError, match="batch_size 8 cannot be divided over 3 processes"):
        batches_of(config(batch_size=8), 3)
    with pytest.raises(SafemergeError, match="micro_batch_size 3 does not divide the 4 rows"):
        batches_of(config(batch_size=8, micro_batch_size=3), 2)


def test_the_examples_load(repository: Path) -> None:
    for path in (repository / "examples").glob("finetune-*.yaml"):
        load_config(path)
