"""Every real RAR archive: unpacked to verified bytes, or refused with the reason."""

import pytest
import rarfile
from makers import packed
from rar_writer import rar4

from araflow.acquire.archives import unpack
from araflow.core.errors import ArchiveError

each_tool = pytest.mark.parametrize(
    "tool", [pytest.param("unar", marks=pytest.mark.unar), pytest.param("bsdtar", marks=pytest.mark.bsdtar)]
)

VERIFIED = {
    "rar3-subdirs.rar",
    "rar5-subdirs.rar",
    "test_read_format_rar5_compressed.rar",
    "test_read_format_rar5_stored.rar",
    "test_read_format_rar_filter.rar",
}
LINKS = {"test_read_format_rar.rar", "test_read_format_rar_compress_normal.rar"}


@each_tool
def test_every_real_archive_is_unpacked_or_refused_for_its_link(real_data, tools, tool, tmp_path):
    tools(tool)
    seen = set()
    for path in sorted((real_data / "rar").glob("*.rar")):
        seen.add(path.name)
        if path.name in LINKS:
            with pytest.raises(ArchiveError, match="refused: member 'testlink' is a link"):
                unpack(path, tmp_path / path.name)
        else:
            assert unpack(path, tmp_path / path.name).files >= 1
    assert seen == VERIFIED | LINKS


@each_tool
def test_without_their_link_the_refused_ones_are_unpacked(real_data, tools, tool, tmp_path):
    tools(tool)
    for name in LINKS:
        opened = rarfile.RarFile(real_data / "rar" / name)
        entries = [packed(real_data / "rar" / name, info.filename) for info in opened.infolist() if info.is_file()]
        (tmp_path / name).write_bytes(rar4(entries))
        assert unpack(tmp_path / name, tmp_path / "out" / name).files == len(entries) >= 2
