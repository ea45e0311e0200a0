"""Ends what is slower than is asked for: a server that sends a byte now and then keeps a download for ever.

Whoever reads from such a server waits for the next byte, so the clock lies beside, in a thread. It ends the connection
itself (by a second handle of its socket, which TLS does not hide), and so whatever waits there: a header, a chunk's
length, one "100 Continue" after another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from araflow.acquire.fetch._answers import MirrorError
from araflow.core.errors import FetchError

if TYPE_CHECKING:
    import httpx


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a server must do to be waited for; from the environment.

    Attributes:
        least_rate: Bytes a second, over ``patience`` seconds; 0 for any. ``ARAFLOW_LEAST_RATE``.
        patience: Seconds for an answer to begin, and between two looks at the rate; where nothing at all comes, half of
            them are waited. ``ARAFLOW_PATIENCE``.
    """

    least_rate: float = 4000.0
    patience: float = 60.0

    @classmethod
    def here(cls) -> Limits:
        """Return what the environment says.

        Raises:
            FetchError: It says no number.
        """
        rate, patience = (_number(f"ARAFLOW_{field.name.upper()}", field.default) for field in dataclasses.fields(cls))
        if not patience:
            raise FetchError("ARAFLOW_PATIENCE: '0' is not allowed; allowed: a number of more than 0")
        return cls(rate, patience)


def _number(name: str, default: Any) -> float:  # noqa: ANN401 - as dataclasses keep it
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        raise FetchError(f"{name}: {text!r} is not allowed; allowed: a number of more than 0")
    return float(text)


class Watch:
    """Watches over one attempt; a context manager.

    Args:
        limits: What is asked for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sockets: list[socket.socket] = []
        self._received = -1
        self._over = threading.Event()
        self._reason = ""

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Take note of each connection that is made; for httpx's extension ``trace``."""
        if event.endswith("connect_tcp.complete"):
            self._sockets.append(info["return_value"].get_extra_info("socket").dup())

    def received(self, size: int) -> None:
        """Take note that the file has so many bytes by now; the first call says that its body begins."""
        self._received = size

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over the block.

        Raises:
            MirrorError: The server was too slow.
        """
        import httpx

        clock = threading.Thread(target=self._run, daemon=True)
        clock.start()
        try:
            yield
        except (httpx.HTTPError, MirrorError) as error:
            self._end(clock)
            if self._reason:
                raise MirrorError(self._reason) from error
            raise
        finally:
            self._end(clock)
        if self._reason:  # where no length is announced, the end of a connection looks like the end of the file
            raise MirrorError(self._reason)

    def _end(self, clock: threading.Thread) -> None:
        self._over.set()
        clock.join()
        while self._sockets:
            self._sockets.pop().close()

    def _run(self) -> None:
        before, limits = -1, self._limits
        while not self._over.wait(limits.patience):
            now = self._received
            if now < 0:
                self._reason = f"sent no whole answer within {limits.patience:g} s"
            elif before >= 0 and now - before < limits.least_rate * limits.patience:
                slow = f"{now - before:,} bytes in {limits.patience:g} s"
                asked = f"at least {limits.least_rate:,.0f} a second are asked for (ARAFLOW_LEAST_RATE)"
                self._reason = f"too slow: {slow}; {asked}"
            if self._reason:
                for one in self._sockets:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                return
            before = now


def client(limits: Limits, **options: Any) -> httpx.Client:  # noqa: ANN401 - of httpx.Client
    """Return a client whose connections a ``Watch`` sees: none is kept for a later request."""
    import httpx

    return httpx.Client(timeout=limits.patience / 2, limits=httpx.Limits(max_keepalive_connections=0), **options)
