"""Google Drive's page between an address and a big file: "cannot be scanned for viruses, download anyway?".

The page holds a form (``download-form``) whose hidden inputs, sent to the form's address, yield the file. A file that
too many people fetched lately yields a page about its quota instead.
"""

from __future__ import annotations

import html.parser
from urllib.parse import urlencode, urljoin, urlsplit

HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
"""Hosts whose web pages are read as this module does."""
_QUOTA = ("quota exceeded", "too many users have viewed or downloaded this file")


class _Form(html.parser.HTMLParser):
    """Finds the form ``download-form``: where it leads, and its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form" and values.get("id") == "download-form":
            self._inside, self.action = True, values.get("action")
        elif tag == "input" and self._inside and (name := values.get("name")):
            self.fields[name] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def confirmed_address(page: str, address: str) -> str | None:
    """Return the address that the page's form leads to, or ``None`` where it holds no such form.

    Args:
        page: The web page's text.
        address: Where it came from. A form that leads to a host which is not Google Drive's, or from https down to
            http, is none.
    """
    form = _Form()
    form.feed(page)
    if not form.action or not form.fields:
        return None
    target = urljoin(address, form.action)
    scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    if host not in HOSTS or scheme not in {"https", urlsplit(address).scheme}:
        return None
    return f"{target}{'&' if urlsplit(target).query else '?'}{urlencode(form.fields)}"


def refusal(page: str) -> str | None:
    """Return why the page stands where the file should be, for a person; ``None`` where it does not say."""
    if any(sign in page.lower() for sign in _QUOTA):
        return (
            "Google Drive's quota for this file is used up, as too many people fetched it lately: try again tomorrow, "
            "take another mirror, or fetch it in a browser and pass the file with --from"
        )
    return None
