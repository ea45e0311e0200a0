"""Clips of sources that ask to be turned: what is made, what the record says, and what is made anew."""

import dataclasses
import json
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from araflow.build import turned
from araflow.cli import main
from araflow.core.clip import ClipRecord, Outcome
from araflow.store.manifest import Manifest

MATRICES = {
    "rot0": (1, 0, 0, 1, 3, 0),  # a, b, c, d, and where (+3, 0) leads when shown
    "rot90": (0, -1, 1, 0, 0, -3),
    "rot180": (-1, 0, 0, -1, -3, 0),
    "rot270": (0, 1, -1, 0, 0, 3),
    "mirrored": (-1, 0, 0, 1, -3, 0),
}


def film(path: Path, matrix: tuple[int, ...]) -> None:
    """A texture that moves to the right by three pixels a frame."""
    texture = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (64, 128, 3), np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 20, 235, cv2.NORM_MINMAX)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 4_000_000
        for index in range(4):
            picture = np.ascontiguousarray(texture[:, 24 - 3 * index : 120 - 3 * index])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, (*matrix, _, _) in MATRICES.items():
        film(folder / f"{name}.mp4", tuple(matrix))
    return folder


def flow(videos: Path, out: Path, *options: str) -> tuple[str, Manifest]:
    run = CliRunner().invoke(main, ["flow", str(videos), "--out", str(out), "--workers", "1", *options])
    assert run.exit_code == 0, run.output
    return run.output.splitlines()[-1], Manifest.read(out)


def rows(manifest: Manifest) -> dict[str, tuple[object, ...]]:
    names = ("key", "width", "height", "rotation", "mirrored", "reason")
    return {Path(key).name: rest for key, *rest in manifest.columns(*names)}


def test_frames_flow_and_rows_are_upright_and_settings_make_turned_clips_anew(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    _, made = flow(videos, out)
    for key, path in made.columns("key", "path"):
        name = Path(key).name
        u, v = (cv2.imread(str(out / path / kind / "0001.jpg"), cv2.IMREAD_GRAYSCALE) for kind in "uv")
        middle = slice(20, -20), slice(20, -20)
        found = [(float(np.median(image[middle])) - 127.5) * 40 / 255 for image in (u, v)]
        np.testing.assert_allclose(found, MATRICES[name][4:], atol=0.5, err_msg=name)
    assert rows(made) == {
        "rot0": [96, 64, 0, False, "complete"],
        "rot90": [64, 96, 90, False, "complete"],
        "rot180": [96, 64, 180, False, "complete"],
        "rot270": [64, 96, 270, False, "complete"],
        "mirrored": [96, 64, 0, True, "complete"],
    }
    assert "nothing to do" in flow(videos, out)[0]
    last, ignored = flow(videos, out, "--set", "video.rotation=ignore")
    assert "4 worked on" in last
    assert rows(ignored)["rot90"] == [96, 64, None, None, "complete: rotated by 90 degrees, not applied"]
    assert rows(ignored)["rot0"] == [96, 64, 0, False, "complete"]
    assert len(set(ignored.table["fingerprint"].to_pylist() + made.table["fingerprint"].to_pylist())) == 1
    assert "4 worked on" in flow(videos, out)[0]
    assert rows(Manifest.read(out)) == rows(made)


def test_clips_of_before_are_made_anew_where_their_source_asks_to_be_turned(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    flow(videos, out, "--set", "video.rotation=ignore")
    for proof in (out / "clips").rglob(".araflow.json"):
        record = ClipRecord.from_json(json.loads(proof.read_text()))
        record = dataclasses.replace(record, rotation=None, mirrored=None, reason="complete")
        proof.write_text(json.dumps(record.to_json()))
    assert "nothing to do" in flow(videos, out, "--set", "video.rotation=ignore")[0]
    before = (out / "clips" / "rot0" / ".araflow.json").stat().st_mtime_ns
    last, manifest = flow(videos, out)
    assert "4 worked on" in last
    assert rows(manifest)["rot270"] == [64, 96, 270, False, "complete"]
    assert (out / "clips" / "rot0" / ".araflow.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("rotation", "mirrored", "wanted", "right"),
    [
        (0, False, "apply", True),
        (0, False, "ignore", True),
        (90, False, "apply", True),
        (90, False, "ignore", False),
        (0, True, "ignore", False),
        (None, None, "apply", True),  # nobody can be asked
        (None, None, "ignore", True),
    ],
)
def test_what_a_record_tells_without_its_source(rotation: int | None, mirrored: bool | None, wanted: str, right: bool):
    """As of Kinetics, whose videos are gone once their clips are made."""
    record = ClipRecord("walk/a", Outcome.DONE, "complete", rotation=rotation, mirrored=mirrored)
    assert turned.as_wanted(record, wanted, None) is right
