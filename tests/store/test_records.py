"""A clip's record is data from elsewhere: what is no valid record of this clip counts as none."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from araflow.core.clip import ClipRecord, Outcome
from araflow.store.layout import encode, parse_proof, parse_unmade, record_name

KEY = "walk/one"
PROOF = ClipRecord(
    KEY,
    Outcome.DONE,
    "complete",
    source_bytes=10,
    source_sha256="ab" * 32,
    width=320,
    height=240,
    fps=25.0,
    frames=3,
    flows=2,
    rgb_bytes=30,
    flow_bytes=20,
    quantizer="max_radius",
    radii=(1.5, 2.0),
    fingerprint="c26b08b793e5a75c",
)
"""As an older araflow wrote it: without any digest."""
UNMADE = dataclasses.replace(PROOF, outcome=Outcome.FAILED, reason="io-error: gone", radii=None)
NEW = dataclasses.replace(PROOF, rgb_sha256="cd" * 32, flow_sha256="ef" * 32)


def old(record: ClipRecord, **edits: object) -> bytes:
    """A record as it was kept before it had a digest of itself."""
    fields: dict[str, Any] = {**record.to_json(), **edits}
    del fields["record_sha256"]
    return json.dumps(fields).encode()


def test_records_come_back_as_they_were_kept():
    assert parse_proof(encode(NEW), KEY) == NEW
    assert parse_unmade(encode(UNMADE), record_name(KEY)) == UNMADE
    assert parse_proof(old(PROOF), KEY) == PROOF
    assert parse_unmade(old(UNMADE), record_name(KEY)) == UNMADE


WRONG = [
    *(
        {name: value}
        for name in ("width", "frames", "rgb_bytes", "source_bytes")
        for value in ("abc", -1, 1.5, 1 << 63)
    ),
    *({name: value} for name in ("key", "outcome", "reason") for value in (None, 1, [], "")),
    *(
        {name: value}
        for name in ("fps", "bound", "saturated")
        for value in (float("nan"), float("inf"), -1.0, "1", True)
    ),
    *({"radii": value} for value in ("ab", [1.5], [1.5, None], [1.5, -2.0], [1e39, 1e39], None)),
    *({name: None} for name in ("width", "frames", "flow_bytes", "source_sha256", "fingerprint")),
    *({"source_sha256": value} for value in ("abc", "AB" * 32, "ab" * 32 + "\n", 5)),
    *({"software": "\ud800"}, {"frames": True}, {"flows": 3}, {"width": 1 << 31}, {"saturated": 1.5}),
    *({"outcome": outcome} for outcome in ("failed", "quarantined", "lost")),
    {"key": "run/one"},
    {"colour": "blue"},
]


@pytest.mark.parametrize("edit", WRONG, ids=str)
def test_what_is_no_valid_proof_of_this_clip_is_none(edit: dict[str, object]):
    assert parse_proof(old(PROOF, **edit), KEY) is None


@pytest.mark.parametrize("edit", [{"outcome": "done"}, {"reason": "because"}, {"key": "run/one"}, {"reason": None}])
def test_what_is_no_valid_record_of_a_clip_that_was_not_made_is_none(edit: dict[str, object]):
    assert parse_unmade(old(UNMADE, **edit), record_name(KEY)) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 200_000, b"null", b'"text"', b"\xff", encode(NEW)[:-9], b"[1]"],
    ids=lambda content: f"{content[:5]!r}",
)
def test_what_is_no_json_object_is_none(content: bytes):
    assert parse_proof(content, KEY) is None
    assert parse_unmade(content, record_name(KEY)) is None


@given(st.sampled_from(sorted(NEW.to_json().keys() - {"record_sha256"})), st.data())
@settings(max_examples=60, deadline=None)
def test_a_record_that_was_edited_is_none(name: str, data: st.DataObject):
    fields = NEW.to_json()
    others = {"width": 321, "fps": 26.0, "reason": "complete: x", "radii": [2.0, 1.5], "software": "x"}
    value = data.draw(st.sampled_from([None, 0, 2, "x", *others.values()]).filter(lambda one: one != fields[name]))
    assert parse_proof(json.dumps({**fields, name: value}).encode(), KEY) is None
    fields.pop("record_sha256")
    assert parse_proof(json.dumps(fields).encode(), KEY) is None, "its own digest cannot be left out"
