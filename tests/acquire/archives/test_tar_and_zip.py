"""What is particular to tar and zip archives."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile

import pytest
from makers import FILES, tar_bytes, tar_gz, tar_member, zip_bytes, zip_member
from rar_writer import rar4

# --- tar ---


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "a.avi"),
        (tarfile.LNKTYPE, "walk/a.avi"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(there, kind, link):
    data = tar_bytes({"walk/a.avi": b"a"}, tar_member("walk/b.avi", kind, link))
    there.refuses(data, r"refused: member 'walk/b\.avi' is a link or a device")


def test_sparse_files_are_refused(there):
    info = tar_member("walk/b.avi", tarfile.GNUTYPE_SPARSE)
    there.refuses(tar_bytes({}, info, form=tarfile.GNU_FORMAT), "is a sparse file")


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
def test_links_and_devices_in_a_zip_are_refused(there, mode):
    there.refuses(zip_bytes({"walk/a.avi": b"a"}, zip_member("walk/b.avi", mode | 0o777)), "is a link or a device")


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


def test_an_unknown_compression_is_refused(there):
    data = bytearray(zip_bytes({"walk/a.avi": b"a"}))
    data[data.index(b"PK\x03\x04") + 8] = 99
    data[data.index(b"PK\x01\x02") + 10] = 99
    there.refuses(bytes(data), "compression method is not supported")


def test_a_name_that_is_not_the_utf8_it_claims_to_be_is_refused(there):
    data = bytearray(zip_bytes({"walk/é.avi": b"a"}))
    for mark, offset in ((b"PK\x03\x04", 30), (b"PK\x01\x02", 46)):
        where = data.index(mark) + offset + len("walk/")
        data[where : where + 2] = b"\xff\xfe"
    there.refuses(bytes(data), "cannot be unpacked: ")


def test_a_zip_of_archives_is_unpacked_once(there):
    files = {"walk.rar": rar4({"a": b"a"}), "run.tar": tar_gz({"a": b"a"}), "b.zip": zip_bytes({"b": b"b"})}
    assert there(zip_bytes(files)) == files
