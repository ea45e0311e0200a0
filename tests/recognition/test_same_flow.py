"""A recogniser of flow meets flow of another making: each command refuses it and names both, or keeps a warning."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import training_world
import video_world
from click.testing import CliRunner
from safetensors import safe_open

from araflow import optical
from araflow.cli.export import export
from araflow.cli.features import features
from araflow.cli.options import Group
from araflow.cli.predict import predict
from araflow.cli.train import evaluate
from araflow.core.errors import SpecError, UnavailableError
from araflow.recognition import experiment, results
from araflow.recognition.checkpoint import read_spec
from araflow.recognition.evaluation.fusion import fuse_streams
from araflow.recognition.evaluation.write import read_predictions
from araflow.recognition.prediction.video_flow import flow_maker
from araflow.recognition.training import run as training
from araflow.store.manifest import Manifest

COMMANDS = Group(commands={"evaluate": evaluate, "features": features, "predict": predict, "export": export})
BOTH = "was trained on flow of opencv dis balanced, ±20 pixels, JPEG 95; "


def run(*arguments):
    return CliRunner().invoke(COMMANDS, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with training_world.alone():
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def built(base):
    return video_world.built(base)


@pytest.fixture(scope="module")
def other(base):
    """The same videos with flow of another bound."""
    return video_world.built(base, bound=5.0)


@pytest.fixture(scope="module")
def files(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for modality in ("rgb", "flow", "joint"):
        model = video_world.prepare(built, modality).model
        made[modality] = video_world.recogniser(folder / f"{modality}.safetensors", model)
    return made


def changed(folder, out, change):
    """Write a manifest of the same clips with other rows; return its path."""
    read = Manifest.read(folder)
    rows = [{**row, "path": row["path"] and str(folder / row["path"]), "fingerprint": None} for row in rows_of(read)]
    table = pa.Table.from_pylist([{**row, **change(row)} for row in rows], schema=read.table.schema)
    Manifest(table, read.metadata, out).write(out / "changed.parquet")
    return out / "changed.parquet"


def rows_of(manifest):
    return manifest.table.to_pylist()


def encounters(files, manifest, out):
    """The commands in which a recogniser meets a manifest's flow."""
    yield "evaluate", files["flow"], "--manifest", manifest, "--out", out / "evaluation", "--json"
    yield "evaluate", files["joint"], "--manifest", manifest, "--json"
    yield "evaluate", files["rgb"], "--fuse", files["flow"], "--manifest", manifest, "--json"
    yield "features", files["flow"], manifest, "--out", out / "features", "--json"
    yield "export", files["flow"], "--out", out / "m.onnx", "--manifest", manifest, "--windows", 1, "--json"


def test_flow_of_another_bound_is_refused_by_each_command_and_taken_with_a_warning_that_stays(files, other, tmp_path):
    for command in encounters(files, other, tmp_path):
        refused = run(*command)
        assert refused.exit_code == 1, refused.output
        assert (
            f"{BOTH}{other} has flow of opencv dis balanced, ±5 pixels, JPEG 95: bound 20 against 5" in refused.stderr
        )
        assert "--allow-other-flow" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    for command in encounters(files, other, tmp_path):
        taken = run(*command, "--allow-other-flow")
        assert taken.exit_code == 0, taken.output
        (warning,) = json.loads(taken.stdout)["warnings"]
        assert "bound 20 against 5" in warning
    folder = tmp_path / "evaluation"
    assert "bound 20 against 5" in json.loads((folder / "metrics.json").read_text())["warnings"][0]
    assert "bound 20 against 5" in (folder / "summary.md").read_text()
    kept = read_predictions(folder)
    assert "bound 20 against 5" in kept.warnings[0]
    assert fuse_streams([kept, kept]).warnings == kept.warnings
    metadata = pq.read_schema(tmp_path / "features/features.parquet").metadata
    assert b"bound 20 against 5" in metadata[b"araflow-warnings"]
    table = run("evaluate", files["flow"], "--manifest", other, "--allow-other-flow")
    assert "bound 20 against" in " ".join(table.stdout.split())


def test_flow_of_the_same_making_is_no_matter_nor_is_any_to_rgb(files, built, other, tmp_path):
    same = changed(built, tmp_path, lambda row: {"split": "test", "preset": "renamed"})
    for file, manifest in (("flow", built), ("joint", built), ("flow", same), ("rgb", other)):
        result = run("evaluate", files[file], "--manifest", manifest, "--json")
        assert result.exit_code == 0, result.output
        assert "warnings" not in json.loads(result.stdout)
        assert "trained on flow" not in result.stderr


@pytest.mark.parametrize(
    ("change", "refused", "said"),
    [
        ({"quantizer": "max_radius", "bound": None}, True, "quantiser bound against max_radius"),
        ({"algorithm": "tvl1"}, True, "algorithm dis against tvl1"),
        ({"backend": "numba"}, False, "backend opencv against numba"),
        ({"jpeg_quality": 50}, False, "JPEG quality 95 against 50"),
        ({"flow_parameters": '{"patch_size": 8}'}, False, "finest_scale 1 against null"),
        ({"flow_parameters": None, "jpeg_quality": None}, False, "not known of: the numbers of the preset"),
        ({"backend": "unknown", "algorithm": "unknown"}, False, "not known of: algorithm, backend, quantiser"),
    ],
)
def test_what_is_wrong_is_refused_and_what_is_less_or_not_known_is_warned_of(
    files, built, tmp_path, caplog, change, refused, said
):
    manifest = changed(built, tmp_path, lambda row: change)
    result = run("evaluate", files["flow"], "--manifest", manifest, "--json")
    assert result.exit_code == refused, result.output
    shown = result.stderr if refused else caplog.text
    assert BOTH in shown and said in shown
    if not refused:
        assert said in " ".join(json.loads(result.stdout)["warnings"])


def test_a_manifest_whose_clips_are_not_all_of_one_scale_is_named(files, built, tmp_path):
    read = Manifest.read(built)
    key = next(row["key"] for row in rows_of(read) if row["split"] == "train")
    mixed = changed(built, tmp_path, lambda row: {"bound": 5.0} if row["key"] == key else {})
    result = run("evaluate", files["flow"], "--manifest", mixed)
    assert result.exit_code == 1
    assert "±20 pixels, JPEG 95 (5 clips, such as push/" in result.stderr
    assert f"±5 pixels, JPEG 95 (1 clips, such as {key})" in result.stderr
    with pytest.raises(SpecError, match=r"not made in one way .*bound 20 against 5"):
        video_world.prepare(mixed, "flow")
    assert run("evaluate", files["rgb"], "--manifest", mixed).exit_code == 0


def test_clips_that_a_killed_build_made_anew_are_found_though_the_manifest_is_the_one_of_training(
    files, built, other, tmp_path
):
    out = shutil.copytree(built, tmp_path / "data")
    key = next(row["key"] for row in rows_of(Manifest.read(out)) if row["split"] == "test")
    shutil.rmtree(out / "clips" / key)
    shutil.copytree(other / "clips" / key, out / "clips" / key)
    said = f"1 of the 6 clips looked at were made anew since it was written, such as {key} (flow of opencv dis"
    refused = run("evaluate", files["flow"], "--manifest", out)
    assert refused.exit_code == 1
    assert said in refused.stderr and "bound 20 against 5" in refused.stderr and "run the build again" in refused.stderr
    taken = run("evaluate", files["flow"], "--manifest", out, "--allow-other-flow", "--json")
    assert said in json.loads(taken.stdout)["warnings"][0]
    with pytest.raises(SpecError, match="were made anew since it was written"):
        video_world.prepare(out, "flow")
    assert run("evaluate", files["rgb"], "--manifest", out).exit_code == 0


def test_predict_says_what_it_does_not_know_also_in_its_json(files, base, tmp_path):
    model = read_spec(files["flow"])
    old = model.model_copy(update={"flow": model.flow.model_copy(update={"parameters": None})})
    file = video_world.recogniser(tmp_path / "old.safetensors", old)
    video = next(video_world.videos(base).glob("*/*.avi"))
    for own, count in ((file, 1), (files["flow"], 0)):
        result = run("predict", own, video, "--json")
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout).get("warnings", [])) == count


def test_a_checkpoint_holds_numbers_and_no_names_of_what_it_is_shown(files):
    with safe_open(files["joint"], framework="numpy") as file:
        told = json.loads(file.metadata()["araflow"])
    assert told["flow"]["parameters"] == dict(optical.load("opencv").parameters("dis", "balanced"))
    for stream, channels in (("rgb", 3), ("flow", 2)):
        window = told["network"][stream]
        assert len(window["mean"]) == channels and all(isinstance(value, float) for value in window["mean"])
        assert {type(window[name]) for name in ("frames", "width", "height")} == {int}


def test_a_recogniser_of_before_is_warned_of_unless_it_was_trained_on_this_very_manifest(files, built, tmp_path):
    model = read_spec(files["flow"])
    old = model.model_copy(update={"flow": model.flow.model_copy(update={"parameters": None})})
    file = video_world.recogniser(tmp_path / "old.safetensors", old)
    done = results.evaluate_files([file], built, settings={"mode": "center"}).evaluation
    assert done.warnings == ()
    (tmp_path / "again").mkdir()
    done = results.evaluate_files([file], changed(built, tmp_path / "again", lambda row: {}), settings={}).evaluation
    assert len(done.warnings) == 1 and "not known of: the numbers of the preset" in done.warnings[0]


def test_a_recogniser_that_says_nothing_of_its_flow_is_warned_of_and_not_refused(files, built, tmp_path):
    bare = read_spec(files["flow"]).model_copy(update={"flow": None, "manifest_sha256": None})
    file = video_world.recogniser(tmp_path / "bare.safetensors", bare)
    done = results.evaluate_files([file], built, settings={}).evaluation
    (warning,) = done.warnings
    assert "not known of: algorithm, backend, quantiser, JPEG quality" in warning


def test_weights_to_start_from_that_saw_other_flow_are_noted(files, other, tmp_path):
    torch.save({}, tmp_path / "published.pth")
    for file, said in ((files["flow"], "bound 20 against 5"), (tmp_path / "published.pth", "it is not known")):
        prepared = video_world.prepare(other, "flow", network={"weights": {"flow": str(file)}})
        assert any(said in note and "±5 pixels" in note for note in prepared.notes), prepared.notes
    for file in (files["rgb"],):
        prepared = video_world.prepare(other, "flow", network={"weights": {"flow": str(file)}})
        assert not any("trained on flow" in note for note in prepared.notes)


def test_a_training_does_not_go_on_with_flow_of_another_making_and_names_both(tmp_path):
    data = training_world.manifest(tmp_path / "data", frames=4)
    training_world.train(data, tmp_path / "run", training__epochs=1)
    manifest = changed(data, tmp_path, lambda row: {"bound": 5.0} if row["bound"] else {})
    again = experiment.prepare(training_world.spec(manifest, tmp_path / "run", training__epochs=1))
    with pytest.raises(SpecError, match=r"holds another experiment \(flow: .*±20 pixels.* there, .*±5 pixels.* now"):
        training.train(again)


def test_predict_computes_flow_by_the_numbers_of_training_or_says_that_it_cannot(files, caplog):
    model = read_spec(files["flow"])
    found = flow_maker(model)
    assert found is not None and (found.preset, found.warnings) == ("balanced", ())

    def trained_on(**fields):
        return model.model_copy(update={"flow": model.flow.model_copy(update=fields)})

    assert flow_maker(trained_on(preset="fast")) == found  # a name that came to mean something else
    strange = trained_on(parameters={**model.flow.parameters, "patch_size": 9})
    with pytest.raises(UnavailableError, match=r"no preset of opencv dis computes that now \(patch_size 9 against 8\)"):
        flow_maker(strange)
    assert "patch_size 9 against 8" in flow_maker(strange, "opencv").warnings[0]
    old = flow_maker(trained_on(parameters=None, jpeg_quality=None))
    assert old.preset == "balanced" and "JPEG quality, the numbers of the preset" in old.warnings[0]
    assert old.warnings[0] in caplog.text
