"""Downloads that are cut, stalled, lied to, killed: each goes on to the right bytes, or says what is wrong."""

import hashlib
import random
import signal
import time

import pytest
from ranged_server import BODY, HALF, SHA256, TUESDAY, WHOLE, Served, answer, half, in_turn, left, one_attempt, start

from araflow.acquire import fetch
from araflow.core.errors import FetchError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


@pytest.mark.parametrize("seed", range(50))
def test_a_download_that_is_cut_anywhere_any_number_of_times_ends_with_the_right_bytes(web, target, seed, monkeypatch):
    chance = random.Random(seed)
    # Cut behind the first bytes, which are looked at before anything is kept; negative is a reset instead of an end.
    served = Served(cuts=[chance.choice((1, -1)) * chance.randrange(600, 40_000) for _ in range(chance.randint(1, 4))])
    cuts = len(served.cuts)
    known = {"sha256": SHA256} if seed % 2 else {}
    if seed % 4 == 1:  # what the digest proves in the end needs no header
        served.etag = served.modified = None
    web.files["/a"] = served
    seen, runs = [], 0
    if seed % 3 == 0:  # a new run for each cut, instead of new attempts within one
        one_attempt(monkeypatch)
    while not target.exists():
        runs += 1
        try:
            made = fetch.download([web.url("/a")], target, **known, progress=lambda *args: seen.append(args))
        except FetchError as error:
            assert "the same command resumes" in str(error)
    assert runs == (cuts + 1 if seed % 3 == 0 else 1)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == made.sha256 == SHA256
    assert left(target) == WHOLE
    assert served.asked()[0] is None
    starts = [int(asked[6:-1]) for asked in served.asked()[1:] if asked]
    assert starts == sorted(starts)
    assert served.sent < len(BODY) + 200_000 * (cuts - len(starts)) + 65_536 * cuts  # what a reset drops is sent again
    assert seen[-1] == ("videos.zip", len(BODY), len(BODY))


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("sha256", ["", SHA256], ids=["trusted", "known"])
def test_a_process_that_is_killed_anywhere_leaves_what_the_next_one_carries_on(web, target, sha256):
    chance, part = random.Random(7), target.with_name("videos.zip.part")
    web.files["/a"] = served = Served(pause=0.01)
    for limit in sorted(chance.randrange(1000, 150_000) for _ in range(2)):
        process = start(web, target, sha256)
        wait_for(lambda limit=limit: part.is_file() and part.stat().st_size >= limit)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not target.exists()
    before = part.stat().st_size
    fetch.download([web.url("/a")], target, sha256=sha256 or None)
    assert target.read_bytes() == BODY
    assert served.asked()[-1] == f"bytes={before}-"
    assert served.requests[-1]["if-range"] == '"one"'
    assert left(target) == WHOLE


def test_a_digest_that_is_known_and_right_already_needs_no_network(web, target, monkeypatch):
    half(web, target, monkeypatch, Served(), sha256=SHA256)
    target.with_name("videos.zip.part").write_bytes(BODY)  # as if the process died before the file got its name
    made = fetch.download([web.url("/gone")], target, sha256=SHA256)
    assert (made.path.read_bytes(), made.url, web.requests) == (BODY, web.url("/a"), ["/a"])


def test_an_interrupt_passes_at_once_and_what_arrived_is_carried_on(web, target):
    web.files["/a"] = served = Served(pause=0.001)

    def interrupt(name, done, total):
        if done > 50_000:
            raise KeyboardInterrupt

    lines = []
    with pytest.raises(KeyboardInterrupt):
        fetch.download([web.url("/a")], target, report=lines.append, progress=interrupt)
    kept = target.with_name("videos.zip.part").stat().st_size
    assert lines[-1].startswith(f"videos.zip: interrupted; {kept:,} bytes are kept in ")
    fetch.download([web.url("/a")], target, report=lines.append)
    assert target.read_bytes() == BODY
    assert served.asked() == [None, f"bytes={kept}-"]
    assert f"resumed at {kept / 1e3:.1f} kB" in "".join(lines)


@pytest.mark.parametrize(
    ("etag", "modified", "if_range"),
    [('"one"', None, '"one"'), ('W/"one"', "Mon, 05 Jan 2026 10:00:00 GMT", "Mon, 05 Jan 2026 10:00:00 GMT")],
    ids=["strong", "weak"],
)
def test_the_rest_is_asked_for_only_if_it_is_of_the_same_file(web, target, monkeypatch, etag, modified, if_range):
    served = Served(etag=etag, modified=modified)
    half(web, target, monkeypatch, served)
    fetch.download([web.url("/a")], target)
    assert served.requests[1]["if-range"] == if_range
    assert served.asked()[1] == "bytes=100000-"
    assert target.read_bytes() == BODY


def test_a_weak_etag_alone_proves_nothing_so_all_is_fetched_again(web, target, monkeypatch):
    served = Served(etag='W/"one"', modified=None)
    half(web, target, monkeypatch, served)
    fetch.download([web.url("/a")], target)
    assert served.asked() == [None, None]
    assert target.read_bytes() == BODY


OTHER = BODY[:50] + bytes(1000) + BODY[1050:]


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range is obeyed", "If-Range is ignored"])
@pytest.mark.parametrize(
    ("body", "known"),
    [(OTHER, {}), (OTHER, {"sha256": hashlib.sha256(OTHER).hexdigest()}), (OTHER + b"longer", {})],
    ids=["trusted", "known", "longer"],
)
def test_a_file_that_changed_in_between_is_fetched_from_the_start(web, target, monkeypatch, obeys, body, known):
    served = Served()
    half(web, target, monkeypatch, served, **known)
    served.body, served.etag, served.modified = body, '"two"', TUESDAY
    if not obeys:
        honest = served
        web.files["/a"] = lambda handler: (handler.headers.__delitem__("If-Range"), honest(handler))
    lines = []
    fetch.download([web.url("/a")], target, report=lines.append, **known)
    assert target.read_bytes() == served.body
    assert any("starting over" in line for line in lines) == (not obeys)


def test_another_length_is_another_file_whatever_its_etag(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served)
    served.body = OTHER + b"longer"
    fetch.download([web.url("/a")], target)
    assert target.read_bytes() == OTHER + b"longer"
    assert served.asked() == [None, "bytes=100000-", None]


def test_a_file_that_changed_between_two_attempts_unnoticed_is_found_by_its_digest(web, target):
    before, after = (
        Served(body, etag=None, modified=None, cuts=cuts) for body, cuts in ((BODY, [100_000]), (OTHER, []))
    )
    web.files["/a"] = in_turn(before, after)
    fetch.download([web.url("/a")], target, sha256=hashlib.sha256(OTHER).hexdigest())
    assert target.read_bytes() == OTHER
    assert after.asked() == ["bytes=100000-", None]


@pytest.mark.parametrize("lie", ["bytes 0-{last}/{all}", "bytes 99999-{last}/{all}", "bytes 100000-{last}/7", "octets"])
def test_a_server_that_answers_with_other_bytes_than_it_was_asked_for_is_asked_for_all(web, target, monkeypatch, lie):
    served = Served(content_range=lie.format(last=len(BODY) - 1, all=len(BODY)))
    half(web, target, monkeypatch, served)
    fetch.download([web.url("/a")], target)
    assert served.asked() == [None, "bytes=100000-", None]
    assert target.read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(web, target, monkeypatch):
    served = Served(ranges=False)
    half(web, target, monkeypatch, served)
    fetch.download([web.url("/a")], target)
    assert target.read_bytes() == BODY
    assert served.sent == len(BODY) + 100_000


def test_a_part_that_is_whole_already_is_taken_when_the_server_has_nothing_behind_it(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served)
    target.with_name("videos.zip.part").write_bytes(BODY)
    made = fetch.download([web.url("/a")], target)
    assert made.sha256 == SHA256
    assert served.asked() == [None, f"bytes={len(BODY)}-"]
    assert served.sent == 100_000


def test_a_part_longer_than_the_file_is_another_files_and_all_is_fetched_again(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served)
    target.with_name("videos.zip.part").write_bytes(BODY + b"more")
    assert fetch.download([web.url("/a")], target).sha256 == SHA256
    assert served.asked() == [None, f"bytes={len(BODY) + 4}-", None]


def test_another_mirror_carries_on_where_the_digest_is_known(web, target, monkeypatch):
    half(web, target, monkeypatch, Served(), sha256=SHA256)
    web.files |= {"/a": answer(404), "/b": (second := Served(etag='"other"'))}
    made = fetch.download([web.url("/a"), web.url("/b")], target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert second.asked() == ["bytes=100000-"]
    assert "if-range" not in second.requests[0]
    assert made.url == web.url("/b")


def test_another_mirror_starts_over_where_the_digest_is_not_known(web, target, monkeypatch):
    half(web, target, monkeypatch, Served())
    web.files |= {"/a": answer(404), "/b": (second := Served())}
    fetch.download([web.url("/a"), web.url("/b")], target)
    assert second.asked() == [None]
    assert target.read_bytes() == BODY


def test_bytes_that_a_power_loss_tore_are_found_by_the_digest_and_fetched_again(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served, sha256=SHA256)
    with target.with_name("videos.zip.part").open("r+b") as file:
        file.seek(90_000)
        file.write(bytes(10_000))
    lines = []
    fetch.download([web.url("/a")], target, sha256=SHA256, report=lines.append)
    assert target.read_bytes() == BODY
    assert served.asked() == [None, "bytes=100000-", None]
    assert any("starting over" in line for line in lines)


def test_first_bytes_that_were_damaged_are_found_without_a_digest(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served)
    with target.with_name("videos.zip.part").open("r+b") as file:
        file.write(bytes(100))
    assert fetch.download([web.url("/a")], target).sha256 == SHA256
    assert served.asked() == [None, "bytes=100000-", None]


@pytest.mark.parametrize("content_type", ["text/html", "application/zip"])
def test_a_mirror_that_is_dead_by_now_does_not_cost_what_has_arrived(web, target, monkeypatch, content_type):
    served = Served()
    half(web, target, monkeypatch, served)
    web.files["/a"] = answer(body=b"<html>moved</html>", content_type=content_type)
    with pytest.raises(FetchError, match="this mirror is dead"):
        fetch.download([web.url("/a")], target)
    assert left(target) == HALF
    web.files["/a"] = served
    fetch.download([web.url("/a")], target)
    assert served.asked() == [None, "bytes=100000-"]


@pytest.mark.parametrize("text", ["", "[1]", '{"url": 1, "unknown": 2}', '{"url": "a", "etag": 5}', '{"url": "a'])
def test_a_sidecar_that_is_damaged_costs_a_new_start_and_nothing_else_and_that_is_said(web, target, monkeypatch, text):
    served = Served()
    half(web, target, monkeypatch, served)
    target.with_name("videos.zip.part.json").write_text(text)
    lines = []
    assert fetch.download([web.url("/a")], target, report=lines.append).sha256 == SHA256
    assert any("videos.zip.part.json: cannot be read" in line for line in lines)
    assert served.asked() == [None, None]


def test_another_signature_and_password_carry_on(web, target, monkeypatch):
    one_attempt(monkeypatch)
    web.files |= {"/a?sig=1": Served(cuts=[5000]), "/a?sig=2": (rest := Served())}
    with pytest.raises(FetchError, match="the same command resumes"):
        fetch.download([web.url("/a?sig=1").replace("//", "//u:1@")], target)
    fetch.download([web.url("/a?sig=2").replace("//", "//u:2@")], target)
    assert target.read_bytes() == BODY
    assert rest.asked() == ["bytes=5000-"]
    assert rest.requests[0]["if-range"] == '"one"'
