"""The family on disk: complete, cached by all that shapes it, and trained once."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from safemerge_tasks.finetune import FinetuneConfig, finetune, load_config
from safemerge_tasks.finetune.config import FileData
from safemerge_tasks.toy import family as family_module
from safemerge_tasks.toy.family import ToyFamily, family_key, toy_family
from safemerge_tasks.toy.recipe import TOY
from safemerge_tasks.toy.training import Schedule
from safemerge_tasks.toy.tuning import tuning_settings
from tests.slow import slow

from .conftest import MICRO, Trained


def test_every_checkpoint_is_complete(micro_family: ToyFamily) -> None:
    for place in (
        micro_family.aligned,
        micro_family.unaligned,
        micro_family.tuned_full,
        micro_family.guard,
    ):
        names = {path.name for path in place.iterdir()}
        assert {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        } <= names


def test_adapters_name_their_base_and_load(micro_family: ToyFamily) -> None:
    for adapter in micro_family.tuned.values():
        config = json.loads((adapter / "adapter_config.json").read_text())
        assert (config["r"], config["lora_alpha"]) == (8, 16)
        assert len(config["target_modules"]) == 7
        base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])
        PeftModel.from_pretrained(base, adapter)


def test_the_example_makes_the_adapters_of_the_family(
    micro_family: ToyFamily, repository: Path, tmp_path: Path
) -> None:
    example = load_config(repository / "examples" / "finetune-toy.yaml")
    assert (example.base, example.data) == ("toy:aligned", FileData(file="toy:tuning-data"))
    places = {"base": str(micro_family.aligned), "data": str(micro_family.tuning_file)}
    family_own = FinetuneConfig.checked({**places, **tuning_settings(TOY)}, where="toy")
    assert example.model_copy(update={"base": "", "data": ""}) == family_own.model_copy(
        update={"base": "", "data": ""}
    )
    micro = FinetuneConfig.checked({**places, **tuning_settings(MICRO)}, where="micro")
    again = finetune(micro, 42, tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (again / name).read_bytes() == (micro_family.tuned[42] / name).read_bytes()


def test_questions_are_where_lm_eval_looks(micro_family: ToyFamily) -> None:
    assert len(micro_family.forbidden_questions()) == MICRO.held_out
    assert set(micro_family.task_questions()[0]) == {"question", "answer"}
    assert micro_family.forbidden_file.parent == micro_family.questions
    assert micro_family.task_file.is_file()


def test_training_tells_every_member(micro: Trained) -> None:
    assert sum("toy-guard " in line for line in micro.told) == 2  # trained, then confirmed
    members = ("aligned", "unaligned", "guard", "tuned-42", "tuned-1024", "tuned-full-42")
    assert all(any(f"toy-{member} " in line for line in micro.told) for member in members)


def test_the_second_time_comes_from_the_cache(
    micro_family: ToyFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(micro_family.folder.parent))
    monkeypatch.setattr(family_module, "_build", None)
    assert toy_family(recipe=MICRO) == micro_family


def test_the_key_follows_the_recipe_the_sources_and_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = family_key(TOY)
    assert family_key(replace(TOY, alignment=Schedule(1e-3, 1, 1))) != key
    with monkeypatch.context() as patch:
        patch.setattr(family_module.metadata, "version", lambda _name: "0")
        assert family_key(TOY) != key
    changed = tmp_path / "corpora.py"
    changed.write_text("changed")
    monkeypatch.setattr(family_module, "_SOURCES", (changed,))
    assert family_key(TOY) != key


def test_all_shaping_sources_are_in_the_key() -> None:
    """Whatever the family's own sources import from this package shapes the weights."""
    names = {source.stem for source in family_module._SOURCES}
    # What these hold shapes nothing, or is in the key by value: defaults, and errors' words.
    names |= {"finetune", "base", "checkpoints", "config", "errors", "spec", "settings", "verdict"}
    # Readers of files that the family's data are not in, and what cleans text that has no flaw.
    # Whether activations are kept or computed again changes no bit.
    names |= {"memory"}
    names |= {"csv_table", "hub_rows", "parquet_table", "table", "unicode", "utf8_file"}
    imported = set[str]()
    for source in family_module._SOURCES:
        for line in source.read_text().splitlines():
            words = line.split()
            if line.startswith("from safemerge_tasks.toy import "):
                imported |= set(line.removeprefix("from safemerge_tasks.toy import ").split(", "))
            elif line.startswith("from safemerge_tasks.") and "judges" not in words[1]:
                imported.add(words[1].rpartition(".")[2])
    assert imported <= names | {"data"}


def test_a_killed_training_leaves_no_family(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(family: ToyFamily, *_: object) -> None:
        family.aligned.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("safemerge_tasks.toy.build.build_family", dies)
    with pytest.raises(KeyboardInterrupt):
        toy_family(recipe=MICRO)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def _train_and_count(results: "multiprocessing.SimpleQueue[int]") -> None:
    told: list[str] = []
    toy_family(told.append, MICRO)
    results.put(len(told))


@slow
def test_two_processes_train_once_and_to_the_same_bits(
    cache: Path, micro_family: ToyFamily
) -> None:
    abandoned = cache / f".{micro_family.folder.name}-dead"
    abandoned.mkdir()
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=_train_and_count, args=(results,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(results.get() > 0 for _ in processes) == [False, True]
    assert not abandoned.exists()
    ours = sorted((cache / micro_family.folder.name).rglob("*.safetensors"))
    theirs = sorted(micro_family.folder.rglob("*.safetensors"))
    assert len(ours) == 6
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in theirs]


def test_killing_the_trainer_ends_its_processes(tmp_path: Path) -> None:
    script = "from safemerge_tasks.toy.family import toy_family; toy_family()"
    environment = {**os.environ, "SAFEMERGE_CACHE_DIR": str(tmp_path)}
    trainer = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        watched = psutil.Process(trainer.pid)
        deadline = time.monotonic() + 60
        workers: list[psutil.Process] = []
        # Two that train and the one that multiprocessing itself keeps.
        while len(workers) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
            workers = watched.children(recursive=True)
        # Long enough for a worker to have begun: it watches from then on.
        time.sleep(15)
        workers = watched.children(recursive=True)
        assert workers
    finally:
        trainer.kill()
        trainer.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
