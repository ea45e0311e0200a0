"""A source that changes between being hashed and its last frame: no record may say what was not decoded."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import pytest

from araflow import optical
from araflow.build import extract, shards, source
from araflow.build.extract import Job
from araflow.build.pool import WorkerPool
from araflow.build.recipe import Recipe
from araflow.core.clip import REASONS, Clip, Outcome
from araflow.core.processes import Lost
from araflow.core.spec import RunSpec
from araflow.core.spec_file import parse
from araflow.media import video
from araflow.store.address import open_store
from araflow.store.store import Store

SPEC = parse({"name": "test", "out": "nowhere", "optical": {"backend": "opencv", "preset": "fastest"}})
RECIPE = Recipe.of(SPEC, optical.choose("opencv", "dis"))
KEY = "walk/clip"


def frames(folder: Path, seed: int, count: int = 4) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        image = np.random.default_rng((seed, index)).integers(0, 255, (32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.bmp"), image)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return frames(tmp_path / "videos" / "clip", 1)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return frames(tmp_path / "elsewhere", 2)


def job_of(clip: Path, store: Store) -> Job:
    mark = source.stamp(clip)
    return Job(KEY, clip, store, RECIPE, *source.hash_source(clip), False, mark)


def in_place(clip: Path, other: Path) -> None:
    """Other bytes, the same size, and the time of the last write as it was."""
    times = (clip / "2.bmp").stat()
    (clip / "2.bmp").write_bytes((other / "2.bmp").read_bytes())
    os.utime(clip / "2.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))


def renamed(clip: Path, other: Path) -> None:
    (other / "2.bmp").rename(clip / "2.bmp")


def folder_renamed(clip: Path, other: Path) -> None:
    clip.rename(clip.with_name("old"))
    other.rename(clip)


def removed(clip: Path, other: Path) -> None:
    shutil.rmtree(clip)


def cut(clip: Path, other: Path) -> None:
    """What a copy that is under way looks like; that is no fault of the clip's."""
    (clip / "2.bmp").write_bytes((clip / "2.bmp").read_bytes()[:90])


def one_more(clip: Path, other: Path) -> None:
    shutil.copy(other / "3.bmp", clip / "4.bmp")


@pytest.mark.parametrize("change", [in_place, renamed, folder_renamed, removed, cut, one_more])
def test_what_changed_before_it_was_decoded_is_failed(
    clip: Path, other: Path, tmp_path: Path, change: Callable[[Path, Path], None]
):
    job = job_of(clip, open_store(tmp_path / "out"))
    change(clip, other)
    record = extract.make(job)
    assert (record.outcome, record.reason_code) == (Outcome.FAILED, "changed")
    assert "changed" in REASONS
    assert not (tmp_path / "out" / "clips").exists()


@pytest.mark.parametrize("back", [False, True], ids=["stays", "put back"])
def test_what_changes_while_it_is_decoded_is_failed(
    clip: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
):
    kept = {path: path.read_bytes() for path in clip.iterdir()}
    read = video.read

    def interrupted(path: Path, *, upright: bool) -> tuple[video.VideoInfo, video.Frames]:
        info, found = read(path, upright=upright)

        def changing() -> video.Frames:
            yield next(found)
            for name in ("1.bmp", "2.bmp", "3.bmp"):
                shutil.copy(other / name, clip / name)
            yield from found
            for path, content in kept.items() if back else ():
                path.write_bytes(content)

        return info, changing()

    job = job_of(clip, open_store(tmp_path / "out"))
    monkeypatch.setattr(video, "read", interrupted)
    assert extract.make(job).reason_code == "changed"
    assert not (tmp_path / "out" / "clips").exists()


def test_other_bytes_behind_the_same_stamp_are_found_by_their_digest(clip: Path, other: Path, tmp_path: Path):
    job = job_of(clip, open_store(tmp_path / "out"))
    in_place(clip, other)
    unseen = Job(KEY, clip, job.store, RECIPE, job.source_bytes, job.source_sha256, False, source.stamp(clip))
    assert extract.make(unseen).reason_code == "changed"


class Meddled(WorkerPool):
    """Replaces the source between the hash and the first decoding; answers nothing else by itself."""

    def __init__(self, meddle: Callable[[], object], lost: bool) -> None:
        super().__init__(1)
        self.meddle, self.lost, self.pauses = meddle, lost, 0

    def submit(self, function, item, timeout):  # type: ignore[no-untyped-def]
        if self.pauses:
            return super().submit(function, item, timeout)
        self.meddle()
        if not self.lost:
            return super().submit(function, item, timeout)
        answer: Future[Lost] = Future()
        answer.set_result(Lost(timed_out=False, exit_code=-11))
        return answer

    def pause(self, seconds: float) -> None:
        self.pauses += 1


@pytest.mark.parametrize("lost", [False, True], ids=["decoded", "crashed"])
def test_it_is_tried_again_in_the_same_run(clip: Path, other: Path, tmp_path: Path, lost: bool):
    content = (other / "2.bmp").read_bytes()
    listed = Clip("test", KEY, "walk", name="clip", source=clip)
    with (
        open_store(tmp_path / "out").locked() as store,
        Meddled(lambda: (clip / "2.bmp").write_bytes(content), lost) as pool,
    ):
        (record,) = shards.extract_shard([listed], RECIPE, store, pool, RunSpec.model_validate({"retries": 1}))
        assert pool.pauses == 1
    assert (record.outcome, record.source_sha256) == (Outcome.DONE, source.hash_source(clip)[1])
    frame = cv2.imread(str(tmp_path / "out/clips" / KEY / "rgb/0002.png"))
    np.testing.assert_array_equal(frame, cv2.imread(str(clip / "2.bmp")))
