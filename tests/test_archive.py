import bz2
import gzip
import io
import lzma
import random
import shutil
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow import archive
from araflow.archive import unpack
from araflow.errors import ArchiveError

FILES = {
    "walk/a.avi": b"first" * 4000,
    "walk/-[b] (#&+;~!)__.avi": random.Random(0).randbytes(70_000),
    "run/c.avi": b"",
    "run/deep/er/d é.avi": b"d",
}


def tar_bytes(files: dict[str, bytes], *extra: tarfile.TarInfo, compress=lambda data: data) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for info in extra:
            file.addfile(info)
    return compress(buffer.getvalue())


def zip_bytes(files: dict[str, bytes], *extra: zipfile.ZipInfo, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor tidies up
            info.compress_type = method
            file.writestr(info, data)
        for info in extra:
            file.writestr(info, b"target")
    return buffer.getvalue()


KINDS = {
    "tar": tar_bytes,
    "tar.gz": lambda files: tar_bytes(files, compress=gzip.compress),
    "tar.bz2": lambda files: tar_bytes(files, compress=bz2.compress),
    "tar.xz": lambda files: tar_bytes(files, compress=lzma.compress),
    "zip": zip_bytes,
    "zip deflated": lambda files: zip_bytes(files, method=zipfile.ZIP_DEFLATED),
    "zip lzma": lambda files: zip_bytes(files, method=zipfile.ZIP_LZMA),
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
tar_and_zip = pytest.mark.parametrize("make", [tar_bytes, zip_bytes], ids=["tar", "zip"])


@pytest.fixture
def there(tmp_path):
    """Write an archive and unpack it; what lies beside the target afterwards is looked at, too."""

    class There:
        target = tmp_path / "out" / "unpacked"

        def __call__(self, data: bytes, **options) -> dict[str, bytes]:
            (tmp_path / "archive").write_bytes(data)
            assert unpack(tmp_path / "archive", self.target, **options) == self.target
            assert self.beside() == ["unpacked"]
            return self.read()

        def read(self) -> dict[str, bytes]:
            files = (path for path in self.target.rglob("*") if path.is_file())
            return {path.relative_to(self.target).as_posix(): path.read_bytes() for path in files}

        def beside(self) -> list[str]:
            return sorted(p.name for p in self.target.parent.iterdir() if p.suffix != ".lock")

        def refuses(self, data: bytes, match: str) -> None:
            (tmp_path / "archive").write_bytes(data)
            before = sorted(tmp_path.rglob("*"))
            with pytest.raises(ArchiveError, match=match) as caught:
                unpack(tmp_path / "archive", self.target)
            assert str(tmp_path / "archive") in str(caught.value)
            after = [p for p in sorted(tmp_path.rglob("*")) if p.suffix != ".lock"]
            assert [p for p in after if p not in before] in ([], [self.target.parent])

    return There()


@each_kind
def test_every_kind_is_unpacked(there, make):
    assert there(make(FILES)) == FILES


@each_kind
def test_only_what_is_kept_is_written(there, make):
    asked = []

    def keep(name: str) -> bool:
        asked.append(name)
        return name.startswith("walk/a")

    assert there(make(FILES), keep=keep) == {"walk/a.avi": FILES["walk/a.avi"]}
    assert asked == list(FILES)


@tar_and_zip
def test_apple_double_files_are_dropped(there, make):
    files = {"walk/._a.avi": b"x", "__MACOSX/walk/._a.avi": b"x", "._walk": b"x", "walk/a.avi": b"a"}
    assert there(make(files)) == {"walk/a.avi": b"a"}


@tar_and_zip
def test_a_backslash_parts_folders(there, make):
    assert there(make({"walk\\a.avi": b"a", "run\\deep\\b.avi": b"b"})) == {"walk/a.avi": b"a", "run/deep/b.avi": b"b"}


def test_folders_of_an_archive_made_on_windows_are_folders(there):
    assert there(zip_bytes({"walk\\": b"", "walk\\a.avi": b"a", "empty/": b""})) == {"walk/a.avi": b"a"}


@tar_and_zip
@pytest.mark.parametrize(
    "name",
    [
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
        "\\\\server\\share\\evil",
        ".",
        "./",
    ],
)
def test_a_member_that_would_land_elsewhere_is_refused(there, make, name):
    if make is zip_bytes and name.endswith("/"):
        return  # a folder, in a zip
    there.refuses(make({"walk/a.avi": b"a", name: b"evil"}), "refused: member .* outside the target")


def test_a_name_may_hold_dots_and_colons_that_mean_nothing(there):
    files = {"walk/..a..avi": b"1", "walk/...": b"2", "Scene 12:30/a:b.avi": b"3"}
    assert there(tar_bytes(files)) == files


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "a.avi"),
        (tarfile.LNKTYPE, "walk/a.avi"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(there, kind, link):
    data = tar_bytes({"walk/a.avi": b"a"}, member("walk/b.avi", kind, link))
    there.refuses(data, r"refused: member 'walk/b\.avi' is a link or a device")


def test_links_in_a_zip_are_refused(there):
    link = zipfile.ZipInfo("walk/b.avi")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    there.refuses(zip_bytes({"walk/a.avi": b"a"}, link), r"refused: member 'walk/b\.avi' is a link")


def test_folders_in_a_tar_are_folders(there):
    assert there(tar_bytes({"walk/a.avi": b"a"}, member("walk", tarfile.DIRTYPE), member("./", tarfile.DIRTYPE))) == {
        "walk/a.avi": b"a"
    }


# --- damage ---


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_flipped_bit_in_a_zip_is_found_by_its_crc(there, method):
    data = bytearray(zip_bytes({"walk/a.avi": FILES["walk/-[b] (#&+;~!)__.avi"]}, method=method))
    data[30_000] ^= 1
    there.refuses(bytes(data), "cannot be unpacked: ")


@each_kind
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.85])
def test_an_archive_cut_short_is_refused(there, make, part):
    data = make(FILES)
    there.refuses(data[: int(len(data) * part)], "cannot be unpacked|cut short")


def test_a_zip_without_its_last_byte_is_refused(there):
    there.refuses(zip_bytes(FILES)[:-1], "cut short")


def test_a_tar_cut_short_between_two_members_is_refused(there):
    data = tar_bytes({"walk/a.avi": b"a" * 512, "walk/b.avi": b"b" * 512})
    assert data[1024:1034] == b"walk/b.avi"
    there.refuses(data[:1024], "damaged or cut short")  # tarfile alone takes this for the end


def test_a_damaged_header_within_a_tar_is_not_taken_for_its_end(there):
    data = bytearray(tar_bytes({"walk/a.avi": b"a" * 512, "walk/b.avi": b"b" * 512}))
    data[1024 + 4] ^= 1
    there.refuses(bytes(data), "damaged or cut short")


@pytest.mark.parametrize("kind", ["zip", "zip deflated", "zip lzma", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_no_damage_gives_anything_but_an_answer(tmp_path, kind):
    whole = KINDS[kind](FILES)
    rng = random.Random(kind)
    path = tmp_path / "archive"
    refused = 0
    for number in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            # Headers are where it hurts: half of the hits go to either end.
            where = rng.randrange(len(data)) if rng.random() < 0.5 else rng.choice((0, -1)) * 600 + rng.randrange(600)
            data[where] = rng.randrange(256)
        path.write_bytes(data)
        target = tmp_path / str(number)
        try:
            unpack(path, target)
        except ArchiveError:
            refused += 1
            assert not target.exists()
    assert refused > 20
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".part"]


def test_a_member_whose_size_is_a_lie_is_refused(there):
    data = bytearray(zip_bytes({"walk/a.avi": b"a" * 100}))
    for where in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[where : where + 4] = (50).to_bytes(4, "little")
    there.refuses(bytes(data), "cannot be unpacked|its header says")


@pytest.mark.parametrize("make", [zip_bytes, tar_bytes], ids=["zip", "tar"])
def test_a_bomb_is_refused_by_its_declared_size_before_it_is_written(there, make, monkeypatch):
    written = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 5000, 5000))
    monkeypatch.setattr(shutil, "copyfileobj", lambda source, file, length: written.append(file.name))
    files = {"walk/a.avi": b"", "walk/b.avi": b"0" * 3000, "walk/c.avi": b"0" * 3000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", _size_as_declared(files))
        there.refuses(make(files), "its members need more than the free space of")
    assert [Path(name).name for name in written] == ["a.avi", "b.avi"]


def _size_as_declared(files: dict[str, bytes]):
    """``Path.stat``, but nothing was really written in this test."""
    real = Path.stat
    sizes = {Path(name).name: len(data) for name, data in files.items()}

    def stat_(self, **options):
        result = list(real(self, **options))
        result[6] = sizes.get(self.name, result[6])
        return type(real(self, **options))(result)

    return stat_


def test_a_zip_of_terabytes_by_its_header_is_refused(there):
    # zip64: a few bytes that claim 8 TB
    info = zipfile.ZipInfo("walk/a.avi")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, file.open(info, "w", force_zip64=True) as inner:
        inner.write(b"small")
        info.file_size = 5
    data = bytearray(buffer.getvalue())
    where = data.index(b"PK\x01\x02") + 24
    data[where : where + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    there_free = shutil.disk_usage(there.target.parent.parent).free
    there.refuses(bytes(data), "free space" if there_free < 0xFFFFFFF0 else "cannot be unpacked|header says")


@pytest.mark.parametrize("data", [b"", b"x", b"RIFF\0\0\0\0AVI LIST", b"PK\x03\x04", b"<html>", b"\x1f\x8b", b"BZh9"])
def test_what_is_no_archive_is_refused(there, data):
    there.refuses(data, "not a zip or tar archive, or one that was cut short|cannot be unpacked")


def test_an_encrypted_zip_is_refused(there):
    data = bytearray(zip_bytes({"walk/a.avi": b"a"}))
    data[data.index(b"PK\x03\x04") + 6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    there.refuses(bytes(data), r"encrypted")


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


@tar_and_zip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(there, make):
    data = make({"walk/a.avi": b"1", "walk/./a.avi": b"2"})
    there.refuses(data, "File exists")


@tar_and_zip
def test_a_file_in_the_place_of_a_folder_is_refused(there, make):
    there.refuses(make({"walk": b"1", "walk/a.avi": b"2"}), "cannot be unpacked: ")


@tar_and_zip
def test_a_name_that_is_too_long_is_refused(there, make):
    there.refuses(make({"walk/" + "a" * 300: b"1"}), "File name too long")


# --- kinds that look like others ---


def test_a_tar_that_ends_with_a_zip_is_a_tar(there):
    files = {"walk/a.avi": b"a", "walk.zip": zip_bytes({"run/b.avi": b"b"})}
    assert zipfile.is_zipfile(io.BytesIO(tar_bytes(files)))  # so a look at the end would be wrong
    assert there(tar_bytes(files)) == files


def test_a_zip_of_archives_is_unpacked_once(there):
    files = {"walk.rar": b"Rar!\x1a\x07\x00", "run.tar": tar_bytes({"a": b"a"}), "b.zip": zip_bytes({"b": b"b"})}
    assert there(zip_bytes(files)) == files


@pytest.mark.parametrize("head", [b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"], ids=["rar3", "rar5"])
@pytest.mark.parametrize("tail", [b"", zip_bytes({"a": b"a"})], ids=["plain", "with a zip at its end"])
def test_rar_is_refused_with_the_remedy(there, head, tail):
    there.refuses(head + b"\0" * 100 + tail, r"RAR archives cannot be unpacked.*apt install unar")


def test_real_rar_archives_are_refused_with_the_remedy(real_data, tmp_path):
    archives = sorted((real_data / "rar").glob("*.rar"))
    assert archives
    for path in archives:
        with pytest.raises(ArchiveError, match="apt install unar"):
            unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- whole or not at all ---


def test_what_is_unpacked_is_not_unpacked_again(there, tmp_path):
    there(zip_bytes(FILES))
    (there.target / "walk/a.avi").unlink()
    assert unpack(tmp_path / "no longer there.zip", there.target) == there.target
    assert not (there.target / "walk/a.avi").exists()


def test_an_archive_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(ArchiveError, match="No such file"):
        unpack(tmp_path / "nothing.zip", tmp_path / "out")


def test_a_place_that_cannot_be_written_to_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.zip").write_bytes(zip_bytes(FILES))
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "file" / "out")


def test_what_a_killed_run_left_is_cleared_away(there):
    part = there.target.with_name("unpacked.part")
    (part / "walk").mkdir(parents=True)
    (part / "walk/a.avi").write_bytes(b"half")
    assert there(tar_bytes(FILES)) == FILES


def test_an_interrupt_leaves_nothing(there, tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes(FILES))

    def keep(name: str) -> bool:
        if name.startswith("run"):
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "a.tar", there.target, keep)
    assert there.beside() == []


def test_two_at_once_unpack_once(there, tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(tar_bytes(FILES))
    began, go, times = threading.Event(), threading.Event(), []
    real = archive._unpack

    def slow(*args) -> None:
        times.append(1)
        began.set()
        assert go.wait(10)
        real(*args)

    monkeypatch.setattr(archive, "_unpack", slow)
    threads = [threading.Thread(target=unpack, args=(tmp_path / "a.tar", there.target)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert began.wait(10)
    assert not there.target.exists()
    go.set()
    for thread in threads:
        thread.join(10)
    assert there.read() == FILES
    assert times == [1]


# --- properties ---

PARTS = st.sampled_from(["..", ".", "", "a", "b.avi", "C:", "~", "._x", "\\", " ", "…", "a:b", "..\\..", "\\\\h\\s"])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@given(names=st.lists(NAMES, min_size=1, max_size=3), as_zip=st.booleans())
def test_whatever_a_member_is_called_nothing_is_written_outside(tmp_path_factory, names, as_zip):
    folder = tmp_path_factory.mktemp("names")
    files = dict.fromkeys(names, b"evil")
    (folder / "archive").write_bytes((zip_bytes if as_zip else tar_bytes)(files))
    target = folder / "a" / "b" / "c" / "target"
    try:
        unpack(folder / "archive", target)
    except ArchiveError:
        assert not target.exists()
    inside = {p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock" and target not in p.parents}
    assert inside == {folder / "archive"}
