import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.core import resources
from araflow.core.resources import plugins
from araflow.datasets._sample import draw_sample

ROOT = Path(__file__).parents[2]
HEAVY = ["prefect", "cv2", "av", "numpy", "pyarrow", "torch", "onnx", "httpx", "pydantic", "yaml", "rich", "flows"]


def araflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(folder, clips_per_class=2, sources_per_class=2, width=96, height=64, seconds=(0.3, 0.5))
    return folder


@pytest.fixture
def videos(drawn: Path, tmp_path: Path) -> Path:
    """A folder of videos: two good ones and a text file that calls itself one."""
    folder = tmp_path / "videos" / "walk"
    folder.mkdir(parents=True)
    for path in sorted((drawn / "videos" / "walk").iterdir()):
        (folder / path.name).symlink_to(path)
    (folder / "notes.avi").write_text("not a video")
    return folder.parent


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


def test_no_help_imports_anything_heavy():
    paths = list(commands(main))
    code = (
        "import sys\nfrom araflow.cli import main\n"
        f"for path in {paths}:\n    main([*path, '--help'], standalone_mode=False)\n"
        f"    print(path, [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.splitlines() == [f"{path} []" for path in paths]
    assert run.stdout.count("Usage:") == len(paths) > 25
    assert "\\b" not in run.stdout
    assert "\b" not in run.stdout


def test_there_is_one_renderer_of_tables():
    files = [path for folder in ("araflow", "flows") for path in (ROOT / folder).rglob("*.py")]
    users = [path for path in files if re.search(r"rich\.(table|markup|columns|panel)", path.read_text())]
    assert not users


def test_flow_of_a_folder_quarantines_the_bad_clip_and_says_so(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = araflow("flow", videos, "--out", out)
    assert result.exit_code == 3, result.output
    assert "1 quarantined (1 not-a-video)" in result.stdout.splitlines()[-1]
    assert sorted(p.name for p in (out / "clips" / "walk").iterdir()) == sorted(
        p.stem for p in (videos / "walk").iterdir() if p.is_symlink()
    )


def test_strict_turns_a_quarantined_clip_into_failure(videos: Path, tmp_path: Path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "--strict")
    assert result.exit_code == 1
    assert "strict" in result.stderr
    assert (tmp_path / "out" / "manifest.parquet").is_file()


def test_json_output_is_json_alone(videos: Path, tmp_path: Path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    assert content["outcomes"] == {"done": 2, "quarantined": 1}
    assert content["made"] == 3
    assert json.loads(araflow("flow", videos, "--out", tmp_path / "out", "--json").stdout)["made"] == 0


def test_flow_settings_reach_the_manifest(drawn: Path, tmp_path: Path):
    video = next((drawn / "videos" / "run").iterdir())
    out = tmp_path / "out"
    options = ["--algorithm", "farneback", "--quantizer", "max_radius", "--max-frames", "5", "--workers", "1"]
    result = araflow("flow", video, "--out", out, *options, "--set", "rgb.naming=recipe")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(araflow("manifest", "show", out, "--clips", "--json").stdout)["clips"]
    assert (row["algorithm"], row["quantizer"], row["frames"], row["flows"]) == ("farneback", "max_radius", 5, 4)
    assert row["bound"] is None
    assert len(row["radii"]) == 4
    assert row["split"] is None
    assert sorted(p.name for p in (out / row["path"] / "u").iterdir())[0] == "000001.jpg"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flow", "--backend", "nope"], ["optical.backend", "auto", "opencv"]),
        (["flow", "/no/such/video.avi", "--out", "x"], ["/no/such/video.avi"]),
        (["build", "hmdb6"], ["hmdb6", "did you mean hmdb5?"]),
        (["build", "hmdb5", "optical.algoritm=dis"], ["optical.algoritm", "did you mean algorithm?"]),
        (["build", "hmdb5", "optical.bound=-1"], ["optical.bound", "greater than 0"]),
        (["build", "hmdb5", "dataset.classes=[wlk]", "dataset.source=."], ["wlk", "did you mean walk?"]),
        (["plan", "hmdb5"], ["dataset.source", "downloads nothing"]),
        (["flow"], ["4.25 GB", "CC BY 4.0", "--accept-licence"]),
        (["flow", "https://example.org/a.mp4", "--out", "x"], ["addresses are not fetched here"]),
        (["build", "hmdb5", "dataset.classes=walk,run"], ["dataset.classes: expected a list, such as [walk, punch]"]),
        (["build", "hmdb5", "dataset.source=nope"], ["nope: no such folder or archive"]),
        (
            ["build", "hmdb5", "dataset.source=/"],
            ["official needs the dataset's own lists (dataset.splits=PATH", "split.protocol=auto"],
        ),
        (["manifest", "show", "/no/such"], ["/no/such", "no such manifest"]),
    ],
)
def test_bad_input_gets_one_clear_message(arguments: list[str], said: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = araflow(*arguments)
    assert result.exit_code == 1
    assert "\nerror: " in "\n" + result.stderr
    for text in said:
        assert text in result.stderr
    assert not (tmp_path / "data").exists()


def test_an_installation_that_lacks_its_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "araflow")
    result = araflow("build", "hmdb5")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: araflow's own folder 'configs' is missing")


def test_flow_of_a_source_needs_out(videos: Path):
    result = araflow("flow", videos)
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_plan_counts_from_split_files_alone(real_data: Path):
    result = araflow("plan", "hmdb5", f"dataset.splits={real_data}/hmdb51_splits", "split.protocol=random", "--json")
    content = json.loads(result.stdout)
    assert [row["test"] for row in content["classes"]] == [54, 10, 23, 13, 11]
    assert content["total"]["test"] == 111
    assert content["estimate"] is None


def test_plan_measures_without_writing(drawn: Path, tmp_path: Path):
    settings = [f"dataset.source={drawn}/videos", f"dataset.splits={drawn}/splits", f"out={tmp_path}/out"]
    content = json.loads(araflow("plan", "hmdb5", *settings, "--json").stdout)
    assert content["present"] == 10
    estimate = content["estimate"]
    assert content["measured"] >= 1
    # Exact counts are known here: every drawn clip is 0.3 to 0.5 s at 30 frames per second.
    assert 10 * 9 <= estimate["frames"] <= 10 * 16
    assert estimate["cpu_hours"] > 0
    assert estimate["rgb_bytes"] > estimate["flow_bytes"] > 0
    assert not (tmp_path / "out").exists()
    assert "processes" in araflow("build", "hmdb5", *settings, "--dry-run").stdout
    assert not (tmp_path / "out").exists()


def test_validate_and_diff_exit_with_what_they_found(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out)
    assert araflow("manifest", "validate", out).exit_code == 0
    assert araflow("manifest", "diff", out, out).exit_code == 0
    next((out / "clips" / "walk").glob("*/u/*.jpg")).unlink()
    result = araflow("manifest", "validate", out, "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["problems"]) >= 1
    araflow("flow", videos, "--out", tmp_path / "other", "--bound", "5")
    result = araflow("manifest", "diff", out, tmp_path / "other")
    assert result.exit_code == 1
    assert "bound 20.0 -> 5.0" in result.stdout


def test_doctor_and_list_name_every_backend():
    found = json.loads(araflow("doctor", "--deep", "--json").stdout)
    by_name = {finding["name"]: finding for finding in found}
    assert by_name["opencv"]["present"]
    assert by_name["prefect server"]["present"], by_name["prefect server"]["detail"]
    assert all(finding["detail"] for finding in found)
    listed = json.loads(araflow("flow", "--list", "--json").stdout)
    assert [backend["name"] for backend in listed["backends"]] == list(plugins("optical/backends"))
    assert set(plugins("optical/backends")) <= set(by_name)
    assert "OpenCV" in araflow("flow", "--list").stdout


def test_settings_that_a_source_makes_idle_are_refused(videos: Path, tmp_path: Path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "--set", "dataset.classes=[walk]")
    assert result.exit_code == 2
    assert "dataset.classes" in result.stderr
    assert araflow("flow", videos, "--set", f"out={tmp_path}/out").exit_code == 3


def test_another_dataset_does_not_replace_the_one_that_is_there(videos: Path, drawn: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out)
    before = (out / "manifest.parquet").read_bytes()
    result = araflow("flow", next((drawn / "videos" / "push").iterdir()), "--out", out)
    assert result.exit_code == 1
    assert "holds 3 other clips" in result.stderr
    assert (out / "manifest.parquet").read_bytes() == before


def test_a_clip_named_as_a_class_does_not_replace_the_class(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out)
    made = sorted((out / "clips" / "walk").iterdir())
    (videos / "walk.avi").write_bytes(next(p for p in (videos / "walk").iterdir() if p.is_symlink()).read_bytes())
    araflow("flow", videos, "--out", out)
    assert sorted((out / "clips" / "walk").iterdir()) == made
    for state in ("manifest.parquet", ".araflow/build.json"):  # either would refuse other clips
        (out / state).unlink()
    result = araflow("flow", videos / "walk.avi", "--out", out)
    assert result.exit_code == 1
    assert "is no clip's folder" in result.stderr
    assert sorted((out / "clips" / "walk").iterdir()) == made


def test_flow_of_a_manifest_keeps_labels_splits_and_the_clips_that_were_not_made(drawn: Path, tmp_path: Path):
    settings = [f"dataset.source={drawn}/videos", f"dataset.splits={drawn}/splits", "dataset.classes=[walk, push]"]
    arguments = [option for text in settings for option in ("--set", text)]
    next((drawn / "videos" / "push").iterdir()).rename(tmp_path / "away.avi")
    araflow("flow", "--config", "hmdb5", "--out", tmp_path / "a", "--max-frames", "4", *arguments)
    (tmp_path / "away.avi").rename(drawn / "videos" / "push" / "away.avi")
    result = araflow("flow", tmp_path / "a", "--out", tmp_path / "b", "--bound", "5")
    assert result.exit_code == 3, result.output
    first, second = (
        json.loads(araflow("manifest", "show", tmp_path / name, "--clips", "--json").stdout)["clips"] for name in "ab"
    )
    for name in ("key", "label", "label_index", "split", "fold1", "outcome", "frames", "group"):
        assert [row[name] for row in first] == [row[name] for row in second], name
