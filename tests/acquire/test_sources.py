"""How a build's files are made local: from folders, archives and addresses, or by downloading the dataset."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import mirrors
import pytest
import yaml
from rar_writer import rar4
from unreadable import as_nobody

from araflow.acquire import obtain, registry, terms, whole
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Artefact
from araflow.acquire.types import Sources
from araflow.core.errors import ArchiveError, FetchError, SourceError, SpecError
from araflow.core.resources import cache_folder
from araflow.core.spec import DatasetSpec
from araflow.datasets import folder, hmdb51

WALK = ["Crash_walk_f_cm_np1_ri_med_0.avi", "50_FIRST_DATES_walk_f_nm_np2_fr_med_1.avi"]
RUN = ["Crash_run_f_cm_np1_ri_med_0.avi"]
CLIPS = {f"{label}/{name}": name.encode() for label, names in (("walk", WALK), ("run", RUN)) for name in names}
VIDEOS = mirrors.below("hmdb51_org", CLIPS)
SPLITS = {
    f"testTrainMulti_7030_splits/{label}_test_split{fold}.txt": "".join(f"{n} {fold % 3} \n" for n in names).encode()
    for label, names in (("walk", WALK), ("run", RUN))
    for fold in (1, 2, 3)
}


def spec(**settings: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"classes": ["walk", "run"], **settings})


def clips_of(videos: Path | None) -> dict[str, bytes]:
    assert videos is not None
    return {p.relative_to(videos).as_posix(): p.read_bytes() for p in sorted(videos.rglob("*.avi"))}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def prepare(tmp_path):
    """``check`` and ``prepare`` into a work folder; ``lines`` collects what was reported."""

    def run(settings: DatasetSpec, *, accept_licence: bool = True) -> Sources:
        run.lines.clear()
        hmdb51.dataset.check(settings, accept_licence=accept_licence)
        return hmdb51.dataset.prepare(settings, tmp_path / "out" / ".araflow", report=run.lines.append)

    run.lines = []
    return run


@pytest.fixture
def mirror(web, tmp_path, monkeypatch):
    """A registry of our own that points at the local server; ``write`` changes what it says."""
    web.files |= {"/hmdb51_org.zip": mirrors.zipped(VIDEOS), "/lists/test%20train.tar.gz": mirrors.tarred(SPLITS)}
    facts = {
        "name": "hmdb51",
        "title": "HMDB51, on this machine",
        "page": web.url("/"),
        "citation": "Kuehne et al., ICCV 2011",
        "licence": "CC BY 4.0, they say",
        "videos": [artefact(web, "/hmdb51_org.zip")],
        "splits": [artefact(web, "/lists/test%20train.tar.gz")],
        "classes": {"run": 1, "walk": 2},
        "classes_source": "counted here",
    }
    (tmp_path / "registry").mkdir()
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(tmp_path / "registry"))

    class Mirror:
        def write(self, **changes: object) -> None:
            (tmp_path / "registry" / "hmdb51.yaml").write_text(yaml.safe_dump(facts | changes))

    Mirror().write()
    return Mirror()


def artefact(web, path: str, **changes: object) -> dict[str, object]:
    data = web.files[path]
    facts = {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "mirrors": [web.url(path)],
        "source": "here",
    }
    return facts | changes


# --- download: the licence first ---


def test_without_the_licence_accepted_nothing_is_requested_and_the_terms_are_shown(web, mirror, prepare, tmp_path):
    video = {"size": 2_117_000_000, "mirrors": [web.url("/hmdb51_org.zip")], "source": "here", "note": "not tried"}
    mirror.write(videos=[video])
    with pytest.raises(SpecError) as caught:
        prepare(spec(), accept_licence=False)
    shown = ("HMDB51, on this machine", "2.12 GB", web.url("/hmdb51_org.zip"), "CC BY 4.0, they say", "Kuehne et al.")
    for text in (*shown, "note: not tried", "--accept-licence", "dataset.source"):
        assert text in str(caught.value)
    assert web.requests == []
    assert prepare.lines == []
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "out").exists()


def test_an_unknown_size_is_called_unknown(web, mirror, prepare):
    mirror.write(videos=[{"mirrors": [web.url("/hmdb51_org.zip")], "source": "here"}])
    with pytest.raises(SpecError, match="size unknown"):
        prepare(spec(), accept_licence=False)


def test_the_shipped_registry_shows_where_hmdb51_comes_from(prepare):
    with pytest.raises(SpecError) as caught:
        prepare(spec(), accept_licence=False)
    for shown in ("CC BY 4.0", "4.25 GB", "https://", "ICCV 2011"):
        assert shown in str(caught.value)


def test_accepted_once_is_enough_until_the_licence_changes(web, mirror, prepare):
    prepare(spec(classes=["run"]))
    web.requests.clear()
    assert prepare(spec(), accept_licence=False).videos is not None
    mirror.write(licence="All rights reserved")
    with pytest.raises(SpecError, match="All rights reserved"):
        prepare(spec(), accept_licence=False)
    prepare(spec())
    prepare(spec(), accept_licence=False)
    assert web.requests == []


def test_a_licence_accepted_in_one_folder_says_nothing_of_another(mirror, prepare, tmp_path):
    prepare(spec())
    with pytest.raises(SpecError, match="--accept-licence"):
        prepare(spec(folder=str(tmp_path / "elsewhere")), accept_licence=False)


# --- download ---


def test_a_dataset_is_downloaded_unpacked_and_listed(web, mirror, prepare, cache):
    files = prepare(spec())
    assert "CC BY 4.0, they say" in "\n".join(prepare.lines)
    clips = hmdb51.list_clips(files, ["walk", "run"]).clips
    assert {clip.name for clip in clips} == set(CLIPS)
    for clip in clips:
        assert clip.source is not None
        assert clip.source.read_bytes() == CLIPS[clip.name]
        assert clip.folds == (1, 2, 0)
    assert sorted(web.requests) == ["/hmdb51_org.zip", "/lists/test%20train.tar.gz"]
    assert (files.videos, files.splits) == (cache / "hmdb51" / "videos", cache / "hmdb51" / "splits")
    assert files.downloads == {web.url(path) for path in web.requests}
    kept = [path.name for path in (cache / "hmdb51" / "archives").rglob("*.*") if path.suffix in (".zip", ".gz")]
    assert sorted(kept) == ["hmdb51_org.zip", "test train.tar.gz"]


def test_a_second_time_nothing_is_requested_or_unpacked_again(web, mirror, prepare):
    first = prepare(spec())
    made = {p: p.stat().st_mtime_ns for p in first.videos.rglob("*")}
    web.requests.clear()
    assert prepare(spec()) == first
    assert prepare(spec(classes=None)) == first
    assert web.requests == []
    assert prepare.lines == []
    assert {p: p.stat().st_mtime_ns for p in first.videos.rglob("*")} == made


def test_only_the_wanted_classes_are_unpacked_and_another_one_later_needs_no_download(web, mirror, prepare):
    files = prepare(spec(classes=["run"]))
    assert [p.name for p in files.videos.rglob("*.avi")] == RUN
    web.requests.clear()
    files = prepare(spec())
    assert clips_of(files.videos) == CLIPS
    assert web.requests == []


def test_archives_are_deleted_where_that_is_asked_for_and_not_missed_until_more_is_wanted(web, mirror, prepare, cache):
    def archives_kept() -> list[Path]:
        return [p for p in (cache / "hmdb51" / "archives").rglob("*") if p.name.endswith((".zip", ".tar.gz"))]

    prepare(spec(classes=["run"], keep_archives=False))
    assert archives_kept() == []
    web.requests.clear()
    prepare(spec(classes=["run"]))
    assert web.requests == []
    assert clips_of(prepare(spec()).videos) == CLIPS
    assert web.requests == ["/hmdb51_org.zip"], "the split files are there"
    prepare(spec(keep_archives=False))
    assert archives_kept() == [], "also when all has been unpacked before"


def test_an_archive_from_a_mirror_of_ones_own_is_deleted_as_well_where_that_is_asked_for(web, mirror, prepare, cache):
    web.files["/mine.zip"] = mirrors.zipped(CLIPS)
    assert clips_of(prepare(spec(mirror=web.url("/mine.zip"), keep_archives=False)).videos) == CLIPS
    assert list((cache / "hmdb51" / "archives").rglob("mine.zip")) == []


def test_an_archive_that_the_user_deleted_is_not_missed(web, mirror, prepare, cache):
    first = prepare(spec())
    for path in (cache / "hmdb51" / "archives").rglob("*.zip"):
        path.unlink()
    web.requests.clear()
    assert prepare(spec()) == first
    assert web.requests == []


def test_a_bad_mirror_is_passed_over_and_bad_bytes_never_reach_the_folder(web, mirror, prepare, cache):
    good = artefact(web, "/hmdb51_org.zip")
    web.files["/bad.zip"] = web.files["/hmdb51_org.zip"][:-1] + b"!"
    mirror.write(videos=[good | {"mirrors": [web.url("/bad.zip")]}])
    with pytest.raises(FetchError, match="sha256"):
        prepare(spec())
    assert list((cache / "hmdb51").rglob("bad.zip")) == []
    assert not (cache / "hmdb51" / "videos").exists()
    mirror.write(videos=[good | {"mirrors": [web.url("/gone.zip"), web.url("/bad.zip"), *good["mirrors"]]}])
    assert clips_of(prepare(spec()).videos) == CLIPS


def test_a_web_page_in_place_of_the_archive_is_refused_and_the_next_way_taken(web, mirror, prepare):
    web.files["/dead/hmdb51_org.zip"] = b"<!DOCTYPE html><p>moved"
    dead = {"mirrors": [web.url("/dead/hmdb51_org.zip")], "source": "here"}
    mirror.write(videos=[dead, artefact(web, "/hmdb51_org.zip")])
    assert clips_of(prepare(spec()).videos) == CLIPS
    assert "/dead/hmdb51_org.zip" in "\n".join(prepare.lines)


def test_the_second_way_serves_where_the_first_fails_though_both_files_have_one_name(web, mirror, prepare, cache):
    web.files["/b/hmdb51_org.zip"] = mirrors.zipped(CLIPS)
    ways = [{"mirrors": [web.url(f"/{way}/hmdb51_org.zip")], "source": "here"} for way in "ab"]
    mirror.write(videos=ways)
    prepare(spec(classes=["run"]))
    assert web.requests[:2] == ["/a/hmdb51_org.zip", "/b/hmdb51_org.zip"]
    # The first has other bytes, and is back: what is here already serves all the same.
    web.files["/a/hmdb51_org.zip"] = mirrors.tarred(CLIPS)
    web.requests.clear()
    assert clips_of(prepare(spec()).videos) == CLIPS
    assert web.requests == [], "what has been downloaded is not asked for again"


def test_what_is_downloaded_serves_whatever_mirror_is_named_later(web, mirror, prepare):
    good = artefact(web, "/hmdb51_org.zip")
    mirror.write(videos=[good | {"mirrors": [web.url("/gone.zip"), web.url("/hmdb51_org.zip")]}])
    prepare(spec(classes=["run"]))
    web.requests.clear()
    assert clips_of(prepare(spec(mirror=web.url("/hmdb51_org.zip"))).videos) == CLIPS
    assert web.requests == []


def test_where_all_ways_fail_each_is_named(web, mirror, prepare):
    mirror.write(videos=[{"mirrors": [web.url(f"/{way}.zip")], "source": "here"} for way in "ab"])
    with pytest.raises(FetchError) as caught:
        prepare(spec())
    assert web.url("/a.zip") in str(caught.value)
    assert web.url("/b.zip") in str(caught.value)


@pytest.mark.parametrize("bad", ["damaged", "holds nothing", "two for one place"])
def test_a_bad_archive_without_a_checksum_is_passed_over_and_asked_for_again_later(web, mirror, prepare, bad):
    whole = web.files["/hmdb51_org.zip"]
    placed = {name.removeprefix("hmdb51_org/"): data for name, data in VIDEOS.items()}
    name = next(iter(VIDEOS))
    web.files["/bad.zip"] = {
        "damaged": whole[: len(whole) // 2] + b"!" + whole[len(whole) // 2 + 1 :],
        "holds nothing": mirrors.zipped({"readme.txt": b"nothing"}),
        "two for one place": mirrors.zipped({f"a/{name}": b"one of them" * 9, f"b/{name}": b"the other" * 9}),
    }[bad]
    way = {"mirrors": [web.url("/bad.zip")], "source": "here"}
    mirror.write(videos=[way, artefact(web, "/hmdb51_org.zip")])
    assert clips_of(prepare(spec()).videos) == placed
    mirror.write(videos=[way])
    web.files["/bad.zip"] = whole
    shutil.rmtree(cache_folder() / "hmdb51" / "videos")
    assert clips_of(prepare(spec()).videos) == placed, "once the server is well, so is the dataset"


def test_a_class_that_the_archive_did_not_hold_is_looked_for_again(web, mirror, prepare):
    placed = {name.removeprefix("hmdb51_org/"): data for name, data in VIDEOS.items()}
    some = {name: data for name, data in placed.items() if name.startswith("walk/")}
    web.files["/some.zip"] = mirrors.zipped(some)
    mirror.write(videos=[artefact(web, "/some.zip")])
    assert clips_of(prepare(spec()).videos) == some
    mirror.write()
    assert clips_of(prepare(spec()).videos) == placed


def test_an_archive_without_anything_wanted_is_an_error_and_not_taken_for_done(web, mirror, prepare):
    web.files["/other.zip"] = mirrors.zipped({"readme.txt": b"nothing"})
    mirror.write(videos=[artefact(web, "/other.zip")])
    for _ in range(2):
        with pytest.raises(SourceError, match=r"other\.zip.*holds none of the videos that are wanted"):
            prepare(spec())


def test_split_files_within_the_archive_of_videos_do_when_they_are_all_there(web, mirror, prepare):
    web.files["/all.zip"] = mirrors.zipped(VIDEOS | SPLITS)
    mirror.write(videos=[artefact(web, "/all.zip")])
    files = prepare(spec())
    assert len(hmdb51.list_clips(files, ["walk", "run"]).clips) == 3
    assert web.requests == ["/all.zip"]


def test_a_stray_split_file_within_the_archive_of_videos_does_not_stand_for_all(web, mirror, prepare):
    stray = next(iter(SPLITS))
    web.files["/all.zip"] = mirrors.zipped(VIDEOS | {stray: SPLITS[stray]})
    mirror.write(videos=[artefact(web, "/all.zip")])
    assert len(hmdb51.list_clips(prepare(spec()), ["walk", "run"]).clips) == 3


def test_ones_own_split_files_are_used_with_downloaded_videos(web, mirror, prepare, tmp_path):
    (tmp_path / "mine").mkdir()
    files = prepare(spec(splits=str(tmp_path / "mine")))
    assert files.splits == tmp_path / "mine"
    assert web.requests == ["/hmdb51_org.zip"]


def test_with_a_source_nothing_is_downloaded_and_no_licence_asked_for(web, mirror, prepare, tmp_path):
    files = prepare(spec(source=str(tmp_path)), accept_licence=False)
    assert files == Sources(tmp_path, None)
    assert web.requests == []


def test_a_complete_folder_serves_also_where_it_cannot_be_written(web, mirror, prepare, tmp_path, monkeypatch):
    """A data set that one person fetched for all the others of a cluster."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        shared = Path(name, "hmdb51")
        prepare(spec(folder=str(shared)))
        shutil.copytree(tmp_path / "registry", Path(name, "registry"))
        monkeypatch.setenv("ARAFLOW_REGISTRY", f"{name}/registry")
        places = [Path(name), *Path(name).rglob("*")]
        for path in places:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with as_nobody():
                settings = spec(folder=str(shared))
                hmdb51.dataset.check(settings, accept_licence=False)
                files = hmdb51.dataset.prepare(settings, tmp_path / "work", report=print)
        finally:
            for path in places:
                path.chmod(0o755)
        assert clips_of(files.videos) == CLIPS


# --- which mirror ---

WAYS = (
    Artefact(mirrors=("https://a.example.org/x.zip", "https://b.example.com/x.zip"), source="here", sha256="0" * 64),
    Artefact(mirrors=("https://drive.example.net/y.rar",), source="here"),
)


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        (None, [WAYS[0].mirrors, WAYS[1].mirrors]),
        ("example", [WAYS[0].mirrors, WAYS[1].mirrors]),
        ("b.example.com", [("https://b.example.com/x.zip",)]),
        ("B.Example", [("https://b.example.com/x.zip",)]),
        ("drive", [("https://drive.example.net/y.rar",)]),
        ("https://b.example.com/x.zip", [("https://b.example.com/x.zip",)]),
        ("https://elsewhere.example/z.zip", [("https://elsewhere.example/z.zip",)]),
    ],
)
def test_a_mirror_is_chosen_by_part_of_its_host_or_by_its_address(mirror, expected):
    assert [way.mirrors for way in registry.choose(WAYS, mirror)] == expected


def test_a_known_address_keeps_its_checksum_and_an_unknown_one_has_none():
    assert registry.choose(WAYS, "https://b.example.com/x.zip")[0].sha256 == "0" * 64
    assert registry.choose(WAYS, "https://elsewhere.example/x.zip")[0].sha256 is None


@pytest.mark.parametrize("mirror", ["nowhere", "x.zip", "https", "/", "org/x"])
def test_a_mirror_that_is_part_of_no_host_is_an_error_that_names_the_known_ones(mirror):
    with pytest.raises(SpecError, match=r"known: a\.example\.org, b\.example\.com, drive\.example\.net"):
        registry.choose(WAYS, mirror)


def test_an_unknown_mirror_is_refused_before_anything_is_requested(web, mirror, prepare, cache):
    with pytest.raises(SpecError, match=r"dataset\.mirror: 'nowhere'.*known: 127\.0\.0\.1"):
        prepare(spec(mirror="nowhere"))
    assert web.requests == []
    assert not cache.exists()


def test_a_mirror_of_ones_own_is_used_alone(web, mirror, prepare):
    web.files["/mine.rar"] = rar4(mirrors.class_archives(CLIPS))
    assert clips_of(prepare(spec(mirror=web.url("/mine.rar"))).videos) == CLIPS
    assert "/hmdb51_org.zip" not in web.requests
    assert "/lists/test%20train.tar.gz" in web.requests, "lists come from wherever they can"


# --- what the user has ---


def test_what_the_user_has_is_taken_and_counted(mirror, cache, tmp_path):
    data = DatasetFolder(cache / "hmdb51", registry.load("hmdb51"))
    (tmp_path / "walk.rar").write_bytes(rar4({n: d for n, d in CLIPS.items() if n.startswith("walk/")}))
    assert whole.take(tmp_path / "walk.rar", data, hmdb51.dataset) == 2
    assert data.holds("videos", {"walk"})
    assert not data.holds("videos", {"run"})


def test_a_class_that_is_not_whole_is_not_on_record_as_there(web, mirror, prepare, cache, tmp_path):
    data = DatasetFolder(cache / "hmdb51", registry.load("hmdb51"))
    (tmp_path / "some.zip").write_bytes(mirrors.zipped({f"walk/{WALK[0]}": b"own", f"run/{RUN[0]}": RUN[0].encode()}))
    whole.take(tmp_path / "some.zip", data, hmdb51.dataset)
    assert not data.holds("videos", {"walk"})
    assert data.holds("videos", {"run"})


def test_a_class_from_two_archives_is_whole(mirror, cache, tmp_path):
    data = DatasetFolder(cache / "hmdb51", registry.load("hmdb51"))
    for number, name in enumerate(WALK):
        (tmp_path / f"{number}.zip").write_bytes(mirrors.zipped({f"walk/{name}": name.encode()}))
        whole.take(tmp_path / f"{number}.zip", data, hmdb51.dataset)
    assert data.holds("videos", {"walk"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mirrors.zipped({"readme.txt": b"x"}), "holds no hmdb51 clips of the wanted classes"),
        (mirrors.zipped({}), "holds no hmdb51 clips"),
        (b"RIFF....AVI ", "not a zip, tar or RAR archive"),
        (b"", "not a zip, tar or RAR archive"),
        (b"<!DOCTYPE html>", "not a zip, tar or RAR archive"),
    ],
)
def test_something_useless_is_an_error_that_names_it(mirror, cache, tmp_path, content, message):
    (tmp_path / "useless.rar").write_bytes(content)
    data = DatasetFolder(cache / "hmdb51", registry.load("hmdb51"))
    with pytest.raises(SourceError, match=rf"useless\.rar: {message}"):
        whole.take(tmp_path / "useless.rar", data, hmdb51.dataset)
    assert not data.holds("videos", None)


# --- local: folder, archive, address ---


@pytest.mark.parametrize("make", [mirrors.zipped, mirrors.tarred, rar4])
def test_an_archive_is_unpacked_into_the_work_folder(prepare, tmp_path, make):
    (tmp_path / "archive.bin").write_bytes(make(VIDEOS))  # its bytes say what it is, not its name
    files = prepare(spec(source=str(tmp_path / "archive.bin")))
    assert clips_of(files.videos) == CLIPS
    assert files.videos.is_relative_to(tmp_path / "out" / ".araflow")
    assert prepare.lines[0].startswith("unpacking archive.bin")


def test_an_archive_of_archives_is_unpacked_and_a_second_time_left_alone(prepare, tmp_path):
    (tmp_path / "hmdb51_org.rar").write_bytes(rar4(mirrors.class_archives(CLIPS)))
    settings = spec(source=str(tmp_path / "hmdb51_org.rar"))
    first = prepare(settings)
    assert clips_of(first.videos) == CLIPS
    made = {p: p.stat().st_mtime_ns for p in first.videos.rglob("*")}
    assert prepare(settings) == first
    assert prepare.lines == []
    assert {p: p.stat().st_mtime_ns for p in first.videos.rglob("*")} == made


def test_a_folder_of_class_archives_is_unpacked_and_one_of_videos_taken_as_it_is(prepare, tmp_path):
    for name, data in mirrors.class_archives(CLIPS).items():
        (tmp_path / "packed").mkdir(exist_ok=True)
        (tmp_path / "packed" / name).write_bytes(data)
    assert clips_of(prepare(spec(source=str(tmp_path / "packed"))).videos) == CLIPS
    (tmp_path / "plain" / "walk").mkdir(parents=True)
    assert prepare(spec(source=str(tmp_path / "plain"))).videos == tmp_path / "plain"


def test_a_folder_of_videos_with_an_archive_of_something_else_is_taken_as_it_is(prepare, tmp_path):
    for name, data in CLIPS.items():
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(data)
    (tmp_path / "plain" / "papers.zip").write_bytes(mirrors.zipped({"paper.pdf": b"%PDF"}))
    assert clips_of(prepare(spec(source=str(tmp_path / "plain"))).videos) == CLIPS


def test_a_file_added_to_a_folder_of_archives_is_found(prepare, tmp_path):
    packed = mirrors.class_archives(CLIPS)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "walk.rar").write_bytes(packed["walk.rar"])
    settings = spec(source=str(tmp_path / "packed"), classes=None)
    assert {name.partition("/")[0] for name in clips_of(prepare(settings).videos)} == {"walk"}
    (tmp_path / "packed" / "run.rar").write_bytes(packed["run.rar"])
    assert clips_of(prepare(settings).videos) == CLIPS


def test_a_changed_archive_in_a_folder_of_archives_is_unpacked_anew(prepare, tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "run.rar").write_bytes(rar4({f"run/{RUN[0]}": b"first."}))
    settings = spec(source=str(tmp_path / "packed"), classes=["run"])
    prepare(settings)
    (tmp_path / "packed" / "run.rar").write_bytes(rar4({f"run/{RUN[0]}": b"second"}))
    assert clips_of(prepare(settings).videos) == {f"run/{RUN[0]}": b"second"}


def test_a_changed_loose_file_beside_archives_is_taken_anew(prepare, tmp_path):
    packed = tmp_path / "packed"
    (packed / "run").mkdir(parents=True)
    (packed / "run" / RUN[0]).write_bytes(b"first.")
    (packed / "walk.rar").write_bytes(mirrors.class_archives(CLIPS)["walk.rar"])
    settings = spec(source=str(packed))
    prepare(settings)
    (packed / "run" / "new").write_bytes(b"second")
    (packed / "run" / "new").replace(packed / "run" / RUN[0])
    assert clips_of(prepare(settings).videos)[f"run/{RUN[0]}"] == b"second"


def test_a_changed_archive_is_unpacked_anew(prepare, tmp_path):
    (tmp_path / "a.zip").write_bytes(mirrors.zipped(VIDEOS))
    first = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    (tmp_path / "a.zip").write_bytes(mirrors.zipped(VIDEOS | {f"hmdb51_org/run/x_{RUN[0]}": b"new"}))
    second = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    assert first != second
    assert len(clips_of(second)) == 4
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x_Crash", b"y_Crash"))
    os.utime(tmp_path / "a.zip", ns=(0, 1))  # as long as before, written at another time
    third = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    assert (third / "run" / f"y_{RUN[0]}").is_file()


def test_an_address_is_downloaded_and_unpacked_without_a_registry(web, prepare):
    web.files |= {"/v.zip?x=1": mirrors.zipped(VIDEOS), "/s.tgz": mirrors.tarred(SPLITS)}
    files = prepare(spec(source=web.url("/v.zip?x=1"), splits=web.url("/s.tgz")), accept_licence=False)
    assert len(hmdb51.list_clips(files, ["walk", "run"]).clips) == 3
    web.requests.clear()
    assert prepare(spec(source=web.url("/v.zip?x=1"), splits=web.url("/s.tgz"))) == files
    assert web.requests == []


def local(web, tmp_path, path: str) -> Path:
    videos = folder.dataset.prepare(
        DatasetSpec(name="folder", source=web.url(path)), tmp_path / "work", report=print
    ).videos
    assert videos is not None
    return videos


def test_addresses_that_end_alike_do_not_share_a_file(web, tmp_path):
    web.files |= {"/a/v.zip": mirrors.zipped({"walk/a.avi": b"a"}), "/b/v.zip": mirrors.zipped({"walk/b.avi": b"b"})}
    found = [local(web, tmp_path, path) for path in ("/a/v.zip", "/b/v.zip")]
    assert [[p.name for p in place.rglob("*.avi")] for place in found] == [["a.avi"], ["b.avi"]]


@pytest.mark.parametrize("path", ["/", "/x/..", "/..%2f..%2f..%2fevil", "/%2e%2e", "/a%2Fb", ""])
def test_an_address_cannot_name_a_place_outside_the_cache(web, tmp_path, cache, path):
    web.files |= dict.fromkeys([path, "/", "/..", "/x/..", "/%2e%2e"], mirrors.zipped({"walk/a.avi": b"a"}))
    before = set(tmp_path.rglob("*"))
    assert [p.name for p in local(web, tmp_path, path).rglob("*.avi")] == ["a.avi"]
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert all(cache in p.parents or tmp_path / "work" in p.parents for p in made)
    assert not (tmp_path / "evil").exists()


def test_a_source_that_is_not_there_is_an_error_that_names_it(prepare, tmp_path):
    with pytest.raises(SourceError, match=re.escape(f"{tmp_path / 'nowhere'}: no such folder or archive")):
        prepare(spec(source=str(tmp_path / "nowhere")))
    with pytest.raises(SourceError, match="no such folder or archive"):
        prepare(spec(source=str(tmp_path), splits=str(tmp_path / "nowhere")))


def test_a_source_that_holds_nothing_wanted_is_an_error_that_names_it(prepare, tmp_path):
    (tmp_path / "a.zip").write_bytes(mirrors.zipped({"x/readme.txt": b"x"}))
    with pytest.raises(SourceError, match=r"a\.zip: holds no clips of the wanted classes"):
        prepare(spec(source=str(tmp_path / "a.zip")))
    (tmp_path / "v.zip").write_bytes(mirrors.zipped(VIDEOS))
    with pytest.raises(SourceError, match=r"a\.zip: holds no split files"):
        prepare(spec(source=str(tmp_path / "v.zip"), splits=str(tmp_path / "a.zip")))


def test_a_source_that_is_no_archive_is_an_error_that_names_it(prepare, tmp_path):
    (tmp_path / "page.rar").write_bytes(b"<html>")
    with pytest.raises(ArchiveError, match=r"page\.rar: not a zip, tar or RAR archive"):
        prepare(spec(source=str(tmp_path / "page.rar")))


def test_a_dead_address_is_an_error_that_names_it(web, prepare):
    with pytest.raises(FetchError, match=re.escape(web.url("/dead.rar")) + ".*404"):
        prepare(spec(source=web.url("/dead.rar")))


# --- what a manifest says ---


def test_a_manifest_names_licence_citation_and_files_with_their_checksums_and_no_dates(web, mirror, prepare):
    about = terms.provenance(spec(), prepare(spec()))
    assert about is not None
    assert about["licence"] == "CC BY 4.0, they say"
    assert about["licence_accepted"] is True
    assert about["citation"] == "Kuehne et al., ICCV 2011"
    digests = {file["url"]: file["sha256"] for file in about["files"]}
    expected = ("/hmdb51_org.zip", "/lists/test%20train.tar.gz")
    assert digests == {web.url(path): hashlib.sha256(web.files[path]).hexdigest() for path in expected}
    assert "2026-" not in json.dumps(about)


def test_of_a_source_of_ones_own_no_downloads_are_claimed(mirror):
    about = terms.provenance(spec(source="/data/hmdb51"), Sources(Path("/data/hmdb51"), None))
    assert about is not None
    assert "files" not in about
    assert "licence_accepted" not in about
    assert terms.provenance(DatasetSpec(name="sample"), Sources(None, None)) is None


def test_free_space_is_that_of_the_disk_where_a_folder_would_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert obtain.free_space(tmp_path / "a" / "b") > 0
    assert obtain.free_space(Path("a/b")) > 0


# --- the registry ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "not a dataset registry file"),
        (b"name: [", "not a dataset registry file"),
        (b"name: hmdb51\n", "not a dataset registry file"),
        (b"\xff\xfe", "not a dataset registry file"),
    ],
)
def test_a_registry_file_that_is_absent_or_malformed_is_an_error_that_names_it(tmp_path, monkeypatch, content, message):
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(tmp_path))
    if content is not None:
        (tmp_path / "hmdb51.yaml").write_bytes(content)
    with pytest.raises(SourceError, match=f"hmdb51.yaml: {message}"):
        registry.load("hmdb51")
    with pytest.raises(SourceError, match=r"hmdb51\.yaml"):
        hmdb51.dataset.check(DatasetSpec(), accept_licence=True)
    if content is not None:  # a manifest does not say that nothing is known
        with pytest.raises(SourceError, match=r"hmdb51\.yaml"):
            terms.provenance(DatasetSpec(), Sources(None, None))


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": ""},
        {"sha256": "0" * 63},
        {"sha256": "Z" * 64},
        {"mirrors": []},
        {"name": "../x"},
        {"name": ".."},
        {"typo": 1},
    ],
    ids=str,
)
def test_an_artefact_that_cannot_be_is_refused(web, mirror, changes):
    mirror.write(videos=[artefact(web, "/hmdb51_org.zip") | changes])
    with pytest.raises(SourceError, match=next(iter(changes))):
        registry.load("hmdb51")
