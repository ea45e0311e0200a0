"""Undisturbed builds of the same clips, each with new worker processes, beside other load: the same bytes.

The clips have black borders above and below: the first bytes of such frames return at once, and ISA-L, asked as other
writers ask it, finds them in all processes but one in some thousands.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from araflow.build.resolved import resolve
from araflow.build.run import carry_out
from araflow.core.spec_file import parse
from araflow.report.contact_sheet import write_contact_sheet

CLIPS = 12
RUNS = int(os.environ.get("ARAFLOW_RUNS", "25"))
"""Builds of the long version; ``ARAFLOW_RUNS=500`` makes it longer: a quarter of an hour."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letterboxed") / "wave"
    folder.mkdir()
    for number in range(CLIPS):
        picture = np.random.default_rng(number).integers(0, 256, (48, 96, 3), np.uint8)
        with av.open(str(folder / f"{number}.avi"), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 72, "bgr0"  # without loss: the borders stay black
            for moved in range(4):
                frame = np.zeros((72, 96, 3), np.uint8)
                frame[12:60] = np.roll(picture, moved, axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return folder.parent


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keep all cores busy with what gives way to everything else."""
    burn = [sys.executable, "-c", "import os\nos.nice(19)\nwhile os.getppid() > 1: sum(range(10**6))"]
    others = [subprocess.Popen(burn) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def digest(out: Path) -> str:
    """Return one digest of all names and bytes but those of the note, which names the folder."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "build.json")
    assert len(files) >= CLIPS * 10
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.relative_to(out)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runs", [2, pytest.param(RUNS, marks=pytest.mark.proof)])
def test_every_build_gives_the_same_bytes(runs: int, videos: Path, tmp_path: Path, record_property):
    tree = {
        "name": "test",
        "dataset": {"name": "folder", "source": str(videos)},
        "split": {"protocol": "random", "test_fraction": 0.5},
        "optical": {"backend": "opencv", "algorithm": "dis", "preset": "fastest", "lossless": True},
        "run": {"workers": 2, "shard_size": 5},
    }
    found: dict[str, int] = {}
    with load() if runs > 2 else contextlib.nullcontext():
        for _ in range(runs):
            carry_out(resolve(parse({**tree, "out": str(tmp_path / "out")})), on_manifest=write_contact_sheet)
            one = digest(tmp_path / "out")
            found[one] = found.get(one, 0) + 1
            shutil.rmtree(tmp_path / "out")
    record_property("builds by digest", found)
    assert list(found.values()) == [runs]
