import dataclasses
import errno
from pathlib import Path

import pytest

from araflow.build import alike
from araflow.core.errors import OutputError
from araflow.core.spelling import folded
from araflow.store.local import LocalPlace


@dataclasses.dataclass(frozen=True, slots=True)
class FakePlaceThatIgnoresCase(LocalPlace):
    """No such file system can be mounted here."""

    def mixes_up(self, one: str, other: str) -> bool:
        return folded(one) == folded(other)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["Walk/a", "walk/a"], [("Walk/a", "walk/a")]),
        (["Walk/a", "Walk/b", "walk/c", "walk/d"], [("Walk/a", "walk/c")]),
        (["walk/A", "walk/a"], [("walk/A", "walk/a")]),
        (["caf\u00e9", "cafe\u0301"], [("caf\u00e9", "cafe\u0301")]),
        (["run/a", "walk/A", "walk/b"], []),
    ],
)
def test_keys_that_are_alike_are_found(keys, found):
    assert list(alike.pairs(keys)) == found


def test_keys_that_an_output_takes_for_one_are_refused_with_both_names(tmp_path):
    with pytest.raises(OutputError, match="takes 'Walk' and 'walk' for one name, so clips 'Walk/a' and 'walk/a' would"):
        alike.check(FakePlaceThatIgnoresCase(tmp_path), ["Walk/a", "walk/a"])
    alike.check(FakePlaceThatIgnoresCase(tmp_path), ["run/a", "walk/a"])


def test_keys_that_an_output_tells_apart_are_a_warning(tmp_path, caplog):
    place = LocalPlace(tmp_path)
    assert place.mixes_up("a", "a") and not place.mixes_up("a", "b")
    if place.mixes_up("Walk", "walk"):
        pytest.skip("this file system ignores case")
    alike.check(place, ["Walk/a", "walk/a"])
    assert "such as 'Walk/a' and 'walk/a': copied to macOS, Windows or exFAT they would be one" in caplog.text
    assert list((tmp_path / ".araflow").iterdir()) == []


@pytest.fixture
def fake_exfat(monkeypatch):
    """What exFAT's and FAT's drivers do with names; none of these file systems can be mounted here."""
    touch = Path.touch

    def fake(self: Path) -> None:
        if not set('*?<>|":').isdisjoint(self.name):
            raise OSError(errno.EINVAL, "Invalid argument")
        touch(self.with_name(self.name.rstrip(". ")))

    monkeypatch.setattr(Path, "touch", fake)


@pytest.mark.usefixtures("fake_exfat")
@pytest.mark.parametrize("name", ["a:b", "what?", 'say "hi"', "a|b", "walk.", "walk "])
def test_names_that_an_output_cannot_hold_are_refused_before_work(tmp_path, name):
    place = LocalPlace(tmp_path)
    with pytest.raises(OutputError, match=r"cannot hold a folder called .*, of clip 'walk/.*: rename it, or choose an"):
        alike.check(place, ["run/con", f"walk/{name}"])
    alike.check(place, ["run/con", "walk/b"])
    assert list((tmp_path / ".araflow").iterdir()) == []


def test_an_output_that_holds_any_name_refuses_none(tmp_path):
    place = LocalPlace(tmp_path)
    (tmp_path / "a:b?").touch()
    names = ["a:b", "what?", "walk.", "walk ", "con", "com1.x", "a\\b", "bell\a", ":" * 300]
    assert not any(map(place.cannot_hold, names))
    alike.check(place, [f"walk/{name}" for name in names])
