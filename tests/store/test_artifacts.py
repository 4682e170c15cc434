from __future__ import annotations

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store import ArtifactMissing, Artifacts
from store.cache import Cache
from store.errors import BadName, NoRoom
from store.files import UNFINISHED


@pytest.fixture(params=["folder", "file", "remote"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    """A plain path, a file:// URL, and an object store (fsspec's own, in memory)."""
    urls = {
        "folder": str(tmp_path / "artifacts"),
        "file": f"file://{tmp_path / 'artifacts'}",
        "remote": f"memory://bucket-{uuid.uuid4().hex}/prefix",
    }
    return Artifacts(urls[request.param], cache=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "weights.bin").write_bytes(b"\x00\x01" * 1000)
    (made / "deep" / "model.json").write_text("{}")
    return made


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("move", [False, True])
def test_a_folder_comes_back_as_it_was_put(move: bool, artifacts: Artifacts, folder: Path) -> None:
    before = _tree(folder)
    artifacts.put_folder(folder, "models/job_1", move=move)
    assert folder.exists() is not move
    assert _tree(artifacts.local_copy("models/job_1")) == before
    assert artifacts.exists("models/job_1")
    assert artifacts.list("models/job_1") == ["deep", "weights.bin"]
    assert artifacts.list("models") == ["job_1"]
    assert artifacts.size_bytes("models/job_1") == 2002
    assert artifacts.read("models/job_1/deep/model.json") == b"{}"
    assert artifacts.local_copy("models/job_1/weights.bin").read_bytes() == before["weights.bin"]


def test_what_is_put_again_replaces_what_was_there(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put_folder(folder, "jobs/a/checkpoints/1.5")
    (folder / "weights.bin").unlink()
    (folder / "new").write_bytes(b"new")
    artifacts.put_folder(folder, "jobs/a/checkpoints/1.5")
    assert artifacts.list("jobs/a/checkpoints/1.5") == ["deep", "new"]
    for data in (b"one", b"two"):
        artifacts.write("jobs/a/report.json", data)
        assert artifacts.read("jobs/a/report.json") == data
        assert artifacts.local_copy("jobs/a/report.json").read_bytes() == data


@pytest.mark.parametrize("move", [False, True])
def test_a_file_comes_back_as_it_was_put(move: bool, artifacts: Artifacts, folder: Path) -> None:
    artifacts.put_file(folder / "weights.bin", "jobs/a/codes.npy", move=move)
    assert (folder / "weights.bin").exists() is not move
    with artifacts.open("jobs/a/codes.npy") as file:
        assert file.read(4) == b"\x00\x01\x00\x01"
        assert file.seek(0) == 0
    assert artifacts.size_bytes("jobs/a/codes.npy") == 2000


def test_what_is_removed_is_gone_and_removing_it_again_is_nothing(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put_folder(folder, "models/a")
    artifacts.local_copy("models/a")
    artifacts.remove("models/a")
    artifacts.remove("models/a")
    assert not artifacts.exists("models/a")
    assert artifacts.list("models/a") == artifacts.list("models") == []
    for act in (artifacts.local_copy, artifacts.read, artifacts.open, artifacts.size_bytes):
        with pytest.raises(ArtifactMissing) as missing:
            act("models/a")
        assert missing.value.key == "models/a"


def test_a_folder_is_no_file(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put_folder(folder, "models/a")
    with pytest.raises(ArtifactMissing):
        artifacts.read("models/a")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "..",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\\b",
        ".hidden",
        "a/.b",
        "a\x00",
        "a\n",
        "file:///x",
        "é",
    ],
)
def test_a_key_that_is_a_path_is_refused(key: str, artifacts: Artifacts, tmp_path: Path) -> None:
    for act in (artifacts.read, artifacts.local_copy, artifacts.remove, artifacts.exists, artifacts.list):
        with pytest.raises(BadName):
            act(key)
    with pytest.raises(BadName):
        artifacts.write(key, b"")


def test_readers_see_a_file_whole_while_it_is_replaced(artifacts: Artifacts) -> None:
    artifacts.write("jobs/a/report.json", b"a" * 50_000)
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for letter in (b"a", b"b"):
                artifacts.write("jobs/a/report.json", letter * 50_000)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(replace)
        seen = [artifacts.read("jobs/a/report.json") for _ in range(100)]
        stop.set()
        writing.result()
    assert {len(data) for data in seen} == {50_000}
    assert all(len(set(data)) == 1 for data in seen)


def test_many_who_ask_for_a_copy_get_the_same_whole_one(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put_folder(folder, "models/a")
    with ThreadPoolExecutor(6) as pool:
        copies = list(pool.map(lambda _: _tree(artifacts.local_copy("models/a")), range(6)))
    assert copies == [_tree(folder)] * 6


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "cache")
    artifacts.write("jobs/a/report.json", b"first")
    with pytest.raises(FileNotFoundError):
        artifacts.put_file(tmp_path / "nothing", "jobs/a/report.json")
    assert artifacts.read("jobs/a/report.json") == b"first"
    assert list((tmp_path / "artifacts").rglob(f"{UNFINISHED}*")) == []


def test_leftovers_of_a_crash_are_removed_once_they_are_old(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.write("jobs/a/report.json", b"kept")
    root = tmp_path / ("artifacts" if artifacts.is_local else "cache")
    for place in (root, root / "jobs"):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{UNFINISHED}1").mkdir()
        (place / f"{UNFINISHED}1" / "half").write_bytes(b"x")
    assert artifacts.list("jobs") == ["a"]
    assert artifacts.tidy(unfinished_before=time.time() - 60, cache_bytes=10**9) == 0
    assert artifacts.tidy(unfinished_before=time.time() + 60, cache_bytes=10**9) == 2
    assert artifacts.read("jobs/a/report.json") == b"kept"


def test_a_full_disk_refuses_what_is_new(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path), cache=tmp_path / "cache")
    artifacts.check_room()
    with pytest.raises(NoRoom):
        artifacts.check_room(10**18)
    artifacts = Artifacts(str(tmp_path), cache=tmp_path / "cache", free_disk_floor_bytes=10**18)
    with pytest.raises(NoRoom, match="are free"):
        artifacts.check_room()
    remote = Artifacts(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache", free_disk_floor_bytes=10**18)
    assert remote.free_bytes() is None
    remote.check_room()


def test_a_store_that_is_there_says_nothing(artifacts: Artifacts) -> None:
    assert artifacts.check() is None


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"), cache=tmp_path / "cache")
    (tmp_path / "artifacts").rmdir()
    assert artifacts.check() == f"{tmp_path / 'artifacts'} cannot be written to"


def test_the_cache_lets_the_least_recently_used_go_first_but_none_just_asked_for(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def download(path: Path) -> None:
        path.write_bytes(b"x" * 100)

    for age, name in [(3, "old"), (1, "new"), (2, "used")]:
        copy = cache.get(f"models/{name}", download)
        os.utime(copy, (time.time() - age * 7200,) * 2)
    cache.get("models/used", lambda _: pytest.fail("it is there already"))
    assert cache.trim(250) == 1
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["new", "used"]
    assert cache.trim(0) == 1
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["used"]


def test_a_download_that_fails_leaves_no_copy(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("the line was cut")

    with pytest.raises(OSError, match="cut"):
        Cache(tmp_path).get("models/a", fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
