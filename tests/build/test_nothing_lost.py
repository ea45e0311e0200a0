"""Whatever lies in an output before a command, after it every file that araflow did not write is there, byte for byte.

What lies there is drawn at random: files, folders and links, beside what a build has made and in its place, in the
hidden folder, too. araflow's own are the names that it gives: ``manifest.parquet`` and ``.araflow/build.json``, which
are put aside or written anew where they say nothing, a clip's ``.araflow.json`` and the frames that it lists.
"""

import os
import shutil
from pathlib import Path

import av
import inline_pool
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from araflow.build import clean
from araflow.build import run as build
from araflow.core.errors import AraflowError
from araflow.core.spec_file import parse
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store.address import open_store
from araflow.store.manifest import Manifest

HEX = "0123456789abcdef" * 2
FILES = (
    *("contact_sheet.jpg", "contact_sheet.jpg.part", "manifest.parquet.part", "README.md", ".araflow-files.json"),
    *(f".araflow-{HEX}.draft", f".araflow/.araflow-{HEX}.draft", ".araflow/build.json.part", ".araflow/notes"),
    *(".araflow/work/mine", f".araflow/work/{HEX}/rgb/0000.png", ".araflow/work/x.lock", ".araflow/lock/mine"),
    *(".araflow/records/mine.json", f".araflow/records/{HEX[:16]}.json", ".araflow/ranges/mine.json"),
    *(f".araflow/placing/{HEX[:16]}.json", ".araflow/placing/mine", ".araflow/drawn-mine/a.avi", ".araflow/scratch/a"),
    *("clips/notes", "clips/a/notes", "clips/a/1/notes", "clips/a/1/rgb/notes.txt", "clips/a/1/rgb/zzz.png"),
    *("clips/a/1/u/0003.jpg", "clips/a/1/flow/0000.png", "clips/a/1/mask/rgb/0000.png", "clips/a/1/rgb/0000.png.txt"),
    *("clips/b/2", "clips/b/2/rgb", "clips/b/2/rgb/0000.png", "clips/b/2/rgb/img.png", "clips/b/2/annotations.json"),
    *("clips/b", "clips", "clips/old/3/rgb/0000.png", "clips/old/3/.araflow.json/mine", "clips/a/1/rgb/sub/0000.png"),
)
"""Where files are put, unless something lies there."""
MOVED = ("clips", "clips/a", "clips/a/1", "clips/a/1/rgb", "clips/a/1/rgb/0000.png", "clips/a/1/.araflow.json")
MOVED += (".araflow", ".araflow/work", ".araflow/records", "contact_sheet.jpg", "manifest.parquet")
"""What is moved away, with a link in its place."""
LINKS = ("file", "folder", "nowhere", "itself")
Plant = tuple[str, str]
Plants = tuple[list[str], list[Plant], list[str]]
COMMANDS = ("the same", "another bound", "naming", "clean", "report")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``videos`` of two clips, and ``made``: what a build has made of them, with a clip that is listed no more."""
    folder = tmp_path_factory.mktemp("world")
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3), np.uint8)
    for name in ("a/1.avi", "b/2.avi"):
        (folder / "videos" / name).parent.mkdir(parents=True)
        with av.open(str(folder / "videos" / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    with pytest.MonkeyPatch.context() as patch:
        inline_pool.use(patch)
        carry_out(folder / "videos", folder / "made", "the same")
    return folder


def carry_out(source: Path, out: Path, command: str) -> None:
    if command == "clean":
        clean.remove(open_store(out))
    elif command == "report":
        write_contact_sheet(Manifest.read(out))
    else:
        tree = {"name": "test", "out": str(out), "dataset": {"name": "folder", "source": str(source)}}
        changed = {"another bound": {"optical": {"bound": 10.0}}, "naming": {"rgb": {"naming": "recipe"}}}
        spec = parse({**tree, "split": {"protocol": "random", "test_fraction": 0.5}, **changed.get(command, {})})
        manifest = build.build(spec)
        write_contact_sheet(manifest)


@pytest.mark.parametrize("name", ["clips/a", "clips/b/2/rgb/0000.png", "manifest.parquet"])
def test_what_is_in_the_way_is_named_before_any_work(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to("elsewhere") if name == "manifest.parquet" else (out / name).write_bytes(b"mine")
    before = tree(out)
    inline_pool.use(monkeypatch)
    with pytest.raises(AraflowError, match=name.rpartition("/rgb")[0] or name):
        carry_out(world / "videos", out, "the same")
    assert {path for path in tree(out) if "clips" in path.parts} == {path for path in before if "clips" in path.parts}


def tree(*folders: Path) -> dict[Path, bytes | str]:
    """What files hold, and where links lead."""
    found: dict[Path, bytes | str] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_symlink():
                found[path] = str(path.readlink())
            elif path.is_file():
                found[path] = path.read_bytes()
    return found


def plant(out: Path, behind: Path, files: list[str], links: list[Plant], moved: list[str]) -> None:
    for number, name in enumerate(moved):
        if os.path.lexists(out / name) and not any(parent.is_symlink() for parent in (out / name).parents):
            (out / name).rename(behind / f"moved{number}")
            (out / name).symlink_to(behind / f"moved{number}")
    for name, kind in [*((name, "") for name in files), *links]:
        path = out / name
        if os.path.lexists(path) or any(parent.is_symlink() or parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        targets = {"file": behind / "file", "folder": behind, "nowhere": behind / "nowhere", "itself": path}
        path.symlink_to(targets[kind]) if kind else path.write_bytes(f"mine: {name}".encode())


def check(
    world: Path, folder: Path, begin: str, plants: tuple[list[str], list[Plant], list[str]], command: str
) -> None:
    out, behind = folder / "out", folder / "behind"
    behind.mkdir()
    (behind / "file").write_bytes(b"precious")
    if begin == "made":
        shutil.copytree(world / "made", out)
    ours = tree(out)
    files, links, moved = plants
    if "contact_sheet.jpg" in files:
        (out / "contact_sheet.jpg").unlink(missing_ok=True)
    plant(out, behind, files, links, moved)
    theirs = {path: content for path, content in tree(out, behind).items() if ours.get(path) != content}
    with pytest.MonkeyPatch.context() as patch:
        inline_pool.use(patch)
        try:
            carry_out(world / "videos", out, command)
        except AraflowError as error:
            assert str(out) in str(error) or "no such manifest" in str(error), "what keeps a command is named"
    after = tree(out, behind)
    lost = {path for path, content in theirs.items() if after.get(path) != content}
    aside = {content for path, content in after.items() if path.name.startswith("manifest.parquet.unreadable")}
    assert {path for path in lost if not (path.name == "manifest.parquet" and theirs[path] in aside)} == set()


PLANTS = st.tuples(
    st.lists(st.sampled_from(FILES) | st.from_regex(r"(clips/[ab]/|\.araflow/|)[a-c.]{1,3}/[a-z.]{3}", fullmatch=True)),
    st.lists(st.tuples(st.sampled_from(FILES), st.sampled_from(LINKS)), max_size=3),
    st.lists(st.sampled_from(MOVED), max_size=2, unique=True),
)
FEW = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@FEW
@given(begin=st.sampled_from(("nothing", "made")), plants=PLANTS, command=st.sampled_from(COMMANDS))
def test_nothing_of_the_users_is_lost(
    begin: str, plants: Plants, command: str, world: Path, tmp_path_factory: pytest.TempPathFactory
):
    check(world, tmp_path_factory.mktemp("any"), begin, plants, command)


@pytest.mark.proof
@pytest.mark.timeout(3600)
@settings(FEW, max_examples=1000)
@given(begin=st.sampled_from(("nothing", "made")), plants=PLANTS, command=st.sampled_from(COMMANDS))
def test_nothing_of_the_users_is_lost_at_length(
    begin: str, plants: Plants, command: str, world: Path, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("any")
    check(world, folder, begin, plants, command)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", [*FILES, *MOVED])
def test_each_of_them_alone(world: Path, tmp_path: Path, name: str):
    begin = "nothing" if name in FILES and (world / "made" / name).exists() else "made"
    check(world, tmp_path, begin, ([name], [], []) if name in FILES else ([], [], [name]), "another bound")
