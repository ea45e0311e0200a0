"""An archive is unpacked whole, or not there, whenever the process that unpacks it is killed."""

import itertools
import shutil

import kills
import pytest
from makers import FILES, tar_bytes, zip_bytes

from araflow.acquire.archives import unpack


@pytest.mark.parametrize(
    "content",
    [pytest.param(zip_bytes(FILES), id="zip"), pytest.param(tar_bytes(FILES), id="tar", marks=pytest.mark.proof)],
)
def test_killed_at_any_moment_it_is_unpacked_whole_or_not_there(there, content):
    there.archive.write_bytes(content)
    for moment in itertools.count(1):
        ended = kills.in_a_child(lambda: unpack(there.archive, there.target), moment)
        if not there.target.exists():
            unpack(there.archive, there.target)
        assert there.read() == FILES
        beside = [there.target.parent / name for name in there.beside() if name != there.target.name]
        assert not [inner for folder in beside for inner in folder.iterdir()]
        if ended != -9:
            break
        shutil.rmtree(there.target.parent)
    assert moment > len(FILES)
