"""What is particular to tar and zip archives."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib

import pytest
from makers import FILES, tar_bytes, tar_gz, tar_member, zip_bytes, zip_member
from rar_writer import rar4

from araflow.acquire.archives import unpack
from araflow.core.errors import ArchiveError

# --- tar ---


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "a.avi"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_left_out_and_named(there, kind, link):
    data = tar_bytes({"walk/a.avi": b"a"}, tar_member("walk/b.avi", kind, link))
    assert there(data) == {"walk/a.avi": b"a"}
    assert there.everything() == ["walk", "walk/a.avi"]
    assert list(there.done.left_out) == ["walk/b.avi"]


LINKS = {
    "hard links": (
        tar_member("run/b.avi", tarfile.LNKTYPE, "./walk/a.avi"),
        tar_member("c.avi", tarfile.LNKTYPE, "run/b.avi"),
    )
}


def test_a_hard_link_in_a_tar_is_a_copy_of_the_member_that_it_leads_to(there):
    data = tar_gz({"walk/a.avi": b"a"}, *LINKS["hard links"])
    assert there(data) == dict.fromkeys(("walk/a.avi", "run/b.avi", "c.avi"), b"a")
    assert all(path.stat().st_nlink == 1 for path in there.target.rglob("*.avi"))


@pytest.mark.parametrize("wanted", [{"c.avi"}, {"run/b.avi", "c.avi"}])
def test_a_hard_link_is_had_without_the_member_that_it_leads_to(there, wanted):
    data = tar_gz({"walk/a.avi": b"a"}, *LINKS["hard links"])
    assert there(data, wants=wanted.__contains__) == dict.fromkeys(wanted, b"a")
    assert there.done.declined == 3 - len(wanted)


@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=1.0"])
def test_sparse_files_are_written_with_their_holes_filled(there, tmp_path, form):
    content = bytes(300_000) + b"middle" * 5000 + bytes(4 << 20) + b"end"
    with (tmp_path / "b.avi").open("wb") as file:
        for at, data in ((300_000, b"middle" * 5000), (len(content) - 3, b"end")):
            file.seek(at)
            file.write(data)
    command = f"tar -S --format={form} -cf x.tar b.avi"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert (tmp_path / "x.tar").stat().st_size < 1 << 20
    assert there((tmp_path / "x.tar").read_bytes()) == {"b.avi": content}


def test_a_map_of_holes_that_cannot_be_is_refused(there):
    info = tar_member("walk/b.avi", tarfile.GNUTYPE_SPARSE)
    data = bytearray(tar_bytes({}, info, form=tarfile.GNU_FORMAT))
    data[386:410] = b"%011o\0%011o\0" % (10, 10)  # ten bytes from the tenth on, of a file of none
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    there.refuses(bytes(data), "a map of its holes that cannot be")


def test_a_name_of_a_tar_that_is_not_utf8_is_read_as_windows_writes_it_unless_said_otherwise(there):
    assert there(tar_bytes({"L\udce4ufe.avi": b"a"}, form=1)) == {"L\u00e4ufe.avi": b"a"}
    assert "read as windows-1252" in there.done.remarks[0]
    there.target = there.folder / "out2" / "unpacked"
    name = "\u8d70\u308b.avi".encode("cp932").decode("utf-8", "surrogateescape")
    assert there(tar_bytes({name: b"a"}, form=1), encoding="cp932") == {"\u8d70\u308b.avi": b"a"}
    assert there.done.remarks == []


def test_a_tar_cut_short_between_two_members_is_refused(there):
    data = tar_bytes({"walk/a.avi": b"a" * 512, "walk/b.avi": b"b" * 512})
    assert data[1024:1034] == b"walk/b.avi"
    there.refuses(data[:1024], "damaged or cut short")  # tarfile alone takes this for the end


def test_a_damaged_header_within_a_tar_is_not_taken_for_its_end(there):
    data = bytearray(tar_bytes({"walk/a.avi": b"a" * 512, "walk/b.avi": b"b" * 512}))
    data[1024 + 4] ^= 1
    there.refuses(bytes(data), "damaged or cut short")


def test_a_negative_size_is_refused(there):
    data = bytearray(tar_bytes({"walk/a.avi": b"a", "walk/b.avi": b"b"}, form=tarfile.GNU_FORMAT))
    data[1024 + 124 : 1024 + 136] = b"\xff" * 12
    data[1024 + 148 : 1024 + 156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024:1536])
    there.refuses(bytes(data), "member 'walk/b.avi' has a size of -1")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_damage_behind_the_last_member_of_a_compressed_tar_is_found(there, compress):
    data = bytearray(tar_bytes({"walk/a.avi": b"a"}, compress=compress))
    for where in range(-1, -9, -1):  # where each of the three formats has checks and lengths
        damaged = data.copy()
        damaged[where] ^= 0xFF  # all bits: the last of bzip2 are padding
        there.refuses(bytes(damaged), "cannot be unpacked|not a zip")


def test_a_second_gzip_stream_that_is_damaged_is_found(there):
    whole = tar_bytes({"walk/a.avi": b"a" * 2000})
    data = gzip.compress(whole[:1000]) + gzip.compress(whole[1000:])
    assert there(data)
    there.target.rename(there.target.with_name("before"))
    (there.target.with_name("before")).rename(there.folder / "before")
    for damaged in (data[:-1], data[:-9], data + b"garbage", data + gzip.compress(b"more")[:-3]):
        there.refuses(damaged, "cannot be unpacked")


def test_a_long_name_is_read_in_both_ways_of_writing_one(there, tmp_path):
    name = "/".join(["walk"] * 60) + "/a.avi"
    assert len(name) > 256
    for number, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        there.target = tmp_path / f"out{number}" / "unpacked"
        assert there(tar_bytes({name: b"a"}, form=form)) == {name: b"a"}


def test_a_tar_that_ends_with_a_zip_is_a_tar(there):
    files = {"walk/a.avi": b"a", "walk.zip": zip_bytes({"run/b.avi": b"b"})}
    assert zipfile.is_zipfile(io.BytesIO(tar_bytes(files)))  # so a look at the end would be wrong
    assert there(tar_bytes(files)) == files


# --- zip ---


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_left_out_and_named(there, mode):
    assert there(zip_bytes({"walk/a.avi": b"a"}, zip_member("walk/b.avi", mode | 0o777))) == {"walk/a.avi": b"a"}
    assert list(there.done.left_out) == ["walk/b.avi"]
    assert there.everything() == ["walk", "walk/a.avi"]


def test_folders_of_an_archive_made_on_windows_are_folders(there):
    assert there(zip_bytes({"walk\\": b"", "walk\\a.avi": b"a", "empty/": b""})) == {"walk/a.avi": b"a"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_flipped_bit_in_a_zip_is_found_by_its_crc(there, method):
    data = bytearray(zip_bytes({"walk/a.avi": FILES["walk/-[b] (#&+;~!)__.avi"]}, method=method))
    data[30_000] ^= 1
    there.refuses(bytes(data), "cannot be unpacked: ")


@pytest.mark.parametrize("claimed", [50, 150])
def test_a_member_whose_size_is_a_lie_is_refused(there, claimed):
    data = bytearray(zip_bytes({"walk/a.avi": b"a" * 100}))
    for where in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[where : where + 4] = struct.pack("<I", claimed)
    there.refuses(bytes(data), "cannot be unpacked|its header says")


def test_a_deflated_member_that_is_longer_than_it_says_is_stopped(there):
    data = bytearray(zip_bytes({"bomb": bytes(50 << 20)}, method=zipfile.ZIP_DEFLATED))
    for where in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[where : where + 4] = struct.pack("<I", 100)
    there.refuses(bytes(data), "cannot be unpacked|longer than")


def test_entries_that_share_their_data_count_each_for_itself(there, monkeypatch):
    from araflow.acquire.archives import _output as output

    whole = zip_bytes({"a": bytes(5 << 20), "b": b""}, method=zipfile.ZIP_DEFLATED)
    data = bytearray(whole)
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[second + 10 : second + 46] = data[first + 10 : first + 46]  # all of it but the name
    free = output.MARGIN + (8 << 20)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: output.shutil._ntuple_diskusage(10**9, 0, free))
    there.refuses(bytes(data), "free space")


def test_a_zip_of_gigabytes_by_its_header_is_refused(there):
    data = bytearray(zip_bytes({"walk/a.avi": b"small"}))
    where = data.index(b"PK\x01\x02") + 24
    data[where : where + 4] = struct.pack("<I", 0xFFFFFFF0)
    there.refuses(bytes(data), "free space|cannot be unpacked|header says")


def test_an_encrypted_zip_is_refused(there):
    data = bytearray(zip_bytes({"walk/a.avi": b"a"}))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    there.refuses(bytes(data), r"member 'walk/a.avi' is encrypted; araflow takes no passwords")


@pytest.mark.parametrize(("method", "called"), [(9, "Deflate64"), (98, "PPMd"), (77, "method 77")])
def test_an_unknown_compression_is_refused_by_its_name_where_it_is_asked_for(there, method, called):
    data = bytearray(zip_bytes({"walk/a.avi": b"a", "walk/b.avi": b"b"}))
    data[data.rindex(b"PK\x03\x04") + 8] = method
    data[data.rindex(b"PK\x01\x02") + 10] = method
    there.refuses(bytes(data), f"member 'walk/b.avi' is compressed by {called}, which araflow cannot unpack")
    assert there(bytes(data), wants=lambda name: name == "walk/a.avi") == {"walk/a.avi": b"a"}


def raw_names(files: dict[bytes, bytes], *, fields: bool = False) -> bytes:
    """Return a zip whose names are these bytes, without the flag of UTF-8."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            info = zipfile.ZipInfo("Q" * len(name))
            if fields:  # as Info-ZIP has them: the name in UTF-8, and the checksum of that beside it
                text = name.decode("cp932").encode()
                info.extra = struct.pack("<HHBI", 0x7075, 5 + len(text), 1, zlib.crc32(name)) + text
            file.writestr(info, content)
    data = buffer.getvalue()
    for name in sorted(files, key=len, reverse=True):  # each has another length
        data = data.replace(b"Q" * len(name), name)
    return data


def test_names_in_utf8_without_the_flag_are_utf8(there):
    names = ["L\u00e4ufe/a.avi", "La\u0308ufe/b.avi", "\u8d70\u308b.avi", "plain"]
    assert there(raw_names({name.encode(): b"a" for name in names})) == dict.fromkeys(names, b"a")
    assert there.done.remarks == []


def test_names_that_are_not_all_utf8_are_what_the_format_says_or_the_user(there):
    names = ["L\u00e4ufe/a.avi", "Stra\u00dfe.avi"]
    assert there(raw_names({name.encode("cp437"): b"a" for name in names})) == dict.fromkeys(names, b"a")
    assert "read as cp437" in there.done.remarks[0]
    there.target = there.folder / "out2" / "unpacked"
    assert there(raw_names({"\u8d70.avi".encode("cp932"): b"a"}), encoding="cp932") == {"\u8d70.avi": b"a"}
    assert there.done.remarks == []


def test_a_name_that_is_not_what_the_user_says_is_an_error(there):
    there.archive.write_bytes(raw_names({b"\x81 .avi": b"a"}))
    with pytest.raises(ArchiveError, match="its names are not cp932"):
        unpack(there.archive, there.target, encoding="cp932")


def test_the_field_of_info_zip_says_a_name(there):
    names = ["\u8d70.avi", "\u8d70\u308b/b.avi"]
    data = raw_names({name.encode("cp932"): b"a" for name in names}, fields=True)
    assert there(data) == dict.fromkeys(names, b"a")
    assert there.done.remarks == []


def test_a_zip_behind_a_program_is_taken(there):
    assert there(b"MZ" + bytes(5000) + zip_bytes(FILES)) == FILES


def test_a_part_of_a_zip_in_several_says_that_it_is_one(there):
    there.archive = there.archive.with_suffix(".zip")
    whole = bytearray(zip_bytes(FILES))
    end = whole.rindex(b"PK\x05\x06")
    whole[end + 4 : end + 8] = b"\2\0\2\0"
    there.refuses(bytes(whole[5000:]), "one part of a zip archive in several")
    there.refuses(b"PK\x07\x08" + bytes(whole[:5000]), "one part of a zip archive in several")


def test_a_zip_made_as_it_is_written_to_a_pipe_is_taken(there, tmp_path):
    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            written.extend(data)
            return len(data)

    written = bytearray()
    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in FILES.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert there(bytes(written)) == FILES


def test_a_name_that_is_not_the_utf8_it_claims_to_be_is_refused(there):
    data = bytearray(zip_bytes({"walk/é.avi": b"a"}))
    for mark, offset in ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46)):
        where = data.index(mark) + offset + len("walk/")
        data[where : where + 2] = b"\xff\xfe"
    there.refuses(bytes(data), "cannot be unpacked: ")


def test_a_zip_of_archives_is_unpacked_once(there):
    files = {"walk.rar": rar4({"a": b"a"}), "run.tar": tar_gz({"a": b"a"}), "b.zip": zip_bytes({"b": b"b"})}
    assert there(zip_bytes(files)) == files
