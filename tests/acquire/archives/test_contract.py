"""What holds for archives of every kind."""

import gzip
import random
import tracemalloc

import pytest
from makers import FILES, FLAVOURS, KINDS, read, with_folders

from araflow.acquire.archives import Member, is_archive, open_archive
from araflow.acquire.archives import _output as output
from araflow.core.errors import ArchiveError

each_flavour = pytest.mark.parametrize("make", FLAVOURS.values(), ids=FLAVOURS.keys())
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_flavour
def test_every_kind_is_unpacked(there, make):
    assert there(make(FILES)) == FILES
    assert (there.done.declined, there.done.dropped) == (0, 0)


@each_flavour
def test_only_what_is_kept_is_written_and_each_name_is_asked_for_once(there, make):
    asked = []

    def wants(name: str) -> bool:
        asked.append(name)
        return name.startswith("walk/a")

    assert there(make(FILES), wants=wants) == {"walk/a.avi": FILES["walk/a.avi"]}
    assert asked == list(FILES)
    assert there.done.declined == len(FILES) - 1


@each_flavour
def test_members_are_what_extract_writes(tmp_path, make):
    (tmp_path / "archive").write_bytes(make(FILES))
    with open_archive(tmp_path / "archive") as archive:
        members = archive.members()
        assert archive.extract(lambda _: True, tmp_path / "out") == members == archive.members()
    assert {member.name: member.size for member in members} == {name: len(data) for name, data in FILES.items()}
    assert read(tmp_path / "out") == FILES


@each_kind
def test_the_kind_and_what_it_can_do_are_told(tmp_path, kind):
    (tmp_path / "archive").write_bytes(KINDS[kind]({"walk/a.avi": b"123456789"}))
    with open_archive(tmp_path / "archive") as archive:
        tar = kind.startswith("tar")
        assert archive.kind == ("tar" if tar else kind)
        assert archive.random_access == (not tar)
        # the CRC-32 of these digits is the check value of every table of CRCs
        assert archive.members() == [Member("walk/a.avi", 9, None if tar else 0xCBF43926)]
        archive.extract(lambda _: True, tmp_path / "out")
        assert archive.how == {"zip": "zipfile", "rar4": "rarfile", "rar5": "rarfile"}.get(kind, "tarfile")


@each_kind
def test_apple_double_files_are_dropped_and_counted(there, tmp_path, kind):
    files = {"walk/._a.avi": b"x", "__MACOSX/walk/a.avi": b"x", "._walk": b"x", "walk/a.avi": b"a", "._d/b.avi": b"b"}
    assert there(KINDS[kind](files)) == {"walk/a.avi": b"a", "._d/b.avi": b"b"}
    assert there.done.dropped == 3
    assert there.done.declined == 0
    with open_archive(there.archive) as archive:
        assert len(archive.members()) == 2
        assert archive.dropped == 3


@each_kind
def test_a_backslash_parts_folders(there, kind):
    files = {"walk\\a.avi": b"a", "run\\deep\\b.avi": b"b"}
    assert there(KINDS[kind](files)) == {"walk/a.avi": b"a", "run/deep/b.avi": b"b"}


@each_kind
def test_a_dot_in_front_is_taken_away(there, kind):
    assert there(KINDS[kind]({"./-a.mp4": b"a", "./walk/./b.mp4": b"b"})) == {"-a.mp4": b"a", "walk/b.mp4": b"b"}


@each_kind
def test_folders_are_made_where_files_need_them(there, kind):
    data = with_folders(kind, [".", "walk", "empty"], {"walk/a.avi": b"a"})
    assert there(data) == {"walk/a.avi": b"a"}
    assert not (there.target / "empty").exists()


@each_kind
def test_an_archive_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path, kind):
    path = tmp_path / "film.avi"
    path.write_bytes(KINDS[kind](FILES))
    assert is_archive(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"RIFF\0\0\0\0AVI LIST", b"<html>", b"\x1f\x8b", b"BZh9", b"Rar!\x1a\x07", bytes(10240)],
    ids=str,
)
def test_what_is_no_archive_is_refused(there, data):
    there.archive.write_bytes(data)
    assert not is_archive(there.archive)
    there.refuses(data, "not a zip, tar or RAR archive, or one that was cut short")


def test_a_compressed_file_that_holds_no_tar_is_no_archive(there):
    there.archive.write_bytes(gzip.compress(b"text" * 1000))
    assert not is_archive(there.archive)


def test_a_folder_is_no_archive_and_neither_is_what_is_not_there(tmp_path):
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "nothing.zip")
    for path in (tmp_path, tmp_path / "nothing.zip"):
        with pytest.raises(ArchiveError, match="cannot be read"):
            open_archive(path)


# --- damage ---


@each_flavour
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.85, -1])
def test_an_archive_cut_short_is_refused(there, make, part):
    data = make(FILES)
    # A plain tar ends with a kilobyte and more of nothing.
    end = int(len(data) * part) if part > 0 else len(data.rstrip(b"\0")) - 1
    there.refuses(data[:end], "cannot be unpacked|cut short|damaged")


@each_flavour
def test_no_damage_gives_anything_but_an_answer(tmp_path, make):
    whole = make(FILES)
    checked = make not in (FLAVOURS["tar"], FLAVOURS["tar gnu"])  # a plain tar has no checksums but of its headers
    rng = random.Random(len(whole))
    path = tmp_path / "in" / "archive"
    path.parent.mkdir()
    refused = 0
    for number in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            # Headers are where it hurts: half of the hits go to either end.
            where = rng.randrange(len(data)) if rng.random() < 0.5 else rng.choice((0, -1)) * 600 + rng.randrange(600)
            data[where] = rng.randrange(256)
        path.write_bytes(data)
        try:
            with open_archive(path) as archive:
                archive.extract(lambda _: True, tmp_path / str(number))
        except ArchiveError:
            refused += 1
            assert not list((tmp_path / str(number)).glob("*"))
        else:
            assert not checked or set(read(tmp_path / str(number)).values()) <= set(FILES.values())
    assert refused > 20
    assert not list(tmp_path.glob(".*"))


@each_kind
def test_memory_does_not_grow_with_a_members_size(there, kind):
    data = KINDS[kind]({"big.avi": bytes(32 << 20)})
    there.archive.write_bytes(data)
    del data
    tracemalloc.start()
    try:
        with open_archive(there.archive) as archive:
            archive.extract(lambda _: True, there.target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (there.target / "big.avi").stat().st_size == 32 << 20
    assert peak < 8 << 20


# --- space ---


@each_kind
def test_members_larger_than_the_free_space_are_refused_by_their_declared_size(there, monkeypatch, kind):
    free = output.MARGIN + 3 * 4096
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: output.shutil._ntuple_diskusage(10**9, 0, free))
    monkeypatch.setattr(output.os, "write", lambda *_: pytest.fail("written")) if not kind.startswith("tar") else None
    there.refuses(KINDS[kind]({"a": b"0" * 5000, "b": b"0" * 5000}), "its members need more than the free space of")


@each_kind
def test_what_is_not_kept_needs_no_space(there, monkeypatch, kind):
    free = output.MARGIN + 4096
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: output.shutil._ntuple_diskusage(10**9, 0, free))
    assert there(KINDS[kind]({"a": b"0" * 5000, "b": b"1"}), wants=lambda name: name == "b") == {"b": b"1"}
