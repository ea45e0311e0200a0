"""Prefect's server as a process that ends with the one that started it, however that ends.

``flows.server.embedded`` runs this file. Standard input is a pipe that the other process holds: it closes when that is
gone. The first line of standard output is the port.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

_SECONDS_TO_END = 10.0


def end_with_parent() -> None:
    """End this process when its standard input does: as by SIGTERM, or else at once."""
    threading.Thread(target=_end_with_parent, name="araflow-parent-watch", daemon=True).start()


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_SECONDS_TO_END)
    os._exit(1)


def main() -> None:
    """Serve at a free port of this machine, from the moment that it is told; requests wait until the server is up."""
    end_with_parent()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    print(port, flush=True)  # noqa: T201 - what the other process waits for
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    import uvicorn

    from flows.server import guarded

    server = uvicorn.Server(uvicorn.Config(guarded.create_app(), log_level="error", lifespan="on"))
    server.run(sockets=[listening])
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # the folder that this is run from must not count
    main()
