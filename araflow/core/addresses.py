"""Addresses without what may be secret in them: users and passwords, queries, fragments.

A signature, a token or a key may stand under any name in a query, so none of it is shown or written down. What is left
out leaves a mark, so that an address that is only what was kept of one is never asked.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

MARK = "…"
"""Stands for what was left out."""
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_SHORT = "|".join(
    rf"(?<={scheme}):/" for scheme in ("http", "https", "ftp", "ftps", "sftp", "s3", "s3a", "gs", "tcp", "tls")
)
"""What ``pathlib`` leaves of the beginning of an address."""
_IN_TEXT = re.compile(
    rf"(?:(?<=[\w+.-])://|{_SHORT})/?"
    r"(?:[^\s/?#\"]*@|[^\s/?#@\":]{1,99}:(?!\d)[^/?#\"\n]{1,99}@)?[^\s\"'<>|`{}\\]+",
    re.IGNORECASE,
)
"""All of an address but its scheme."""
_PARTS = re.compile(
    rf"(?P<scheme>{_SCHEME}:/{{1,3}})"
    # A password's / or ? or # ought to have been written as %2F, %3F, %23: what follows the colon is no port, however.
    r"(?P<user>[^/?#]*@|(?!\[)[^/?#@:]*:(?!\d*(?:[/?#]|$)).*@)?"
    r"(?P<place>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_FILE = re.compile(r"file:(?://(?:localhost)?)?(/(?!/).*)", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r";[^/;=]*=[^/;]*")
_PUBLIC = re.compile(r"\?((export=download|id=[\w-]+)(&|$))+", re.IGNORECASE)
"""How Google Drive names a file that anybody may have."""
_HEADING = re.compile(r"#[a-z]+(-[a-z]+)+")
"""Where in a page of documentation."""
_DRIVE = ("drive.google.com/", "drive.usercontent.google.com/")
_SECRET = re.compile(
    r"(x-(amz|goog|oss|cos|ms|obs)-.*|.*(token|sig|signature|secret|passw(or)?d|pwd|auth|credential|hmac|ticket).*"
    r"|.*(api|access|account|private|aws|google|ossaccess|account).*(key|id)|key-pair-id|policy|expir(y|es|ation)|"
    r"se|st|sp|sv|sr|spr|sip|ske|sks|skt|skv|skoid|sktid)",
    re.IGNORECASE,
)
"""Names in a query that say nothing of which file is meant. Those of two letters are a shared access signature's."""
_PERHAPS = re.compile(r"key|code|session|nonce|e|t|ts|exp|timestamp|date", re.IGNORECASE)
"""Names that mostly do, unless the value is a file's name."""


def local(text: str) -> str:
    """Return the path that an address such as ``file:///data`` names on this machine; other text as it is."""
    found = _FILE.fullmatch(text)
    return text if found is None or "\0" in (path := unquote(found[1])) else path


def masked(address: str) -> str:
    """Return an address as it may be shown and kept; any other text as it is.

    Args:
        address: All of it, such as ``https://user:password@host/file.zip?token=1``, of which
            ``https://…@host/file.zip?…`` is returned.
    """
    parts = _PARTS.fullmatch(address)
    if parts is None:
        return address
    place, query, fragment = parts["place"], parts["query"] or "", parts["fragment"] or ""
    if len(query) > 1 and not (place.lower().startswith(_DRIVE) and _PUBLIC.fullmatch(query)):
        query = f"?{MARK}"
    return "".join(
        [
            parts["scheme"],
            f"{MARK}@" if parts["user"] else "",
            _PARAMETER.sub(f";{MARK}", place),
            query,
            f"#{MARK}" if len(fragment) > 1 and not _HEADING.fullmatch(fragment) else fragment,
        ]
    )


def masked_in(text: str) -> str:
    """Return a text with each address in it as it may be shown."""
    if ":/" not in text:
        return text

    def mask(found: re.Match[str]) -> str:
        address = found[0].rstrip(".,:;)]")
        return masked(f"x{address}")[1:] + found[0][len(address) :]

    return _IN_TEXT.sub(mask, text)


def masked_all(value: Any) -> Any:  # noqa: ANN401 - what JSON can say
    """Return a value with each address in it as it may be shown; ``dotted.key=address`` is one, too."""
    if isinstance(value, dict):
        return {name: masked_all(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked_all(one) for one in value]
    if not isinstance(value, str):
        return value
    key, equals, rest = value.partition("=")
    return masked_in(masked(value) if "://" in key else key + equals + masked(rest))


def is_masked(address: str) -> bool:
    """Whether something was left out of an address, so that it cannot be asked."""
    return _PARTS.fullmatch(address) is not None and re.search(f"/{MARK}@|[?#;]{MARK}", address) is not None


def check_open(address: str) -> None:
    """Refuse an address of an output that holds a password or a key: every message names an output, and every record.

    Raises:
        ValueError: It holds one.
    """
    parts = _PARTS.fullmatch(address)
    user = (parts["user"] or "") if parts else ""
    if ":" in user or (user and address.lower().startswith("s3")):
        raise ValueError(
            "a password or key does not belong into an output's address, which is written and shown; the environment "
            "has it: AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_<PROTOCOL>_PASSWORD"
        )


def lasting(address: str) -> str:
    """Return what stays the same of an address when its user, password, signature or token is another one.

    For telling sources apart, not for showing: what is left of a query may be secret all the same.
    """
    if (parts := _PARTS.fullmatch(address)) is None:
        return address
    kept = [pair for pair in (parts["query"] or "")[1:].split("&") if not _passes(pair)]
    return parts["scheme"] + parts["place"] + (f"?{'&'.join(kept)}" if any(kept) else "")


def _passes(pair: str) -> bool:
    name, _, value = pair.partition("=")
    if _SECRET.fullmatch(name):
        return True
    return _PERHAPS.fullmatch(name) is not None and re.search(r"[./]", unquote(value)) is None
