"""What is on record about a downloaded dataset, and what happens when record or folder are not as they should be."""

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from unreadable import as_nobody

from araflow.acquire.fetch import Fetched
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Registry
from araflow.core.errors import SourceError
from araflow.core.resources import cache_folder
from araflow.core.spec import DatasetSpec

KNOWN = Registry(
    name="hmdb51",
    title="HMDB51, drawn",
    page="http://127.0.0.1/",
    citation="nobody, 2026",
    licence="CC0 of the drawn",
    classes={"run": 1, "walk": 2},
    classes_source="drawn",
)


@pytest.fixture
def folder(tmp_path) -> DatasetFolder:
    return DatasetFolder(tmp_path / "data", KNOWN)


def other_licence(folder: DatasetFolder) -> DatasetFolder:
    return DatasetFolder(folder.path, KNOWN.model_copy(update={"licence": "All rights reserved"}))


# --- where it is ---


def test_the_cache_folder_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ARAFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/araflow")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/araflow")


def test_the_settings_name_the_folder_or_it_is_the_datasets_own_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", "/home/me")
    assert DatasetFolder.of(DatasetSpec(), KNOWN).path == tmp_path / "cache" / "hmdb51"
    assert DatasetFolder.of(DatasetSpec(folder="~/data"), KNOWN).path == Path("/home/me/data")


def test_asking_what_is_there_makes_no_folder(folder):
    assert not folder.accepted()
    assert not folder.holds("videos", None)
    assert folder.files() == []
    assert not folder.path.exists()


# --- the licence ---


def test_a_licence_is_accepted_once_with_its_text_and_date(folder):
    folder.accept()
    before = (folder.path / "dataset.json").read_bytes()
    folder.accept()
    assert (folder.path / "dataset.json").read_bytes() == before, "the first date stays"
    assert folder.accepted()
    licence = json.loads(before)["licence"]
    assert licence["text"] == "CC0 of the drawn"
    assert licence["accepted"].startswith("20")


def test_a_licence_of_another_wording_is_not_the_one_that_was_accepted(folder):
    folder.accept()
    changed = other_licence(folder)
    assert not changed.accepted()
    changed.accept()
    assert changed.accepted()
    assert not folder.accepted()


# --- downloads and what has been unpacked ---


def fetched(url: str, sha256: str) -> Fetched:
    return Fetched(Path("x/a.zip"), url, 5, sha256, "2026-11-21T00:00:00+00:00")


def test_a_file_is_on_record_once_by_its_address(folder):
    folder.note_download(fetched("http://b/a.zip", "2"))
    folder.note_download(fetched("http://a/a.zip", "1"))
    folder.note_download(fetched("http://b/a.zip", "3"))
    assert [(file["url"], file["sha256"]) for file in folder.files()] == [
        ("http://a/a.zip", "1"),
        ("http://b/a.zip", "3"),
    ]
    assert not any("x/" in str(value) for file in folder.files() for value in file.values())


def test_classes_add_up_and_all_of_them_are_all_that_the_registry_knows(folder):
    folder.note_unpacked("videos", ["walk"])
    (folder.videos / "walk").mkdir(parents=True)
    (folder.videos / "run").mkdir()
    assert folder.holds("videos", {"walk"})
    assert not folder.holds("videos", {"walk", "run"})
    assert not folder.holds("videos", None)
    folder.note_unpacked("videos", ["run"])
    assert folder.holds("videos", {"walk", "run"})
    assert folder.holds("videos", None)
    (folder.videos / "run").rmdir()
    assert not folder.holds("videos", None), "a class that was deleted is fetched again"


def test_unpacked_without_a_folder_is_not_there(folder):
    folder.note_unpacked("videos", None)
    folder.note_unpacked("splits", None)
    assert not folder.holds("videos", None)
    assert not folder.holds("splits", None)
    folder.splits.mkdir()
    assert folder.holds("splits", None)


def test_a_registry_with_more_classes_than_were_unpacked_is_not_held(folder):
    folder.note_unpacked("videos", None)
    for label in ("run", "walk"):
        (folder.videos / label).mkdir(parents=True)
    more = DatasetFolder(folder.path, KNOWN.model_copy(update={"classes": {"run": 1, "walk": 2, "push": 1}}))
    assert not more.holds("videos", None)
    assert more.holds("videos", {"run", "walk"})


# --- what is not as it should be ---


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"name": "hmdb51"'])
def test_a_damaged_record_is_an_error_that_names_it_and_says_what_to_do(folder, content):
    folder.path.mkdir()
    (folder.path / "dataset.json").write_bytes(content)
    for ask in (folder.accepted, folder.accept, folder.files, lambda: folder.note_unpacked("videos", None)):
        with pytest.raises(SourceError, match=r"dataset\.json: .*delete it to begin anew"):
            ask()
    assert (folder.path / "dataset.json").read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        {"licence": None},
        {"licence": "yes"},
        {"licence": []},
        {"files": {}},
        {"files": [1]},
        {"files": [{"name": "x"}]},
        {"files": None},
        {"unpacked": []},
        {"unpacked": {"videos": 7}},
        {"unpacked": None},
    ],
    ids=str,
)
def test_a_record_of_another_shape_is_an_error_of_ours_and_no_crash(folder, content):
    folder.path.mkdir()
    folder.videos.mkdir()
    (folder.path / "dataset.json").write_text(json.dumps({"name": "hmdb51"} | content))
    asks = [
        folder.accepted,
        folder.files,
        lambda: folder.holds("videos", None),
        lambda: folder.note_download(fetched("http://a/a.zip", "1")),
        lambda: folder.note_unpacked("videos", ["walk"]),
    ]
    said = []
    for ask in asks:
        try:
            ask()
        except SourceError as error:
            said.append(str(error))
    assert said, "somebody must say so"
    assert all("dataset.json" in text for text in said)


@pytest.mark.parametrize("content", [{"name": "ucf101"}, {}, [], "hmdb51", 7, {"info": "somebody else's"}], ids=str)
def test_the_folder_of_something_else_is_refused_and_left_alone(folder, content):
    folder.path.mkdir()
    (folder.path / "dataset.json").write_text(json.dumps(content))
    for ask in (folder.accepted, folder.accept, folder.files):
        with pytest.raises(SourceError, match=r"dataset\.json|is the folder of 'ucf101', not of 'hmdb51'"):
            ask()
    assert json.loads((folder.path / "dataset.json").read_text()) == content


def test_what_a_later_version_writes_besides_is_kept(folder):
    folder.path.mkdir()
    entry = {"name": "x", "url": "http://a/x.zip", "size": 1, "sha256": "0", "fetched": "then", "mirror": "a friend's"}
    (folder.path / "dataset.json").write_text(json.dumps({"name": "hmdb51", "comment": "mine", "files": [entry]}))
    folder.accept()
    folder.note_download(fetched("http://a/a.zip", "1"))
    content = json.loads((folder.path / "dataset.json").read_text())
    assert content["comment"] == "mine"
    assert entry in content["files"]


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_it(folder):
    folder.path.write_text("a file")
    for use in (folder.accept, lambda: folder.locked(print).__enter__()):
        with pytest.raises(SourceError, match="data"):
            use()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_read_only_folder_is_an_error_of_ours(open_folder):
    folder = DatasetFolder(open_folder / "data", KNOWN)
    folder.path.mkdir()
    folder.path.chmod(0o555)
    with as_nobody():
        with pytest.raises(SourceError, match="cannot be written: Permission denied"), folder.locked(print):
            pass
        with pytest.raises(SourceError, match=r"dataset\.json: cannot be written: Permission denied"):
            folder.accept()


# --- one process at a time ---


def test_a_second_process_waits_and_says_so(folder):
    lines: list[str] = []
    entered, leave, second = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with folder.locked(lines.append):
            entered.set()
            leave.wait(10)

    def other() -> None:
        with DatasetFolder(folder.path, KNOWN).locked(lines.append):
            second.set()

    threads = [threading.Thread(target=first), threading.Thread(target=other)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    assert not second.wait(0.2)
    leave.set()
    assert second.wait(10)
    for thread in threads:
        thread.join()
    assert lines == [f"{folder.path} is being filled by another process; waiting for it"]


def test_the_lock_is_given_back_after_an_error(folder):
    with pytest.raises(KeyError), folder.locked(print):
        raise KeyError
    with folder.locked(lambda line: pytest.fail(line)):
        pass
