import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow import datasets
from araflow.clip import Clip
from araflow.datasets import Sources, folder
from araflow.errors import ArchiveError, SourceError, SpecError
from araflow.spec import DatasetSpec
from araflow.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def listed(root: Path, wanted: list[str] | None = None) -> list[Clip]:
    return folder.list_clips(Sources(root, None), wanted)


def keys(root: Path, wanted: list[str] | None = None) -> list[str]:
    return [clip.key for clip in listed(root, wanted)]


def test_a_class_folder_gives_label_key_and_name(tmp_path):
    make(tmp_path, "walk/a.avi", "run/b.mp4", "run/deep/er/c.MKV")
    clips = listed(tmp_path)
    assert [(c.key, c.label, c.name, c.source) for c in clips] == [
        ("run/b", "run", "run/b.mp4", tmp_path / "run/b.mp4"),
        ("run/deep/er/c", "run", "run/deep/er/c.MKV", tmp_path / "run/deep/er/c.MKV"),
        ("walk/a", "walk", "walk/a.avi", tmp_path / "walk/a.avi"),
    ]
    assert {(c.dataset, c.group, c.folds) for c in clips} == {("folder", None, (None, None, None))}


def test_clips_at_the_top_have_no_label(tmp_path):
    make(tmp_path, "b.avi", "a.mp4", "walk/c.avi")
    assert [(c.key, c.label) for c in listed(tmp_path)] == [("a", None), ("b", None), ("walk/c", "walk")]


@pytest.mark.parametrize("name", ["clip.avi", "clip.AVI", "ünï cödé [1]#&.mp4", "-dash.webm", "no.suffix.at.all.mov"])
def test_a_single_video(tmp_path, name):
    path = make(tmp_path, name) / name
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(path)})
    files = folder.prepare(spec, tmp_path / "work", report=print)
    (clip,) = folder.list_clips(files, None)
    assert (clip.key, clip.label, clip.name, clip.source) == (path.stem, None, name, path)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES | {s.upper() for s in VIDEO_SUFFIXES}))
def test_every_kind_of_video_is_seen(tmp_path, suffix):
    assert keys(make(tmp_path, f"walk/a{suffix}")) == ["walk/a"]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_folder_of_frames_is_one_clip(tmp_path, suffix):
    make(tmp_path, *(f"walk/one/{n:04d}{suffix}" for n in range(3)), *(f"walk/two.x/{n}{suffix}" for n in range(2)))
    clips = listed(tmp_path)
    assert [(c.key, c.label, c.name, c.source) for c in clips] == [
        ("walk/one", "walk", "walk/one", tmp_path / "walk/one"),
        ("walk/two.x", "walk", "walk/two.x", tmp_path / "walk/two.x"),
    ]


def test_a_root_that_holds_frames_is_one_clip_called_as_the_folder(tmp_path, monkeypatch):
    make(tmp_path / "my clip", "0000.png", "0001.png")
    (clip,) = listed(tmp_path / "my clip")
    assert (clip.key, clip.label, clip.source) == ("my clip", None, tmp_path / "my clip")
    monkeypatch.chdir(tmp_path / "my clip")
    assert keys(Path()) == ["my clip"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["walk/a.avi", "walk/a.mp4", "walk/b.avi"], ["walk/a.avi", "walk/a.mp4", "walk/b"]),
        (["walk/a.avi", "run/a.avi"], ["run/a", "walk/a"]),
        (["walk/a.avi", "walk/a/0.png"], ["walk/a", "walk/a.avi"]),
        (["walk/a.avi", "walk/a/b.avi"], ["walk/a.avi", "walk/a/b"]),
        (["walk/a.avi", "walk/cover.png"], ["walk/a"]),
        (["walk/cover.png", "walk/one/0.png"], ["walk/one"]),
        (["walk/a.avi", "out/.araflow/lock", "out/clips/walk/a/rgb/0000.png", "out/sheet.jpg"], ["walk/a"]),
        (["a.avi", "a.mp4", "a.avi.mp4"], ["a.avi", "a.avi.mp4", "a.mp4"]),  # the stem of the last is the first's name
        (["b.x/0.png", "b.x.avi"], ["b.x", "b.x.avi"]),
        (["walk/.a.avi", "walk/a.avi"], ["walk/a"]),
    ],
)
def test_keys_never_collide(tmp_path, names, expected):
    assert keys(make(tmp_path, *names)) == expected


NAMES = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "w/", "r/", "w/r/", "a.avi/", "a/"]),
        st.sampled_from(["a", "b", "a.avi", "a.mp4", ".a", "a.b"]),
        st.sampled_from([".avi", ".mp4", ".AVI", ".png", ".txt", ""]),
    ),
    max_size=12,
)


@given(names=NAMES)
def test_every_video_is_listed_once_under_its_own_key(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("videos")
    made = set()
    for name in names:
        try:
            make(root, name)
        except OSError:  # a file where a folder should be, or the other way round
            continue
        made.add(name)
    hidden = {name for name in made if any(part.startswith(".") for part in name.split("/"))}
    videos = {name for name in made - hidden if Path(name).suffix.lower() in VIDEO_SUFFIXES}
    images = {(root / n).parent for n in made - hidden if Path(n).suffix == ".png"}
    inside = {above for path in {root / name for name in videos} | images for above in path.parents}
    clips = listed(root)
    assert {clip.source for clip in clips} == {root / name for name in videos} | (images - inside)
    assert len({clip.key for clip in clips}) == len(clips)
    assert not [(a.key, b.key) for a in clips for b in clips if b.key.startswith(a.key + "/")]  # nor in its folder
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)


def test_hidden_files_and_folders_and_other_files_are_passed_over(tmp_path):
    make(tmp_path, "walk/a.avi", "walk/._a.avi", "walk/.b.avi", ".git/c.avi", "walk/.frames/0.png")
    make(tmp_path, "walk/notes.txt", "walk/avi", "walk/x.avi.part", "walk/Thumbs.db", "walk/.cover.jpg")
    assert keys(tmp_path) == ["walk/a"]


def test_a_file_name_that_is_not_utf8_is_shown_escaped_and_still_opens(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"na\xefve.avi")
    path.parent.mkdir()
    path.write_bytes(b"frames")
    (clip,) = listed(tmp_path)
    assert (clip.label, clip.key, clip.name) == ("caf\\xe9", "caf\\xe9/na\\xefve", "caf\\xe9/na\\xefve.avi")
    clip.key.encode("utf-8")
    assert clip.source is not None
    assert clip.source.read_bytes() == b"frames"


def test_links_to_files_and_folders_are_followed_but_not_in_circles(tmp_path):
    make(tmp_path / "far", "walk/a.avi", "deep/walk/b.avi")
    root = make(tmp_path / "near", "run/c.avi")
    (root / "walk").symlink_to(tmp_path / "far/walk")
    (root / "run/d.avi").symlink_to(tmp_path / "far/deep/walk/b.avi")
    (root / "run/again").symlink_to(root)
    (tmp_path / "far/walk/back").symlink_to(root)
    assert keys(root) == ["run/c", "run/d", "walk/a"]


def test_a_dangling_link_is_still_a_row(tmp_path):
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk/a.avi").symlink_to(tmp_path / "gone.avi")
    assert keys(tmp_path) == ["walk/a"]


def test_only_wanted_classes_are_listed_and_one_that_is_not_there_is_an_error(tmp_path):
    make(tmp_path, "walk/a.avi", "run/b.avi", "push/c.avi", "d.avi")
    assert keys(tmp_path, ["run", "walk"]) == ["run/b", "walk/a"]
    with pytest.raises(SourceError, match=r"holds no clips of class 'wlak'; its classes: push, run, walk"):
        listed(tmp_path, ["run", "wlak"])


def test_a_source_that_is_not_there_or_cannot_be_read_is_an_error_and_an_empty_one_lists_nothing(tmp_path, monkeypatch):
    assert listed(tmp_path) == []
    for files in (Sources(None, None), Sources(tmp_path / "nowhere", None)):
        with pytest.raises(SourceError, match="no such file or folder"):
            folder.list_clips(files, None)
    make(tmp_path, "run/a.avi", "walk/b.avi")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "walk":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, whom nothing is denied
    with pytest.raises(SourceError, match="walk: Permission denied"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "dataset.source: a folder dataset needs one"), ({"source": ".", "splits": "."}, "dataset.splits: .*null")],
)
def test_wrong_settings_say_so(tmp_path, settings, message):
    spec = DatasetSpec.model_validate({"name": "folder", **settings})
    with pytest.raises(SpecError, match=message):
        folder.check(spec, accept_licence=True)


def test_a_file_that_is_neither_video_nor_archive_is_an_error(tmp_path):
    make(tmp_path, "notes.txt")
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(tmp_path / "notes.txt")})
    with pytest.raises(ArchiveError, match=r"notes\.txt: not a zip or tar archive"):
        folder.prepare(spec, tmp_path / "work", report=print)


def test_the_folders_decide_which_classes_there_are():
    assert folder.classes() is None
    assert datasets.check_classes(folder, "folder", None) is None
    assert datasets.check_classes(folder, "folder", ["any", "thing"]) == ("any", "thing")


def test_the_users_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(make(tmp_path, "videos/walk/a.avi", "b.avi")))
    for source, expected in (("~/videos", ["walk/a"]), ("~/b.avi", ["b"])):
        spec = DatasetSpec.model_validate({"name": "folder", "source": source})
        files = folder.prepare(spec, tmp_path / "work", report=print)
        assert [clip.key for clip in folder.list_clips(files, None)] == expected
