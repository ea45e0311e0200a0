"""A small Kinetics on the test's web server, and builds of it in this process: what the tests of parts share."""

from __future__ import annotations

import functools
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import inline_pool
import mirrors
import pytest

from araflow.build import run as build
from araflow.core.spec import BuildSpec, DatasetSpec
from araflow.core.spec_file import parse
from araflow.store.manifest import Manifest

LABELS = ("abseiling", "air drumming", "massaging person's head")
SLUGS = dict(zip(LABELS, ("abseiling", "air_drumming", "massaging_persons_head"), strict=True))
Tar = dict[str, bytes]
Lists = dict[str, list[tuple[str, str]]]
"""Subset to rows of label and file name."""


@functools.cache
def drawn() -> dict[str, bytes]:
    """The drawn AVI files, made once."""
    with tempfile.TemporaryDirectory() as folder:
        return mirrors.draw(Path(folder))[0]


@functools.cache
def video(number: int) -> bytes:
    """One of a few different MP4 files."""
    files = list(drawn().values())
    return mirrors.to_mp4(files[number % len(files)])


def name(number: int, initial: str = "-_") -> str:
    """A clip's file name; its id begins with ``initial``."""
    return f"{initial}{number:07d}_X_000010_000020.mp4"


read_certificates = functools.cache(ssl.create_default_context)


class World:
    """Serves an edition of Kinetics, and builds it.

    ``requests`` are those since it was last read.
    """

    def __init__(self, web: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.web, self.folder, self.monkeypatch = web, folder, monkeypatch
        self.data, self.out = folder / "data", folder / "out"
        monkeypatch.setenv("ARAFLOW_REGISTRY", str(folder / "registry"))
        # Every download reads all certificates, which takes longer than all else here.
        monkeypatch.setattr(ssl, "create_default_context", read_certificates)
        inline_pool.use(monkeypatch)

    def serve(self, files: Mapping[str, bytes], name: str = "kinetics400", labels: Iterable[str] = LABELS) -> None:
        """Serve files of ``mirrors``, with a registry whose class list is ``labels``."""
        self.name = name
        self.web.files |= files
        mirrors.registry(self.folder / "registry", files, self.web.url)
        if list(labels) != list(LABELS):
            path = self.folder / "registry" / f"{name}.yaml"
            content = mirrors.yaml.safe_load(path.read_text()) | {"classes": dict.fromkeys(labels)}
            path.write_text(mirrors.yaml.safe_dump(content))

    def serve_true(self, **options: Any) -> None:
        self.serve(mirrors.kinetics400(drawn(), self.web.url, **options))

    def serve_parts(
        self,
        parts: dict[str, list[Tar]],
        lists: Lists,
        replacement: Tar | None = None,
        labels: Iterable[str] = (*LABELS, "zumba"),  # as many as there are parts would mean a part per label
    ) -> None:
        """Serve Kinetics-400 with these archives: train and val to the content of ``part_0``, ``part_1``, …"""
        replacement = replacement or {name(999): b"replaces nothing"}
        files = {"/400/replacement.tgz": mirrors.tarred({f"new/{n}": d for n, d in replacement.items()})}
        for subset in ("train", "val"):
            paths = []
            for number, content in enumerate(parts.get(subset, [])):
                paths.append(f"/400/{subset}/part_{number}.tar.gz")
                files[paths[-1]] = mirrors.tarred({f"./{name}": data for name, data in content.items()})
            files[f"/400/{subset}/list.txt"] = "".join(self.web.url(path) + "\n" for path in paths).encode()
            files[f"/400/annotations/{subset}.csv"] = annotations(lists.get(subset, []), subset)
        self.serve(files, labels=labels)

    def edit_registry(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / "registry" / f"{self.name}.yaml"
        content = mirrors.yaml.safe_load(path.read_text())
        change(content)
        path.write_text(mirrors.yaml.safe_dump(content))

    def spec(self, out: Path | None = None, **changes: Any) -> BuildSpec:
        """Settings; those of ``dataset`` by name, sections such as ``optical`` as mappings."""
        dataset = {"name": self.name, "folder": str(self.data)}
        sections: dict[str, Any] = {"rgb": {"max_frames": 2}, "optical": {"preset": "fastest"}}
        for key, value in changes.items():
            if key in ("optical", "rgb", "run", "split"):
                sections[key] = sections.get(key, {}) | value
            else:
                dataset[key] = value
        return parse({"name": "test", "dataset": dataset, "out": str(out or self.out), **sections})

    def dataset(self, **changes: Any) -> DatasetSpec:
        return self.spec(**changes).dataset

    def build(self, out: Path | None = None, **changes: Any) -> Manifest:
        return build.build(self.spec(out, **changes), accept_licence=True)

    def requests(self) -> list[str]:
        """Paths asked for since the last call, without ``/400/`` and suffix."""
        asked, self.web.requests[:] = list(self.web.requests), []
        return [path.removeprefix("/400/").removesuffix(".tar.gz").removesuffix(".tgz") for path in asked]

    def parts_asked(self) -> list[str]:
        return [path for path in self.requests() if not path.endswith((".txt", ".csv"))]

    def before(self, path: str, look: Callable[[], None]) -> None:
        """Call ``look`` before a path is answered."""
        body = self.web.files[path]

        def answer(handler: Any) -> None:
            look()
            send(handler, body)

        self.web.files[path] = answer

    def videos(self) -> list[str]:
        return sorted(path.name for path in (self.data / "videos").rglob("*.mp4"))

    def archives(self) -> list[str]:
        """Archives, whole or in part, that lie in the dataset's folder."""
        return sorted(p.name for p in self.data.rglob("*") if ".t" in p.name and p.suffix in (".gz", ".tgz", ".part"))


def annotations(rows: Iterable[tuple[str, str]], subset: str) -> bytes:
    lines = ["label,youtube_id,time_start,time_end,split,is_cc"]
    lines += [f'"{label}",{file[:11]},{int(file[12:18])},{int(file[19:25])},{subset},0' for label, file in rows]
    return ("\r\n".join(lines) + "\r\n").encode()


def send(handler: Any, body: bytes, content_type: str = "application/octet-stream") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def rows(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Rows by the name of the source file."""
    return {row["source"].rpartition("/")[2]: row for row in manifest.table.to_pylist()}


def statuses(manifest: Manifest) -> dict[str, str | None]:
    return {name: row["status"] for name, row in rows(manifest).items()}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by path; or the one file."""
    if folder.is_file():
        return {"": folder.read_bytes()}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "build.json")
    }
