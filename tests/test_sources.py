import hashlib
import io
import os
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from araflow import registry, sources
from araflow.datasets import Sources, hmdb51
from araflow.errors import ArchiveError, FetchError, SourceError, SpecError
from araflow.spec import DatasetSpec

WALK = ["Crash_walk_f_cm_np1_ri_med_0.avi", "50_FIRST_DATES_walk_f_nm_np2_fr_med_1.avi"]
RUN = ["Crash_run_f_cm_np1_ri_med_0.avi"]
VIDEOS = {
    f"hmdb51_org/{label}/{name}": name.encode() for label, names in (("walk", WALK), ("run", RUN)) for name in names
}
SPLITS = {
    f"testTrainMulti_7030_splits/{label}_test_split{fold}.txt": "".join(f"{n} {fold % 3} \n" for n in names).encode()
    for label, names in (("walk", WALK), ("run", RUN))
    for fold in (1, 2, 3)
}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def spec(**settings: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"classes": ["walk", "run"], **settings})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def prepare(tmp_path):
    """``sources.prepare`` into a work folder; ``lines`` collects what was reported."""

    def run(settings: DatasetSpec, *, accept_licence: bool = True) -> Sources:
        run.lines.clear()
        hmdb51.check(settings, accept_licence=accept_licence)
        return sources.prepare(settings, tmp_path / "out" / ".araflow", report=run.lines.append)

    run.lines = []
    return run


@pytest.fixture
def mirror(web, tmp_path, monkeypatch):
    """A registry of our own that points at the local server; ``write`` changes what it says."""
    web.files |= {"/hmdb51_org.zip": zipped(VIDEOS), "/lists/test%20train.tar.gz": tarred(SPLITS)}
    facts = {
        "name": "hmdb51",
        "title": "HMDB51, on this machine",
        "citation": "Kuehne et al., ICCV 2011",
        "licence": "CC BY 4.0, they say",
        "videos": artefact(web, "/hmdb51_org.zip"),
        "splits": artefact(web, "/lists/test%20train.tar.gz"),
        "classes": {"run": 1, "walk": 2},
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
    facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "mirrors": [web.url(path)]}
    return facts | changes


# --- download: the licence first ---


def test_without_the_licence_accepted_nothing_is_requested_and_the_terms_are_shown(web, mirror, prepare, tmp_path):
    size = 2_117_000_000
    mirror.write(videos={"size": size, "mirrors": [web.url("/hmdb51_org.zip")]})
    with pytest.raises(SpecError) as caught:
        prepare(spec(), accept_licence=False)
    text = str(caught.value)
    for shown in (
        "HMDB51, on this machine",
        "2.1 GB",
        web.url("/hmdb51_org.zip"),
        "CC BY 4.0, they say",
        "Kuehne et al.",
    ):
        assert shown in text
    assert "--accept-licence" in text
    assert "dataset.source" in text
    assert web.requests == []
    assert prepare.lines == []
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "out").exists()


def test_an_unknown_size_is_called_unknown(web, mirror, prepare):
    mirror.write(videos={"mirrors": [web.url("/hmdb51_org.zip")]})
    with pytest.raises(SpecError, match="size unknown"):
        prepare(spec(), accept_licence=False)


def test_the_shipped_registry_shows_where_hmdb51_comes_from(prepare):
    with pytest.raises(SpecError) as caught:
        prepare(spec(), accept_licence=False)
    for shown in ("CC BY 4.0", "4.2 GB", "https://", "ICCV 2011"):
        assert shown in str(caught.value)


def test_a_dataset_is_downloaded_unpacked_and_listed(web, mirror, prepare, cache):
    files = hmdb51.prepare(spec(), cache.parent / "out" / ".araflow", report=prepare.lines.append)
    assert "CC BY 4.0, they say" in prepare.lines[0]
    clips = hmdb51.list_clips(files, ["walk", "run"])
    assert {clip.name for clip in clips} == {f"{clip.label}/{name}" for clip in clips for name in WALK + RUN} & {
        name.removeprefix("hmdb51_org/") for name in VIDEOS
    }
    assert len(clips) == 3
    for clip in clips:
        assert clip.source is not None
        assert clip.source.read_bytes() == Path(clip.name).name.encode()
        assert clip.folds == (1, 2, 0)
    assert sorted(web.requests) == ["/hmdb51_org.zip", "/lists/test%20train.tar.gz"]
    assert sorted(p.name for p in (cache / "hmdb51").iterdir() if p.suffix != ".lock") == [
        "hmdb51_org.zip",
        "test train.tar.gz",
    ]


def test_a_second_time_nothing_is_requested_or_unpacked_again(web, mirror, prepare):
    first = prepare(spec())
    made = sorted(first.videos.rglob("*"))
    web.requests.clear()
    assert prepare(spec()) == first
    assert web.requests == []
    assert sorted(first.videos.rglob("*")) == made


def test_only_the_wanted_classes_are_unpacked(mirror, prepare):
    files = prepare(spec(classes=["run"]))
    assert [p.name for p in files.videos.rglob("*.avi")] == RUN
    files = prepare(spec())  # more classes later: not taken for done
    assert sorted(p.name for p in files.videos.rglob("*.avi")) == sorted(WALK + RUN)
    files = prepare(spec(classes=None))
    assert sorted(p.name for p in files.videos.rglob("*.avi")) == sorted(WALK + RUN)


def test_a_bad_mirror_is_passed_over_and_bad_bytes_never_reach_the_cache(web, mirror, prepare, cache):
    good = artefact(web, "/hmdb51_org.zip")
    web.files["/bad.zip"] = web.files["/hmdb51_org.zip"][:-1] + b"!"
    mirror.write(videos=good | {"mirrors": [web.url("/gone.zip"), web.url("/bad.zip"), *good["mirrors"]]})
    assert len(list(prepare(spec()).videos.rglob("*.avi"))) == 3
    mirror.write(videos=good | {"mirrors": [web.url("/bad2.zip")]})
    web.files["/bad2.zip"] = web.files["/bad.zip"]
    with pytest.raises(FetchError, match="sha256"):
        prepare(spec())
    assert not (cache / "hmdb51" / "bad2.zip").exists()


def test_ones_own_split_files_are_used_with_downloaded_videos(web, mirror, prepare, tmp_path):
    (tmp_path / "mine").mkdir()
    files = prepare(spec(splits=str(tmp_path / "mine")))
    assert files.splits == tmp_path / "mine"
    assert web.requests == ["/hmdb51_org.zip"]


def test_with_a_source_nothing_is_downloaded_and_no_licence_asked_for(web, mirror, prepare, tmp_path):
    files = prepare(spec(source=str(tmp_path)), accept_licence=False)
    assert files == Sources(tmp_path, None)
    assert web.requests == []


# --- local: folder, archive, address ---


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_is_unpacked_into_the_work_folder(prepare, tmp_path, make):
    (tmp_path / "archive.bin").write_bytes(make(VIDEOS))  # its bytes say what it is, not its name
    files = prepare(spec(source=str(tmp_path / "archive.bin")))
    assert sorted(p.name for p in files.videos.rglob("*.avi")) == sorted(WALK + RUN)
    assert files.videos.parent == tmp_path / "out" / ".araflow"
    assert prepare.lines == [f"unpacking {tmp_path / 'archive.bin'}"]


def test_a_changed_archive_is_unpacked_anew(prepare, tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(VIDEOS))
    first = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    (tmp_path / "a.zip").write_bytes(zipped(VIDEOS | {f"hmdb51_org/run/x_{RUN[0]}": b"new"}))
    second = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    assert first != second
    assert len(list(second.rglob("*.avi"))) == 4
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"x_Crash", b"y_Crash"))
    os.utime(tmp_path / "a.zip", ns=(0, 1))  # as long as before, written at another time
    third = prepare(spec(source=str(tmp_path / "a.zip"))).videos
    assert (third / "hmdb51_org" / "run" / f"y_{RUN[0]}").is_file()


def test_an_address_is_downloaded_and_unpacked_without_a_registry(web, prepare):
    web.files |= {"/v.zip?x=1": zipped(VIDEOS), "/s.tgz": tarred(SPLITS)}
    files = prepare(spec(source=web.url("/v.zip?x=1"), splits=web.url("/s.tgz")), accept_licence=False)
    assert len(hmdb51.list_clips(files, ["walk", "run"])) == 3
    web.requests.clear()
    assert prepare(spec(source=web.url("/v.zip?x=1"), splits=web.url("/s.tgz"))) == files
    assert web.requests == []


def test_addresses_that_end_alike_do_not_share_a_file(web, tmp_path):
    web.files |= {"/a/v.zip": zipped({"walk/a.avi": b"a"}), "/b/v.zip": zipped({"walk/b.avi": b"b"})}
    found = [sources.local(web.url(p), tmp_path / "work", None, print) for p in ("/a/v.zip", "/b/v.zip")]
    assert [[p.name for p in folder.rglob("*.avi")] for folder in found] == [["a.avi"], ["b.avi"]]


@pytest.mark.parametrize("path", ["/", "/x/..", "/..%2f..%2f..%2fevil", "/%2e%2e", "/a%2Fb", ""])
def test_an_address_cannot_name_a_place_outside_the_cache(web, tmp_path, cache, path):
    web.files |= dict.fromkeys([path, "/", "/..", "/x/..", "/%2e%2e"], zipped({"walk/a.avi": b"a"}))
    before = set(tmp_path.rglob("*"))
    folder = sources.local(web.url(path), tmp_path / "work", None, print)
    assert [p.name for p in folder.rglob("*.avi")] == ["a.avi"]
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert all(cache in p.parents or tmp_path / "work" in p.parents for p in made)
    assert not (tmp_path / "evil").exists()


def test_a_source_that_is_not_there_is_an_error_that_names_it(prepare, tmp_path):
    with pytest.raises(SourceError, match=re.escape(f"{tmp_path / 'nowhere'}: no such folder or archive")):
        prepare(spec(source=str(tmp_path / "nowhere")))
    with pytest.raises(SourceError, match="no such folder or archive"):
        prepare(spec(source=str(tmp_path), splits=str(tmp_path / "nowhere")))


def test_a_dead_address_is_an_error_that_names_it(web, prepare):
    with pytest.raises(FetchError, match=re.escape(web.url("/dead.rar")) + ".*404"):
        prepare(spec(source=web.url("/dead.rar")))


# --- where downloads are kept ---


def test_the_cache_folder_is_the_users_unless_named(monkeypatch, tmp_path):
    assert sources.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ARAFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert sources.cache_folder() == Path("/xdg/araflow")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert sources.cache_folder() == Path("/home/me/.cache/araflow")


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


def test_every_shipped_registry_loads_and_is_called_as_its_file():
    folder = Path(registry.__file__).resolve().parents[1] / "data_manifests"
    found = sorted(folder.glob("*.yaml"))
    assert found
    for path in found:
        known = registry.load(path.stem)
        assert known.name == path.stem
        assert known.licence
        assert known.citation
        assert all(url.startswith("https://") for part in (known.videos, known.splits) for url in part.mirrors)
    known = registry.load("hmdb51")
    assert all((part.size, part.sha256) for part in (known.videos, known.splits))


def test_a_checksum_that_is_none_is_refused(tmp_path, monkeypatch):
    shutil.copy(Path(registry.__file__).resolve().parents[1] / "data_manifests" / "hmdb51.yaml", tmp_path)
    path = tmp_path / "hmdb51.yaml"
    path.write_text(re.sub("sha256: [0-9a-f]{60}", "sha256: ", path.read_text()))
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(tmp_path))
    with pytest.raises(SourceError, match="sha256"):
        registry.load("hmdb51")


def test_an_archive_of_archives_says_what_it_holds(tmp_path, prepare):
    made = tmp_path / "hmdb51.zip"
    made.write_bytes(zipped({"hmdb51_org/walk.rar": b"Rar!", "hmdb51_org/run.rar": b"Rar!"}))
    with pytest.raises(ArchiveError, match=r"none of its 2 members is wanted; the first is 'hmdb51_org/walk\.rar'"):
        prepare(spec(source=str(made)))
