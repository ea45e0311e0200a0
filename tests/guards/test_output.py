"""An output folder that araflow 0.1 made, and what is said of it: a change of structure must not cost anybody a clip.

``videos/`` are five tiny clips (one is no video, one has a single frame) and ``output/`` is what was made of them by
``araflow build folder dataset.source=videos out=output split.test_fraction=0.5`` at commit bc8abb7, less the picture.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_server
from click.testing import CliRunner, Result

from araflow.cli import main

HERE = Path(__file__).parent
KEPT = ("manifest.parquet", ".araflow/build.json", "contact_sheet.jpg")
"""What a run writes that has nothing to do: the folders that it names differ from those of then."""


def araflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def again(out: str | Path, *options: str) -> Result:
    settings = (f"dataset.source={HERE / 'videos'}", "split.test_fraction=0.5")
    words = [word for setting in settings for word in ("--set", setting)]
    return araflow("flow", "--config", "folder", *words, "--out", out, *options)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files.items() if name not in KEPT}


def insist(result: Result, words: str) -> None:
    assert words in result.output.splitlines()[-1], result.output


def insist_same(out: str | Path) -> None:
    """Other libraries than those of then are a difference, and the only one."""
    *differences, count = araflow("manifest", "diff", HERE / "output", out).output.splitlines()
    assert all(line.startswith("~ metadata software: ") for line in differences), differences
    assert count.split()[0] == str(len(differences))


def test_a_folder_of_then_is_whole_now_and_nothing_is_made_anew(tmp_path: Path):
    out = tmp_path / "output"
    shutil.copytree(HERE / "output", out)
    before = contents(out)
    insist(araflow("manifest", "validate", out), "5 rows, 0 differences")
    insist(again(out), "5 clips listed: 3 done, 2 quarantined (1 not-a-video, 1 one-frame); nothing to do")
    after = contents(out)
    after.pop(".araflow/lock")
    assert after == before
    insist_same(out)
    insist(araflow("manifest", "validate", out), "5 rows, 0 differences")
    assert araflow("status", out).exit_code == 3  # two clips are quarantined


def test_what_rots_in_a_folder_of_then_is_found_by_its_pictures_and_healed(tmp_path: Path):
    """Its clips have no digests."""
    out = tmp_path / "output"
    shutil.copytree(HERE / "output", out)
    unknown = "0 differences; 3 clips have no digest, since an older araflow made them: their images were decoded"
    insist(araflow("manifest", "validate", "--deep", out), unknown)
    insist(again(out, "--verify"), "nothing to do")
    frame = out / "clips/run/run_one/rgb/0001.png"
    frame.write_bytes(bytes(frame.stat().st_size))
    insist(araflow("manifest", "validate", "--deep", out), "1 difference")
    insist(again(out, "--verify"), "3 done, 2 quarantined (1 not-a-video, 1 one-frame); 1 worked on")
    insist(araflow("manifest", "validate", "--deep", out), "0 differences; 2 clips have no digest")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3

    with s3_server.started(tmp_path / "swift") as server:
        for name, value in s3_server.environment(server).items():
            monkeypatch.setenv(name, value)
        found = boto3.resource("s3", endpoint_url=server.url).Bucket("guard")
        found.create()
        for folder, _, names in os.walk(HERE / "output"):
            for path in (Path(folder) / name for name in names):
                found.upload_file(str(path), f"of-then/{path.relative_to(HERE / 'output')}")
        yield "s3://guard/of-then"


@pytest.mark.s3
@pytest.mark.slow
def test_an_output_of_then_in_object_storage_is_whole_now(bucket: str):
    insist(araflow("manifest", "validate", bucket), "5 rows, 0 differences")
    insist(again(bucket), "5 clips listed: 3 done, 2 quarantined (1 not-a-video, 1 one-frame); nothing to do")
    insist_same(bucket)
    insist(araflow("manifest", "validate", bucket), "5 rows, 0 differences")
