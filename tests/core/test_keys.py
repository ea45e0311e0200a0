"""Which names may become paths."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.errors import OutputError
from araflow.core.keys import shown, why_not
from araflow.store.layout import clip_name

GOOD = [
    "a",
    "a/1",
    "walk/film 1",
    "...",
    "..a/b",
    "a/...b",
    "é" * 512,
    "a" * 1024,
    "a\\b",
    "a\n/b",
    "/".join(["a" * 250] * 4),
]
BAD = [
    *("", ".", "..", "/", "/abs/x", "a/", "a//b", "a/./b", "a/../b", "../../x", "a/..", "\0", "a\0b"),
    *("a" * 1025, "é" * 513, "/".join(["a" * 250] * 5), "\udce9", ".araflow/work", "a/.araflow.json", "a/.araflow/b"),
]


@pytest.mark.parametrize("key", GOOD)
def test_a_relative_path_is_a_key(key: str):
    assert why_not(key) is None
    assert clip_name(key) == f"clips/{key}"


@pytest.mark.parametrize("key", BAD, ids=repr)
def test_what_leads_elsewhere_is_none_and_no_path_is_made_of_it(key: str):
    assert why_not(key)
    with pytest.raises(OutputError) as refused:
        clip_name(key)
    assert shown(key) in str(refused.value)
    assert len(str(refused.value)) < 300


@given(st.text(st.sampled_from("a./\0é\\~"), max_size=8))
def test_whatever_is_a_key_lies_below_the_folder_under_a_name_of_its_own(key: str):
    if why_not(key) is None:
        assert Path("/out/clips", key).is_relative_to("/out/clips/")
        assert os.path.normpath(f"/out/clips/{key}") == f"/out/clips/{key}" != "/out/clips"
