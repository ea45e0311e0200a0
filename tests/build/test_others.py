"""An output that holds another dataset is refused before a byte of this one is fetched."""

from pathlib import Path

import pytest

from araflow.build import note, stages
from araflow.build.resolved import resolve
from araflow.build.selection import Selection
from araflow.core import spec_file
from araflow.core.clip import Clip
from araflow.core.errors import OutputError
from araflow.store.address import open_store


def begun(out: Path, preset: str, *settings: str) -> None:
    """Leave what a build leaves as soon as its clips are listed."""
    spec = spec_file.load(preset, [f"out={out}", *settings])
    with open_store(str(out)).locked() as store:
        note.write(store, spec, "", Selection((Clip("other", "walk/one", "walk"),), ("walk",), {}, {}, ()))


def look(out: Path, preset: str, *settings: str) -> None:
    stages.look(resolve(spec_file.load(preset, [f"out={out}", *settings]), accept_licence=True))


@pytest.mark.parametrize("preset", ["hmdb5", "ucf101", "kinetics400"])
def test_a_drawn_sample_is_not_replaced_by_what_would_be_downloaded(tmp_path: Path, preset: str):
    begun(tmp_path, "sample")
    with pytest.raises(OutputError, match=r"holds 1 other clips, such as 'walk/one'; choose another out"):
        look(tmp_path, preset)


def test_datasets_of_one_kind_that_share_no_class_are_two(tmp_path: Path):
    begun(tmp_path, "hmdb51")
    with pytest.raises(OutputError, match="holds 1 other clips"):
        look(tmp_path, "ucf101")


def test_what_may_share_clips_is_listed_first(tmp_path: Path):
    begun(tmp_path / "same", "hmdb5")
    look(tmp_path / "same", "hmdb51")
    begun(tmp_path / "year", "kinetics400")
    look(tmp_path / "year", "kinetics600")
    (tmp_path / "videos").mkdir()
    begun(tmp_path / "own", "hmdb51", f"dataset.source={tmp_path}/videos")
    look(tmp_path / "own", "sample")
    look(tmp_path / "new", "sample")
    assert not (tmp_path / "new").exists()
