import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from rar_writer import rar4

from araflow.cli.unpack import unpack
from araflow.core.errors import ArchiveError

FILES = {"walk/a.avi": b"a" * 1500, "walk/._a.avi": b"x", "run/b.avi": b"b", "run/[c].avi": b"c"}


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name, data in FILES.items():
            file.writestr(name, data)
    (tmp_path / "a.rar").write_bytes(rar4(FILES))
    return tmp_path / "a.zip"


def run(*arguments, status=0) -> str:
    result = CliRunner().invoke(unpack, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_last_line_says_what_was_done(archive, tmp_path):
    target = tmp_path / "out"
    said = run(archive, "--to", target)
    assert said == f"{target}: 3 files, 1,502 bytes from zip by zipfile, all verified, 1 AppleDouble dropped\n"
    assert names(target) == {"walk/a.avi", "run/b.avi", "run/[c].avi"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["walk/*.avi"], {"walk/a.avi"}),
        (["walk"], {"walk/a.avi"}),
        (["run/"], {"run/b.avi", "run/[c].avi"}),
        (["run/[c].avi"], {"run/[c].avi"}),
        (["*/a.avi", "run/b.avi"], {"walk/a.avi", "run/b.avi"}),
    ],
)
def test_only_what_is_asked_for_is_unpacked(archive, tmp_path, patterns, expected):
    options = [option for pattern in patterns for option in ("--only", pattern)]
    said = run(archive, "--to", tmp_path / "out", *options)
    assert names(tmp_path / "out") == expected
    assert f", {3 - len(expected)} not asked for" in said


def test_a_pattern_that_nothing_matches_is_an_error(archive, tmp_path):
    with pytest.raises(ArchiveError, match="none of its 3 members is wanted"):
        run(archive, "--to", tmp_path / "out", "--only", "jump")
    assert not (tmp_path / "out").exists()


def test_listing_writes_nothing(archive, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    said = run(archive, "--list")
    assert said.splitlines() == [
        "          1,500  walk/a.avi",
        "              1  run/b.avi",
        "              1  run/[c].avi",
        f"{archive}: zip, 3 files, 1,502 bytes, 1 AppleDouble left out",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_json_says_the_same(archive, tmp_path):
    assert json.loads(run(tmp_path / "a.rar", "--to", tmp_path / "out", "--json", "--only", "walk")) == {
        "archive": str(tmp_path / "a.rar"),
        "to": str(tmp_path / "out"),
        "files": 1,
        "bytes": 1500,
        "declined": 2,
        "dropped": 1,
        "kind": "rar4",
        "how": "rarfile",
        "left_out": {},
        "remarks": [],
    }
    listed = json.loads(run(archive, "--list", "--json", "--only", "walk"))
    (member,) = listed.pop("members")
    assert listed == {"archive": str(archive), "kind": "zip", "dropped": 1, "left_out": {}, "remarks": []}
    assert (member["name"], member["size"]) == ("walk/a.avi", 1500)


def test_without_a_target_it_says_what_is_missing(archive):
    assert "--to DIR says where to unpack" in run(archive, status=2)


def test_help_has_examples_and_imports_nothing_heavy():
    import subprocess

    assert "araflow unpack hmdb51_org.rar --to hmdb51" in run("--help")
    code = "import sys, araflow.cli.unpack; print('araflow.acquire.archives' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_link_that_nobody_asked_for_is_named_and_hinders_nothing(tmp_path):
    (tmp_path / "a.avi").write_bytes(b"a")
    (tmp_path / "b.avi").symlink_to("a.avi")
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name in ("a.avi", "b.avi"):
            file.add(tmp_path / name, f"walk/{name}")
    shown = run(tmp_path / "x.tar", "--to", tmp_path / "out", "--only", "walk/a.avi")
    assert "left out: 'walk/b.avi' (a symbolic link to 'a.avi')" in shown
    assert [path.name for path in (tmp_path / "out").rglob("*.avi")] == ["a.avi"]
    assert "left out: 'walk/b.avi'" in run(tmp_path / "x.tar", "--list")


def test_names_are_read_as_the_user_says(tmp_path):
    name = "\u8d70.avi".encode("cp932").decode("utf-8", "surrogateescape")
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as file:
        file.addfile(tarfile.TarInfo(name))
    assert "\u8d70.avi" in run(tmp_path / "x.tar", "--list", "--names", "cp932")
    assert "--names cp932" in run(tmp_path / "x.tar", "--list")
    assert "knows no encoding" in run(tmp_path / "x.tar", "--list", "--names", "klingon", status=2)
