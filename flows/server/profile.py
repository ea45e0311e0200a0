"""Prefect's profile, where ``prefect`` and ``araflow`` commands in other terminals find the server and its password."""

from __future__ import annotations

import logging
import os
from typing import Any, NamedTuple

import httpx
from prefect.context import get_settings_context
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    load_current_profile,
    load_profiles,
)

from araflow.core.errors import AraflowError
from flows.server import password, undo
from flows.server.guarded import is_loopback, names_of_this_machine

log = logging.getLogger("araflow.flows")
ASIDE = "araflow"
"""Profile that is written where the active one is for another machine."""


class Secret(NamedTuple):
    """The password of a server that araflow starts.

    Attributes:
        password: As Prefect wants it: ``user:secret``.
        is_users: The user has set it, in the environment or for servers: it is neither shown nor kept.
    """

    password: str
    is_users: bool


def secret() -> Secret:
    """Return the password that the user has set, or that was made for an earlier server, or a new one.

    Raises:
        AraflowError: The user has set it to nothing, or to what Prefect cannot compare.
    """
    of_server, of_client = PREFECT_SERVER_API_AUTH_STRING.value(), PREFECT_API_AUTH_STRING.value()
    for name, value in (("PREFECT_SERVER_API_AUTH_STRING", of_server), ("PREFECT_API_AUTH_STRING", of_client)):
        if value is not None and not value.strip():
            raise AraflowError(
                f"{name} is empty: whoever reaches a server without a password runs programs as you; unset it, and "
                "araflow makes one, or set it to user:secret"
            )
        if value is not None and not value.isascii():
            raise AraflowError(f"{name}: Prefect's server takes no other characters than those of ASCII")
    if of_server is not None:
        if of_client not in (None, of_server):
            raise AraflowError(
                "PREFECT_SERVER_API_AUTH_STRING and PREFECT_API_AUTH_STRING differ, so the server would let nobody in; "
                "set both to the same"
            )
        return Secret(of_server, is_users=True)
    if "PREFECT_API_AUTH_STRING" in os.environ and of_client is not None:
        return Secret(of_client, is_users=True)
    if _other_machine() is not None:  # what its profile has is not ours to use
        of_client = None
    return Secret(of_client or undo.kept_password() or password.make(), is_users=False)


def keep(url: str, secret: Secret) -> None:
    """Write a server's address, and a password that was made for it, into Prefect's profile, for this user alone.

    A profile that is for another machine stays; they are then written into one of their own. ``undo`` remembers what
    was there.

    Args:
        url: The API's address.
        secret: The server's password.
    """
    current, other = load_current_profile(), _other_machine()
    name = current.name if other is None else ASIDE
    known = current.settings.get(PREFECT_API_URL) if other is None else None
    if known is None or is_loopback(httpx.URL(str(known)).host) or httpx.URL(str(known)).port != httpx.URL(url).port:
        known = url  # else it stays: this machine, by the name that others know it by
    values = {PREFECT_API_URL: known} | ({} if secret.is_users else {PREFECT_API_AUTH_STRING: secret.password})
    try:
        _write(url, name, values)
    except OSError as error:
        log.warning(
            "Prefect's profile cannot be written (%s); in other terminals set PREFECT_API_URL and "
            "PREFECT_API_AUTH_STRING to what is shown here",
            error,
        )
        return
    if other is None:
        log.info("PREFECT_API_URL=%s is kept in Prefect's profile %s", known, name)
    else:
        unset = "unset PREFECT_API_URL; " if "PREFECT_API_URL" in os.environ else ""
        log.warning(
            "Prefect's profile stays at %s; in other terminals: %sexport PREFECT_PROFILE=%s", other, unset, ASIDE
        )


def _other_machine() -> str | None:
    """Return the address of another machine that the user's commands ask, if they do."""
    kept = get_settings_context().profile.settings.get(PREFECT_API_URL)
    for url in (os.environ.get("PREFECT_API_URL"), None if kept is None else str(kept)):
        if url and not _is_here(httpx.URL(url).host):
            return url
    return None


def _is_here(host: str) -> bool:
    return is_loopback(host) or host in ("0.0.0.0", "::", *names_of_this_machine())


def _write(url: str, name: str, values: dict[Any, str]) -> None:
    """Change a profile, and note how it was."""
    path, profiles = undo.profiles_file(), load_profiles()
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    was = profiles[name].settings if name in profiles else {}
    old = {setting.name: None if was.get(setting) is None else str(was[setting]) for setting in values}
    profiles.update_profile(name, dict(values))
    undo.save(profiles)
    made = values.get(PREFECT_API_AUTH_STRING)
    undo.remember(url, name, old, before, None if made == old.get(PREFECT_API_AUTH_STRING.name) else made)
