"""Parts of a dataset in its folder: what is remembered of each, what is placed, what is deleted."""

import dataclasses
import errno
import json
import shutil
import threading
from pathlib import Path, PurePosixPath

import mirrors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinetics_world import World, name, send

from araflow.acquire import registry
from araflow.acquire.archives import _output, _tar
from araflow.acquire.fetch import _transfer
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.types import Part
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.datasets._kinetics.index import Index, PartPlaces
from araflow.datasets._kinetics.parts import Parts

LABEL = "air drumming"


def clip(file: str, subset: str = "train", label: str = LABEL) -> Clip:
    shelf = label.replace(" ", "_")
    return Clip("kinetics400", f"{shelf}/{file[:-4]}", label, file[:11], subset=subset, name=f"{shelf}/{file}")


class Fixture:
    """Parts of made-up bytes: nothing here is decoded."""

    def __init__(self, web, folder: Path, archives: dict[str, dict[str, bytes]], clips: list[Clip], **facts) -> None:
        self.web = web
        for path, content in archives.items():
            web.files[path] = mirrors.tarred(content)
        self.folder = DatasetFolder(folder / "data", registry.load("kinetics400"))
        self.parts = [
            Part(web.url(path), None if "replace" in path else "train", replaces="replace" in path, **facts)
            for path in archives
        ]
        self.clips = clips

    def of(self, clips: list[Clip] | None = None) -> Parts:
        return Parts(self.folder, self.parts, self.clips if clips is None else clips)

    def open(self, number: int = 0, wanted=lambda clip: True, clips=None, **options) -> list[str]:
        options = {"keep_archive": False, "keep_videos": False, "report": str} | options
        opened = self.of(clips).open(self.parts[number], wanted, **options)
        for found in opened:
            assert found.source == self.folder.videos / ("replaced" if found.replaced else "") / found.name
        return [found.name.rpartition("/")[2] for found in opened]

    def drop(self, number: int = 0, clips=None) -> None:
        self.of(clips).drop(self.parts[number])

    def there(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.videos.rglob("*") if path.is_file()}


@pytest.fixture
def two(web, tmp_path) -> Fixture:
    """Replacements of one clip, by an id alone; then a part of three clips, one of them broken, one unlisted."""
    return Fixture(
        web,
        tmp_path,
        {
            "/replace.tgz": {"new/-_0000001_X_000000_000020.mp4": b"whole"},
            "/a.tar.gz": {
                f"./{name(1)}": b"bro",
                f"./{name(0)}": b"first",
                f"./._{name(0)}": b"fork",
                "./nobodyknows_000001_000002.mp4": b"?",
                "./README": b"read me",
            },
        },
        [clip(name(0)), clip(name(1)), clip(name(2))],
    )


def test_a_part_is_opened_dropped_and_opened_again(two):
    assert two.open(1) == [name(0), name(1)]
    assert two.there() == {name(0): b"first", name(1): b"bro"}
    two.drop(1)
    assert two.there() == {}
    assert two.open(1) == [name(0), name(1)]
    assert two.web.requests == ["/a.tar.gz"] * 2
    assert two.open(1) == [name(0), name(1)]
    assert two.web.requests == ["/a.tar.gz"] * 2
    assert not list(two.folder.archives.rglob("*.gz"))


def test_a_clip_with_a_replacement_is_that_whatever_its_own_part_holds(two):
    (replaced,) = two.of().open(two.parts[0], lambda c: True, keep_archive=False, keep_videos=False, report=str)
    assert (replaced.name, replaced.replaced) == (f"air_drumming/{name(1)}", True)
    assert two.open(1) == [name(0)]
    assert two.there() == {name(0): b"first", name(1): b"whole"}
    two.drop(1)
    assert two.there() == {name(1): b"whole"}
    two.drop(0)
    assert two.there() == {}


def test_what_is_wanted_is_placed_and_no_more(two):
    assert two.open(1, lambda c: c.name.endswith(name(0))) == [name(0)]
    assert two.there() == {name(0): b"first"}
    assert two.open(1) == [name(0), name(1)]
    assert two.web.requests == ["/a.tar.gz"] * 2
    assert two.open(1, lambda c: False) == []


def test_what_a_part_held_is_remembered_for_clips_that_are_listed_later(two):
    assert two.open(1, clips=[]) == []
    assert two.there() == {}
    assert two.of().present() == {"train": 2}
    assert two.open(1) == [name(0), name(1)]


def test_every_listed_clip_is_counted_once_and_what_no_list_names_is_counted_too(web, tmp_path):
    shared = {name(0): b"a", name(1): b"b"}
    made = Fixture(
        web,
        tmp_path,
        {"/replace.tgz": {name(0): b"c", "a_stranger__000001_000002.mp4": b"d"}, "/a.tar": shared, "/b.tar": shared},
        [clip(name(0)), clip(name(1), "val")],
    )
    assert made.of().present() == {}
    for number in range(3):
        made.open(number)
    assert made.of().present() == {"train": 1, "val": 1}
    assert made.of().unlisted() == 1


def test_videos_that_are_to_be_kept_are_never_dropped(two):
    two.open(1, keep_videos=True)
    two.drop(1)
    assert two.open(1) == [name(0), name(1)]
    two.drop(1)
    assert set(two.there()) == {name(0), name(1)}
    assert two.web.requests == ["/a.tar.gz"]


def test_a_part_that_is_opened_for_keeping_later_is_kept_from_then_on(two):
    two.open(1)
    two.open(1, keep_videos=True)
    two.drop(1)
    assert set(two.there()) == {name(0), name(1)}


def test_dropping_what_was_never_opened_or_is_gone_is_no_error(two):
    two.drop(1)
    two.open(1)
    for path in list(two.folder.videos.rglob("*.mp4")):
        path.unlink()
    two.drop(1)


def test_an_archive_that_is_kept_is_unpacked_again_without_asking(two):
    two.open(1, keep_archive=True, keep_videos=True)
    for path in list(two.folder.videos.rglob("*.mp4")):
        path.unlink()
    assert two.open(1, keep_archive=True, keep_videos=True) == [name(0), name(1)]
    assert two.web.requests == ["/a.tar.gz"]


def test_an_archive_of_another_length_or_digest_than_known_is_refused(web, tmp_path):
    clips = [clip(name(0))]
    for facts in ({"size": 7}, {"sha256": "0" * 64}):
        made = Fixture(web, tmp_path, {"/a.tar.gz": {name(0): b"a"}}, clips, **facts)
        with pytest.raises(SourceError, match=r"a\.tar\.gz: download failed"):
            made.open()
        assert made.there() == {}


def test_an_archive_whose_content_changed_since_is_refused_rather_than_mixed(two):
    two.open(1)
    two.drop(1)
    two.web.files["/a.tar.gz"] = mirrors.tarred({name(0): b"another"})
    with pytest.raises(SourceError, match="of an earlier download"):
        two.open(1)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"names": 3, "kept": []}', '{"kept": []}', "\0\xff"])
def test_a_record_that_is_not_to_be_understood_means_another_look(two, text, caplog):
    two.open(1)
    two.drop(1)
    (record,) = (two.folder.path / ".araflow" / "parts").iterdir()
    record.write_bytes(text.encode("latin-1"))
    assert two.of().held(two.parts[1]) is None
    assert f"{record}: cannot be read" in caplog.text
    assert two.open(1) == [name(0), name(1)]


@pytest.mark.parametrize("killed", [False, True], ids=["", "and a run was killed"])
def test_no_video_is_deleted_for_a_record_that_is_not_to_be_understood(two, killed):
    two.open(1, keep_videos=True)
    (record,) = (two.folder.path / ".araflow" / "parts").iterdir()
    record.write_text("{")
    if killed:
        record.with_suffix(".begun").touch()
    before = two.there()
    two.drop(1)
    assert (two.there(), record.read_text()) == (before, "{")
    two.open(1)
    two.drop(1)
    assert two.there() == before


def test_without_knowing_what_is_replaced_no_part_is_opened_or_dropped(two):
    two.open(0)
    two.open(1)
    (record,) = (two.folder.path / ".araflow" / "parts").glob("replacement-*.json")
    record.write_text("{")
    before = two.there()
    for use in (two.open, two.drop):
        with pytest.raises(SourceError, match=rf"{record.name}: cannot be read"):
            use(1)
    assert (two.there(), record.read_text()) == (before, "{")


def test_an_archive_that_has_no_room_or_that_the_disk_does_not_give_is_kept_and_not_asked_for_again(two, monkeypatch):
    usage = shutil.disk_usage(two.folder.path.parent)
    with monkeypatch.context() as patch:
        patch.setattr(_output.shutil, "disk_usage", lambda _: usage._replace(free=_output.MARGIN + 5000))
        patch.setattr(_transfer, "MARGIN", 0)
        with pytest.raises(SourceError, match="more than the free space"):
            two.open(1)
    with monkeypatch.context() as patch:
        patch.setattr(_tar, "decompressed", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(SourceError, match="I/O error"):
            two.open(1)
    assert two.open(1) == [name(0), name(1)]
    assert two.web.requests == ["/a.tar.gz"]


def test_an_archive_that_is_damaged_is_forgotten_and_asked_for_again(two):
    whole = two.web.files["/a.tar.gz"]
    two.web.files["/a.tar.gz"] = whole[:-30] + bytes(30)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        two.open(1)
    two.web.files["/a.tar.gz"] = whole
    assert two.open(1) == [name(0), name(1)]


def test_parts_of_one_name_in_two_folders_or_subsets_are_two_parts(web, tmp_path):
    made = Fixture(
        web, tmp_path, {"/x/a.tar": {name(0): b"a"}, "/y/a.tar": {name(1): b"b"}}, [clip(name(0)), clip(name(1), "val")]
    )
    made.parts[1] = dataclasses.replace(made.parts[1], subset="val")
    assert (made.open(0), made.open(1)) == ([name(0)], [name(1)])
    made.drop(0)
    assert made.there() == {name(1): b"b"}
    made.parts[1] = dataclasses.replace(made.parts[1], subset="train")
    assert made.open(1) == [name(1)]


def test_a_tar_of_the_wrong_class_is_refused_and_leaves_nothing(web, tmp_path):
    clips = [clip(name(0)), clip(name(1), label="abseiling")]
    made = Fixture(web, tmp_path, {"/1.tar": {name(1): b"a"}}, clips, label=LABEL, guessed=True)
    for listed in (clips, clips[:1]):
        with pytest.raises(SourceError, match=r"for the archive of 'air drumming', but holds .*dataset\.classes"):
            made.open(clips=listed)
        assert made.there() == {}
        assert not list(made.folder.archives.rglob("*.tar"))
        assert made.of().held(made.parts[0]) is None


def test_a_tar_of_one_class_that_is_empty_but_for_others_files_is_no_error_where_nothing_is_in_it(web, tmp_path):
    made = Fixture(web, tmp_path, {"/1.tar": {"README": b"nothing left"}}, [clip(name(0))], label=LABEL, guessed=True)
    assert made.open() == []


def test_two_processes_open_the_same_part_one_after_the_other(two):
    """As two builds with one cache do: the second waits, and asks for nothing."""
    body, waiting = two.web.files["/a.tar.gz"], threading.Event()

    def answer(handler) -> None:
        waiting.wait(10)
        send(handler, body)

    two.web.files["/a.tar.gz"] = answer
    lines: list[str] = []
    got: list[list[str]] = []
    threads = [threading.Thread(target=lambda: got.append(two.open(1, report=lines.append))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not any("being filled by another process" in line for line in lines):
        pass
    waiting.set()
    for thread in threads:
        thread.join(20)
    assert got == [[name(0), name(1)]] * 2
    assert two.web.requests == ["/a.tar.gz"]


def test_the_record_of_a_part_is_readable(two):
    two.open(1)
    (record,) = (two.folder.path / ".araflow" / "parts").iterdir()
    content = json.loads(record.read_text())
    assert content["url"] == two.parts[1].url
    assert {name(0), name(1)} <= set(content["names"])


# --- names ---


def test_a_replacement_is_found_by_name_or_by_an_id_that_one_listed_clip_has():
    one, first, second = (clip(f"{video}_000010_000020.mp4") for video in ("abcdefghijk", "ABCDEFGHIJK", "-_-_-_-_-_-"))
    third = clip("ABCDEFGHIJK_000030_000040.mp4")
    index = Index([one, first, second, third])
    assert index.get("abcdefghijk_000011_000021.mp4") is None
    assert index.get("abcdefghijk_000011_000021.mp4", by_id=True) == one
    assert index.get("-_-_-_-_-_-_000000_000010.mp4", by_id=True) == second
    assert index.get("ABCDEFGHIJK_000011_000021.mp4", by_id=True) is None
    assert index.get("ABCDEFGHIJK_000030_000040.mp4", by_id=True) == third
    assert index.get("abcdefghijk.mp4", by_id=True) is None or index.get("abcdefghijk.mp4", by_id=True) == one


@given(
    st.text("abc-_", min_size=11, max_size=11),
    st.lists(st.sampled_from(["", ".", "train", "air drumming", "a.tar.gz", "..", "._x"]), max_size=4),
    st.sampled_from(["", "._", ".", "x"]),
)
def test_a_file_is_placed_by_its_name_alone_and_never_outside_videos(video_id, folders, before):
    listed = clip(f"{video_id}_000010_000020.mp4")
    places = PartPlaces(Index([listed]), lambda c: True, replaces=False)
    found = PurePosixPath(*folders, f"{before}{video_id}_000010_000020.mp4")
    place = places.place(found)
    assert place == (PurePosixPath("videos", listed.name) if not before else None)
    assert ".." not in (place or PurePosixPath()).parts
    assert places.enter(PurePosixPath(*folders, "x.tar"))
    assert places.place(PurePosixPath("README.txt")) is None


def test_nothing_but_clips_of_the_list_is_ever_placed(web, tmp_path, monkeypatch):
    world = World(web, tmp_path, monkeypatch)
    world.serve_parts(
        {"train": [{name(0): b"x", "notes.txt": b"n", "sub/clip.mp4": b"c", "z_strange_id_000001_000002.mp4": b"z"}]},
        {"train": [(LABEL, name(0))], "val": [(LABEL, name(1))]},
    )
    world.edit_registry(lambda known: known["subsets"].pop("val"))
    manifest = world.build(subsets=["train"], keep_archives=True)
    assert manifest.outcomes() == {"quarantined": 1}
    assert world.videos() == [name(0)]
    assert sorted(p.name for p in world.data.rglob("*") if p.is_file() and p.suffix in (".txt", ".mp4")) == [
        name(0),
        "train_parts.txt",
    ]
