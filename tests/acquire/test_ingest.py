"""Whatever the nesting of archives, the same bytes come to the same places, and nowhere else."""

import contextlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import mirrors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kills import in_a_child
from rar_writer import SYMLINK, Entry, rar4, rar5, volumes

from araflow.acquire import archives, registry
from araflow.acquire.ingest import ingest
from araflow.core.errors import ArchiveError, SourceError
from araflow.core.files import STATE, is_draft
from araflow.core.spec import DatasetSpec
from araflow.datasets import folder as own_videos
from araflow.datasets import hmdb51, ucf101

TAIL = "f_cm_np1_ri_med"
VIDEOS = {
    f"{label}/{title}_{label}_{TAIL}_{number}.avi": f"{label} {title} {number}".encode() * 50
    for label in mirrors.CLASSES
    for title, number in (("Crash", 0), ("Let's_[run]_walk_push!(1)", 1), ("50_FIRST_DATES", 2))
}
SPLITS = {f"{label}_test_split{fold}.txt": b"a.avi 1 \n" for label in mirrors.CLASSES for fold in (1, 2, 3)}
PLACED = {f"videos/{name}": data for name, data in VIDEOS.items()}
LAYOUTS = mirrors.hmdb51_layouts(VIDEOS, SPLITS)


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files; return the only one, if it is an archive, or the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    only = folder / next(iter(files))
    return only if len(files) == 1 and archives.is_archive(only) else folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but those of ``.araflow``, by path."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and STATE not in p.relative_to(folder).parts
    }


def take(source: Path, target: Path, wanted: set[str] | None = None, **options: Any) -> list[str]:
    places = hmdb51.places(None if wanted is None else frozenset(wanted))
    return [str(place) for place in ingest(source, target, places, **options)]


def scratch_is_gone(target: Path) -> bool:
    return not any(is_draft(path.name) for path in (target / STATE).iterdir())


# --- every layout gives the same ---


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_bytes_in_the_same_places(tmp_path, layout):
    source = lay(tmp_path / "given", LAYOUTS[layout])
    before = tree(tmp_path / "given")
    found = take(source, tmp_path / "target")
    expected = dict(PLACED)
    if layout == "with split files inside":
        expected |= {f"splits/{name}": data for name, data in SPLITS.items()}
    assert tree(tmp_path / "target") == expected
    assert found == sorted(expected)
    assert tree(tmp_path / "given") == before, "what the user gave is not changed"
    assert scratch_is_gone(tmp_path / "target")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_every_layout_the_wanted_classes_alone_are_taken_and_the_others_can_follow(tmp_path, layout):
    source = lay(tmp_path / "given", LAYOUTS[layout])
    target = tmp_path / "target"

    def videos() -> dict[str, bytes]:
        return {name: data for name, data in tree(target).items() if name.startswith("videos/")}

    take(source, target, {"run"})
    assert videos() == {name: data for name, data in PLACED.items() if name.startswith("videos/run/")}
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*.avi")}
    take(source, target, {"run", "fall_floor"})
    assert {path.parent.name for path in target.rglob("*.avi")} == {"run", "fall_floor"}
    if "tar" not in layout:  # a stream is read from its beginning, and all that is wanted is written anew
        assert {path: path.stat().st_mtime_ns for path in times} == times
    take(source, target)
    assert videos() == PLACED


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_second_time_nothing_is_written(tmp_path, layout):
    source, target = lay(tmp_path / "given", LAYOUTS[layout]), tmp_path / "target"
    first = take(source, target)
    seen = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in target.rglob("*") if p.is_file()}
    lines: list[str] = []
    assert take(source, target, report=lines.append) == first
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in target.rglob("*") if p.is_file()} == seen
    assert lines == []


@pytest.mark.parametrize("name", ["run.rar", "RUN.RAR", "anything.bin"])
@pytest.mark.parametrize("pack", [rar4, rar5, mirrors.zipped, mirrors.tarred])
def test_a_single_class_archive_is_taken_whatever_its_name(tmp_path, name, pack):
    own = {file: data for file, data in VIDEOS.items() if file.startswith("run/")}
    (tmp_path / name).write_bytes(pack(own))
    take(tmp_path / name, tmp_path / "target")
    assert tree(tmp_path / "target") == {f"videos/{file}": data for file, data in own.items()}


def test_a_class_archive_with_another_class_name_gives_what_it_holds(tmp_path):
    (tmp_path / "walk.rar").write_bytes(rar4({n: d for n, d in VIDEOS.items() if n.startswith("run/")}))
    assert {Path(place).parent.name for place in take(tmp_path / "walk.rar", tmp_path / "a", {"run"})} == {"run"}
    assert take(tmp_path / "walk.rar", tmp_path / "b", {"walk"}) == []


@pytest.mark.parametrize("around", ["run", "catch", "talk"])
def test_flat_clips_below_a_folder_named_as_another_class_go_by_their_names(tmp_path, around):
    """Not every folder that is called ``run`` or ``catch`` is one of HMDB51's."""
    source = lay(tmp_path / "given", mirrors.below(around, mirrors.flat(VIDEOS)))
    take(source, tmp_path / "target")
    assert tree(tmp_path / "target") == PLACED


def test_flat_clips_in_an_archive_with_another_class_name_go_by_their_names(tmp_path):
    (tmp_path / "walk.rar").write_bytes(rar4(mirrors.flat({n: d for n, d in VIDEOS.items() if n.startswith("run/")})))
    take(tmp_path / "walk.rar", tmp_path / "target")
    assert {Path(name).parent.name for name in tree(tmp_path / "target")} == {"run"}


def test_a_class_that_ends_in_another_is_told_apart_by_folder_and_else_by_the_longer_name(tmp_path):
    clips = {
        f"draw_sword/Hero_draw_sword_{TAIL}_0.avi": b"draw",
        f"sword/Hero_sword_{TAIL}_0.avi": b"sword",
        f"climb/Rock_climb_{TAIL}_0.avi": b"climb",
        f"climb_stairs/Rock_climb_stairs_{TAIL}_0.avi": b"stairs",
        f"shoot_bow/x_shoot_ball_shoot_bow_{TAIL}_0.avi": b"bow",
    }
    expected = {f"videos/{name}": data for name, data in clips.items()}
    for number, files in enumerate((clips, mirrors.flat(clips))):
        take(lay(tmp_path / str(number), files), tmp_path / f"target{number}")
        assert tree(tmp_path / f"target{number}") == expected
    odd = {f"sword/How_to_draw_sword_{TAIL}_0.avi": b"a sword clip of a film called How to draw"}
    take(lay(tmp_path / "odd", odd), tmp_path / "target-odd")
    assert tree(tmp_path / "target-odd") == {f"videos/{name}": data for name, data in odd.items()}


# --- UCF101 ---

UCF = {
    f"{label}/v_{spelt}_g{group:02d}_c01.avi": f"{label}{group}".encode() * 9
    for label, spelt in (("HandstandPushups", "HandStandPushups"), ("WalkingWithDog", "WalkingWithDog"))
    for group in (1, 2, 25)
}


@pytest.mark.parametrize(
    "source",
    [
        {"UCF101.rar": rar4(mirrors.below("UCF-101", UCF))},
        {"UCF101.rar": rar5(mirrors.below("UCF-101", UCF))},
        {"UCF101_videos.zip": mirrors.zipped(mirrors.below("UCF101", mirrors.flat(UCF)))},
        {"UCF-101.zip": mirrors.zipped(mirrors.class_archives(UCF))},
        {"u.tgz": mirrors.tarred({name.replace("HandstandP", "HandStandP"): data for name, data in UCF.items()})},
        mirrors.below("UCF-101", UCF),
        mirrors.class_archives({name.replace("HandstandP", "HandStandP"): data for name, data in UCF.items()}),
    ],
    ids=["RAR4", "RAR5", "flat zip", "zip of RARs", "tar, other case", "folder", "class RARs, other case"],
)
def test_ucf101_comes_to_the_same_places_from_every_layout_and_in_either_case(tmp_path, source):
    given = lay(tmp_path / "given", source)
    for wanted in ({"HandstandPushups"}, None):
        ingest(given, tmp_path / "t", ucf101.places(None if wanted is None else frozenset(wanted)))
        expected = {f"videos/{n}": d for n, d in UCF.items() if wanted is None or n.partition("/")[0] in wanted}
        assert tree(tmp_path / "t") == expected
    clips = ucf101.list_clips(ucf101_sources(tmp_path / "t"), ["HandstandPushups", "WalkingWithDog"]).clips
    assert len(clips) == len(UCF)
    assert all(clip.source is not None for clip in clips)


def ucf101_sources(target: Path) -> Any:
    from araflow.acquire.types import Sources

    return Sources(target / "videos", None)


def test_files_named_in_both_spellings_of_one_class_are_one_clip(tmp_path):
    both = {
        "HandstandPushups/v_HandStandPushups_g01_c01.avi": b"same",
        "HandstandPushups/v_HandstandPushups_g01_c01.avi": b"same",
    }
    ingest(lay(tmp_path / "given", both), tmp_path / "t", ucf101.places(None))
    assert len(ucf101.list_clips(ucf101_sources(tmp_path / "t"), ["HandstandPushups"]).clips) == 1


# --- little is unpacked at a time ---


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, target: Path) -> Iterator[list[set[str]]]:
    """After each extraction: the classes whose clips or archives lie in scratch."""
    seen: list[set[str]] = []
    extract = archives.Archive.extract

    def watching(self: archives.Archive, keep: Callable[[str], bool], folder: Path) -> list[archives.Member]:
        got = extract(self, keep, folder)
        drafts = [path for path in (target / STATE).iterdir() if is_draft(path.name)]
        names = [p.name for draft in drafts for p in draft.rglob("*") if p.is_file()]
        seen.append({label for label in mirrors.CLASSES for name in names if label in name})
        return got

    with monkeypatch.context() as patched:
        patched.setattr(archives.Archive, "extract", watching)
        yield seen


@pytest.mark.parametrize(
    "layout", ["RAR4 of RAR4s", "ZIP of class folders", "ZIP of RARs", "folder of class RARs", "ZIP of ZIPs"]
)
def test_only_one_class_at_a_time_is_in_scratch(tmp_path, monkeypatch, layout):
    plain = {f"{label}/a_{label}_{TAIL}_{n}.avi": b"x" for label in mirrors.CLASSES for n in range(3)}
    source = lay(tmp_path / "given", mirrors.hmdb51_layouts(plain, {})[layout])
    with watched(monkeypatch, tmp_path / "t") as seen:
        take(source, tmp_path / "t")
    assert max(map(len, seen)) == 1
    assert set().union(*seen) == set(mirrors.CLASSES)
    with watched(monkeypatch, tmp_path / "u") as seen:
        take(source, tmp_path / "u", {"push"})
    assert set().union(*seen) == {"push"}, "other classes are not unpacked, not even for a moment"


def test_a_class_that_is_added_later_is_all_that_is_unpacked(tmp_path, monkeypatch):
    source, target = lay(tmp_path / "given", LAYOUTS["RAR4 of RAR4s"]), tmp_path / "t"
    take(source, target, {"walk"})
    lines: list[str] = []
    take(source, target, {"walk", "push"}, report=lines.append)
    assert lines == ["unpacking hmdb51_org.rar/push.rar: 3 files"]


def test_what_is_there_is_not_unpacked_again_and_what_is_gone_or_cut_short_is(tmp_path):
    source, target = lay(tmp_path / "given", LAYOUTS["RAR4 of RAR4s"]), tmp_path / "t"
    take(source, target)
    gone, short, *_ = sorted(target.rglob("*.avi"))
    gone.unlink()
    short.write_bytes(short.read_bytes()[:10])
    lines: list[str] = []
    take(source, target, report=lines.append)
    assert tree(target) == PLACED
    assert lines == ["unpacking hmdb51_org.rar/fall_floor.rar: 2 files, 1 are there already"]


def test_a_stream_is_read_again_only_for_what_is_missing(tmp_path):
    source, target = lay(tmp_path / "given", LAYOUTS["tar.gz of class folders"]), tmp_path / "t"
    take(source, target, {"walk", "run"})
    lines: list[str] = []
    take(source, target, {"run"}, report=lines.append)
    assert lines == []
    take(source, target, {"run", "push"}, report=lines.append)
    assert lines == ["unpacking hmdb51.tar.gz"]
    next(target.rglob("push/*.avi")).unlink()
    take(source, target, {"run", "push"}, report=lines.append)
    assert len(lines) == 2
    assert {p.parent.name for p in target.rglob("*.avi")} == {"walk", "run", "push"}


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b'{"gave": []}', b'{"gave": {"videos/x": 1}, "wanted": 1}', b"\xff"]
)
def test_a_record_of_what_an_archive_gave_that_is_damaged_is_not_believed(tmp_path, damage):
    source, target = lay(tmp_path / "given", LAYOUTS["tar of class tars"]), tmp_path / "t"
    take(source, target)
    for mark in (target / STATE / "archives").iterdir():
        mark.write_bytes(damage)
    shutil.rmtree(target / "videos")
    lines = []
    take(source, target, report=lines.append)
    assert tree(target) == PLACED
    assert sum("cannot be read" in line and "unpacked again" in line for line in lines) >= 1


def test_a_record_cannot_name_a_file_outside_the_target(tmp_path):
    source, target = lay(tmp_path / "given", LAYOUTS["tar.gz of class folders"]), tmp_path / "t"
    take(source, target)
    (mark,) = (target / STATE / "archives").iterdir()
    known = json.loads(mark.read_text())
    mark.write_text(json.dumps(known | {"gave": {"../given/hmdb51.tar.gz": source.stat().st_size}}))
    assert all(place.startswith("videos/") for place in take(source, target))


# --- whose what lies there is ---


@pytest.mark.parametrize("plant", ["file", "link", "dangling", "folder", "edited", "cut and edited"])
@pytest.mark.parametrize("layout", ["new.zip", "loose"])
def test_nothing_of_the_users_is_replaced(tmp_path, plant, layout):
    name, target = next(iter(VIDEOS)), tmp_path / "t"
    path, outside = target / "videos" / name, tmp_path / "precious"
    outside.write_bytes(b"precious")
    if "edited" in plant:
        take(lay(tmp_path / "first", {"a.zip": mirrors.zipped({name: b"another"})}), target)
        path.write_bytes(b"edited" if plant == "edited" else b"anoth.")
    else:
        path.parent.mkdir(parents=True)
        match plant:
            case "file":
                path.write_bytes(b"mine")
            case "folder":
                path.mkdir()
            case _:
                path.symlink_to(outside if plant == "link" else tmp_path / "nowhere")
    before = path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
    given = {"new.zip": mirrors.zipped({name: b"another film"})} if layout == "new.zip" else {name: b"another film"}
    with pytest.raises((ArchiveError, SourceError), match="is there already, and is not"):
        take(lay(tmp_path / "given", given), target)
    assert (path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()) == before
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("link", ["videos", "videos/walk", ".araflow"])
def test_nothing_is_unpacked_through_a_link(tmp_path, link):
    name, target, outside = next(name for name in VIDEOS if "walk/" in name), tmp_path / "t", tmp_path / "home"
    (outside / "scratch").mkdir(parents=True)
    (outside / "scratch" / "thesis").write_bytes(b"precious")
    (target / link).parent.mkdir(parents=True)
    (target / link).symlink_to(outside)
    with pytest.raises(SourceError, match="is a link, and nothing is unpacked through one"):
        take(lay(tmp_path / "given", {"a.zip": mirrors.zipped({name: b"film"})}), target)
    assert tree(outside) == {"scratch/thesis": b"precious"}


def test_what_a_user_keeps_in_the_hidden_folder_stays(tmp_path):
    name, target = next(iter(VIDEOS)), tmp_path / "t"
    theirs = target / STATE / "scratch" / "mine"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    take(lay(tmp_path / "given", {"a.zip": mirrors.zipped({name: b"film"})}), target)
    assert theirs.read_bytes() == b"precious"


# --- what is refused ---


def test_two_different_files_for_one_place_are_refused_and_both_are_named(tmp_path):
    name = next(iter(VIDEOS))
    two = {"a.rar": rar4({name: b"first"}), "b.rar": rar4({name: b"second one"})}
    with pytest.raises(ArchiveError, match="different files for the same place") as caught:
        take(lay(tmp_path / "given", {"both.zip": mirrors.zipped(two)}), tmp_path / "t")
    for shown in (f"both.zip/a.rar/{name}", f"both.zip/b.rar/{name}", f"videos/{name}"):
        assert shown in str(caught.value)
    assert scratch_is_gone(tmp_path / "t")


@pytest.mark.parametrize("outer", [mirrors.zipped, rar4, mirrors.tarred])
@pytest.mark.parametrize("inner", [mirrors.zipped, rar4, rar5, mirrors.tarred])
def test_two_different_files_of_one_size_for_one_place_are_refused_too(tmp_path, inner, outer):
    name = next(iter(VIDEOS))
    files = {"all": outer({"a.rar": inner({name: b"first."}), "b.rar": inner({name: b"second"})})}
    with pytest.raises(ArchiveError, match="different files for the same place"):
        take(lay(tmp_path / "given", files), tmp_path / "t")


def test_two_different_files_for_one_place_in_one_archive_are_refused(tmp_path):
    name = next(iter(VIDEOS)).rpartition("/")[2]
    for number, pack in enumerate((mirrors.zipped, mirrors.tarred, rar5)):
        source = lay(tmp_path / str(number), {"x": pack({f"one/{name}": b"first.", f"two/{name}": b"second"})})
        with pytest.raises(ArchiveError, match="different files for the same place"):
            take(source, tmp_path / f"t{number}")


def test_of_two_different_loose_files_for_one_place_the_first_is_taken_and_that_is_said(tmp_path):
    """As where clips are listed from folders: a clip may lie in train and in test."""
    name = next(iter(VIDEOS))
    source = lay(tmp_path / "given", {f"one/{name}": b"first.", f"two/{name}": b"second"})
    lines: list[str] = []
    for _ in range(2):
        assert take(source, tmp_path / "t", report=lines.append) == [f"videos/{name}"]
        assert tree(tmp_path / "t") == {f"videos/{name}": b"first."}
        assert lines.pop() == f"two/{name} differs from one/{name}, which is taken"


@pytest.mark.parametrize("pack", [mirrors.zipped, rar4, mirrors.tarred])
@pytest.mark.parametrize("name", ["aa.zip", "zz.zip"])
def test_a_loose_file_that_differs_from_the_archive_beside_it_is_refused(tmp_path, pack, name):
    """Whichever comes first; a half-copied folder beside the archive is what this looks like."""
    clip = next(iter(VIDEOS))
    source = lay(tmp_path / "given", {clip: VIDEOS[clip][:-3], name: pack({clip: VIDEOS[clip]})})
    with pytest.raises(SourceError, match="different files for the same place"):
        take(source, tmp_path / "t")


@pytest.mark.parametrize("pack", [mirrors.zipped, rar4, mirrors.tarred])
def test_the_same_file_twice_is_fine(tmp_path, pack):
    twice = mirrors.below("one", VIDEOS) | mirrors.below("two", mirrors.flat(VIDEOS)) | {"again.rar": rar5(VIDEOS)}
    take(lay(tmp_path / "given", {"all": pack(twice)}), tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED


def test_archives_nested_deeper_than_three_are_not_entered(tmp_path):
    deep = mirrors.zipped(VIDEOS)
    for number in range(2):
        deep = mirrors.zipped({f"level{number}.zip": deep})
    take(lay(tmp_path / "three", {"x.zip": deep}), tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED
    assert take(lay(tmp_path / "four", {"x.zip": mirrors.zipped({"level.zip": deep})}), tmp_path / "u") == []
    assert tree(tmp_path / "u") == {}


@pytest.mark.parametrize("outer", [mirrors.zipped, rar4, mirrors.tarred])
@pytest.mark.parametrize("inner", [b"", b"<!DOCTYPE html><p>moved", b"Rar!\x1a\x07\x00", b"PK\x03\x04", b"\x1f\x8b"])
def test_an_inner_archive_that_is_none_is_an_error_that_names_it(tmp_path, outer, inner):
    source = lay(tmp_path / "given", {"hmdb51_org": outer({"walk.rar": inner})})
    with pytest.raises(ArchiveError, match=r"walk\.rar"):
        take(source, tmp_path / "t")
    assert tree(tmp_path / "t") == {}
    assert scratch_is_gone(tmp_path / "t")


def hostile_zip() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        info = zipfile.ZipInfo("x")
        info.filename = f"../../../../evil/walk/Crash_walk_{TAIL}_0.avi"
        file.writestr(info, b"evil")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "inner",
    [
        hostile_zip(),
        rar4([Entry(f"..\\..\\..\\evil\\walk\\Crash_walk_{TAIL}_0.avi", b"evil")]),
        rar5([Entry(f"/evil/walk/Crash_walk_{TAIL}_0.avi", b"evil")]),
        mirrors.tarred({f"../../../evil/walk/Crash_walk_{TAIL}_0.avi": b"evil"}),
    ],
    ids=["zip", "rar4", "rar5", "tar"],
)
@pytest.mark.parametrize("outer", [mirrors.zipped, rar4, mirrors.tarred])
def test_a_hostile_inner_archive_is_refused_and_nothing_is_written_outside(tmp_path, inner, outer):
    good = {name: data for name, data in VIDEOS.items() if name.startswith("fall_floor/")}
    source = lay(tmp_path / "given", {"x.bin": outer({"fall_floor.rar": rar4(good), "walk.rar": inner})})
    before = tree(tmp_path)
    with pytest.raises(ArchiveError, match="refused"):
        take(source, tmp_path / "t")
    after = {name: data for name, data in tree(tmp_path).items() if not name.startswith("t/")}
    assert after == before
    assert all(PLACED[name] == data for name, data in tree(tmp_path / "t").items())
    assert scratch_is_gone(tmp_path / "t")


def test_a_link_in_an_inner_archive_is_left_out_and_named(tmp_path):
    name = f"walk/Crash_walk_{TAIL}_0.avi"
    inner = rar5([Entry(name, link="/etc/passwd", mode=SYMLINK), Entry("walk/.x", link="/etc/passwd", mode=SYMLINK)])
    lines = []
    take(lay(tmp_path / "given", {"x.bin": rar4({"walk.rar": inner})}), tmp_path / "t", report=lines.append)
    assert tree(tmp_path / "t") == {}
    (line,) = [line for line in lines if "left out" in line]
    assert line == f"given/x.bin/walk.rar: left out: {name!r} (a symbolic link)".removeprefix("given/")


def test_an_archive_in_volumes_is_read_from_its_first_wherever_it_lies(tmp_path):
    parts = volumes(5, VIDEOS, 2000)
    assert len(parts) > 2
    files = {f"hmdb51.part{number}.rar": data for number, data in enumerate(parts, start=1)}
    source = lay(tmp_path / "given", files)
    take(source / "hmdb51.part1.rar", tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED
    take(source, tmp_path / "u")
    assert tree(tmp_path / "u") == PLACED


def test_a_damaged_archive_leaves_only_right_files(tmp_path):
    data = bytearray(LAYOUTS["RAR4 of RAR4s"]["hmdb51_org.rar"])
    at = data.rindex(b"walk 50_FIRST")
    data[at] ^= 1
    source = lay(tmp_path / "given", {"hmdb51_org.rar": bytes(data)})
    with pytest.raises(ArchiveError, match="checksum"):
        take(source, tmp_path / "t")
    assert all(PLACED[name] == data for name, data in tree(tmp_path / "t").items())


@pytest.mark.parametrize("layout", ["RAR4 of RAR4s", "ZIP of class folders", "tar.gz of class folders", "ZIP of RARs"])
def test_an_archive_that_was_cut_short_anywhere_is_an_error_and_leaves_only_right_files(tmp_path, layout):
    ((name, data),) = LAYOUTS[layout].items()
    for number in range(12):
        given = tmp_path / str(number) / name
        given.parent.mkdir()
        given.write_bytes(data[: len(data) * number // 12])
        with pytest.raises(ArchiveError, match=name):
            take(given, tmp_path / f"t{number}")
        there = tree(tmp_path / f"t{number}")
        assert all(PLACED[place] == content for place, content in there.items())
        assert scratch_is_gone(tmp_path / f"t{number}")


# --- loose files ---


def test_loose_files_are_linked_where_that_is_possible(tmp_path):
    source = lay(tmp_path / "given", VIDEOS)
    take(source, tmp_path / "t")
    for name in VIDEOS:
        assert (source / name).stat().st_ino == (tmp_path / "t" / "videos" / name).stat().st_ino


def test_loose_files_are_copied_where_links_are_impossible(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    source = lay(tmp_path / "given", VIDEOS)
    take(source, tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED


@pytest.mark.timeout(30)
def test_what_is_no_file_is_left_to_whoever_reads_it(tmp_path):
    first, *others = list(VIDEOS)
    source = lay(tmp_path / "given", {first: VIDEOS[first], "a.zip": mirrors.zipped({others[0]: b"film"})})
    (source / others[1]).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(source / others[1])
    for name, leads in ((others[2], "/dev/zero"), (others[3], "/nowhere/at/all.avi")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(leads)
    for _ in range(2):
        take(source, tmp_path / "t")
        assert tree(tmp_path / "t") == {f"videos/{first}": VIDEOS[first], f"videos/{others[0]}": b"film"}
        for name in others[1:4]:
            assert (tmp_path / "t" / "videos" / name).readlink() == source / name


@pytest.mark.timeout(30)
def test_an_archive_that_is_no_file_is_a_line(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(ArchiveError, match=r"a\.zip: cannot be read: a named pipe, not a file"):
        take(tmp_path / "a.zip", tmp_path / "t")


def test_symbolic_links_to_clips_are_followed(tmp_path):
    store = lay(tmp_path / "store", VIDEOS)
    for name in VIDEOS:
        link = tmp_path / "given" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(store / name, link.parent))
    take(tmp_path / "given", tmp_path / "a" / "deep" / "target")
    assert tree(tmp_path / "a" / "deep" / "target") == PLACED
    assert not any(p.is_symlink() for p in (tmp_path / "a").rglob("*"))


def test_class_folders_that_are_symbolic_links_are_followed(tmp_path):
    store = lay(tmp_path / "store", VIDEOS)
    (tmp_path / "given").mkdir()
    for label in mirrors.CLASSES:
        (tmp_path / "given" / label).symlink_to(store / label)
    take(tmp_path / "given", tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED


def test_a_dangling_link_and_a_pipe_are_no_clips(tmp_path):
    source = lay(tmp_path / "given", VIDEOS)
    (source / "walk" / f"gone_walk_{TAIL}_0.avi").symlink_to("nowhere.avi")
    os.mkfifo(source / "walk" / f"pipe_walk_{TAIL}_0.avi")
    with contextlib.suppress(SourceError):  # an error that names it is as good
        take(source, tmp_path / "t")
        assert tree(tmp_path / "t") == PLACED
    assert not any(stat.S_ISFIFO(p.lstat().st_mode) for p in (tmp_path / "t").rglob("*"))


def test_a_source_whose_name_is_not_utf_8_works(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/hmdb\xff51.tgz"))
    path.write_bytes(mirrors.tarred(VIDEOS))
    lines: list[str] = []
    take(path, tmp_path / "t", report=lines.append)
    assert tree(tmp_path / "t") == PLACED
    take(path, tmp_path / "t")


def test_a_folder_may_be_taken_into_itself(tmp_path):
    source = lay(tmp_path / "given", VIDEOS)
    for _ in range(2):
        take(source, source)
        assert {n: d for n, d in tree(source).items() if n.startswith("videos/")} == PLACED


def test_an_unreadable_source_is_an_error_of_ours_that_names_it(tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        take(tmp_path / "nowhere.zip", tmp_path / "t")


# --- any end of a run ---


@pytest.mark.parametrize("layout", ["RAR4 of RAR4s", "ZIP of tars of ZIPs", "half unpacked"])
def test_after_kill_9_at_any_moment_nothing_is_wrong_and_the_next_run_completes_it(tmp_path, layout):
    source = lay(tmp_path / "given", LAYOUTS[layout])
    changes = in_a_child(lambda: take(source, tmp_path / "whole"))
    assert tree(tmp_path / "whole") == PLACED
    seen = set()
    for number in range(12):
        moment = 1 + number * (changes - 2) // 11  # one folder less is made: the one that they all lie in
        target = tmp_path / f"t{number}"
        assert in_a_child(lambda target=target: take(source, target), moment) == -signal.SIGKILL  # type: ignore[misc]
        there = tree(target) if target.exists() else {}
        assert all(PLACED[name] == data for name, data in there.items()), "no file under its final name is wrong"
        seen.add(len(there))
        take(source, target)
        assert tree(target) == PLACED
        assert scratch_is_gone(target)
    assert len(seen) > 3, "the moments are spread over the work"


def test_an_interrupt_leaves_no_scratch(tmp_path, monkeypatch):
    extract = archives.Archive.extract
    calls = 0

    def interrupted(*arguments: Any) -> list[archives.Member]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return extract(*arguments)

    source = lay(tmp_path / "given", LAYOUTS["RAR4 of RAR4s"])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(archives.Archive, "extract", interrupted)
        take(source, tmp_path / "t")
    assert scratch_is_gone(tmp_path / "t")
    take(source, tmp_path / "t")
    assert tree(tmp_path / "t") == PLACED


@pytest.mark.parametrize("layout", ["RAR4 of RAR4s", "tar.gz of class folders", "class folders"])
def test_a_disk_that_is_really_full_is_an_error_of_ours(tmp_path, layout):
    big = {name: data * 40 for name, data in VIDEOS.items()}
    source = lay(tmp_path / "given", mirrors.hmdb51_layouts(big, {})[layout])
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "araflow-test", disk]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    except (OSError, AttributeError):
        mounted = False
    if not mounted:
        pytest.skip("a small disk of its own needs root and mount")
    try:
        with pytest.raises(SourceError, match=r"free space|No space left") as caught:
            take(source, disk / "t")
        assert str(disk) in str(caught.value) or str(source) in str(caught.value)
        assert all(big[name.removeprefix("videos/")] == data for name, data in tree(disk / "t").items())
    finally:
        subprocess.run(["umount", disk], check=True)


# --- properties ---

NAMES = ("data", "hmdb51_org", "part-1", "[x] (y)", "archive.part", "été", "a.b.c")
SUFFIXES = (".rar", ".zip", ".tar", ".tar.gz", ".tgz", ".RAR", ".Zip")
PACKERS: tuple[Callable[[dict[str, bytes]], bytes], ...] = (
    rar4,
    rar5,
    mirrors.zipped,
    mirrors.tarred,
    lambda files: mirrors.tarred(files, "w:"),
)
JUNK = {"README": b"x", "._walk_test_split1.txt": b"x", "Thumbs.db": b"x", "notes.avi": b"no clip", "x/.DS_Store": b"x"}


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, bytes]:
    title = st.text("aZ_0!()[]&+;~@#-", min_size=1, max_size=6).map(lambda text: f"T{text}")
    label = st.sampled_from(("walk", "run", "climb", "climb_stairs", "sword", "draw_sword"))
    clips = draw(st.lists(st.tuples(label, title, st.integers(0, 9)), min_size=1, max_size=8, unique=True))
    files = {f"{lab}/{ttl}_{lab}_{TAIL}_{num}.avi": draw(st.binary(max_size=20)) for lab, ttl, num in clips}
    # By its name alone, this one would be of another class.
    return {name: data for name, data in files.items() if not name.startswith("sword/") or "draw_sword" not in name}


@st.composite
def packings(draw: st.DrawFn, files: dict[str, bytes], depth: int = 0) -> dict[str, bytes]:
    """The same files in a folder: loose in one of the layouts, or shared out among archives."""
    packed: dict[str, bytes] = dict(draw(st.lists(st.sampled_from(sorted(JUNK.items())), max_size=2)))
    shares: dict[int, dict[str, bytes]] = {}
    for name, data in files.items():
        shares.setdefault(draw(st.integers(0, 2)), {})[name] = data
    for number, share in shares.items():
        if depth == 3 or draw(st.booleans()):
            around = draw(st.sampled_from(("", "hmdb51_org/", "a/b/c/")))
            loose = mirrors.flat(share) if draw(st.booleans()) else share
            packed |= {f"{around}{name}": data for name, data in loose.items()}
            continue
        labels = {name.partition("/")[0] for name in share}
        stem = labels.pop() if len(labels) == 1 and draw(st.booleans()) else draw(st.sampled_from(NAMES))
        inner = draw(packings(share, depth + 1))
        pack = draw(st.sampled_from(PACKERS))
        packed[f"{number}/{stem}{draw(st.sampled_from(SUFFIXES))}"] = pack(inner)
    return packed


@given(st.data())
def test_however_a_dataset_is_packed_it_comes_to_the_same_places_and_nowhere_else(tmp_path_factory, data):
    files = data.draw(datasets())
    packed = data.draw(packings(files))
    wanted = data.draw(st.none() | st.sets(st.sampled_from(("walk", "run", "climb", "sword")), min_size=1))
    box = tmp_path_factory.mktemp("box")
    (box / "given").mkdir()
    for name, content in packed.items():
        (box / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (box / "given" / name).write_bytes(content)
    before = tree(box)
    found = take(box / "given", box / "target", wanted)
    expected = {
        f"videos/{name}": content
        for name, content in files.items()
        if wanted is None or name.partition("/")[0] in wanted
    }
    assert tree(box / "target") == expected
    assert found == sorted(expected)
    assert {name: content for name, content in tree(box).items() if not name.startswith("target/")} == before
    assert take(box / "given", box / "target") == sorted(f"videos/{name}" for name in files)
    shutil.rmtree(box)


# --- folders of any videos ---


def labelled(source: Path, work: Path, classes: list[str] | None = None) -> list[tuple[str | None, str]]:
    """Class, and name below the class, of every clip of a source that the dataset ``folder`` finds."""
    settings = DatasetSpec.model_validate({"name": "folder", "source": str(source), "classes": classes})
    found = own_videos.dataset.prepare(settings, work, report=lambda _: None)
    clips = own_videos.dataset.list_clips(found, classes).clips
    assert all(clip.source is not None and clip.source.exists() for clip in clips)
    return [(clip.label, clip.name.removeprefix(f"{clip.label}/")) for clip in clips]


@pytest.mark.parametrize("top", ["", "My Videos (2026)/", "a/b/"])
@pytest.mark.parametrize("pack", PACKERS)
def test_videos_of_ones_own_come_from_an_archive_with_their_classes(tmp_path, pack, top):
    files = {"dogs/a.mp4": b"1", "dogs/b.MKV": b"2", "cats/f/0001.png": b"3", "notes.txt": b"no", "dogs/._a.mp4": b"no"}
    (tmp_path / "mine.bin").write_bytes(pack({f"{top}{name}": data for name, data in files.items()}))
    everything = [("cats", "f"), ("dogs", "a.mp4"), ("dogs", "b.MKV")]
    assert labelled(tmp_path / "mine.bin", tmp_path / "work") == everything
    assert labelled(tmp_path / "mine.bin", tmp_path / "other", ["dogs"]) == everything[1:]


def test_two_class_archives_with_files_of_the_same_name_keep_their_classes(tmp_path):
    """An archive per class, each with 1.mp4, 2.mp4 …, is a common way to share videos."""
    packed = {"dogs.zip": mirrors.zipped({"1.mp4": b"d"}), "cats.tar.gz": mirrors.tarred({"1.mp4": b"c"})}
    source = lay(tmp_path / "given", packed)
    assert labelled(source, tmp_path / "work") == [("cats", "1.mp4"), ("dogs", "1.mp4")]
    (tmp_path / "all.rar").write_bytes(rar5(packed))
    assert labelled(tmp_path / "all.rar", tmp_path / "work") == [("cats", "1.mp4"), ("dogs", "1.mp4")]


def test_class_archives_that_hold_their_class_folder_do_not_double_it(tmp_path):
    source = lay(tmp_path / "given", {f"{c}.zip": mirrors.zipped({f"{c}/1.mp4": c.encode()}) for c in ("cats", "dogs")})
    assert labelled(source, tmp_path / "work") == [("cats", "1.mp4"), ("dogs", "1.mp4")]


# --- all of HMDB51 by name ---


@pytest.fixture(scope="module")
def everything(official_splits: Path) -> dict[str, bytes]:
    names: dict[str, bytes] = {}
    for label in registry.load("hmdb51").classes:
        for line in (official_splits / f"{label}_test_split1.txt").read_text().split("\n"):
            if line.strip():
                names[f"{label}/{line.split()[0]}"] = f"{label}/{line.split()[0]}".encode()
    return names


def test_all_6766_names_through_a_rar_of_rars_come_to_the_counts_of_the_registry(tmp_path, everything):
    source = lay(tmp_path / "given", {"hmdb51_org.rar": rar4(mirrors.class_archives(everything))})
    start = time.perf_counter()
    found = take(source, tmp_path / "t")
    first = time.perf_counter() - start
    assert len(found) == 6766
    assert Counter(PurePosixPath(place).parts[1] for place in found) == registry.load("hmdb51").classes
    assert tree(tmp_path / "t") == {f"videos/{name}": data for name, data in everything.items()}
    start = time.perf_counter()
    assert take(source, tmp_path / "t") == found
    print(f"6,766 files of a RAR of RARs: {first:.2f} s; again: {time.perf_counter() - start:.2f} s")


@pytest.mark.parametrize("around", ["hmdb51.zip", "hmdb51.zip/run", "walk.rar/catch"])
def test_all_6766_names_are_known_without_their_folders_and_below_folders_that_mean_nothing(everything, around):
    places = hmdb51.places(None)
    for name in everything:
        label, _, clip = name.partition("/")
        assert places.place(PurePosixPath(around, clip)) == PurePosixPath("videos", label, clip)
