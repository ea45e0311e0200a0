import shutil
import struct
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
import video_world

from araflow import optical
from araflow.core.errors import ClipError, SourceError, SpecError, UnavailableError
from araflow.deploy.runners import open_runner
from araflow.media import video
from araflow.optical import Availability
from araflow.recognition import checkpoint
from araflow.recognition.data import windows as data
from araflow.recognition.evaluation.scores import fuse, score
from araflow.recognition.flow_storage import FlowStorage
from araflow.recognition.prediction import _video_plans as video_plans
from araflow.recognition.prediction import _video_windows as video_windows
from araflow.recognition.prediction.predict import attempted, list_videos, predict, table
from araflow.recognition.prediction.video_flow import flow_maker
from araflow.recognition.spec import EvaluationSpec, ModelSpec, Views


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return video_world.videos(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The same videos under both quantisers, with JPEG and preset not the usual ones, and of fewer, smaller frames."""
    base = tmp_path_factory.getbasetemp()
    return {
        "bound": video_world.built(base, bound=7.5, jpeg_quality=60, preset="fast"),
        "max_radius": video_world.built(base, quantizer="max_radius"),
        "kept": video_world.built(
            base, rgb=(("short_side", 56), ("format", "jpeg"), ("jpeg_quality", 70), ("fps", 20)), preset="fastest"
        ),
    }


def model(frames=8, sampler="consecutive", modality="rgb", **settings) -> ModelSpec:
    stream = {"frames": frames, "width": 32, "height": 32}
    network = {"architecture": "arn_2d", "modality": modality, "rgb": stream, "flow": stream}
    flow = FlowStorage(backend="opencv", algorithm="dis", preset="fast", quantizer="bound", bound=20.0)
    return ModelSpec.model_validate(
        {"network": network, "labels": ["a", "b", "c"], "sampler": sampler, "flow": flow}
        | {"views": {"mode": "center"}, **settings}
    )


def counting_frames(folder: Path, count: int, size: int = 32) -> Path:
    """A folder of frames, frame k with the value k throughout."""
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:04d}.png"), np.full((size, size, 3), number, np.uint8))
    return folder


def seen(window: video_windows.VideoWindow) -> list[int]:
    """Which frames of ``counting_frames`` a window shows."""
    levels = (window.tensors["rgb"][0, :, 0, 0] * 0.5 + 0.5) * 255
    return np.rint(levels).astype(int).tolist()


@pytest.mark.parametrize(
    ("quantizer", "modality", "settings"),
    [
        ("bound", "rgb", {}),
        ("bound", "rgb", {"center_crop": True, "short_side": 48, "sample_rate": 3, "short_clip": "repeat"}),
        ("bound", "flow", {}),
        ("bound", "flow", {"flow_scale": "pixels", "sampler": "segments"}),
        ("max_radius", "flow", {"sampler": "random_interval"}),
        ("max_radius", "flow", {"flow_scale": "pixels", "sampler": "dense", "center_crop": True}),
        ("bound", "joint", {}),
        ("kept", "rgb", {}),
        ("kept", "joint", {"flow_scale": "pixels"}),
    ],
)
def test_a_video_is_seen_and_scored_as_evaluation_sees_and_scores_its_clip(
    videos, built, quantizer, modality, settings
):
    prepared = video_world.prepare(built[quantizer], modality, **settings)
    runner = video_world.runner(prepared.model)
    assert len(prepared.test) == 3
    flow = flow_maker(runner.spec)
    for mode in ("center", "conv", "all"):
        windows = data.EvaluationWindows(prepared.test, prepared.model, EvaluationSpec(mode=mode, segments=3))
        scores = score(video_world.network(prepared.model), windows)
        expected = fuse(scores)
        at = 0
        for number, clip in enumerate(prepared.test):
            source = videos / clip.row["source"]
            for window in video_windows.whole(source, runner.spec, flow, Views(mode=mode, segments=3)):
                for stream in runner.spec.streams:
                    np.testing.assert_array_equal(window.tensors[stream], windows[at][stream].numpy())
                at += 1
            (found,) = predict(runner, source, top=3, mode=mode, segments=3)
            assert found.windows == scores.per_video[number]
            order = np.argsort(-expected[number])
            assert found.labels == tuple(prepared.model.labels[index] for index in order)
            np.testing.assert_allclose(found.probabilities, expected[number][order], atol=1e-5)
        assert at == len(windows)


def test_scores_depend_on_what_is_seen_or_equal_scores_would_prove_nothing(videos, built):
    prepared = video_world.prepare(built["bound"], "flow")
    runner = video_world.runner(prepared.model)
    source = videos / prepared.test[0].row["source"]
    first, second = predict(runner, source, top=3, window=8, stride=1)[:2]
    shares = [dict(zip(one.labels, one.probabilities, strict=True)) for one in (first, second)]
    assert max(abs(shares[0][label] - shares[1][label]) for label in shares[0]) > 1e-4


def test_places_and_times_are_those_that_were_looked_at(tmp_path, videos):
    source = next((videos / "walk").iterdir())
    info, frames = video.read(source)
    count = sum(1 for _ in frames)
    runner = video_world.runner(model())
    (centre,) = predict(runner, source, top=2)
    start = (count - 8 + 1) // 2
    assert (centre.start_frame, centre.end_frame, centre.windows) == (start, start + 8, 1)
    assert centre.start_seconds == pytest.approx(start / info.fps)
    assert centre.end_seconds == pytest.approx((start + 8) / info.fps)
    assert len(centre.labels) == len(centre.probabilities) == 2
    (every,) = predict(runner, source, top=9)
    assert len(every.labels) == 3
    assert sum(every.probabilities) == pytest.approx(1)
    assert list(every.probabilities) == sorted(every.probabilities, reverse=True)
    (spread,) = predict(runner, source, mode="conv", segments=2)
    assert (spread.windows, spread.end_seconds > centre.end_seconds) == (2, True)


@pytest.mark.parametrize("ways", [{"mode": "conv", "segments": 2}, {"window": 8, "stride": 4}, {"window": 40}])
def test_a_turned_video_is_seen_upright_unless_that_is_to_be_ignored(tmp_path, ways):
    path, matrix = tmp_path / "turned.mp4", struct.pack(">9i", 0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    texture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 48, "yuv420p", 2_000_000
        for index in range(20):
            picture = np.ascontiguousarray(texture[:, index : index + 48])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = matrix
    path.write_bytes(data)
    for upright in (True, False):
        folder = tmp_path / str(upright)
        folder.mkdir()
        for index, frame in enumerate(video.read(path, upright=False)[1]):
            shown = np.rot90(frame) if upright else frame
            cv2.imwrite(str(folder / f"{index:02d}.png"), np.ascontiguousarray(shown[..., ::-1]))
        runner = video_world.runner(model(modality="joint"))
        found, expected = (predict(runner, one, top=3, upright=upright, **ways) for one in (path, folder))
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected, strict=True):
            assert (one.labels, one.probabilities) == (other.labels, other.probabilities)


def test_a_folder_of_frames_has_no_times(tmp_path):
    runner = video_world.runner(model())
    (found,) = predict(runner, counting_frames(tmp_path / "frames", 12))
    assert (found.start_frame, found.end_frame) == (2, 10)
    assert found.start_seconds is found.end_seconds is None


@pytest.mark.parametrize(
    ("window", "stride", "spec", "expected"),
    [
        (4, 3, model(4), [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]),
        (4, 4, model(2, sample_rate=2), [[0, 2], [4, 6]]),
        (8, 8, model(4), [[1, 3, 5, 7]]),
        (3, 5, model(4), [[0, 1, 2, 0], [5, 6, 7, 5]]),
        (3, 5, model(4, short_clip="repeat"), [[0, 1, 2, 2], [5, 6, 7, 7]]),
        (6, 4, model(2, "random_interval"), [[1, 4], [5, 8]]),
        (1, 9, model(2), [[0, 0], [9, 9]]),
        (30, 1, model(4), [[1, 4, 6, 9]]),
        (30, 1, model(16), [[*range(11), *range(5)]]),
    ],
    ids=["as in training", "step", "longer", "looped", "held", "intervals", "one frame", "short video", "shorter"],
)
def test_sliding_windows_show_the_frames_that_they_should(tmp_path, window, stride, spec, expected):
    folder = counting_frames(tmp_path / "frames", 11)
    found = list(video_windows.sliding(folder, spec, None, window=window, stride=stride))
    assert [seen(one) for one in found] == expected
    length = min(window, 11)
    assert [(one.start, one.end) for one in found] == [
        (start, start + length) for start in range(0, max(1, 11 - window + 1), stride)
    ]


def test_windows_of_flow_end_where_their_last_field_leads(tmp_path, videos):
    source = next((videos / "walk").iterdir())
    frames = sum(1 for _ in video.read(source)[1])
    spec = model(4, modality="flow")
    found = list(video_windows.sliding(source, spec, flow_maker(spec), window=4, stride=1))
    assert [one.start for one in found] == list(range(frames - 4))
    assert found[-1].end == frames - 1


@pytest.mark.parametrize("way", ["sliding", "all"])
def test_memory_does_not_grow_with_the_video(tmp_path, way):
    spec = model(8)
    peaks = []
    for count in (24, 96):
        folder = counting_frames(tmp_path / str(count), count, size=96)
        tracemalloc.start()
        if way == "sliding":
            windows = video_windows.sliding(folder, spec, None, window=16, stride=2)
        else:
            windows = video_windows.whole(folder, spec, None, Views(mode="all"))
        for window in windows:
            del window
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = (96 - 24) * 32 * 32 * 3  # what came in between takes, cropped
    assert peaks[1] - peaks[0] < more / 3


@pytest.mark.parametrize("sampler", ["consecutive", "dense", "random_interval", "segments"])
@pytest.mark.parametrize("places", [1, 3, 7, 8, 9, 16, 100])
def test_what_is_seen_of_a_window_lies_within_it_and_is_centred(sampler, places):
    window = video_plans.within(places, model(8, sampler))
    assert len(window) == 8
    assert window.min() >= 0
    assert window.max() < places
    if places >= 8:
        assert (np.diff(window) > 0).all()
        assert abs((window[0] + window[-1]) / 2 - (places - 1) / 2) <= places / 16 + 0.5


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("no video at all"), "not-a-video"),
        (lambda path: path.mkdir(), "no-frames"),
    ],
)
def test_a_bad_video_is_a_clip_error(tmp_path, make, code):
    runner = video_world.runner(model())
    bad = tmp_path / "bad.avi"
    make(bad)
    for options in ({}, {"window": 4}):
        with pytest.raises(ClipError) as caught:
            predict(runner, bad, **options)
        assert caught.value.code == code


def test_one_frame_shows_no_motion_and_a_refused_short_video_says_so(tmp_path):
    folder = counting_frames(tmp_path / "one", 1)
    spec = model(modality="flow")
    for windows in (
        video_windows.whole(folder, spec, flow_maker(spec), Views(mode="center")),
        video_windows.sliding(folder, spec, flow_maker(spec), window=8, stride=8),
    ):
        with pytest.raises(ClipError, match="one-frame"):
            next(windows)
    with pytest.raises(ClipError, match=r"too-short.* 1 frames"):
        next(video_windows.whole(folder, model(short_clip="refuse"), None, Views(mode="center")))
    assert seen(next(video_windows.whole(folder, model(2), None, Views(mode="center")))) == [0, 0]


def test_other_videos_go_on_after_a_bad_one(tmp_path, videos):
    folder = tmp_path / "mixed" / "some"
    folder.mkdir(parents=True)
    good = shutil.copy(next((videos / "run").iterdir()), folder / "a.avi")
    data_ = Path(good).read_bytes()
    (folder / "cut.avi").write_bytes(data_[: len(data_) // 2])
    counting_frames(folder / "frames", 9)
    (folder / "unreadable.mp4").symlink_to(tmp_path / "nowhere")
    runner = video_world.runner(model())
    found = {
        clip.key: (len(result or []), reason)
        for clip, result, reason in attempted(list_videos([tmp_path / "mixed"]), lambda path: predict(runner, path))
    }
    assert found["some/a"] == (1, "")
    assert found["some/frames"] == (1, "")
    assert found["some/cut"][1].startswith("truncated: ")
    assert found["some/unreadable"][1].startswith("io-error: ")
    with pytest.raises(SourceError, match="absent"):
        list_videos([tmp_path / "absent.mp4"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no videos found"):
        list_videos([tmp_path / "empty"])


def test_flow_of_training_is_asked_for_and_nothing_else_unless_wanted(monkeypatch, caplog):
    absent = model(modality="flow").model_copy(
        update={"flow": FlowStorage(backend="nvof", algorithm="hardware", quantizer="bound", bound=20.0)}
    )
    monkeypatch.setattr(optical.load("nvof"), "available", lambda: Availability(False, "no driver; install one"))
    with pytest.raises(UnavailableError, match=r"nvof hardware.*no driver.*--backend auto"):
        flow_maker(absent)
    found = flow_maker(absent, "opencv")
    assert found is not None
    assert (found.choice.backend, found.choice.algorithm) == ("opencv", optical.load("opencv").ALGORITHMS[0])
    assert "trained on flow of nvof hardware" in caplog.text
    with pytest.raises(UnavailableError, match="nvof cannot run here"):
        flow_maker(absent, "nvof")
    with pytest.raises(SpecError, match="not a backend; allowed: auto"):
        flow_maker(absent, "opencw")
    with pytest.raises(SpecError, match="sees no optical flow"):
        flow_maker(model(), "opencv")
    foreign = absent.model_copy(update={"flow": FlowStorage(backend="unknown", algorithm="unknown", quantizer="bound")})
    with pytest.raises(UnavailableError, match=r"what computed the flow .* is unknown; --backend auto"):
        flow_maker(foreign)
    same = flow_maker(model(modality="flow"))
    assert same is not None
    assert (same.choice.backend, same.choice.algorithm, same.preset) == ("opencv", "dis", "fast")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"top": 0}, "top"), ({"window": 0}, "window"), ({"window": 4, "stride": 0}, "stride"), ({"stride": 4}, "window")],
)
def test_settings_that_make_no_sense_are_named(tmp_path, options, said):
    runner = video_world.runner(model())
    with pytest.raises(SpecError, match=said):
        predict(runner, tmp_path, **options)


def test_a_recogniser_is_opened_by_its_suffix(tmp_path, monkeypatch):
    file = video_world.recogniser(tmp_path / "a.safetensors", model())
    for path, said in (
        (tmp_path / "a.pkl", r"may end in \.safetensors"),
        (tmp_path, r"a folder.*a\.safetensors"),
        (tmp_path / "b.safetensors", "no such checkpoint"),
    ):
        with pytest.raises(SourceError, match=said):
            open_runner(path)
    with pytest.raises(SpecError, match="allowed: auto, cpu, cuda"):
        open_runner(file, "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match="no CUDA device"):
        open_runner(file, "cuda")
    runner = open_runner(file)
    rgb = np.zeros((2, 3, 8, 32, 32), np.float32)
    assert runner(rgb=rgb).shape == (2, 3)
    assert runner.features(rgb=rgb).shape == (2, 64)  # eight channels, doubled thrice
    for streams in ({"flow": rgb}, {}, {"rgb": rgb[:, :, :4]}, {"rgb": rgb.astype(np.float64)}):
        with pytest.raises(SpecError, match="streams"):
            runner(**streams)


def test_a_network_that_answers_with_no_number_is_an_error(tmp_path):
    from araflow.core.errors import TrainingError

    file = video_world.recogniser(tmp_path / "a.safetensors", model())
    network, spec = checkpoint.load(file)
    network.fc.bias.data[0] = float("nan")
    checkpoint.save(file, network, spec)
    with pytest.raises(TrainingError, match="no number"):
        predict(open_runner(file, "cpu"), counting_frames(tmp_path / "frames", 9))


def test_rows_of_good_and_bad_videos_share_one_table(tmp_path):
    runner = video_world.runner(model())
    (found,) = predict(runner, counting_frames(tmp_path / "frames", 9), top=2)
    rows = table([{**found.to_json(), "reason": None}, {"video": "b", "reason": "empty: no bytes"}]).to_pylist()
    assert rows[0]["labels"] == list(found.labels)
    assert rows[0]["probabilities"] == list(found.probabilities)
    assert (rows[1]["video"], rows[1]["reason"], rows[1]["labels"]) == ("b", "empty: no bytes", None)
