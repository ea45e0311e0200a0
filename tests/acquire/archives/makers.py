"""Makes archives of every kind, honest and otherwise."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import rarfile
from rar_writer import FIFO, FOLDER, SYMLINK, Entry, rar4, rar5

FILES = {
    "walk/a.avi": b"first" * 4000,
    "walk/-[b] (#&+;~!)__.avi": random.Random(0).randbytes(70_000),
    "run/c.avi": b"",
    "run/deep/er/d é 日本.avi": b"d",
    "-x.avi": b"x",
}


def tar_bytes(
    files: dict[str, bytes],
    *extra: tarfile.TarInfo,
    compress: Callable[[bytes], bytes] = bytes,
    form: int = tarfile.PAX_FORMAT,
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        for info in extra:
            file.addfile(info)
    return compress(buffer.getvalue())


def tar_member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


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


def zip_member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def tar_gz(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    return tar_bytes(files, *extra, compress=gzip.compress)


FLAVOURS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "tar": tar_bytes,
    "tar gnu": lambda files: tar_bytes(files, form=tarfile.GNU_FORMAT),
    "tar.gz": tar_gz,
    "tar.gz in several streams": lambda files: tar_bytes(files, compress=_several_streams),
    "tar.bz2": lambda files: tar_bytes(files, compress=bz2.compress),
    "tar.xz": lambda files: tar_bytes(files, compress=lzma.compress),
    "zip": zip_bytes,
    "zip deflated": lambda files: zip_bytes(files, method=zipfile.ZIP_DEFLATED),
    "zip lzma": lambda files: zip_bytes(files, method=zipfile.ZIP_LZMA),
    "rar4": rar4,
    "rar5": rar5,
    "rar5 with BLAKE2sp": lambda files: rar5([Entry(name, data, blake2=True) for name, data in files.items()]),
}
"""Everything that holds for archives as such is tested on each of these."""

KINDS = {"tar": tar_bytes, "tar.gz": tar_gz, "zip": zip_bytes, "rar4": rar4, "rar5": rar5}
"""One of each, where the compression makes no difference."""


def _several_streams(data: bytes) -> bytes:
    return b"".join(gzip.compress(data[at : at + 5000]) for at in range(0, len(data), 5000))


def with_symlink(kind: str, name: str, target: str) -> bytes:
    """Return an archive of ``walk/a.avi`` and a symbolic link."""
    files = {"walk/a.avi": b"a"}
    if kind.startswith("tar"):
        return KINDS[kind](files, tar_member(name, tarfile.SYMTYPE, target))
    if kind == "zip":
        return zip_bytes(files, zip_member(name, stat.S_IFLNK | 0o777))
    return KINDS[kind]([Entry("walk/a.avi", b"a"), Entry(name, link=target, mode=SYMLINK)])


def with_fifo(kind: str, name: str) -> bytes:
    """Return an archive of ``walk/a.avi`` and a named pipe."""
    files = {"walk/a.avi": b"a"}
    if kind.startswith("tar"):
        return KINDS[kind](files, tar_member(name, tarfile.FIFOTYPE))
    if kind == "zip":
        return zip_bytes(files, zip_member(name, stat.S_IFIFO | 0o644))
    return KINDS[kind]([Entry("walk/a.avi", b"a"), Entry(name, mode=FIFO)])


def with_folders(kind: str, folders: Iterable[str], files: dict[str, bytes]) -> bytes:
    """Return an archive with entries for folders before its files."""
    if kind.startswith("tar"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as file:
            for name in folders:
                file.addfile(tar_member(name, tarfile.DIRTYPE))
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
        return gzip.compress(buffer.getvalue()) if kind == "tar.gz" else buffer.getvalue()
    if kind == "zip":
        return zip_bytes({f"{name}/": b"" for name in folders} | files)
    entries = [Entry(name, mode=FOLDER) for name in folders]
    return KINDS[kind]([*entries, *(Entry(name, data) for name, data in files.items())])


def with_twice(kind: str, name: str) -> bytes:
    """Return an archive that holds two members of one name."""
    if kind.startswith("rar"):
        return KINDS[kind]([Entry(name, b"1"), Entry(name, b"2")])
    if kind == "zip":
        return zip_bytes({}, zip_member(name, 0), zip_member(name, 0))
    return KINDS[kind]({}, tar_member(name, tarfile.REGTYPE), tar_member(name, tarfile.REGTYPE))


def packed(path: Path, member: str, name: str | None = None) -> Entry:
    """Return a member of a real RAR as it is packed there, to be written into another archive under any name."""
    opened = rarfile.RarFile(path)
    info = opened.getinfo(member)
    with path.open("rb") as file:
        file.seek(info.data_offset)
        data = file.read(info.compress_size)
    return Entry(
        name or member,
        data,
        size=info.file_size,
        crc32=info.CRC,
        method=info.compress_type,
        version=info.extract_version,
    )


def read(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
