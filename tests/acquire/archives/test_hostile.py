"""Archives that mean harm: refused with the reason, whatever their kind, and nothing is written outside the target."""

import os
import struct
import tarfile
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import KINDS, read, tar_bytes, tar_gz, with_fifo, with_folders, with_symlink, with_twice

from araflow.acquire.archives import _names, unpack
from araflow.core.errors import ArchiveError

each_kind = pytest.mark.parametrize("kind", KINDS)

OUTSIDE = [
    "../evil",
    "walk/../../evil",
    "walk/..",
    "..",
    "..\\evil",
    "walk\\..\\..\\evil",
    "/evil",
    "//evil",
    "\\evil",
    "C:\\evil",
    "c:/evil",
    "C:evil",
    "./C:evil",
    "\\\\server\\share\\evil",
    "../._evil",
]


@each_kind
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_member_that_would_land_elsewhere_is_refused(there, kind, name):
    there.refuses(KINDS[kind]({"walk/a.avi": b"a", name: b"evil"}), "refused: member .* outside the target folder")


@each_kind
@pytest.mark.parametrize("name", ["../evil", "/evil", "walk/../.."])
def test_a_folder_that_would_lie_elsewhere_is_refused(there, kind, name):
    there.refuses(with_folders(kind, [name], {"walk/a.avi": b"a"}), "refused: member .* outside the target folder")


@each_kind
def test_a_member_that_is_not_wanted_is_judged_all_the_same(there, kind):
    there.archive.write_bytes(KINDS[kind]({"walk/a.avi": b"a", "../evil": b"evil"}))
    with pytest.raises(ArchiveError, match="outside the target folder"):
        unpack(there.archive, there.target, wants=lambda name: name == "walk/a.avi")
    assert there.beside() == []


@each_kind
@pytest.mark.parametrize("name", ["walk/a\nb.avi", "walk/\x1b[31m.avi", "a\x7f", "a\x85b"])
def test_control_characters_are_refused(there, kind, name):
    there.refuses(KINDS[kind]({name: b"a"}), "refused: member .* has control characters")


def test_a_nul_is_refused_where_the_format_can_hold_one(there):
    there.refuses(KINDS["zip"]({"walk/a.avi\0.exe": b"a"}), "refused: member .* has control characters")


@pytest.mark.parametrize("kind", ["rar4", "rar5"])
def test_a_nul_ends_a_name_in_a_rar(there, kind):
    assert there(KINDS[kind]({"walk/a.avi\0/../../../evil": b"a"})) == {"walk/a.avi": b"a"}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "rar4", "rar5"])
@pytest.mark.parametrize("name", [".", "./", "./."])
def test_an_empty_name_is_refused(there, kind, name):
    there.refuses(KINDS[kind]({"walk/a.avi": b"a", name: b"evil"}), "refused: member .* has an empty name")


def test_an_empty_name_in_a_zip_is_refused(there):
    there.refuses(KINDS["zip"]({"walk/a.avi": b"a", ".": b"evil"}), "refused: member .* has an empty name")


@each_kind
@pytest.mark.parametrize("target", ["/etc/passwd", "a.avi", "../../evil"])
def test_symbolic_links_are_left_out_and_named(there, kind, target):
    assert there(with_symlink(kind, "walk/b.avi", target)) == {"walk/a.avi": b"a"}
    assert there.everything() == ["walk", "walk/a.avi"]
    (what,) = [there.done.left_out[name] for name in ("walk/b.avi",)]
    assert what.startswith("a symbolic link")


@each_kind
def test_a_link_that_would_lie_elsewhere_is_refused(there, kind):
    there.refuses(with_symlink(kind, "../evil", "/etc/passwd"), "outside the target folder")


@each_kind
def test_a_link_in_apple_doubles_clothes_is_left_out_with_them(there, kind):
    assert there(with_symlink(kind, "walk/._b", "/etc/passwd")) == {"walk/a.avi": b"a"}
    assert there.everything() == ["walk", "walk/a.avi"]
    assert there.done.dropped == 1


@each_kind
def test_nothing_is_written_where_a_link_would_be(there, kind):
    there.refuses(with_symlink(kind, "walk", "/etc"), "is a file where another member needs a folder")


@each_kind
def test_an_archive_of_which_only_a_link_is_asked_for_gives_nothing(there, kind):
    there.archive.write_bytes(with_symlink(kind, "walk/b.avi", "a.avi"))
    with pytest.raises(ArchiveError, match=r"none of its 1 members is wanted; .* 'walk/b\.avi' \(a symbolic link"):
        unpack(there.archive, there.target, lambda name: name == "walk/b.avi")
    assert there.beside() == []


@each_kind
def test_named_pipes_are_left_out_and_named(there, kind):
    assert there(with_fifo(kind, "walk/b.avi")) == {"walk/a.avi": b"a"}
    assert there.everything() == ["walk", "walk/a.avi"]
    assert there.done.left_out == {"walk/b.avi": "a device or a pipe"}


@each_kind
@pytest.mark.parametrize("second", ["walk/./a.avi", "walk//a.avi", "walk\\a.avi", "./walk/a.avi"])
def test_two_names_of_one_place_are_refused(there, kind, second):
    there.refuses(KINDS[kind]({"walk/a.avi": b"1", second: b"2"}), "refused: member .* is there twice")


@each_kind
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(there, kind):
    there.refuses(with_twice(kind, "walk/a.avi"), "refused: member 'walk/a.avi' is there twice")


@each_kind
def test_a_file_in_the_place_of_a_folder_is_refused(there, kind):
    there.refuses(KINDS[kind]({"walk": b"1", "walk/a.avi": b"2"}), "refused: member .* needs a folder where 'walk' is")
    there.refuses(KINDS[kind]({"walk/a.avi": b"2", "walk": b"1"}), "refused: member 'walk' is a file where another")
    there.refuses(with_folders(kind, ["walk"], {"walk": b"1"}), "refused: member 'walk' is a file where another")


@each_kind
def test_a_name_that_is_too_long_is_refused(there, kind):
    there.refuses(KINDS[kind]({"walk/" + "a" * 300: b"1"}), "refused: member .* has too long a name")
    there.refuses(KINDS[kind]({"/".join(["a" * 200] * 30): b"1"}), "refused: member .* has too long a name")


@each_kind
def test_a_member_that_lies_too_deep_is_refused(there, kind):
    for depth in (65, 1500):
        there.refuses(KINDS[kind]({"/".join(["d"] * depth) + "/x.avi": b"1"}), "refused: .* 64 folders deep|too long")
    deep = "/".join(["d"] * 63)
    assert there(KINDS[kind]({f"{deep}/x.avi": b"1"})) == {f"{deep}/x.avi": b"1"}


@each_kind
def test_more_members_than_an_archive_may_have_are_refused(there, kind, monkeypatch):
    monkeypatch.setattr(_names, "_MOST", 3)
    files = {f"{number}.avi": b"" for number in range(4)}
    there.refuses(KINDS[kind](files), "refused: it has more than 3 members")
    there.refuses(KINDS[kind](files | {"._a": b""}), "refused: it has more than 3 members")
    del files["0.avi"]
    assert there(KINDS[kind](files)) == files


@each_kind
def test_more_members_than_the_disk_has_files_for_are_refused(there, kind, monkeypatch):
    real = os.statvfs
    fields = dict.fromkeys(("f_favail", "f_files"), 2)
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(**{**named(real(path)), **fields}))
    there.refuses(KINDS[kind]({f"{number}.avi": b"" for number in range(3)}), "more members than files can be made")


def named(found: os.statvfs_result) -> dict[str, int]:
    return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}


@each_kind
def test_a_name_may_hold_dots_colons_and_dashes_that_mean_nothing(there, kind):
    files = {
        "walk/..a..avi": b"1",
        "walk/...": b"2",
        "Scene 12:30/a:b.avi": b"3",
        "-rf": b"4",
        "~/x": b"5",
        "$HOME": b"",
    }
    assert there(KINDS[kind](files)) == files


PARTS = st.sampled_from(
    ["..", ".", "", "a", "b.avi", "C:", "~", "._x", "\\", " ", "…", "a:b", "..\\..", "\\\\h\\s", "\0", "\n", "__MACOSX"]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(names=st.lists(NAMES, min_size=1, max_size=3), kind=st.sampled_from(sorted(KINDS)))
def test_whatever_a_member_is_called_nothing_is_written_outside(tmp_path_factory, names, kind):
    folder = tmp_path_factory.mktemp("names")
    (folder / "archive").write_bytes(KINDS[kind](dict.fromkeys(names, b"evil")))
    target = folder / "a" / "b" / "c" / "target"
    try:
        unpack(folder / "archive", target)
    except ArchiveError:
        assert not target.exists()
    else:
        assert set(read(target).values()) <= {b"evil"}
    inside = {path for path in folder.rglob("*") if path.is_file() and target not in path.parents}
    assert inside == {folder / "archive"}
    assert not list(folder.rglob("*.part"))


@given(data=st.binary(max_size=300), kind=st.sampled_from(sorted(KINDS)), at=st.floats(0, 1))
def test_whatever_is_written_over_an_archive_only_our_error_comes(tmp_path_factory, data, kind, at):
    folder = tmp_path_factory.mktemp("noise")
    whole = bytearray(KINDS[kind]({"walk/a.avi": b"a" * 600, "walk/b.avi": b"b"}))
    where = int(at * len(whole))
    whole[where : where + len(data)] = data
    (folder / "archive").write_bytes(whole)
    try:
        unpack(folder / "archive", folder / "out" / "target")
    except ArchiveError:
        assert not (folder / "out" / "target").exists()
    assert not list(folder.rglob("*.part"))
    assert {path.name for path in folder.iterdir()} <= {"archive", "out"}


# --- bombs ---


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["long names", "pax"])
def test_headers_upon_headers_are_refused(there, kind):
    content = b"abc\0" if kind == tarfile.GNUTYPE_LONGNAME else b"9 a=bcde\n"
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(content)
    chain = (header.tobuf(tarfile.GNU_FORMAT) + content.ljust(512, b"\0")) * 1500
    there.refuses(chain + tarfile.TarInfo("x.avi").tobuf() + bytes(1024), "headers that lead to headers")


def test_a_header_of_gigabytes_is_not_read_into_memory(there):
    head = bytearray(tar_bytes({"walk/a.avi": b"a"}, form=0)[:512])
    head[156:157] = b"x"  # a pax header
    head[124:136] = b"\x80" + bytes(3) + struct.pack(">Q", 4 << 30)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    there.refuses(bytes(head) + bytes(4096), "cannot be unpacked: a header of")


def test_a_bomb_of_zeros_takes_no_more_than_it_declares(there):
    assert there(tar_gz({"zeros": bytes(30 << 20)})) == {"zeros": bytes(30 << 20)}
    assert there.archive.stat().st_size < 100_000
