"""A manifest of TAO's folders, which no build made, before every reader of manifests."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.recognition import tao
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store import audit
from araflow.store.manifest import Manifest

LABELS = {"walk": 1, "run": 0}
KINDS = {"rgb": ("rgb",), "flow": ("u", "v"), "joint": ("rgb", "u", "v")}


def araflow(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def draw(folder: Path, kinds: tuple[str, ...], frames: int, flows: int, first: int = 0) -> None:
    """Draw a clip's images, named as NVIDIA's scripts name them, from 0 or 1."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for number in range(first, first + (frames if kind == "rgb" else flows)):
            shape = (24, 32, 3) if kind == "rgb" else (24, 32)
            image = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
            cv2.imwrite(str(folder / kind / f"{number:06d}.{'png' if kind == 'rgb' else 'jpg'}"), image)


@pytest.fixture(params=list(KINDS))
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run's folder whose manifest lists three clips, one of them with as many flow images as frames."""
    kinds = KINDS[request.param]
    draw(tmp_path / "train/walk/one", kinds, 6, 5, first=1)
    draw(tmp_path / "train/run/two", kinds, 6, 6)
    draw(tmp_path / "test/run/three", kinds, 6, 5)
    tao.manifest_of_folders(tmp_path / "train", tmp_path / "test", LABELS, tmp_path / "out", modality=request.param)
    return tmp_path / "out"


def test_show_counts_the_clips(out: Path):
    result = araflow("manifest", "show", out)
    assert result.exit_code == 0, result.output
    assert "walk" in result.stdout and "(all)" in result.stdout
    content = json.loads(araflow("manifest", "show", out, "--json").stdout)
    assert [(row["class"], row["done"]) for row in content["classes"]] == [("run", 2), ("walk", 1)]
    assert content["total"]["train"] == 2 and content["total"]["test"] == 1
    assert araflow("manifest", "show", out, "--clips").exit_code == 0


def test_validate_holds_its_own_counts_against_the_folders(out: Path):
    for options in ((), ("--quick",)):
        result = araflow("manifest", "validate", out, *options)
        assert (result.exit_code, result.stdout) == (0, "3 rows, 0 differences\n")


def test_validate_finds_what_has_gone_or_broken_since(out: Path):
    one, two = out.parent / "train/walk/one", out.parent / "train/run/two"
    kind = next(kind for kind in ("rgb", "u") if (one / kind).is_dir())
    next((one / kind).iterdir()).unlink()
    last = max((two / kind).iterdir())
    last.write_bytes(last.read_bytes()[:30])
    problems = audit.validate(Manifest.read(out))
    assert [line.partition(":")[0] for line in problems].count("walk/one") >= 1
    assert f"run/two: {kind}/{last.name} does not decode" in problems
    assert not [line for line in problems if line.startswith("run/three")]
    shutil.rmtree(two)
    assert f"run/two: {kind}: No such file or directory" in audit.validate(Manifest.read(out))


def test_status_says_that_it_is_complete_and_sends_to_no_build(out: Path):
    result = araflow("status", out)
    assert (result.exit_code, "build" in result.stdout) == (0, False), result.stdout
    assert result.stdout.endswith("complete: 3 clips listed: 3 done\n")
    shutil.rmtree(out.parent / "train/run/two")
    result = araflow("status", out)
    assert (result.exit_code, "build" in result.stdout) == (3, False), result.stdout
    assert "1 left" in result.stdout and "manifest validate" in result.stdout


def test_there_is_nothing_to_retry_or_to_clean(out: Path):
    result = araflow("retry", out)
    assert result.exit_code == 1
    assert "older araflow" not in result.output and "no build of araflow made it" in result.output
    assert json.loads(araflow("retry", out, "--dry-run", "--json").stdout) == {"clips": []}
    assert araflow("clean", out, "--yes").stdout == "removed: 0 items, 0 bytes\n"


def test_it_differs_in_nothing_from_itself(out: Path):
    assert araflow("manifest", "diff", out, out).stdout == "0 differences\n"


def test_its_contact_sheet_shows_clips_that_have_frames_and_flow(out: Path):
    kinds = {kind for kind in ("rgb", "u") if (out.parent / "train/walk/one" / kind).is_dir()}
    sheet = write_contact_sheet(Manifest.read(out))
    assert (sheet is not None) == (kinds == {"rgb", "u"})
    if sheet is not None:
        assert cv2.imread(str(sheet)).shape[1] == 4 * 240


def test_its_frames_can_be_the_source_of_a_build(out: Path, monkeypatch: pytest.MonkeyPatch):
    refused = araflow("flow", out, "--out", out.parent / "made")
    lies_there = (out.parent / "train/walk/one/rgb").is_dir()
    assert ("if you trust the manifest, set ARAFLOW_OUTSIDE=1" in refused.stderr) == lies_there
    monkeypatch.setenv("ARAFLOW_OUTSIDE", "1")
    result = araflow("flow", out, "--out", out.parent / "made", "--set", "run.workers=1")
    made = Manifest.read(out.parent / "made")
    frames = (out.parent / "train/walk/one/rgb").is_dir()
    assert result.exit_code == (0 if frames else 3), result.output
    assert made.outcomes() == ({"done": 3} if frames else {"quarantined": 3})
    assert made.labels == ("run", "walk")
