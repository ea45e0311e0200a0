"""Addresses without what may be secret in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.addresses import is_masked, lasting, masked, masked_in

MASKED = {
    "https://user:S3CRET@host/a/b.zip?token=S3CRET#S3CRET": "https://…@host/a/b.zip?…#…",
    "https://S3CRET@host/x": "https://…@host/x",  # a token alone is as good as a password
    "http://user:S3CR/E?T#S3CRET@host:80/x": "http://…@host:80/x",  # not written as an address demands
    "HTTP://u:S3CRET@[::1]:80/x": "HTTP://…@[::1]:80/x",
    "http://u:S3 CRET@host/x": "http://…@host/x",
    "http:/u:S3CRET@host/x?S3CRET": "http:/…@host/x?…",  # what pathlib leaves of it
    "http://host/a;sig=S3CRET/b": "http://host/a;…/b",
    "s3://KEY:S3CRET@bucket/x": "s3://…@bucket/x",
    "socks5://u:S3CRET@proxy:1080": "socks5://…@proxy:1080",
    "postgresql+asyncpg://prefect:S3CRET@db/prefect": "postgresql+asyncpg://…@db/prefect",
    "tls://u:S3CRET@head:8786": "tls://…@head:8786",
    "https://drive.google.com/uc?export=download&id=1&resourcekey=S3CRET": "https://drive.google.com/uc?…",
}
KEPT = [
    *("", "walk", "/data/x?y#z@w", "data/a:b@c", "http://host:8080/x@2.zip", "http://host/", "tcp://head:8786"),
    "https://drive.google.com/uc?export=download&id=17anw5Oxp7lmp9cMwXPOyOpL5olDLmPpj",  # a file for everybody
]


@pytest.mark.parametrize("address", MASKED)
def test_what_may_be_secret_leaves_a_mark(address):
    assert masked(address) == MASKED[address] == masked(masked(address))
    assert is_masked(masked(address))
    assert not is_masked(address)
    assert masked_in(f"wrong: {address}: answered 404 ('{address}').") == (
        f"wrong: {MASKED[address]}: answered 404 ('{MASKED[address]}')."
    )


@pytest.mark.parametrize("address", KEPT)
def test_what_is_not_secret_stays(address):
    assert masked(address) == masked_in(address) == address
    assert not is_masked(address)
    assert lasting(address) == address


def test_where_in_a_page_is_no_secret():
    assert (
        masked("https://docs.prefect.io/v3/server#how-to-guides") == "https://docs.prefect.io/v3/server#how-to-guides"
    )


@given(
    user=st.text(st.characters(exclude_characters="/?#", exclude_categories=["C", "Z"]), min_size=1),
    name=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=9),
)
def test_no_user_and_no_query_is_ever_shown(user, name):
    shown = masked(f"https://{user}:{user}S3CRET@example.org/a/b.zip?x=1&{name}=S3CRET")
    assert "S3CRET" not in shown
    assert "…" in shown


@pytest.mark.parametrize(
    "other",
    [
        *("http://u:p@h/x.zip?f=1", "http://h/x.zip?f=1#p", "http://h/x.zip?token=1&f=1", "http://h/x.zip?f=1&sig=ab"),
        "http://h/x.zip?X-Amz-Date=1&X-Amz-Signature=2&f=1&Expires=3&AWSAccessKeyId=4&Key-Pair-Id=5&se=6&api_key=7",
    ],
)
def test_an_address_with_another_secret_is_the_same(other):
    assert lasting(other) == lasting("http://h/x.zip?f=1") == "http://h/x.zip?f=1"


@pytest.mark.parametrize("other", ["http://h/x.zip?f=2", "http://h/x.zip?f=1&key=b.zip", "http://h/y.zip?f=1"])
def test_an_address_of_another_file_is_another(other):
    assert lasting(other) != lasting("http://h/x.zip?f=1")
