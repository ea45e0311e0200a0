"""Every real RAR archive: unpacked to verified bytes, its links left out."""

import pytest

from araflow.acquire.archives import unpack

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
def test_every_real_archive_is_unpacked_but_for_its_link(real_data, tools, tool, tmp_path):
    tools(tool)
    seen = set()
    for path in sorted((real_data / "rar").glob("*.rar")):
        seen.add(path.name)
        done = unpack(path, tmp_path / path.name)
        assert done.files >= 1
        assert set(done.left_out) == ({"testlink"} if path.name in LINKS else set())
    assert seen == VERIFIED | LINKS
