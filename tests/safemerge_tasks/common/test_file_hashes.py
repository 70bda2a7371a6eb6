"""Files are hashed by their bytes, and read again only when they may have changed."""

from pathlib import Path

import pytest
import xxhash

from safemerge_tasks.common.file_hashes import file_hash, files_hash, known_file_hash


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(place))
    return place


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("flour", "salt"):
        (tmp_path / name).write_text(f"a bag of {name}")
    return [tmp_path / "flour", tmp_path / "salt"]


def test_a_files_bytes_alone_count(files: list[Path]) -> None:
    assert file_hash(files[0]) == xxhash.xxh3_128_hexdigest(b"a bag of flour")


def test_the_names_of_several_count_too(files: list[Path]) -> None:
    written = b"floura bag of floursalta bag of salt"
    assert files_hash(files) == xxhash.xxh3_128_hexdigest(written)
    assert files_hash(files[:1]) != file_hash(files[0])


def test_a_change_of_the_same_size_is_seen(files: list[Path]) -> None:
    before = files_hash(files)
    files[1].write_text("a bag of malt")
    assert files_hash(files) == xxhash.xxh3_128_hexdigest(b"floura bag of floursalta bag of malt")
    assert files_hash(files) != before


def test_nothing_is_read_to_tell_what_is_known(files: list[Path]) -> None:
    assert known_file_hash(files[0]) is None
    found = file_hash(files[0])
    assert known_file_hash(files[0]) == found
    files[0].write_text("a bag of grain")
    assert known_file_hash(files[0]) is None


def test_a_cache_that_cannot_be_written(files: list[Path], cache: Path) -> None:
    cache.write_text("no folder")
    assert file_hash(files[0]) == xxhash.xxh3_128_hexdigest(b"a bag of flour")
    assert known_file_hash(files[0]) is None
