"""Frames stream through: a long clip needs no more memory than a short one."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

pytestmark = pytest.mark.slow

SHORT, LONG, LONGEST = 300, 3_000, 10_000
"""Numbers of frames."""
WIDTH, HEIGHT = 64, 48

# The peak comes from /proc, where it begins with the program; ru_maxrss begins with the parent that started it.
PROGRAM = """
import sys
from pathlib import Path
from araflow import optical
from araflow.build import extract
from araflow.build.recipe import Recipe
from araflow.core import spec_file
from araflow.store.address import open_store

flow = {"preset": "fastest", "quantizer": sys.argv[3]}
given = spec_file.parse({"name": "test", "out": sys.argv[2], "optical": flow})
recipe = Recipe.of(given, optical.choose("opencv"))
size, checksum = extract.hash_source(Path(sys.argv[1]))
record = extract.make(extract.Job("clip", Path(sys.argv[1]), open_store(given.out), recipe, size, checksum, False))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(record.outcome, record.frames, int(status["VmHWM"].split()[0]))
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A clip of so many frames, made once."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (12, 24, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    views = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[s : s + HEIGHT, s : s + WIDTH]), format="rgb24")
        for s in [*range(40), *range(40, 0, -1)]
    ]

    @functools.cache
    def made(frames: int) -> Path:
        with av.open(str(folder / f"{frames}.avi"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(frames):
                frame = views[number % len(views)]
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return folder / f"{frames}.avi"

    return made


def peak(clip: Path, out: Path, quantizer: str) -> tuple[int, int]:
    """Return the frames made, and the most memory that the process ever held, in KiB."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(clip), str(out), quantizer],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    outcome, frames, memory = run.stdout.split()
    assert outcome == "done"
    return int(frames), int(memory)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by Linux's /proc")
@pytest.mark.parametrize("frames", [LONG, pytest.param(LONGEST, marks=pytest.mark.proof)])
@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_memory_does_not_grow_with_the_clip(
    clip: Callable[[int], Path], tmp_path: Path, quantizer: str, frames: int, record_property
):
    measured = {number: peak(clip(number), tmp_path / str(number), quantizer) for number in (SHORT, frames)}
    assert [made for made, _ in measured.values()] == [SHORT, frames]
    ratio = measured[frames][1] / measured[SHORT][1]
    record_property("peak memory in KiB", {number: memory for number, (_, memory) in measured.items()})
    print(f"{quantizer}: {measured[SHORT][1]} KiB for {SHORT} frames, {measured[frames][1]} for {frames}: {ratio:.3f}")
    assert ratio <= 1.1
