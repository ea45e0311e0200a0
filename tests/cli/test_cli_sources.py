"""What may be a source: no folder of its own output, and no manifest that leads out of its folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inline_world import araflow, flow

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


def test_a_source_that_is_its_own_output_is_refused_before_anything_is_made(made: Path, tmp_path: Path):
    videos = Path(shutil.copytree(made / "videos", tmp_path / "videos"))
    (tmp_path / "link").symlink_to(videos)
    before = sorted(videos.rglob("*"))
    for source, target in ((videos, videos), (videos, tmp_path / "link"), (f"{videos}/.", videos / "walk" / "..")):
        for result in (
            flow(source, target),
            araflow("build", "folder", f"dataset.source={source}", "split.protocol=random", f"out={target}"),
        ):
            assert (result.exit_code, "is the folder of its own source" in result.stderr) == (1, True)
    assert sorted(videos.rglob("*")) == before
    within = [flow(videos, videos / "flow").stdout.splitlines()[-1] for _ in range(2)]  # passed over as an output
    assert "2 worked on" in within[0] and "nothing to do" in within[1]


def test_a_source_within_what_is_made_is_refused(out: Path):
    assert "is the folder of its own source" in flow(out / "clips" / "walk", out).stderr


def clip_of(out: Path) -> Path:
    return next((out / "clips" / "walk").iterdir())


def link_folder(out: Path, elsewhere: Path) -> None:
    shutil.rmtree(clip_of(out))
    (out / "clips" / "walk" / clip_of(elsewhere).name).symlink_to(clip_of(elsewhere))


def link_class(out: Path, elsewhere: Path) -> None:
    shutil.rmtree(out / "clips" / "walk")
    (out / "clips" / "walk").symlink_to(elsewhere / "clips" / "walk")


def link_file(out: Path, elsewhere: Path) -> None:
    frame = clip_of(out) / "rgb" / "0000.png"
    frame.unlink()
    frame.symlink_to(clip_of(elsewhere) / "rgb" / "0000.png")


def name_it(out: Path, elsewhere: Path, *, built: bool = True) -> None:
    table = pq.read_table(out / "manifest.parquet")
    paths = pa.array([str(elsewhere / path) for path in table["path"].to_pylist()])
    table = table.set_column(table.schema.get_field_index("path"), table.schema.field("path"), paths)
    if not built:
        number = table.schema.get_field_index("fingerprint")
        table = table.set_column(number, table.schema.field(number), pa.nulls(len(table), pa.string()))
    pq.write_table(table, out / "manifest.parquet")


def name_it_of_no_build(out: Path, elsewhere: Path) -> None:
    name_it(out, elsewhere, built=False)


@pytest.mark.parametrize("way", [link_folder, link_class, link_file, name_it, name_it_of_no_build])
def test_frames_are_copied_only_from_the_manifests_own_folder(
    out: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way
):
    way(out, made / "out")
    refused = flow(out, tmp_path / "new")
    assert (refused.exit_code, "if you trust the manifest, set ARAFLOW_OUTSIDE=1" in refused.stderr) == (1, True)
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("ARAFLOW_OUTSIDE", "1")
    assert flow(out, tmp_path / "new").exit_code == 0


@pytest.mark.parametrize("key", ["../../elsewhere/x", "/{victim}/clips/a/1", "", ".", "a//b", "a/\0"])
def test_a_manifest_whose_key_leads_elsewhere_makes_and_removes_nothing(out: Path, made: Path, tmp_path: Path, key):
    victim = Path(shutil.copytree(made / "out", tmp_path / "victim"))
    table = pq.read_table(out / "manifest.parquet")
    keys = pa.array([key.replace("/{victim}", str(victim)), *table["key"].to_pylist()[1:]])
    pq.write_table(table.set_column(0, table.schema.field(0), keys), out / "manifest.parquet")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in (
        ("flow", out, "--out", tmp_path / "new", "--preset", "fastest"),
        ("manifest", "validate", out),
        ("manifest", "show", out, "--clips"),
        ("manifest", "diff", out, victim),
        ("train-eval", "--spec", "sample_rgb", f"manifest={out}", f"out={tmp_path}/run"),
    ):
        result = araflow(*command)
        assert (result.exit_code, "row 0: key " in result.stderr) == (1, True), result.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_address_of_a_folder_on_this_machine_is_that_folder(made: Path, tmp_path: Path):
    out = tmp_path / "an out"
    address = f"file://{tmp_path}/an%20out"
    assert flow(f"file://{made}/videos", address).exit_code == 0
    assert (out / "manifest.parquet").read_bytes() == (made / "out" / "manifest.parquet").read_bytes()
    for name in (address, f"file:{out}", f"FILE://localhost{out}"):
        for command in ("status", "retry", "clean", ("manifest", "show"), ("manifest", "validate", "--quick")):
            words = (command,) if isinstance(command, str) else command
            assert araflow(*words, name).exit_code == 0
    for other in (f"file://elsewhere{out}", f"local://{out}"):
        refused = flow(made / "videos", other)
        assert (refused.exit_code, "named by its path, or as file:///path" in refused.stderr) == (1, True)


def test_a_row_whose_class_is_none_of_the_manifests_is_refused_before_anything_is_made(out: Path, tmp_path: Path):
    table = pq.read_table(out / "manifest.parquet")
    number = table.schema.get_field_index("label")
    pq.write_table(
        table.set_column(number, table.schema.field(number), pa.array(["run", "jump"])), out / "manifest.parquet"
    )
    refused = flow(out, tmp_path / "new")
    assert (refused.exit_code, "is of class 'jump', which is none of the classes" in refused.stderr) == (1, True)
    assert not (tmp_path / "new").exists()
