"""Kill a build at each of its moments, before and after each rename and each fsync, and finish it: the same bytes.

All in one process, so that every change to the disk is counted; ``test_kill.py`` kills whole builds with their workers.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import inline_pool
import kills
import pytest

from araflow.build import run as building
from araflow.build.resolved import resolve
from araflow.core.spec import BuildSpec
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store.layout import CONTACT_SHEET, MANIFEST, record_name

CASES = {"new": (None, 20.0), "other flow": (20.0, 5.0), "now bad": (20.0, 20.0), "cut manifest": (20.0, 20.0)}
"""Bound of the build that was there before, and of the one that is killed."""
RENAMES = {
    "note": ("new", "build.json"),
    "clip": ("new", "good"),
    "record": ("new", Path(record_name("walk/bad")).name),
    "manifest": ("new", MANIFEST),
    "picture": ("new", CONTACT_SHEET),
    "kept frames": ("other flow", "rgb"),
    "put aside": ("cut manifest", f"{MANIFEST}.unreadable"),
}
"""Case and new name of one rename of each kind, for the short test."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good clip, and one that is cut off."""
    folder = tmp_path_factory.mktemp("drawn")
    sizes = {"clips_per_class": 2, "sources_per_class": 2, "width": 64, "height": 48, "seconds": (0.2, 0.3)}
    draw_sample(folder / "all", classes=["walk"], **sizes)
    good, bad = sorted((folder / "all" / "videos").rglob("*.avi"))
    (folder / "videos" / "walk").mkdir(parents=True)
    shutil.copy(good, folder / "videos" / "walk" / "good.avi")
    (folder / "videos" / "walk" / "bad.avi").write_bytes(bad.read_bytes()[:3000])
    return folder / "videos"


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    inline_pool.use(monkeypatch)


def settings(source: Path, out: Path, bound: float) -> BuildSpec:
    return parse(
        {
            "name": "test",
            "dataset": {"name": "folder", "source": str(source)},
            "split": {"protocol": "random", "test_fraction": 0.5},
            "optical": {"backend": "opencv", "algorithm": "dis", "preset": "fastest", "bound": bound},
            "run": {"workers": 1},
            "out": str(out),
        }
    )


def finish(source: Path, out: Path, bound: float) -> None:
    building.carry_out(resolve(settings(source, out, bound)), on_manifest=write_contact_sheet)


class Case:
    """Outputs before the build that is killed, and after it where nobody kills it."""

    def __init__(self, name: str, drawn: Path, folder: Path) -> None:
        self.folder, self.name = folder, name
        earlier, self.bound = CASES[name]
        self.source = folder / "videos"
        shutil.copytree(drawn, self.source)
        (folder / "before").mkdir()
        if earlier is not None:
            finish(self.source, folder / "before", earlier)
        if name == "now bad":
            (self.source / "walk" / "good.avi").write_bytes((self.source / "walk" / "bad.avi").read_bytes())
        if name == "cut manifest":
            manifest = folder / "before" / MANIFEST
            manifest.write_bytes(manifest.read_bytes()[:-100])
        self.work(folder / "undisturbed")()
        self.expected = tree(folder / "undisturbed")

    def work(self, out: Path) -> Callable[[], None]:
        shutil.copytree(self.folder / "before", out)
        return lambda: finish(self.source, out, self.bound)

    def killed_at(self, moment: int | str) -> dict[str, bytes] | None:
        """The output of a build that was killed, and then finished; ``None``: it had no such moment."""
        out = self.folder / "killed"
        work = self.work(out)
        if kills.in_a_child(work, moment) != -9:
            return None
        work()
        found = tree(out)
        shutil.rmtree(out)
        return found


@pytest.fixture(scope="module")
def cases(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    made: dict[str, Case] = {}
    with pytest.MonkeyPatch.context() as patch:
        inline_pool.use(patch)
        yield lambda name: made.get(name) or made.setdefault(name, Case(name, drawn, tmp_path_factory.mktemp("case")))


def tree(out: Path) -> dict[str, bytes]:
    """Return every file, and every empty folder."""
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*")}
    del found[".araflow/build.json"]  # which names the folder
    files = {name: path.read_bytes() for name, path in found.items() if path.is_file()}
    return files | {f"{name}/": b"" for name, path in found.items() if path.is_dir() and not any(path.iterdir())}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", RENAMES)
def test_killed_at_a_rename_of_each_kind_a_build_ends_as_if_it_had_not_been(kind: str, when: str, cases):
    name, target = RENAMES[kind]
    case = cases(name)
    assert case.killed_at(f"{when} rename {target}") == case.expected


@pytest.mark.proof
@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_moment_a_build_ends_as_if_it_had_not_been(name: str, cases, record_property):
    case = cases(name)
    for moment in itertools.count(1):
        found = case.killed_at(moment)
        if found is None:
            break
        assert found == case.expected, kills.moments(case.work(case.folder / "counted"))[moment - 1]
    record_property("kills", moment - 1)
    assert moment > 100
