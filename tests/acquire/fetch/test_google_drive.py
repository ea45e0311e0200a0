"""Google Drive's confirm page. The tests reach the real host names through a proxy on this machine."""

import pytest
from ranged_server import BODY, SHA256, WHOLE, Served, answer, in_turn, left

from araflow.acquire import fetch
from araflow.acquire.fetch import _google_drive as google_drive
from araflow.core.errors import FetchError

START = "http://drive.google.com/uc?export=download&id=17an"
CONFIRMED = "http://drive.usercontent.google.com/download?id=17an&export=download&confirm=t&uuid=1-2%263"
PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="search" action="/other"><input type="hidden" name="q" value="no"></form>
<p>hmdb51_org.rar (2.0G) is too large for Google to scan for viruses.</p>
<form id="download-form" action="{action}" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="17an"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="1-2&amp;3"></form>
<input name="behind" value="no"></body></html>"""
QUOTA = "<html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry</body></html>"


def page(text: str = PAGE, status: int = 200, action: str = "http://drive.usercontent.google.com/download"):
    return answer(status, text.replace("{action}", action).encode(), "text/html; charset=utf-8")


@pytest.fixture(autouse=True)
def _proxy(web, monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", web.url(""))


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


def test_the_confirm_page_is_confirmed_and_the_receipt_names_the_first_address(web, target):
    web.files |= {START: page(), CONFIRMED: Served()}
    assert fetch.download([START], target, sha256=SHA256).url == START
    assert web.requests == [START, CONFIRMED]
    assert left(target) == WHOLE


def test_a_small_file_comes_without_a_page(web, target):
    web.files[START] = Served()
    assert fetch.download([START], target).sha256 == SHA256


def test_a_download_behind_the_confirm_page_resumes(web, target):
    web.files |= {START: page(), CONFIRMED: (served := Served(cuts=[100_000], etag=None))}
    fetch.download([START], target)
    assert target.read_bytes() == BODY
    assert served.asked() == [None, "bytes=100000-"]
    assert served.requests[1]["if-range"] == served.modified
    assert web.requests == [START, CONFIRMED] * 2


def test_cookies_of_the_confirm_page_come_back(web, target):
    with_cookie = in_turn(
        answer(
            200,
            PAGE.replace("{action}", CONFIRMED.partition("?")[0]).encode(),
            "text/html",
            Set_Cookie="NID=7; domain=.google.com; path=/",
        )
    )
    web.files |= {START: with_cookie, CONFIRMED: (served := Served())}
    fetch.download([START], target)
    assert served.requests[0]["cookie"] == "NID=7"


@pytest.mark.parametrize("status", [200, 403, 429])
def test_a_quota_that_is_used_up_is_said_and_the_next_mirror_is_taken(web, target, status):
    web.files |= {START: page(), CONFIRMED: page(QUOTA, status), "http://mirror.invalid/a": BODY}
    lines = []
    fetch.download([START, "http://mirror.invalid/a"], target, report=lines.append)
    assert "Google Drive's quota for this file is used up" in lines[0]
    assert web.requests == [START, CONFIRMED, "http://mirror.invalid/a"]


def test_a_page_that_asks_again_is_not_asked_for_ever(web, target):
    web.files |= {START: page(), CONFIRMED: page()}
    with pytest.raises(FetchError, match="asks for confirmation again and again"):
        fetch.download([START], target)
    assert web.requests == [START, CONFIRMED]


def test_a_page_without_the_form_is_a_dead_link(web, target):
    web.files[START] = page("<html>Sign in</html>")
    with pytest.raises(FetchError, match="web page instead of the file"):
        fetch.download([START], target)


def test_other_hosts_forms_are_not_followed(web, target):
    web.files |= {"http://mirror.invalid/a": page(), CONFIRMED: BODY}
    with pytest.raises(FetchError, match="web page"):
        fetch.download(["http://mirror.invalid/a"], target)
    assert web.requests == ["http://mirror.invalid/a"]


@pytest.mark.parametrize(
    ("address", "action", "expected"),
    [
        ("https://drive.google.com/uc", "https://drive.usercontent.google.com/download", "https://drive.usercontent"),
        ("https://drive.google.com/uc", "/download", "https://drive.google.com/download?id=17an&export="),
        ("https://drive.google.com/uc", "/uc?a=1", "https://drive.google.com/uc?a=1&id=17an&export="),
        ("http://drive.google.com/uc", "https://docs.google.com/x", "https://docs.google.com/x?id=17an"),
        ("https://drive.google.com/uc", "http://drive.usercontent.google.com/download", None),
        ("https://drive.google.com/uc", "https://example.org/download", None),
        ("https://drive.google.com/uc", "https://drive.google.com.example.org/download", None),
        ("https://drive.google.com/uc", "javascript:alert(1)", None),
        ("https://drive.google.com/uc", "", None),
    ],
)
def test_the_form_leads_to_google_drive_alone_and_never_down_to_http(address, action, expected):
    found = google_drive.confirmed_address(PAGE.replace("{action}", action), address)
    assert found is None if expected is None else found.startswith(expected)
    assert found is None or found.endswith("&confirm=t&uuid=1-2%263")
