"""The server of ``araflow up`` as a process that ends with the one that started it, however that ends.

``flows.server.own`` runs this file with a host and a port. Standard input is a pipe that the other process holds.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(host: str, port: int) -> None:
    """Serve until a signal ends it, as ``prefect server start`` does."""
    import uvicorn
    from prefect.settings import get_current_settings

    from flows.server import attached, guarded

    attached.end_with_parent()
    settings = get_current_settings().server
    uvicorn.run(
        guarded.create_app(host),
        host=host,
        port=port,
        log_level=settings.logging_level.lower(),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
    )


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # the folder that this is run from must not count
    main(sys.argv[1], int(sys.argv[2]))
