import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import video_world

from araflow.core.errors import OutputError, SourceError, SpecError
from araflow.recognition.data import windows as data
from araflow.recognition.prediction import features
from araflow.recognition.prediction.predict import list_videos
from araflow.recognition.spec import EvaluationSpec
from araflow.store.manifest import Manifest


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return video_world.videos(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return video_world.built(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def prepared(built):
    return video_world.prepare(built, "flow")


def test_features_are_the_mean_of_what_the_classifier_sees(built, prepared):
    runner, network = video_world.runner(prepared.model), video_world.network(prepared.model)
    found = features.of_manifest(runner, Manifest.read(built), "test", mode="conv", segments=5)
    assert found.keys == tuple(clip.key for clip in prepared.test)
    assert set(found.splits) == {"test"}
    assert found.labels == tuple(key.split("/")[0] for key in found.keys)
    windows = data.EvaluationWindows(prepared.test[:1], prepared.model, EvaluationSpec(mode="conv", segments=5))
    with torch.inference_mode():
        every = torch.cat([network.features(windows[number]["flow"][None]) for number in range(len(windows))])
    np.testing.assert_allclose(found.vectors[0], every.mean(dim=0).numpy(), rtol=1e-5, atol=1e-6)
    logits = network.fc(torch.from_numpy(found.vectors))
    assert logits.shape == (3, 3)


def test_features_of_videos_are_those_of_their_clips(videos, built, prepared):
    runner = video_world.runner(prepared.model)
    clips = features.of_manifest(runner, Manifest.read(built))
    same = features.of_videos(runner, list_videos([videos]))
    assert (len(clips.keys), same.keys, same.labels) == (6, clips.keys, clips.labels)
    assert set(same.splits) == {None}
    np.testing.assert_allclose(same.vectors, clips.vectors, rtol=1e-5, atol=1e-6)


def test_clips_without_a_label_have_features_too(built, prepared, tmp_path):
    manifest = Manifest.read(built)
    names = manifest.table.column_names
    rows = [row | {"label": None, "label_index": None, "split": None} for row in manifest.table.to_pylist()]
    bare = Manifest(manifest.table.from_pylist(rows, schema=manifest.table.schema), manifest.metadata, manifest.folder)
    assert bare.table.column_names == names
    found = features.of_manifest(video_world.runner(prepared.model), bare)
    assert set(found.labels) == {None}
    files = found.write(tmp_path / "out")
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_the_table_gives_the_vectors_back_and_is_the_same_each_time(built, prepared, tmp_path):
    found = features.of_manifest(video_world.runner(prepared.model), Manifest.read(built))
    first, second = (found.write(tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    read = pq.read_table(first[0])
    assert read.column_names == ["key", "label", "split", "embedding"]
    assert str(read.schema.field("embedding").type).startswith("list<")
    np.testing.assert_array_equal(np.stack(read.column("embedding").to_numpy()), found.vectors)
    assert read.column("split").to_pylist() == list(found.splits)


def test_what_cannot_be_is_said(built, prepared, tmp_path):
    runner = video_world.runner(prepared.model)
    with pytest.raises(SpecError, match=r"no finished clip of 'tset'; its splits: test, train; did you mean test"):
        features.of_manifest(runner, Manifest.read(built), "tset")
    (tmp_path / "bad.avi").write_bytes(b"")
    with pytest.raises(SourceError, match=r"none of 1 videos.*bad: empty"):
        features.of_videos(runner, list_videos([tmp_path]))
    copy = shutil.copytree(built, tmp_path / "copy")
    next(copy.glob("clips/*/*/u/*.jpg")).write_bytes(b"")
    with pytest.raises(SourceError, match="clip '"):
        features.of_manifest(runner, Manifest.read(copy), mode="all")
    (tmp_path / "file").write_text("")
    found = features.Features(("a",), ("b",), (None,), np.ones((1, 4), np.float32))
    with pytest.raises(OutputError, match="cannot be written"):
        found.write(tmp_path / "file")


def test_the_plane_shows_the_two_directions_of_most_variation():
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(200, 2)) * [5.0, 2.0]
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0][:2]
    vectors = (hidden @ turn + 7).astype(np.float32)
    found = features.plane(vectors)
    centred = hidden - hidden.mean(axis=0)
    # The plane keeps every distance, and its first axis the larger spread.
    np.testing.assert_allclose(
        np.linalg.norm(found[:, None] - found, axis=2), np.linalg.norm(centred[:, None] - centred, axis=2), atol=1e-4
    )
    assert found[:, 0].std() > found[:, 1].std()
    assert abs(np.corrcoef(found.T)[0, 1]) < 1e-6
    np.testing.assert_allclose(features.plane(vectors + 100), found, atol=1e-3)
    np.testing.assert_array_equal(features.plane(vectors[::-1])[::-1].round(6), found.round(6))


def test_the_plane_has_a_sign_of_its_own():
    vectors = np.array([[3, 0, 0], [-1, 0, 1], [-2, 0, -1]], np.float32)
    found = features.plane(vectors)
    assert found[0, 0] > 0
    np.testing.assert_allclose(features.plane(-vectors)[:, 0], -found[:, 0], atol=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_few_clips_are_points_too(count):
    vectors = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    found = features.plane(vectors)
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-6)
