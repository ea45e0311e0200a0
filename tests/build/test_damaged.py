"""A clip that decodes, but not as its header says: done, and counted where people look."""

import json

import av
import inline_pool
import numpy as np
from click.testing import CliRunner

from araflow.cli import main
from araflow.store.manifest import Manifest


def write(path, short):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        y, x = np.mgrid[0:48, 0:64]
        for index in range(12):
            picture = (np.dstack([x * 2 + index * 9, y * 3, x + y]) % 200).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    if short:  # its header says so many frames more
        data = bytearray(path.read_bytes())
        place = data.index(b"strh") + 8 + 32
        data[place : place + 4] = (40).to_bytes(4, "little")
        path.write_bytes(data)


def test_a_damaged_clip_is_done_its_status_is_corrupt_and_the_build_counts_it(tmp_path, monkeypatch):
    inline_pool.use(monkeypatch)
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    write(videos / "short.avi", True)
    write(videos / "whole.avi", False)
    (videos / "cut.avi").write_bytes((videos / "whole.avi").read_bytes()[:-1])
    run = CliRunner().invoke(main, ["flow", str(videos), "--out", str(out), "--json"])
    assert json.loads(run.stdout)["damaged"] == 1
    assert "1 clips decoded with errors or are shorter than their headers say, such as short" in run.stderr
    rows = {key: rest for key, *rest in Manifest.read(out).columns("key", "outcome", "status", "damaged")}
    assert rows == {
        "cut": ["quarantined", "corrupt", None],
        "short": ["done", "corrupt", True],
        "whole": ["done", "ok", False],
    }
    checked = CliRunner().invoke(main, ["manifest", "validate", str(out), "--deep"])
    assert "3 rows, 0 differences" in checked.output
    again = CliRunner().invoke(main, ["flow", str(videos), "--out", str(out)])
    assert "nothing to do" in again.output
