"""Prefect's profile as it was: what each ``araflow up`` has changed there, to be taken back when its server is gone.

A note in Prefect's folder says it, since a process that is killed takes nothing back: the next command does. The note
also keeps the password that was made for our servers, so that browsers and workers need not be told another one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_PROFILES_PATH,
    ProfilesCollection,
    load_profiles,
    save_profiles,
    temporary_settings,
)

from flows.server import reach

log = logging.getLogger("araflow.flows")


class _Change(TypedDict):
    """A profile before and after a server's address was written there.

    Attributes:
        url: The server's API.
        profile: Name of the profile.
        old: What the profile had instead, by Prefect's names; ``None``: nothing.
        before: The file of profiles; ``None``: there was none.
        after: The same afterwards.
    """

    url: str
    profile: str
    old: dict[str, str | None]
    before: str | None
    after: str


class _Note(TypedDict):
    password: str | None
    changes: list[_Change]


def kept_password() -> str | None:
    """Return the password that was made for an earlier server of this user's."""
    return _read()["password"]


def profiles_file() -> Path:
    """Return Prefect's file of profiles, where a link to it leads."""
    return Path(PREFECT_PROFILES_PATH.value()).resolve()


def remember(url: str, profile: str, old: dict[str, str | None], before: str | None, made: str | None) -> None:
    """Note what was written for a server.

    Args:
        url: The server's API.
        profile: Name of the profile.
        old: What the profile had instead, by Prefect's names; ``None``: nothing.
        before: The file of profiles before; ``None``: there was none.
        made: The password, where araflow made it.

    Raises:
        OSError: The note cannot be written.
    """
    note = _read()
    if all(one["url"] != url for one in note["changes"]):  # else its server has run since then
        after = profiles_file().read_text(encoding="utf-8")
        note["changes"].append({"url": url, "profile": profile, "old": old, "before": before, "after": after})
    note["password"] = made or note["password"]
    _write(note)


def take_back() -> list[str]:
    """Take back what was written for servers that answer no more; return their addresses."""
    note = _read()
    gone = [one for one in note["changes"] if not reach.answers(one["url"])]
    try:
        for change in reversed(gone):
            later = note["changes"][note["changes"].index(change) + 1 :]
            if later:  # of another server, which runs: what that takes back later is this one's, too
                later[0].update({"before": change["before"], "old": change["old"]})
            else:
                _undo(change)
            note["changes"].remove(change)
        if gone:
            _write(note)
            log.info("Prefect's profile is as it was before araflow up")
    except OSError as error:
        log.warning("Prefect's profile cannot be put back as it was: %s", error)
    return [one["url"] for one in gone]


def _undo(change: _Change) -> None:
    path = profiles_file()
    if not path.is_file():
        return
    now = path.read_text(encoding="utf-8")
    if now != change["after"]:  # somebody has changed it since: only what is ours goes
        profiles, name = load_profiles(), change["profile"]
        if name in profiles and str(profiles[name].settings.get(PREFECT_API_URL)) == change["url"]:
            profiles.update_profile(name, dict[Any, Any](change["old"]))  # takes names as well
            save(profiles)
    elif change["before"] is None:
        path.unlink()
    else:
        _private(path, change["before"])


def save(profiles: ProfilesCollection) -> None:
    """Write the file of profiles.

    Raises:
        OSError: It cannot be written.
    """
    path = profiles_file()
    with _draft(path) as part, temporary_settings({PREFECT_PROFILES_PATH: part}):
        save_profiles(profiles)


def _private(path: Path, text: str) -> None:
    with _draft(path) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a file that gets a name when it is whole, and that nobody else could read for an instant."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    os.close(number)
    part = Path(name)
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _file() -> Path:
    return Path(PREFECT_HOME.value()) / "araflow.json"


def _read() -> _Note:
    """Read the note; where there is none, or none of ours, nothing is known."""
    try:
        note = json.loads(_file().read_text(encoding="utf-8"))
        if all(one.keys() == _Change.__annotations__.keys() for one in note["changes"]):
            return _Note(password=note["password"], changes=note["changes"])
        log.warning("%s: not as araflow writes it; another password is made", _file())
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: cannot be read (%s); another password is made", _file(), error)
    return _Note(password=None, changes=[])


def _write(note: _Note) -> None:
    _private(_file(), json.dumps(note, indent=1))
