"""What lies there already: believed by its receipt, checked where there is doubt, never overwritten by a guess."""

import hashlib
import json
import os
import shutil

import pytest
import unreadable
from ranged_server import BODY, HALF, SHA256, WHOLE, Served, answer, left

from araflow.acquire import fetch
from araflow.acquire.fetch import _receipts as receipts
from araflow.core.errors import FetchError

OTHER = BODY[:-1] + b"!"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


@pytest.fixture
def made(web, target):
    """A download, and no request counted."""
    web.files["/a"] = BODY
    made = fetch.download([web.url("/a")], target)
    web.requests.clear()
    return made


def receipt_file(target):
    return target.with_name("videos.zip.fetched.json")


@pytest.mark.parametrize("known", [{}, {"size": len(BODY)}, {"sha256": SHA256}, {"sha256": SHA256.upper()}])
def test_what_is_there_already_is_neither_fetched_nor_read(web, target, made, known):
    target.chmod(0)  # root may read it all the same, others may not
    lines = []
    assert fetch.download([web.url("/b")], target, report=lines.append, **known) == made
    assert web.requests == []
    assert lines == [f"{target} is there already"]
    assert fetch.receipt(target) == made


def test_the_receipt_says_where_the_file_came_from(web, target, made):
    values = json.loads(receipt_file(target).read_text())
    assert values == {
        "url": web.url("/a"),
        "size": len(BODY),
        "sha256": SHA256,
        "fetched": made.fetched,
        "mtime_ns": target.stat().st_mtime_ns,
    }
    assert made.fetched.endswith("+00:00")


def test_there_is_no_receipt_of_what_is_not_there(target, made):
    target.unlink()
    assert fetch.receipt(target) is None
    assert fetch.receipt(target.with_name("other.zip")) is None
    target.write_bytes(BODY)
    assert fetch.receipt(target).sha256 == SHA256
    target.write_bytes(OTHER)
    assert fetch.receipt(target) is None
    receipt_file(target).unlink()
    assert fetch.receipt(target) is None


def test_a_folder_that_was_copied_is_checked_once_and_then_believed(web, target, made, tmp_path):
    copy = tmp_path / "copy" / "videos.zip"
    shutil.copytree(target.parent, copy.parent, copy_function=shutil.copyfile)
    lines = []
    found = fetch.download([web.url("/b")], copy, report=lines.append)
    assert (found.path, found.url, found.fetched) == (copy, made.url, made.fetched)
    assert lines == [f"{copy}: 200.0 kB are there already; checking them"]
    fetch.download([web.url("/b")], copy, report=lines.append)
    assert lines[1:] == [f"{copy} is there already"]
    assert web.requests == []


def test_a_crash_between_the_name_and_the_receipt_is_healed(web, target, monkeypatch):
    web.files["/a"] = BODY

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(receipts, "write", crash)
        with pytest.raises(KeyboardInterrupt):
            fetch.download([web.url("/a")], target)
    assert left(target) == ["videos.zip", "videos.zip.part.json"]
    healed = fetch.download([web.url("/b")], target)
    assert (healed.url, healed.sha256) == (web.url("/a"), SHA256)
    assert receipt_file(target).is_file()
    assert web.requests == ["/a"]


@pytest.mark.parametrize("known", [{"size": len(BODY)}, {"sha256": SHA256}, {}], ids=["size", "digest", "kind"])
def test_a_wrong_file_that_araflow_did_not_download_stays_and_is_named(web, target, known):
    target.parent.mkdir()
    target.write_bytes(b"<html>old</html>")
    web.files["/a"] = BODY
    with pytest.raises(FetchError, match=r"videos\.zip: .*; araflow did not download it, so it stays as it is"):
        fetch.download([web.url("/a")], target, **known)
    assert target.read_bytes() == b"<html>old</html>"
    assert left(target) == ["videos.zip"]
    assert web.requests == []


@pytest.mark.parametrize("name", ["videos.zip.part", "videos.zip.part.json", "videos.zip"])
def test_nothing_is_downloaded_over_what_a_user_has_or_through_a_link(web, target, tmp_path, name):
    target.parent.mkdir()
    (tmp_path / "precious").write_bytes(b"mine")
    target.with_name(name).symlink_to(tmp_path / "precious")
    web.files["/a"] = BODY
    with pytest.raises(FetchError, match="so it stays as it is"):
        fetch.download([web.url("/a")], target, sha256=SHA256)
    assert (tmp_path / "precious").read_bytes() == b"mine" and target.with_name(name).is_symlink()


def test_a_half_made_file_of_another_program_stays(web, target):
    target.parent.mkdir()
    target.with_name("videos.zip.part").write_bytes(BODY[:99])
    web.files["/a"] = BODY
    with pytest.raises(FetchError, match=r"videos\.zip\.part: is not what araflow has begun to download"):
        fetch.download([web.url("/a")], target, sha256=SHA256)
    assert target.with_name("videos.zip.part").read_bytes() == BODY[:99]


def test_a_wrong_file_is_replaced_only_by_the_right_one(web, target, made):
    target.write_bytes(OTHER)
    web.files |= {"/a": answer(404), "/b": BODY}
    lines = []
    with pytest.raises(FetchError):
        fetch.download([web.url("/a")], target, report=lines.append)
    assert target.read_bytes() == OTHER
    assert lines[1].endswith("it is fetched anew")
    assert "checking" not in "".join(lines[2:])  # not twice
    fetch.download([web.url("/b")], target)
    assert target.read_bytes() == BODY
    assert left(target) == WHOLE


def test_a_file_that_was_damaged_later_is_fetched_anew(web, target, made):
    with target.open("r+b") as file:
        file.seek(1000)
        file.write(b"damaged")
    os.utime(target, ns=(0, 0))
    assert fetch.download([web.url("/a")], target).sha256 == SHA256
    assert target.read_bytes() == BODY
    assert web.requests == ["/a"]


def test_a_digest_that_is_known_counts_more_than_the_receipt(web, target, made):
    web.files["/a"] = OTHER
    fetch.download([web.url("/a")], target, sha256=hashlib.sha256(OTHER).hexdigest())
    assert target.read_bytes() == OTHER


@pytest.mark.parametrize("body", [OTHER, BODY + b"more"], ids=["digest", "length"])
def test_the_first_download_is_trusted_and_a_later_one_must_be_the_same(web, target, made, body):
    target.unlink()
    web.files["/a"] = body
    with pytest.raises(FetchError, match=r"fetched\.json says of an earlier download; delete that file to accept"):
        fetch.download([web.url("/a")], target)
    assert not target.exists()
    receipt_file(target).unlink()
    assert fetch.download([web.url("/a")], target).path.read_bytes() == body


@pytest.mark.parametrize("there", [True, False], ids=["with the file", "without it"])
@pytest.mark.parametrize("damage", unreadable.WAYS, ids=lambda way: way.__name__)
def test_a_receipt_that_cannot_be_read_is_an_error_since_its_digest_is_what_a_download_must_have(
    web, target, made, damage, there
):
    damage(receipt_file(target))
    before = unreadable.content(receipt_file(target))
    if not there:
        target.unlink()
    web.files["/a"] = OTHER
    for ask in (lambda: fetch.download([web.url("/a")], target), lambda: fetch.receipt(target)):
        with pytest.raises(FetchError, match=r"fetched\.json: cannot be read"):
            ask()
    assert unreadable.content(receipt_file(target)) == before
    assert web.requests == []
    assert target.is_file() == there


@pytest.mark.parametrize("wrong", [{"size": "7"}, {"sha256": None}, {"url": 1}, {"mtime_ns": []}])
def test_a_receipt_of_another_type_is_an_error_too(web, target, made, wrong):
    receipt_file(target).write_text(json.dumps(json.loads(receipt_file(target).read_text()) | wrong))
    with pytest.raises(FetchError, match=rf"fetched\.json: cannot be read: {next(iter(wrong))}: .*; delete it to"):
        fetch.download([web.url("/b")], target)
    receipt_file(target).unlink()
    assert fetch.download([web.url("/b")], target).sha256 == SHA256


def test_what_a_later_version_writes_into_a_receipt_is_kept(web, target, made):
    receipt_file(target).write_text(json.dumps(json.loads(receipt_file(target).read_text()) | {"later": 1}))
    os.utime(target, ns=(0, 0))
    assert fetch.download([web.url("/b")], target).url == made.url
    assert json.loads(receipt_file(target).read_text())["later"] == 1


def test_a_bad_digest_on_the_first_mirror_leads_to_the_next_and_costs_its_bytes(web, target):
    web.files |= {"/a": (bad := Served(OTHER)), "/b": (good := Served())}
    lines = []
    fetch.download([web.url("/a"), web.url("/b")], target, sha256=SHA256, report=lines.append)
    assert target.read_bytes() == BODY
    assert bad.asked() == good.asked() == [None]
    assert any("has sha256" in line and f"expected {SHA256}" in line for line in lines)


def test_what_a_bad_mirror_began_does_not_spoil_the_good_one(web, target):
    web.files |= {"/a": Served(OTHER, ranges=False, cuts=[100_000] + [0] * 9), "/b": (good := Served())}
    fetch.download([web.url("/a"), web.url("/b")], target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert good.asked() == ["bytes=100000-"]  # the first 100,000 are the same; the digest says so in the end
    target.unlink()
    web.files |= {
        "/a": Served(b"PK\x03\x04" + OTHER[::-1], ranges=False, cuts=[100_000] + [0] * 9),
        "/b": (good := Served()),
    }
    fetch.download([web.url("/a"), web.url("/b")], target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert good.asked() == ["bytes=100000-", None]


def test_half_a_file_lies_there_only_under_the_parts_name(web, target):
    web.files["/a"] = answer(body=BODY[:1000], length=len(BODY))
    with pytest.raises(FetchError):
        fetch.download([web.url("/a")], target)
    assert left(target) == HALF
    assert fetch.receipt(target) is None
