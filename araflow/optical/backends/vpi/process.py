"""The parent's side of the VPI worker process: start it, ask it, end it, and name it when it fails."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from araflow.core.errors import UnavailableError
from araflow.core.processes import Lost
from araflow.media.fields import GrayFrame
from araflow.optical.backends.vpi.worker import HEADER

WORKER = Path(__file__).with_name("worker.py")
"""The script. The system's Python runs it with -I: otherwise ``import vpi`` would find our own ``vpi.py`` beside it."""
STEP_SECONDS = 60
"""A frame takes milliseconds; after this the worker kills itself."""
_END_SECONDS = 5
_SIGALRM = -14
"""Exit code of a process that its own alarm has ended (Linux; ``signal.SIGALRM`` is absent elsewhere)."""


class Worker:
    """One worker process, for one clip. Use as a context manager.

    It ends when its stdin closes, which happens too when this process is killed. A hang ends it by SIGALRM.

    Args:
        python: The interpreter that has NVIDIA's vpi.
        settings: engine, quality, grid, height and width, the last two in pixels, padded.

    Raises:
        UnavailableError: The interpreter does not start.
    """

    def __init__(self, python: str, settings: Mapping[str, object]) -> None:
        self._python = python
        self._frames = 0
        self._errors = tempfile.TemporaryFile()  # a pipe that nobody reads would fill and block  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(WORKER), "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise UnavailableError(f"the vpi worker ({python}) does not start: {error.strerror}") from error
        self._opening = json.dumps({**settings, "seconds": STEP_SECONDS}).encode()

    def ask(self, frame: GrayFrame) -> bytes | None:
        """Hand over a frame (uint8, contiguous, of the size in the settings).

        Returns:
            The vectors from the frame before to this one, int16 in 1/32 pixel; ``None`` for the first frame.

        Raises:
            UnavailableError: VPI refused or has gone from this machine, or the worker crashed or hung; says which.
        """
        if self._opening:
            self._send(b"OPEN", self._opening)
            self._opening = b""
        self._frames += 1
        self._send(b"FRAM", frame.tobytes())
        header = self._receive(HEADER.size)
        kind, length = HEADER.unpack(header)
        content = self._receive(length)
        if kind == b"FAIL":
            told = json.loads(content)
            raise UnavailableError(f"{self._named()}: {told['message']} ({told['code']})")
        return content if kind == b"FLOW" else None

    def _send(self, kind: bytes, content: bytes) -> None:
        assert self._process.stdin is not None
        message = memoryview(HEADER.pack(kind, len(content)) + content)
        try:
            while message:
                message = message[self._process.stdin.write(message) or 0 :]
        except BrokenPipeError:
            pass  # it has said why, or will be found dead, when it is read from

    def _receive(self, length: int) -> bytes:
        assert self._process.stdout is not None
        parts = []
        while length:
            part = self._process.stdout.read(length)
            if not part:
                raise UnavailableError(f"{self._named()} {self._end()}{self._last_words()}")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _named(self) -> str:
        return f"the vpi worker ({self._python}), at frame {self._frames}"

    def _end(self) -> str:
        """Wait for the process, whose output has ended, and say how it ended."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its output without an answer"
        if code == _SIGALRM:
            return f"hung: no answer within {STEP_SECONDS} seconds"
        return str(Lost(timed_out=False, exit_code=code))

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # which ends it, after the frame that it may be at
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._process.stdout.close()
            self._errors.close()
