"""In what form a recogniser's frames were kept: read from a manifest, held against another's, and their files read."""

import struct

import av
import cv2
import numpy as np
import pytest
import video_world

from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import SourceError, SpecError
from araflow.media.frame_form import FrameForm
from araflow.media.png_reader import read_png
from araflow.recognition import frame_storage, same_flow
from araflow.recognition.frame_storage import FrameStorage
from araflow.recognition.prediction.predict import predict
from araflow.store import summary
from araflow.store.manifest import Manifest

KEPT = {"rgb_fps": 15.0, "short_side": 256, "rgb_format": "jpeg", "rgb_quality": 90}


def manifest_of(folder, *forms):
    clips = [Clip("folder", f"walk/{number}", "walk", name="x") for number in range(len(forms))]
    done = [
        ClipRecord(clip.key, Outcome.DONE, "complete", frames=3, flows=2, **form)
        for clip, form in zip(clips, forms, strict=True)
    ]
    return Manifest.of(clips, done, labels=["walk"], split_of={}, metadata={}, folder=folder)


def turned_video(path):
    """A texture that a player shows turned by 90 degrees."""
    picture = cv2.resize(np.random.default_rng(3).integers(0, 256, (8, 12, 3), np.uint8), (96, 64))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, 0, 1 << 16, 0, -1 << 16, 0)
    path.write_bytes(data)
    return path


def test_the_form_is_that_of_the_rows_and_older_rows_are_as_decoded(tmp_path):
    def found(*forms):
        return frame_storage.of_manifest(manifest_of(tmp_path, *forms), "m")

    assert found({}, {"rgb_format": "png"}) == FrameStorage()
    assert found(KEPT, KEPT) == FrameStorage(fps=15, short_side=256, format="jpeg", jpeg_quality=90)
    assert found(KEPT).form == FrameForm(256, "jpeg", 90, 15.0)
    assert str(found(KEPT)) == "15 per second, short side 256, JPEG 90"
    with pytest.raises(SpecError, match=r"kept in several forms \(.*as decoded.*\): build it again"):
        found(KEPT, {})


def test_whether_frames_were_turned_is_remembered_and_predictions_do_the_same(tmp_path):
    made = manifest_of(tmp_path, {})
    ignored = Manifest(made.table, {"spec": {"video": {"rotation": "ignore"}}}, tmp_path)
    kept = frame_storage.of_manifest(ignored, "m")
    assert kept == FrameStorage(rotation="ignore")
    assert str(kept) == "as decoded, not turned as videos ask for"
    model = video_world.prepare(video_world.built(tmp_path, preset="fastest"), "rgb").model
    video = turned_video(tmp_path / "turned.mp4")
    said = {}
    for rotation in ("apply", "ignore"):
        runner = video_world.runner(model.model_copy(update={"frames": FrameStorage(rotation=rotation)}))
        (one,), (upright,), (coded,) = (predict(runner, video, upright=how) for how in (None, True, False))
        assert upright.probabilities != coded.probabilities
        said[rotation] = one == (upright if rotation == "apply" else coded)
    assert said == {"apply": True, "ignore": True}


def test_a_summary_names_what_is_not_usual(tmp_path):
    assert summary.kept(manifest_of(tmp_path, {}, {"rgb_format": "png"})) == []
    assert summary.kept(manifest_of(tmp_path, {"also": "flo,film"})) == ["frames: as decoded; flow also as flo, film"]
    assert summary.kept(manifest_of(tmp_path, KEPT, KEPT)) == ["frames: 15 per second, short side 256, JPEG 90"]


def test_a_manifest_of_another_form_is_warned_of_whatever_the_recogniser_sees(tmp_path, caplog):
    built = video_world.built(tmp_path, preset="fastest")
    model = video_world.prepare(built, "rgb").model
    assert model.frames == FrameStorage()
    manifest = Manifest.read(built)
    assert same_flow.hold("a file", model, manifest, built) == ()
    other = model.model_copy(update={"frames": FrameStorage(short_side=112)})
    (warning,) = same_flow.hold("a file", other, manifest, built)
    assert warning == f"a file was trained on frames short side 112; those of {built} are as decoded"
    assert warning in caplog.text


def test_a_jpeg_frame_that_is_cut_is_an_error_and_one_with_more_behind_it_is_not():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    assert np.array_equal(read_png(data), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    assert np.array_equal(read_png(data + b"made by a camera"), read_png(data))
    for end in (len(data) - 2, len(data) * 2 // 3):
        with pytest.raises(SourceError, match="damaged: the file is cut"):
            read_png(data[:end])
