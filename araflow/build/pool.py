"""Worker processes that decode: spawned once, reused, and replaced when one dies.

A damaged video can crash a decoder natively and take its process along. Every worker holds one item at a time, so the
item that killed it is known; nothing else is lost. Workers end by themselves when the process that started them is
gone, even if that was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from araflow.core.errors import AraflowError, PoolClosedError
from araflow.core.processes import Lost, usable_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_START_LOCK = threading.Lock()
_STOPPED = "stopped before this clip was made"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_ME: Any = multiprocessing.current_process()
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""NumPy's linear algebra is not used in a worker, but would start a thread per core in each, which costs CPU time."""
_CONTEXT = multiprocessing.get_context("spawn")  # forked children inherit locks that FFmpeg's threads may hold


class WorkerError(Exception):
    """The function raised; the text is the worker's ``Type: message``."""


class WorkerPool:
    """A fixed number of spawned worker processes. Safe to use from several threads.

    Processes start when first needed. Use as a context manager, or call ``close``.

    Args:
        workers: Number of processes; ``None`` takes one per usable core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or usable_cores()
        # One thread per process: it hands over an item, waits for the answer or the process's end, and nothing else.
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="araflow-pool")
        self._local = threading.local()
        self._all: list[_Worker] = []
        self._closed = threading.Event()

    def submit(self, function: Callable[[_Item], _Result], item: _Item, timeout: float) -> Future[_Result | Lost]:
        """Run ``function(item)`` in a worker process.

        Args:
            function: Importable by name in a fresh process; not of the main module, which workers do not have.
            item: Picklable.
            timeout: Seconds after which the process is killed.

        Returns:
            A future of the result, or of ``Lost`` if the process died or took too long. The future raises the
            ``AraflowError`` that the function raised, or ``WorkerError`` for any other exception.

        Raises:
            PoolClosedError: The pool is closed; a future raises it where the pool was closed meanwhile.
        """
        if self._closed.is_set():
            raise PoolClosedError(_STOPPED)
        try:
            return self._threads.submit(self._run, function, item, timeout)
        except RuntimeError:
            if not self._closed.is_set():
                raise  # no thread can be started
            raise PoolClosedError(_STOPPED) from None  # closed by another thread since the line above

    def _run(self, function: Callable[[_Item], _Result], item: _Item, timeout: float) -> _Result | Lost:
        if self._closed.is_set():
            raise PoolClosedError(_STOPPED)
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None or not worker.process.is_alive():
            if worker is not None:
                self._all.remove(worker)  # a dead one holds open files for as long as it is known
            worker = self._local.worker = _Worker()
            self._all.append(worker)
        answer = Lost(timed_out=False, exit_code=None) if self._closed.is_set() else worker.ask(function, item, timeout)
        if self._closed.is_set():
            worker.end()
            raise PoolClosedError(_STOPPED)
        if isinstance(answer, Lost):
            return answer
        kind, value = answer
        if kind == "result":
            return value  # type: ignore[no-any-return]
        raise value if isinstance(value, AraflowError) else WorkerError(value)

    def pause(self, seconds: float) -> None:
        """Wait, but not for longer than the pool is open.

        Raises:
            PoolClosedError: The pool is closed.
        """
        if self._closed.wait(seconds):
            raise PoolClosedError(_STOPPED)

    def close(self) -> None:
        """End all workers at once; what they were doing is lost, and every unfinished future raises PoolClosedError."""
        self._closed.set()
        self._threads.shutdown(wait=False)  # cancelled futures would raise CancelledError: each finds out by itself
        for worker in list(self._all):
            worker.end()
        self._threads.shutdown(wait=True)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(theirs,), name="araflow-worker", daemon=True)
        with _START_LOCK:
            # A spawned process imports its parent's main module again. Workers need nothing of it, it may be slow to
            # import (Prefect's is), and a script without `if __name__ == "__main__"` would start itself in each.
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            # A daemonic process, as Dask's workers are, may start none, lest they stay when it is gone. Ours do not.
            daemonic = _ME._config.get("daemon", False)
            _ME._config["daemon"] = False
            unset = _BLAS_THREADS not in os.environ
            if unset:
                os.environ[_BLAS_THREADS] = "1"
            try:
                self.process.start()
            finally:
                sys.modules["__main__"] = main
                _ME._config["daemon"] = daemonic
                if unset:
                    del os.environ[_BLAS_THREADS]
        theirs.close()

    def ask(self, function: Callable[[Any], Any], item: object, timeout: float) -> tuple[str, Any] | Lost:
        try:
            self.connection.send((function, item))
            ready = wait([self.connection, self.process.sentinel], timeout)
            if self.connection in ready:
                return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            ready = [self.process.sentinel]
        self.end()
        return Lost(timed_out=not ready, exit_code=self.process.exitcode)

    def end(self) -> None:
        if self.process.is_alive():
            self.process.join(0.1)  # a process that has just crashed keeps its own exit code
            self.process.kill()
        self.process.join()


def _serve(connection: Connection) -> None:
    """Body of a worker process: answer until the pipe closes."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, item = connection.recv()
        except EOFError:
            return
        try:
            answer = ("result", function(item))
        except AraflowError as error:
            answer = ("error", error)
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {error}")
        connection.send(answer)


def keep_freed_memory() -> None:
    """Let this process keep what its allocator frees, up to 64 MiB, for the next frame.

    glibc (mallopt(3)) otherwise hands much of it back to the system, which clears each page anew when the next frame
    asks for it: a hundred page faults, or a quarter of a millisecond, for each frame of 320x240. Other C libraries are
    left as they are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest value that it takes
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
