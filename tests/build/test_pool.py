"""Worker processes that die, hang or outlive their parent.

Functions travel to a worker by name, so these tests use ones that every fresh process can import: ``eval`` among them.
"""

import contextlib
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from araflow import optical
from araflow.build import extract
from araflow.build.pool import WorkerError, WorkerPool
from araflow.core.errors import AraflowError, ClipError, PoolClosedError, SpecError
from araflow.core.processes import Lost, usable_cores
from araflow.media import video

LONG = 60.0
PID = "__import__('os').getpid()"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (reached := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return reached


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
        # multiprocessing's resource tracker is nobody's worker; Python starts it for some pools and ends it itself.
        return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    return []


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # dead, and only waiting for init to take note
    except psutil.NoSuchProcess:
        return True


# --- answers ---


def test_results_come_back(pool: WorkerPool):
    futures = [pool.submit(abs, -number, LONG) for number in range(20)]
    assert [future.result() for future in futures] == list(range(20))


def test_the_work_is_done_elsewhere_and_workers_are_reused(pool: WorkerPool):
    pids = {pool.submit(eval, PID, LONG).result() for _ in range(10)}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_a_worker_keeps_the_memory_that_it_frees(pool: WorkerPool):
    blocks = "[bytes(number << 18) for number in range(1, 12)]"  # 16 MiB, which glibc would hand back each time
    faults = "__import__('resource').getrusage(0).ru_minflt"
    counts = pool.submit(eval, f"[({blocks}, {faults})[1] for _ in range(20)]", LONG).result()
    if platform.libc_ver()[0] == "glibc":
        assert counts[-1] - counts[9] < 1000, "10 times 16 MiB have 40,000 pages"


def test_a_worker_has_one_thread_of_linear_algebra_and_its_parent_what_it_likes(monkeypatch: pytest.MonkeyPatch):
    name = "OPENBLAS_NUM_THREADS"
    monkeypatch.delenv(name, raising=False)
    with WorkerPool(1) as pool:
        assert pool.submit(os.getenv, name, LONG).result() == "1"
    assert name not in os.environ
    monkeypatch.setenv(name, "3")
    with WorkerPool(1) as pool:
        assert pool.submit(os.getenv, name, LONG).result() == "3"
    assert os.environ[name] == "3"


def test_no_process_is_started_before_there_is_work():
    before = workers_of(psutil.Process())
    with WorkerPool(3):
        assert workers_of(psutil.Process()) == before


def test_a_pool_has_a_worker_per_usable_core_unless_told():
    with WorkerPool() as default, WorkerPool(5) as five:
        assert default.workers == usable_cores() == len(os.sched_getaffinity(0))
        assert five.workers == 5


def test_an_exception_comes_back_with_type_and_message(pool: WorkerPool):
    with pytest.raises(WorkerError, match=r"^ValueError: invalid literal for int.*'seven'"):
        pool.submit(int, "seven", LONG).result()
    with pytest.raises(WorkerError, match=r"^MemoryError: "):
        pool.submit(eval, "bytearray(1 << 62)", LONG).result()
    assert pool.submit(abs, -1, LONG).result() == 1


def test_an_error_of_our_own_comes_back_as_itself(pool: WorkerPool, tmp_path: Path):
    with pytest.raises(SpecError, match="'nonsense' is not a backend"):
        pool.submit(optical.load, "nonsense", LONG).result()
    (tmp_path / "a.avi").touch()
    with pytest.raises(ClipError) as caught:
        pool.submit(video.read, tmp_path / "a.avi", LONG).result()
    assert (caught.value.code, caught.value.detail) == ("empty", "the file has no bytes")


def test_what_cannot_be_sent_is_an_error_and_not_a_hang(pool: WorkerPool):
    with pytest.raises(Exception, match="pickle"):
        pool.submit(len, threading.Lock(), LONG).result()  # type: ignore[arg-type]
    assert isinstance(pool.submit(eval, "__import__('threading').Lock()", LONG).result(), Lost)
    assert pool.submit(abs, -1, LONG).result() == 1


# --- deaths ---


@pytest.mark.parametrize(
    ("death", "exit_code", "words"),
    [
        ("__import__('os')._exit(7)", 7, "ended with exit code 7"),
        ("__import__('os')._exit(0)", 0, "ended with exit code 0"),
        ("__import__('sys').exit(3)", 3, "ended with exit code 3"),
        ("__import__('os').kill(__import__('os').getpid(), 11)", -11, "ended by SIGSEGV"),
        ("__import__('ctypes').string_at(0)", -11, "ended by SIGSEGV"),
        ("__import__('os').abort()", -6, "ended by SIGABRT"),
        ("__import__('os').kill(__import__('os').getpid(), 9)", -9, "ended by SIGKILL"),
        ("__import__('os').kill(__import__('os').getpid(), 40)", -40, "ended by signal 40"),
    ],
)
def test_a_worker_that_dies_costs_its_item_alone(pool: WorkerPool, death: str, exit_code: int, words: str):
    items = ["1", "2", death, "4", "5", "6"]
    answers = [future.result() for future in [pool.submit(eval, item, LONG) for item in items]]
    assert answers == [1, 2, Lost(timed_out=False, exit_code=exit_code), 4, 5, 6]
    assert str(answers[2]) == words


def test_a_worker_killed_while_idle_costs_nothing():
    with WorkerPool(1) as pool:
        first = pool.submit(eval, PID, LONG).result()
        os.kill(first, signal.SIGKILL)
        assert until(lambda: gone(psutil.Process(first)))
        assert pool.submit(eval, PID, LONG).result() != first


def test_dead_workers_hold_no_files_open():
    with WorkerPool(1) as pool:
        pool.submit(abs, 1, LONG).result()
        before = psutil.Process().num_fds()
        for _ in range(6):
            assert isinstance(pool.submit(os._exit, 1, LONG).result(), Lost)
        pool.submit(abs, 1, LONG).result()
        assert psutil.Process().num_fds() <= before


def test_a_timeout_kills_that_worker_alone(pool: WorkerPool):
    pids = {pool.submit(eval, f"({PID}, __import__('time').sleep(0.05))[0]", LONG) for _ in range(8)}
    warm = {future.result() for future in pids}
    start = time.monotonic()
    slow = pool.submit(time.sleep, LONG, 0.5)
    others = [pool.submit(abs, -number, LONG) for number in range(10)]
    assert [future.result() for future in others] == list(range(10))
    lost = slow.result()
    assert lost == Lost(timed_out=True, exit_code=-signal.SIGKILL)
    assert str(lost) == "took too long"
    assert time.monotonic() - start < 5
    survivors = {pool.submit(eval, f"({PID}, __import__('time').sleep(0.05))[0]", LONG).result() for _ in range(8)}
    assert len(warm & survivors) == 1


def test_many_threads_share_a_pool(pool: WorkerPool):
    answers: dict[int, list[object]] = {}

    def use(thread: int) -> None:
        items = [str(100 * thread + number) for number in range(20)]
        items[thread] = f"__import__('os')._exit({thread})"
        answers[thread] = [pool.submit(eval, item, LONG).result() for item in items]

    threads = [threading.Thread(target=use, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    for thread in range(4):
        expected: list[object] = [100 * thread + number for number in range(20)]
        expected[thread] = Lost(timed_out=False, exit_code=thread)
        assert answers[thread] == expected


# --- the end ---


def test_closing_a_busy_pool_is_prompt_and_leaves_nothing():
    before = set(workers_of(psutil.Process()))
    with WorkerPool(2) as pool:
        futures = [pool.submit(time.sleep, LONG, LONG) for _ in range(6)]  # two run, four wait
        assert until(lambda: len(set(workers_of(psutil.Process())) - before) == 2)
        started = set(workers_of(psutil.Process())) - before
        time.sleep(0.1)
        start = time.monotonic()
        pool.close()
        assert time.monotonic() - start < 3
    assert all(map(gone, started))
    for future in futures:
        with pytest.raises(PoolClosedError):
            future.result(timeout=1)
    with pytest.raises(PoolClosedError):
        pool.submit(abs, 1, LONG)
    pool.close()


def test_closing_from_another_thread_ends_those_who_wait():
    pool = WorkerPool(1)
    ended: list[type] = []

    def use() -> None:
        try:
            while True:
                pool.submit(abs, -1, LONG).result()
        except AraflowError as error:
            ended.append(type(error))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    pool.close()
    for thread in threads:
        thread.join(10)
    assert ended == [PoolClosedError] * 8


PARENT = """
    import sys, time
    from araflow.build.pool import WorkerPool

    if __name__ == "__main__":
        with WorkerPool(2) as pool:
            futures = [pool.submit(eval, sys.argv[1], 60.0) for _ in range(4)]
            for future in futures:
                future.result()
"""
BUSY = {"sleeping": "__import__('time').sleep(60)", "computing": "[None for _ in iter(int, 1)]"}


@contextlib.contextmanager
def parent(tmp_path: Path, work: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group, with a pool of two workers that have something to do."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    root = str(Path(extract.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(script), work],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
        # A shell's background jobs, and so what they start, ignore SIGINT; a terminal's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("work", BUSY)
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, work: str):
    with parent(tmp_path, BUSY[work]) as process:
        assert until(lambda: len(workers_of(psutil.Process(process.pid))) == 2)
        time.sleep(1.0)  # let them start on it
        workers = workers_of(psutil.Process(process.pid))
        process.kill()
        process.wait()
        assert until(lambda: all(map(gone, workers)), 10.0), [worker.cmdline() for worker in workers]


@pytest.mark.parametrize("delay", [0.0, 0.2, 1.0])
def test_ctrl_c_leaves_no_process(tmp_path: Path, delay: float):
    with parent(tmp_path, BUSY["sleeping"]) as process:
        assert until(lambda: len(workers_of(psutil.Process(process.pid))) == 2)
        workers = workers_of(psutil.Process(process.pid))
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) in (-signal.SIGINT, 1)
        assert until(lambda: all(map(gone, workers)), 10.0)


def test_a_script_without_a_main_guard_is_not_started_again_by_its_workers(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('started')\n"
        "import math\n"
        "from araflow.build.pool import WorkerPool\n"
        "with WorkerPool(2) as pool:\n"
        "    print([pool.submit(math.sqrt, number, 60).result() for number in (4.0, 9.0)])\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.splitlines() == ["started", "[2.0, 3.0]"]
