"""What a list says of its clips reaches the manifest: their splits, and the order of their labels."""

import json
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from araflow.acquire.types import Sources
from araflow.build import stages
from araflow.build.run import build
from araflow.cli import main
from araflow.core import spec_file
from araflow.core.leakage import Leakage
from araflow.datasets import folder as own_videos
from araflow.store import audit, summary


def frames(folder: Path, seed: int) -> None:
    """Draw two frames, which make the shortest clip."""
    folder.mkdir(parents=True)
    for number in range(2):
        picture = np.random.default_rng([seed, number]).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        frames(folder / f"c{number}", number)
    return folder


def made(videos: Path, out: Path, rows: str, *settings: str):
    (videos / "list.csv").write_text(rows)
    words = [f"dataset.source={videos / 'list.csv'}", f"out={out}", "optical.preset=fastest", "run.workers=1"]
    return build(spec_file.load("folder", [*words, *settings]))


def test_a_lists_own_split_is_used_where_it_is_filled(videos, tmp_path, caplog):
    rows = "path,label,Split\nc0,walk,Training\nc1,walk,TEST\nc2,run,train\nc3,run,Testing\n"
    manifest = made(videos, tmp_path / "out", rows)
    assert list(manifest.columns("key", "split")) == [("c0", "train"), ("c1", "test"), ("c2", "train"), ("c3", "test")]
    assert manifest.settings["split"]["protocol"] == "official"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    manifest = made(videos, tmp_path / "out", rows, "split.protocol=random", "split.test_fraction=0.5")
    assert manifest.settings["split"]["protocol"] == "random"
    assert "4 of 4 clips is not used, since split.protocol=random draws another" in caplog.text

    manifest = made(videos, tmp_path / "out", rows.replace("Testing", ""), "split.test_fraction=0.9")
    assert dict(manifest.columns("key", "split")) == {"c0": "train", "c1": "test", "c2": "train", "c3": "train"}
    assert manifest.settings["split"]["protocol"] == "auto"
    assert "1 of 4 clips have no split of their own and are drawn at random" in caplog.text


def test_labels_are_in_natural_order_and_a_change_of_order_is_told(videos, tmp_path, caplog):
    rows = "path,label\nc0,10\nc1,9\nc2,1\nc3,2\n"
    manifest = made(videos, tmp_path / "out", rows)
    assert manifest.labels == ("1", "2", "9", "10")
    assert dict(manifest.columns("label", "label_index")) == {"1": 0, "2": 1, "9": 2, "10": 3}
    assert "another order" not in caplog.text
    made(videos, tmp_path / "out", rows)
    assert "another order" not in caplog.text
    made(videos, tmp_path / "out", rows, "dataset.classes=['1','10','2','9']")  # as text, which was the order before
    assert "classes are in another order than in the manifest that was here: '10' was class 3 and is 1 now" in (
        caplog.text
    )


def test_the_same_bytes_in_training_and_test_and_in_two_classes_are_named(videos, tmp_path, caplog):
    shutil.copytree(videos / "c0", tmp_path / "twin")
    rows = f"path,label,split\nc0,walk,train\nc1,run,train\nc2,walk,test\n{tmp_path / 'twin'},run,test\n"
    manifest = made(videos, tmp_path / "out", rows)
    line = "1 video is there more than once, byte for byte, as 2 clips: 1 of them in more than one split, 1 in more"
    assert line in caplog.text and "such as 'c0' and 'run/twin'" in caplog.text
    assert audit.leakage(manifest).total == Leakage(2, 0, 1, 1)
    for command in ("show", "validate"):
        shown = CliRunner().invoke(main, ["manifest", command, str(tmp_path / "out")])
        assert shown.exit_code == 0 and line in shown.stdout
        content = json.loads(CliRunner().invoke(main, ["manifest", command, "--json", str(tmp_path / "out")]).stdout)
        assert content["duplicates"] == {
            "videos": 1, "clips": 2, "across_splits": 1, "across_classes": 1, "examples": [["c0", "run/twin"]]
        }  # fmt: skip


def test_without_groups_leakage_is_unknown_and_said_to_be(videos, tmp_path):
    rows = "path,label,split\nc0,walk,train\nc1,run,train\nc2,walk,test\nc3,run,test\n"
    manifest = made(videos, tmp_path / "out", rows)
    assert summary.by_class(manifest).total["leaked"] is None
    shown = CliRunner().invoke(main, ["manifest", "show", str(tmp_path / "out")]).stdout
    assert "unknown: no groups (a column group in a CSV list tells what a clip was cut from)" in shown
    assert "share their source" not in shown


def test_classes_that_differ_in_nothing_but_case_are_two_and_that_is_said(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na.avi,Walk\nb.avi,walk\nc.avi,run\n")
    listing = own_videos.list_clips(Sources(tmp_path / "list.csv", None), None)
    found = stages.selection(listing, "list.csv")
    assert found.labels == ("Walk", "run", "walk")
    assert found.remarks == (
        "classes 'Walk' and 'walk' differ in nothing but case or Unicode form: two classes, or one?",
    )
