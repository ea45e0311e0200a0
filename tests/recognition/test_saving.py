"""``predict --save``: tables, subtitles, and labels in the picture."""

import csv
import io
import json
import struct
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import video_world
from click.testing import CliRunner

from araflow.cli.options import Group
from araflow.cli.predict import predict
from araflow.core.errors import OutputError
from araflow.media import mp4, video
from araflow.recognition.prediction import saving
from araflow.recognition.prediction._lettering import Lettering
from araflow.recognition.prediction.predict import Prediction
from araflow.recognition.spec import ModelSpec


def run(*arguments):
    result = CliRunner().invoke(Group(commands={"predict": predict}), ["predict", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(start, end, label="walk", share=0.5, fps=10.0, name="a.avi"):
    return Prediction(name, start, end, start / fps, end / fps, 1, (label, "run"), (share, 1 - share))


def rows_of(file: Path) -> list[dict]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


def shown(file: Path) -> list[np.ndarray]:
    info, frames = video.read(file)
    found = [frame.copy() for frame in frames]
    assert info.faults == info.complaints == []
    return found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    stream = {"frames": 4, "width": 32, "height": 32}
    network = {"architecture": "arn_2d", "modality": "rgb", "rgb": stream}
    model = ModelSpec.model_validate({"network": network, "labels": ["walk", "run", "push"]})
    return video_world.recogniser(tmp_path_factory.mktemp("run") / "last.safetensors", model)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """20 grey frames of 63 x 47 pixels at 10 a second, turned by a quarter: upright they are 47 x 63."""
    path = tmp_path_factory.mktemp("clip") / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 63, 47, "yuv420p"
        for _ in range(20):
            grey = np.full((47, 63, 3), 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def test_moments_are_saved_in_every_format(checkpoint, clip, tmp_path):
    files = [tmp_path / "new" / f"a{ending}" for ending in (".csv", ".parquet", ".srt", ".MP4")]
    saved = [word for file in files for word in ("--save", file)]
    result = run(checkpoint, clip, *saved, "--json", "--top", 2)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    rows = content["predictions"]
    assert [row["start_frame"] for row in rows] == [0, 2, 4, 6, 8, 10, 12, 14, 16]  # half a window of 4 apart
    assert pq.read_table(files[1]).to_pylist() == rows
    table = rows_of(files[0])
    assert [(row["label"], float(row["probability_2"])) for row in table] == [
        (row["labels"][0], row["probabilities"][1]) for row in rows
    ]
    first, *_, last = files[2].read_text().split("\n\n")
    score = f"{rows[0]['labels'][0]} {100 * rows[0]['probabilities'][0]:.0f} %"
    assert first == f"1\n00:00:00,000 --> 00:00:00,300\n{score}"
    assert last.startswith("9\n00:00:01,700 --> 00:00:02,000\n")
    frames = shown(files[3])
    assert len(frames) == 20
    assert frames[0].shape == (64, 48, 3)  # upright, and even
    assert abs(int(frames[0][0, 0, 0]) - 200) < 8
    foot = frames[0][-14:].astype(int)
    assert foot.min() < 90  # darkened
    assert foot.max() > 150  # and written on


def test_a_whole_video_has_one_label_if_that_is_asked_for(checkpoint, clip, tmp_path):
    result = run(checkpoint, clip, "--mode", "center", "--save", tmp_path / "a.srt")
    assert result.stdout.splitlines()[-2] == f"saved: {tmp_path / 'a.srt'}"
    assert (tmp_path / "a.srt").read_text().count("-->") == 1
    assert "1 prediction in" in result.stdout


def test_what_cannot_be_saved_is_refused_before_any_work(checkpoint, clip, tmp_path):
    (tmp_path / "b.csv").write_text("mine")
    (tmp_path / "two").mkdir()
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / "two" / name).write_bytes(clip.read_bytes())
    for source, file, words in (
        (clip, "a.avi", "files may end in .csv, .parquet, .srt, .mp4"),
        (clip, "b.csv", "is there already, and is not what araflow wrote"),
        (tmp_path / "two", "c.mp4", "shows one video, and there are 2"),
    ):
        result = run(checkpoint, source, "--save", tmp_path / file)
        assert (result.exit_code, words in result.stderr, result.stdout) == (1, True, ""), result.output
    assert (tmp_path / "b.csv").read_text() == "mine"


def test_a_video_that_cannot_be_used_leaves_a_row_and_no_film(checkpoint, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    result = run(checkpoint, tmp_path / "bad.mp4", "--save", tmp_path / "a.mp4", "--save", tmp_path / "a.csv")
    assert result.exit_code == 3
    assert not (tmp_path / "a.mp4").exists()
    assert f"not saved, since there is nothing: {tmp_path / 'a.mp4'}" in result.stdout
    assert rows_of(tmp_path / "a.csv")[0]["reason"].startswith("not-a-video")


def test_a_prediction_is_shown_while_its_window_is_the_nearest():
    found = [said(0, 8, "walk", 0.8), said(4, 12, "r\x1bun", 0.606), said(20, 28, "walk", 1.0)]
    assert saving.turns(found) == [0, 6, 16]
    assert saving.subtitles(found) == (
        "1\n00:00:00,000 --> 00:00:00,600\nwalk 80 %\n\n"
        "2\n00:00:00,600 --> 00:00:01,600\nr\\x1bun 61 %\n\n"
        "3\n00:00:01,600 --> 00:00:02,800\nwalk 100 %\n"
    )
    hours = said(0, 36_610, fps=10.0)
    assert "--> 01:01:01,000" in saving.subtitles([hours])


def test_labels_change_in_time_where_the_recogniser_sees_another_rate(clip, tmp_path):
    found = [said(0, 4, "wwww", fps=5.0, name=str(clip)), said(4, 10, "i", fps=5.0, name=str(clip))]
    saving.write(tmp_path / "a.mp4", [], found)
    feet = [frame[-14:].astype(int) for frame in shown(tmp_path / "a.mp4")]
    changes = [number for number in range(1, 20) if abs(feet[number] - feet[number - 1]).mean() > 5]
    assert changes == [8]  # of frame 4 of 5 a second, in a film of 10 a second


def test_letters_stand_at_the_foot_and_fit():
    frame = np.full((100, 60, 3), 100, np.uint8)
    lettering = Lettering(["é"])
    for text in ("walk 8 %", "é 8 %", "a very long name of an action that is wider than the picture 99 %"):
        found = lettering.over(frame, text)
        assert (found[:70] == 100).all()
        letters = found[76:] > 100
        assert letters.any(), text
        assert not letters[:, :6].any()
        assert not letters[:, -5:].any()
    assert (frame == 100).all()
    assert Lettering([]).over(np.zeros((4, 4, 3), np.uint8), "x").shape == (4, 4, 3)


def test_a_film_is_whole_or_not_there(tmp_path):
    file = tmp_path / "a.mp4"
    with pytest.raises(ZeroDivisionError), mp4.film(file, 25) as add:
        add(np.zeros((16, 16, 3), np.uint8))
        raise ZeroDivisionError
    with pytest.raises(OutputError, match="no frame"), mp4.film(file, 25):
        pass
    assert list(tmp_path.iterdir()) == []
    with mp4.film(file, 30000 / 1001) as add:
        for level in (0, 255):
            add(np.full((16, 16, 3), level, np.uint8))
    assert [int(frame.mean().round(-1)) for frame in shown(file)] == [0, 260]
    assert video.read(file)[0].fps == pytest.approx(29.97, abs=0.001)
