"""The password of a server that araflow starts: made at random, and told to the server and to its clients.

Whoever has it may run programs as the user who serves the deployments. It travels in environments, which other users
cannot read, and never on a command line, which they can.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence


def make() -> str:
    """Return a password that nobody can guess, as Prefect wants it: ``user:secret``."""
    return f"araflow:{secrets.token_urlsafe(24)}"


def for_server(password: str, origins: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment by which a server insists on a password, and listens to no page of somebody else's.

    Args:
        password: What ``make`` has made, or the user's own.
        origins: Whose pages may use it, such as ``http://127.0.0.1:4200``; none for a server without pages.
    """
    return for_client(password) | {
        "PREFECT_SERVER_API_AUTH_STRING": password,
        # Of their two names Prefect prefers these.
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }


def for_client(password: str) -> dict[str, str]:
    """Return the environment by which ``prefect``, ``araflow`` and runs are let in."""
    return {"PREFECT_API_AUTH_STRING": password}
