"""Tell what this user's araflow has written from what came with a folder: a digest under a key that nobody else has."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from araflow.core import resources

_BYTES = 32


def sign(content: bytes) -> str | None:
    """Return the signature of what is about to be written; ``None`` where the user's folder can keep no key."""
    key = _key() or _new_key()
    return None if key is None else _digest(key, content)


def is_own(content: bytes, signature: object) -> bool:
    """Whether this user's araflow has signed the content, on this machine or another with the same key."""
    key = _key()
    if key is None or not isinstance(signature, str) or not signature.isascii():
        return False
    return hmac.compare_digest(_digest(key, content), signature)


def _digest(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _file() -> Path:
    return resources.state_folder() / "signature.key"


def _key() -> bytes | None:
    """Return the key; ``None`` where there is none that only this user can read."""
    try:
        handle = os.open(_file(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, RuntimeError):  # no such file, or no home
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        key = os.read(handle, _BYTES + 1)
    finally:
        os.close(handle)
    return key if len(key) == _BYTES else None


def _new_key() -> bytes | None:
    """Make a key. Of several processes that do so at once, the first one's counts."""
    with contextlib.suppress(OSError, RuntimeError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(secrets.token_bytes(_BYTES))
            os.link(draft, file)
        finally:
            draft.unlink()
    return _key()
