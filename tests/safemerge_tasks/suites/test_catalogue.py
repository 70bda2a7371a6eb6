from pathlib import Path

import datasets
import pytest

from safemerge_tasks.suites.catalogue import Listed, list_suites
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.suites.scaffold import new_suite
from safemerge_tasks.suites.task_files import read_task_file


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def listed(include_path: Path | None = None) -> dict[str, Listed]:
    return {suite.task: suite for suite in list_suites(include_path)}


def test_what_the_yaml_promises_where_nothing_is_local() -> None:
    suites = listed()
    without_source = {task for task, suite in suites.items() if suite.available == "missing"}
    assert without_source == {"flan_cot_bertscore_val", "directharm4_asr"}
    assert {suite.available for suite in suites.values()} == {"fetched on use", "missing"}
    assert suites["advbench_asr"].questions == 520
    assert suites["advbench_val_asr"].questions == 100
    assert suites["chatdoctor_bertscore"].questions == 1000
    assert suites["chatdoctor_bertscore_val"].questions == 1000
    assert suites["openfunctions_bertscore_val"].questions is None
    assert suites["hexphi_asr"].questions == 300
    assert suites["harmfulqa_196_asr"].questions == 196
    assert suites["adversarialqa_200_asr"].questions == 200
    gated = {task for task, suite in suites.items() if suite.gated}
    assert gated == {"hexphi_asr", "sorrybench_asr"}
    assert suites["catqa_asr_vi"].language == "vi"


def test_what_is_local_is_counted(every_suite: Path) -> None:
    suites = listed()
    assert {suite.available for suite in suites.values()} == {"local"}
    assert suites["harmfulqa_196_asr"].questions == 196


def test_what_was_fetched_is_cached(tmp_path: Path) -> None:
    file = read_task_file(packaged_folder() / "dangerousqa/dangerousqa_asr.yaml")
    url = file.content["dataset_kwargs"]["url"]
    (tmp_path / "downloads").mkdir()
    name = datasets.utils.file_utils.hash_url_to_filename(url)
    (tmp_path / "downloads" / name).write_text(str(["Bake?"]).replace("'", '"'))
    suites = listed()
    assert suites["dangerousqa_asr"].problem is not None
    assert "has 1 questions, expected 200" in suites["dangerousqa_asr"].problem


def test_suites_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"text": "Bake?"}\n')
    source = str(tmp_path / "prompts.jsonl")
    new_suite("bakery", source, question="text", language="vi", out=tmp_path / "suites")
    suite = listed(tmp_path / "suites")["bakery_asr"]
    assert (suite.questions, suite.language, suite.available) == (1, "vi", "local")
    Path(source).unlink()
    assert listed(tmp_path / "suites")["bakery_asr"].available == "missing"
    (tmp_path / "suites/bakery/bakery_asr.yaml").write_text("task: [")
    assert listed(tmp_path / "suites")["bakery_asr"].problem is not None


def test_what_only_looks_like_a_task_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "absent")
    (tmp_path / "latin.yaml").write_bytes(b"task: caf\xe9\n")
    suites = listed(tmp_path)
    assert "cannot be read (is a directory)" in str(suites["folder"].problem)
    assert "does not exist" in str(suites["gone"].problem)
    assert "is not UTF-8 text (byte 9)" in str(suites["latin"].problem)
