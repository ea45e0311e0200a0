"""Take back that a clip is made, where its files are not those that were written."""

from __future__ import annotations

import logging

from araflow.store import checks
from araflow.store.store import Known, Store

log = logging.getLogger(__name__)


def look(store: Store, key: str, fingerprint: str, *, verify: bool) -> Known:
    """Return what is known of a clip, as ``Store.look`` does.

    Args:
        store: The output.
        key: The clip's key.
        fingerprint: The settings that were asked for.
        verify: Read every byte of what is made. If it is damaged, the clip no longer counts as made.

    Raises:
        OutputError: What is there cannot be read, or the proof not be withdrawn.
    """
    found = store.look(key, fingerprint)
    if not verify or found.made is None or not (problems := checks.damage(store.place, found.made)):
        return found
    text = "%s: %s; it no longer counts as made, and is made anew if its source is there"
    log.warning(text, key, problems[0], extra={"clip": key})
    store.withdraw(found.made)
    return store.look(key, fingerprint)
