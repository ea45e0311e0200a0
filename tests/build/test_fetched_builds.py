"""From download to manifest by the real commands, with mirrors on this machine that serve the true structure."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import mirrors
import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.store.manifest import Manifest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
LICENCE = "CC0 of the drawn"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[mirrors.Files, mirrors.Files]:
    return mirrors.draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def served(web, drawn, tmp_path, monkeypatch):
    videos, splits = drawn
    web.files |= mirrors.hmdb51(videos, splits) | mirrors.ucf101(videos)
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(mirrors.registry(tmp_path / "registry", web.files, web.url)))
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    return web


def araflow(*arguments: str | Path) -> Result:
    """Run a command that needs no Prefect in this process."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def flow(name: str, out: Path, *arguments: str) -> Result:
    return araflow("flow", "--config", name, "--out", out, "--max-frames", "3", "--workers", "1", *arguments)


def metadata(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = Manifest.read(out).metadata
    assert "licence_accepted" in json.dumps(found)
    return found


def provenance(out: Path) -> dict[str, Any]:
    """What the manifest says of where its clips come from, whatever it calls that."""
    (about,) = [value for value in metadata(out).values() if isinstance(value, dict) and "licence" in value]
    return about


def assert_files_are_on_record(web, out: Path, *paths: str) -> None:
    about = provenance(out)
    assert about["licence"] == LICENCE
    assert about["citation"] == "nobody, 2026"
    assert about["licence_accepted"] is True
    assert {(file["url"], file["size"], file["sha256"]) for file in about["files"]} == {
        (web.url(path), len(web.files[path]), hashlib.sha256(web.files[path]).hexdigest()) for path in paths
    }


def test_building_ucf101_goes_from_download_to_manifest_and_a_second_time_asks_no_server(served, tmp_path):
    refused = flow("ucf101", tmp_path / "out")
    assert refused.exit_code == 1
    assert LICENCE in refused.stderr
    assert served.requests == []

    built = flow("ucf101", tmp_path / "out", "--accept-licence")
    assert built.exit_code == 0, built.output
    assert "6 clips listed: 6 done" in built.stdout.splitlines()[-1]
    paths = ("/UCF101.rar", "/UCF101TrainTestSplits-RecognitionTask.zip")
    assert Counter(served.requests) == dict.fromkeys(paths, 1)
    assert_files_are_on_record(served, tmp_path / "out", *paths)
    rows = Manifest.read(tmp_path / "out").table.to_pylist()
    assert Counter(row["label"] for row in rows) == {"HandstandPushups": 3, "WalkingWithDog": 3}
    assert {row["group"] for row in rows} == {f"{c}_g0{g}" for c in mirrors.UCF_CLASSES.values() for g in (1, 2, 3)}
    assert Counter(row["split"] for row in rows) == {"train": 4, "test": 2}
    assert {row["key"] for row in rows if row["split"] == "test"} == {
        "HandstandPushups/v_HandStandPushups_g01_c01",
        "WalkingWithDog/v_WalkingWithDog_g01_c01",
    }

    served.requests.clear()
    before = (tmp_path / "out" / "manifest.parquet").read_bytes()
    assert flow("ucf101", tmp_path / "out").exit_code == 0
    assert served.requests == []
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == before


def test_after_fetch_a_build_needs_neither_flag_nor_server_and_a_changed_licence_asks_again(served, tmp_path):
    assert araflow("fetch", "hmdb51", "--accept-licence").exit_code == 0
    served.requests.clear()
    built = flow("hmdb5", tmp_path / "out")
    assert built.exit_code == 0, built.output
    assert served.requests == []
    assert_files_are_on_record(served, tmp_path / "out", "/hmdb51_org.rar", "/test_train_splits.rar")

    path = tmp_path / "registry" / "hmdb51.yaml"
    path.write_text(path.read_text().replace(LICENCE, "All rights reserved"))
    refused = flow("hmdb5", tmp_path / "out")
    assert refused.exit_code == 1
    assert "All rights reserved" in refused.stderr
    assert flow("hmdb5", tmp_path / "out", "--accept-licence").exit_code == 0
    assert provenance(tmp_path / "out")["licence_accepted"] is True
    assert flow("hmdb5", tmp_path / "out").exit_code == 0, "accepted once is enough"
    assert served.requests == []


def test_a_build_of_one_class_unpacks_that_class_and_one_of_all_downloads_nothing_more(served, tmp_path):
    one = flow("hmdb5", tmp_path / "one", "--set", "dataset.classes=[walk]", "--accept-licence")
    assert one.exit_code == 0, one.output
    assert [p.name for p in (tmp_path / "cache" / "hmdb51" / "videos").iterdir()] == ["walk"]
    served.requests.clear()
    assert flow("hmdb5", tmp_path / "all").exit_code == 0
    assert served.requests == []
    assert len(Manifest.read(tmp_path / "all").table.to_pylist()) == 15


def test_a_clip_deleted_from_the_dataset_is_missing_in_a_build_which_says_so(served, tmp_path):
    araflow("fetch", "hmdb51", "--accept-licence")
    victim = next((tmp_path / "cache" / "hmdb51" / "videos").rglob("*.avi"))
    victim.unlink()
    built = flow("hmdb5", tmp_path / "out")
    assert built.exit_code == 3
    assert "14 done, 1 quarantined (1 missing)" in built.stdout.splitlines()[-1]


def test_a_dataset_fetched_to_a_folder_of_ones_own_is_found_there(served, tmp_path):
    assert araflow("fetch", "hmdb51", "--to", tmp_path / "data", "--accept-licence").exit_code == 0
    served.requests.clear()
    built = flow("hmdb5", tmp_path / "out", "--set", f"dataset.folder={tmp_path / 'data'}")
    assert built.exit_code == 0, built.output
    assert served.requests == []
    assert not (tmp_path / "cache").exists()


def test_the_same_clips_from_an_archive_of_ones_own_give_the_same_frames_and_claim_no_download(served, drawn, tmp_path):
    flow("hmdb5", tmp_path / "fetched", "--accept-licence")
    served.requests.clear()
    for name, data in mirrors.class_archives(drawn[0]).items():
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(data)
    (tmp_path / "splits.zip").write_bytes(mirrors.zipped(drawn[1]))
    sources = ["--set", f"dataset.source={tmp_path / 'mine'}", "--set", f"dataset.splits={tmp_path / 'splits.zip'}"]
    built = flow("hmdb5", tmp_path / "own", *sources)
    assert built.exit_code == 0, built.output
    assert served.requests == []

    def frames(out: Path) -> dict[str, bytes]:
        return {p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "clips").rglob("*.[pj]*g")}

    assert frames(tmp_path / "own") == frames(tmp_path / "fetched") != {}
    assert "licence_accepted" not in json.dumps(Manifest.read(tmp_path / "own").metadata)


def test_planning_a_fetched_dataset_needs_no_server_and_of_one_not_fetched_no_licence(served, tmp_path):
    araflow("plan", "hmdb5", f"out={tmp_path / 'out'}")
    assert served.requests == []
    assert not (tmp_path / "cache").exists()
    araflow("fetch", "hmdb51", "--accept-licence")
    served.requests.clear()
    planned = araflow("plan", "hmdb5", f"out={tmp_path / 'out'}")
    assert planned.exit_code == 0, planned.output
    assert "15" in planned.stdout
    assert served.requests == []
    assert not (tmp_path / "out").exists()


def test_a_folder_dataset_is_built_from_an_archive_of_class_folders(drawn, tmp_path):
    videos = {f"mine/{name}": data for name, data in drawn[0].items() if name.startswith(("walk/", "run/"))}
    (tmp_path / "mine.zip").write_bytes(mirrors.zipped(videos))
    settings = ["dataset.name=folder", f"dataset.source={tmp_path / 'mine.zip'}", "dataset.classes=null"]
    settings += ["split.protocol=random", "split.test_fraction=0.34"]
    options = [word for text in settings for word in ("--set", text)]
    built = flow("hmdb5", tmp_path / "out", *options)
    assert built.exit_code == 0, built.output
    rows = Manifest.read(tmp_path / "out").table.to_pylist()
    assert Counter(row["label"] for row in rows) == {"walk": 3, "run": 3}
