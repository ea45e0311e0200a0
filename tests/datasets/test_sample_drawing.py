"""The drawn sample: true to HMDB51's grammar, and what a clip's name says is what its pictures show."""

import dataclasses
import hashlib
import itertools
import re

import av
import cv2
import numpy as np
import pytest

from araflow.datasets._sample import draw_sample, figures, files
from araflow.datasets._sample.files import TITLES, split_text, title_of
from araflow.datasets._sample.look import film_of
from araflow.datasets._sample.shots import FPS, SCENES, SPEED, Shot, plan_shot, render
from araflow.datasets.sample import CLASSES

NAME = re.compile(
    r"(?P<title>.+)_(?P<label>walk|ride_bike|run|fall_floor|push)_(?P<body>[hufl])_(?P<camera>cm|nm)"
    r"_np(?P<people>\d+)_(?P<view>fr|ba|le|ri)_(?P<quality>bad|med|goo)_(?P<index>\d+)\.avi"
)
LINE = re.compile(r"(?P<name>\S+\.avi) (?P<tag>[012]) ")


def plan(label: str, number: int = 0, *, width: int = 160, height: int = 120, longest: float = 2.0) -> Shot:
    title = title_of(label, number % 4)
    return plan_shot(label, title, number, seed=0, width=width, height=height, seconds=(1.0, longest))


def shots(label: str, **wanted: object) -> list[Shot]:
    found = [s for s in (plan(label, n) for n in range(60)) if all(getattr(s, k) == v for k, v in wanted.items())]
    assert found, f"no {label} clip with {wanted}"
    return found


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return dis.calc(grey(first), grey(second), None)


def figure(shot: Shot, frame: np.ndarray) -> np.ndarray:
    """Mask of what differs from the background, for a clip whose camera rests."""
    background = film_of(shot.seed, shot.title, shot.width, shot.height).panorama
    behind = background[:, shot.offset : shot.offset + shot.width].astype(int)
    return (np.abs(frame.astype(int) - behind).sum(axis=-1) > 120).astype(bool)


def digests(folder) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    draw_sample(folder, clips_per_class=8, width=96, height=80, seconds=(1.0, 1.2))
    return folder


def test_every_class_has_its_parts():
    assert set(CLASSES) == set(TITLES) == set(SCENES) == set(SPEED)


def test_names_follow_the_grammar_and_say_drawn(sample):
    clips = sorted((sample / "videos").rglob("*"))
    videos = [p for p in clips if p.is_file()]
    assert len(videos) == 8 * len(CLASSES)
    titles: dict[str, set[str]] = {}
    for path in videos:
        match = NAME.fullmatch(path.name)
        assert match, path.name
        assert match["label"] == path.parent.name
        assert re.match(r"(-_)?Drawn_", match["title"])
        titles.setdefault(match["label"], set()).add(match["title"])
    assert {len(t) for t in titles.values()} == {4}
    every = [t for of_class in titles.values() for t in of_class]
    assert len(set(every)) < len(every), "some titles serve two classes"
    assert set("!#()&") < set("".join(every))
    assert any(t.startswith("-") for t in every)


def test_split_files_are_hmdb51s(sample):
    for label in CLASSES:
        on_disk = {p.name for p in (sample / "videos" / label).iterdir()}
        tested = []
        for fold in (1, 2, 3):
            content = (sample / "splits" / f"{label}_test_split{fold}.txt").read_bytes()
            assert content.endswith(b" \n")
            assert b"\r" not in content
            rows = [LINE.fullmatch(line) for line in content.decode().split("\n")[:-1]]
            assert all(rows)
            names = [row["name"] for row in rows]
            assert names == sorted(names, key=str.encode)
            assert set(names) == on_disk
            sides = {tag: {NAME.fullmatch(r["name"])["title"] for r in rows if r["tag"] == tag} for tag in "012"}
            assert sides["1"]
            assert sides["2"]
            assert not sides["1"] & sides["2"]
            tested.append(sides["2"])
        assert not tested[0] & tested[1]
        assert not tested[1] & tested[2]
        assert not tested[0] & tested[2]
    everything = b"".join(p.read_bytes() for p in (sample / "splits").iterdir())
    assert b".avi 0 \n" in everything


@pytest.mark.parametrize(("sources", "clips"), [(1, 1), (1, 3), (2, 5), (3, 9), (7, 70), (10, 200)])
def test_splits_of_any_size(sources, clips):
    names = [[f"t{s}_{i}.avi" for i in range(len(range(s, clips, sources)))] for s in range(sources)]
    for fold in (1, 2, 3):
        tags = [int(line.split(" ")[1]) for line in split_text(names, fold, order=range(sources)).splitlines()]
        assert len(tags) == clips
        if clips >= 50:
            assert 0.2 < tags.count(2) / (tags.count(1) + tags.count(2)) < 0.4
            assert 0 < tags.count(0) < 0.3 * clips


def test_titles_never_run_out():
    for label in CLASSES:
        titles = [title_of(label, source) for source in range(50)]
        assert len(set(titles)) == 50
        assert tuple(titles[:4]) == TITLES[label]


def test_clips_decode_to_what_was_asked(sample):
    for path in sorted((sample / "videos").rglob("*.avi"))[::4]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("mpeg4", "DX50")
            assert stream.average_rate == FPS
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert 30 <= len(frames) <= 36
        assert {f.shape for f in frames} == {(80, 96, 3)}


def test_b_frames_are_written(sample):
    with av.open(str(next((sample / "videos" / "run").iterdir()))) as container:
        kinds = {int(frame.pict_type) for frame in container.decode(video=0)}
    assert kinds == {1, 2, 3}, "I, P and B"


def test_same_arguments_same_bytes_and_more_clips_change_no_other(sample, tmp_path):
    small = {"clips_per_class": 4, "width": 96, "height": 80, "seconds": (1.0, 1.2)}
    draw_sample(tmp_path, classes=["push", "walk"], **small)
    again = {k: v for k, v in digests(tmp_path).items() if k.startswith("videos/")}
    assert len(again) == 8
    assert again.items() <= digests(sample).items()
    draw_sample(tmp_path / "other", classes=["walk"], seed=1, **small)
    assert not set(again.values()) & set(digests(tmp_path / "other").values())


def test_resume_keeps_what_is_there_and_leaves_nothing_partial(tmp_path, monkeypatch):
    small = {"clips_per_class": 3, "width": 64, "height": 64, "seconds": (0.2, 0.3), "classes": ["fall_floor"]}
    draw_sample(tmp_path, **small)
    whole = digests(tmp_path)
    kept, lost, _ = sorted(tmp_path.rglob("*.avi"))
    kept.write_bytes(b"kept")
    lost.unlink()

    def broken(shot):
        yield next(render(shot))
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(files, "render", broken)
        with pytest.raises(OSError, match="disk is full"):
            draw_sample(tmp_path, **small)
    assert not lost.exists()
    assert not list(tmp_path.rglob("*partial*"))

    draw_sample(tmp_path, **small)
    changed = {k for k, v in digests(tmp_path).items() if whole[k] != v}
    assert changed == {kept.relative_to(tmp_path).as_posix()}


@pytest.mark.parametrize(("width", "height"), [(65, 97), (64, 64), (201, 64), (64, 175)])
def test_odd_sizes(tmp_path, width, height):
    draw_sample(tmp_path, clips_per_class=2, width=width, height=height, seconds=(0.1, 0.2))
    for path in tmp_path.rglob("*.avi"):
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert 3 <= len(frames) <= 6
        assert frames[0].shape == (height, width, 3)


@pytest.mark.parametrize("label", CLASSES)
def test_frames_are_separate_contiguous_rgb(label):
    shot = plan(label)
    frames = list(render(shot))
    assert len(frames) == shot.frames
    assert all(f.shape == (120, 160, 3) and f.dtype == np.uint8 and f.flags.c_contiguous for f in frames)
    assert not np.shares_memory(frames[0], frames[1])


@pytest.mark.parametrize("label", CLASSES)
def test_camera_attribute_is_true(label):
    for camera in ("nm", "cm"):
        shot = shots(label, camera=camera)[0]
        frames = list(render(shot))
        top = np.concatenate([flow(a, b)[:20] for a, b in zip(frames[:12:2], frames[1:12:2], strict=True)])
        across = float(np.median(top[..., 0]))  # above every head
        if camera == "nm":
            assert np.percentile(np.abs(top), 95) < 0.25
            assert abs(across) < 0.05
        else:
            assert across == pytest.approx(-shot.pan / FPS, abs=max(0.12, 0.15 * abs(shot.pan) / FPS))


@pytest.mark.parametrize("label", CLASSES)
def test_people_attribute_is_true(label, monkeypatch):
    drawn = []
    person = figures.draw_person
    monkeypatch.setattr(figures, "draw_person", lambda *a, **k: (drawn.append(1), person(*a, **k)))
    for people in (1, 2):
        shot = shots(label, people=people)[0]
        drawn.clear()
        next(render(shot))
        assert len(drawn) == people


def test_whole_figures_are_framed_where_the_name_says_so():
    for label in CLASSES:
        for shot in shots(label, body="f")[:4]:
            middle = dataclasses.replace(shot, pan=0.0, camera="nm", frames=4)
            mask = figure(middle, list(render(middle))[2])
            assert not mask[:3].any()
            assert not mask[-1].any()
    assert {s.label for label in CLASSES for s in (plan(label, n) for n in range(60)) if s.body == "u"} == {"push"}
    shot = dataclasses.replace(shots("push", body="u")[0], pan=0.0, camera="nm", frames=4)
    assert figure(shot, list(render(shot))[2])[-1].sum() > 10


def test_view_is_the_direction_of_movement():
    for label in ("walk", "run", "ride_bike"):
        for view, sign in (("le", -1), ("ri", 1)):
            shot = shots(label, view=view)[0]
            assert speed_inside(shot) * sign > 0
    sizes = {}
    for view in ("fr", "ba"):
        shot = dataclasses.replace(shots("walk", view=view, people=1)[0], pan=0.0, camera="nm")
        frames = list(render(shot))
        sizes[view] = figure(shot, frames[-1]).sum() / figure(shot, frames[0]).sum()
    assert sizes["fr"] > 1.5
    assert sizes["ba"] < 0.67


def speed_inside(shot: Shot) -> float:
    """Median horizontal flow inside the figure in pixels per frame, the camera at rest, mid-clip."""
    shot = dataclasses.replace(shot, pan=0.0, camera="nm", frames=6)
    frames = list(render(shot))
    return float(np.mean([np.median(flow(a, b)[figure(shot, a), 0]) for a, b in itertools.pairwise(frames)]))


def test_running_is_about_two_and_a_half_times_as_fast_as_walking():
    mean = {}
    for label in ("walk", "run"):
        profile = [s for s in shots(label, people=1) if s.view in ("le", "ri")]
        mean[label] = np.mean([abs(speed_inside(s)) / s.stature for s in profile[:4]])
    assert 2.0 < mean["run"] / mean["walk"] < 3.0


def test_a_fall_ends_lying_and_at_rest():
    for shot in shots("fall_floor", camera="nm", people=1)[:2]:
        frames = list(render(shot))
        motion = [float(np.abs(flow(a, b)).mean()) for a, b in itertools.pairwise(frames)]
        assert np.mean(motion[-5:]) < 0.15 * max(motion)
        rows, columns = np.nonzero(cv2.erode(figure(shot, frames[-1])[:-12].astype(np.uint8), np.ones((3, 3))))
        assert np.ptp(columns) > 1.5 * np.ptp(rows)


def test_clips_of_a_title_look_alike():
    def look(label: str, number: int) -> np.ndarray:
        return next(render(plan(label, number))).reshape(-1, 3).mean(axis=0)

    looks = np.array([[look("ride_bike", source + 4 * take) for take in range(3)] for source in range(4)])
    within = np.linalg.norm(looks - looks.mean(axis=1, keepdims=True), axis=-1).mean()
    between = np.linalg.norm(looks.mean(axis=1) - looks.mean(axis=(0, 1)), axis=-1).mean()
    assert between > 3 * within
