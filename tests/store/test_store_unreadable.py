"""Unreadable is not absent: whatever file of an output's state cannot be read, no clip is lost by it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import unreadable
from store_world import KEY, bad, make, record, tree

from araflow.build import clean, note, outputs, retry
from araflow.build.selection import Selection
from araflow.core import spec_file
from araflow.core.clip import Clip, Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.core.fingerprint import digest
from araflow.store.address import open_store
from araflow.store.manifest import Manifest
from araflow.store.store import Store

OTHER = "walk/other"
UNMADE = "walk/unmade"
PROOF_FILE, RECORD = f"clips/{KEY}/{PROOF}", f".araflow/records/{digest({'key': UNMADE})}.json"
AGAIN = (unreadable.cut, unreadable.empty, unreadable.not_text, unreadable.other_type)
"""Half-written or another version's: make it again."""
NOT_READ = tuple(way for way in unreadable.WAYS if way not in AGAIN)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two clips and one that was not made, all listed by the note, and one of them by a manifest of before."""
    folder = tmp_path / "out"
    clips = [Clip("folder", key, "walk", name=f"{key}.avi") for key in (KEY, OTHER, UNMADE)]
    with open_store(folder).locked() as store:
        for key in (KEY, OTHER):
            make(store, record(key))
        store.write_record(bad(UNMADE))
        spec = spec_file.load("sample", [f"out={folder}"])
        note.write(store, spec, "first", Selection(tuple(clips), ("walk",), {}))
    metadata = {"name": "x", "spec": spec.output_settings(), "labels": ["walk"]}
    kept = Manifest.of([clips[1]], [record(OTHER)], labels=["walk"], split_of={}, metadata=metadata, folder=folder)
    kept.write(folder / "manifest.parquet")
    return folder


def frames(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(out / "clips").items() if not name.endswith(PROOF)}


def read_again(out: Path) -> None:
    store = open_store(out)
    seen = outputs.read(store)
    retry.forget(store, retry.choose(seen, Outcome.QUARANTINED))
    clean.remove(store)


@pytest.mark.parametrize("name", [".araflow/build.json", "manifest.parquet", PROOF_FILE, RECORD])
@pytest.mark.parametrize("way", unreadable.WAYS, ids=lambda way: way.__name__)
def test_no_clip_is_lost_and_what_cannot_be_read_stays(out: Path, name: str, way: Callable[[Path], None]):
    way(out / name)
    before, odd = frames(out), unreadable.content(out / name)
    if way in AGAIN or (way is unreadable.folder and name in (RECORD, "manifest.parquet")):
        read_again(out)  # what it says is known from elsewhere, or it says nothing
    else:
        with pytest.raises(OutputError, match="cannot be read"):
            read_again(out)
    assert frames(out) == before
    assert unreadable.content(out / name) == odd


@pytest.mark.parametrize("name", [PROOF_FILE, RECORD, "clips/walk"])
@pytest.mark.parametrize("way", NOT_READ, ids=lambda way: way.__name__)
def test_a_clip_of_which_nothing_can_be_known_is_not_made_over_it(out: Path, name: str, way: Callable[[Path], None]):
    path = out / name
    if path.is_dir():
        path.rename(out.parent / "elsewhere")
        path.touch()
    way(path)
    odd = unreadable.content(path)
    key = UNMADE if name == RECORD else KEY
    with open_store(out).session() as store:
        if way is unreadable.folder and name == "clips/walk":
            assert store.find(key) is None  # a folder, where one belongs
            return
        with pytest.raises(OutputError, match="cannot be read"):
            store.find(key)
        with pytest.raises(OutputError):
            _make_or_note(store, key)
    assert unreadable.content(path) == odd


def _make_or_note(store: Store, key: str) -> None:
    if key == KEY:
        make(store, record(fingerprint="second"))
    else:
        store.place.replace(RECORD, b"{}")


@pytest.mark.parametrize("way", NOT_READ, ids=lambda way: way.__name__)
def test_a_note_that_cannot_be_read_is_not_written_over(out: Path, way: Callable[[Path], None]):
    file = out / ".araflow" / "build.json"
    way(file)
    odd = unreadable.content(file)
    with pytest.raises(OutputError):
        open_store(out).write_state("build.json", b"{}")
    assert unreadable.content(file) == odd
