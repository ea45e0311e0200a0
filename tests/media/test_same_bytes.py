"""The same pixels give the same bytes: in every process, and wherever in memory the encoder works."""

import collections
import concurrent.futures
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import same_bytes

from araflow.media import video

PLACES = 512


def at_many_places(work: Callable[[], str]) -> collections.Counter[str]:
    """Work in threads that all live to the end, so that no two have the same stack or the same memory."""
    answers: list[str] = []
    done, end = threading.Semaphore(0), threading.Event()

    def one() -> None:
        ballast = bytearray(70_000)
        answers.append(work())
        done.release()
        end.wait()
        del ballast

    usual = threading.stack_size(256 << 10)
    threads = [threading.Thread(target=one) for _ in range(PLACES)]
    try:
        for thread in threads:
            thread.start()
            done.acquire()
    finally:
        threading.stack_size(usual)
        end.set()
        for thread in threads:
            thread.join()
    assert len(answers) == PLACES
    return collections.Counter(answers)


def test_bytes_do_not_depend_on_where_memory_lies():
    # A small frame has a small hash table: ISA-L's mistake (araflow.media.png.deflate) shows at two places in a hundred
    # instead of one in some thousands.
    frame = same_bytes.letterboxed(4, 4, 2)
    assert len(at_many_places(lambda: same_bytes.digests(frame))) == 1


def in_new_processes(count: int, *arguments: str) -> collections.Counter[str]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def one(_: int) -> str:
        command = [sys.executable, same_bytes.__file__, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return collections.Counter(pool.map(one, range(count)))


PROCESSES = [4, pytest.param(int(os.environ.get("ARAFLOW_PROCESSES", "500")), marks=pytest.mark.proof)]
"""``ARAFLOW_PROCESSES=20000`` makes the proof longer: an hour on two cores."""


@pytest.mark.parametrize("count", PROCESSES)
def test_every_process_gives_the_same_bytes(count: int, record_property):
    found = in_new_processes(count)
    record_property("digests", dict(found))
    assert list(found) == [same_bytes.digests(same_bytes.letterboxed())]


@pytest.mark.parametrize("count", PROCESSES[1:])
def test_every_process_gives_the_same_bytes_for_real_frames(count: int, real_data: Path, tmp_path: Path):
    for path in sorted((real_data / "clips").iterdir())[:3]:
        _, frames = video.read(path)
        np.save(tmp_path / "frame.npy", frame := next(frames))
        frames.close()
        assert list(in_new_processes(count // 3, str(tmp_path / "frame.npy"))) == [same_bytes.digests(frame)]
