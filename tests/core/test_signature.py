"""What this user's araflow has written is told from what came from elsewhere."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from araflow.core.signature import is_own, sign


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def key_file(home: Path) -> Path:
    return home / "state" / "araflow" / "signature.key"


def test_what_was_signed_is_own_and_nothing_else_is(home: Path, monkeypatch: pytest.MonkeyPatch):
    assert not is_own(b"a", "0" * 64)
    assert not key_file(home).exists(), "looking makes no key"
    signature = sign(b"a")
    assert is_own(b"a", signature)
    for content, other in ((b"b", signature), (b"a", None), (b"a", 7), (b"a", ""), (b"a", "\udcff")):
        assert not is_own(content, other)
    assert stat.S_IMODE(key_file(home).stat().st_mode) == 0o600
    assert list(key_file(home).parent.iterdir()) == [key_file(home)]
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "another user's"))
    assert not is_own(b"a", signature)


def test_of_many_that_make_a_key_at_once_one_counts():
    with ThreadPoolExecutor(8) as threads:
        signatures = list(threads.map(lambda _: sign(b"a"), range(32)))
    assert len(set(signatures)) == 1
    assert is_own(b"a", signatures[0])


def readable_by_others(file: Path) -> None:
    file.chmod(0o644)


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def short(file: Path) -> None:
    file.write_bytes(b"x")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


@pytest.mark.parametrize("way", [readable_by_others, link, short, folder, pipe])
def test_a_key_that_others_may_know_signs_nothing(home: Path, way: Callable[[Path], None]):
    signature = sign(b"a")
    way(key_file(home))
    assert not is_own(b"a", signature)
    assert sign(b"a") is None


def test_without_a_place_for_a_key_nothing_is_signed(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "state").write_text("a file")
    assert sign(b"a") is None
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/x")
    assert sign(b"a") is None
