import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from clip_world import make

from araflow.core.errors import ManifestError, SpecError
from araflow.core.spec import SplitSpec
from araflow.recognition.data.clips import class_weights, clips_of, leakage, shuffled, split_of
from araflow.store.manifest import SCHEMA, Manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make(tmp_path_factory.mktemp("built"))


def changed(manifest, **columns):
    rows = [{**row, **columns} for row in manifest.table.to_pylist()]
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), manifest.metadata, manifest.folder)


def test_clips_are_the_finished_ones_of_a_split_in_the_manifest_s_label_order(manifest):
    train = clips_of(manifest, split_of(manifest), "train")
    assert [clip.key for clip in train] == sorted(
        f"{label}/{n}" for label in ("walk", "run", "push") for n in (1, 2, 3)
    )
    assert {clip.key.partition("/")[0]: clip.label_index for clip in train} == {"walk": 0, "run": 1, "push": 2}
    first = train[0]
    assert (first.frames, first.flows, first.bound, first.radii) == (13, 12, 20.0, None)
    assert first.folder == manifest.folder / "clips" / "push/1" and first.row["group"] == "film0"
    assert clips_of(manifest, split_of(manifest), "val") == []


def test_a_finished_row_that_lacks_what_is_needed_is_named(manifest):
    with pytest.raises(ManifestError, match=r"clip 'push/1' is done, but its row has no frames, flows: build it again"):
        clips_of(changed(manifest, frames=None, flows=None), split_of(manifest), "train")


def test_clips_can_be_split_anew_from_their_rows(manifest):
    again = split_of(manifest, SplitSpec.model_validate({"protocol": "official", "fold": 1}))
    assert again == split_of(manifest)  # number 4, which could not be made, is assigned too
    assert Counter(again.values()) == {"test": 6, "train": 9}
    second = split_of(manifest, SplitSpec.model_validate({"protocol": "official", "fold": 2}))
    assert [key for key, side in second.items() if side == "test"] == ["push/1", "run/1", "walk/1"]
    group = split_of(manifest, SplitSpec.model_validate({"protocol": "group", "test_fraction": 0.4}))
    assert {key for key, side in group.items() if side == "test"} in (
        {f"{label}/{n}" for label in ("walk", "run", "push") for n in numbers} for numbers in ((0, 1), (2, 3))
    )
    random = split_of(manifest, SplitSpec.model_validate({"protocol": "random", "test_fraction": 0.4}))
    assert Counter(key.partition("/")[0] for key, side in random.items() if side == "test") == dict.fromkeys(
        ("push", "run", "walk"), 2
    )


def test_clips_without_a_label_have_no_split(manifest):
    assert split_of(changed(manifest, label=None, label_index=None)) == {}
    assert split_of(changed(manifest, split=None)) == {}


def test_a_split_that_the_rows_cannot_give_is_refused(manifest):
    with pytest.raises(SpecError, match="group needs source groups"):
        split_of(changed(manifest, group=None), SplitSpec.model_validate({"protocol": "group"}))


def test_leakage_counts_finished_test_clips_whose_film_is_in_training(manifest):
    official = leakage(manifest, split_of(manifest))
    assert [(label, one.test, one.same_class) for label, one in official.by_class.items()] == [
        ("push", 1, 1),
        ("run", 1, 1),
        ("walk", 1, 1),
    ]
    assert (official.total.test, official.total.same_class) == (3, 3)
    by_film = split_of(manifest, SplitSpec.model_validate({"protocol": "group", "test_fraction": 0.4}))
    assert leakage(manifest, by_film).total.any_class == 0


def test_clips_are_a_sequence_whose_parts_are_clips_too(manifest):
    train = clips_of(manifest, split_of(manifest), "train")
    assert len(train) == len(list(train)) == 9
    assert train[-1] == list(train)[-1] and train[-1].key == "walk/3"
    assert train[2:4] == list(train)[2:4] and [clip.key for clip in train[::-3]] == ["walk/3", "run/3", "push/3"]
    assert train != train[:8] and train != "nine clip" and train == pickle.loads(pickle.dumps(train))
    assert train.column("key") == [clip.key for clip in train]
    with pytest.raises(IndexError):
        train[9]


def test_each_clip_has_its_own_radii(manifest):
    rows = manifest.table.to_pylist()
    for number, row in enumerate(rows):
        row["radii"] = None if number % 3 == 0 else [number + place / 8 for place in range(number)]
    scaled = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), manifest.metadata, manifest.folder)
    expected = {row["key"]: row["radii"] and tuple(row["radii"]) for row in rows}
    for split in ("train", "test"):
        found = clips_of(scaled, split_of(scaled), split)
        assert len(found) and all(clip.radii == expected[clip.key] for clip in found)
        assert [clip.radii for clip in found[1:]] == [clip.radii for clip in found][1:]


def test_shuffled_labels_are_dealt_out_among_the_clips_and_nothing_else_changes(manifest):
    train = clips_of(manifest, split_of(manifest), "train")
    dealt = [shuffled(train, seed) for seed in range(5)]
    assert len({tuple(clip.label_index for clip in clips) for clips in dealt}) > 1
    for clips in dealt:
        assert [clip.key for clip in clips] == [clip.key for clip in train]
        assert Counter(clip.label_index for clip in clips) == Counter(clip.label_index for clip in train)
        assert [clip.row for clip in clips] == [clip.row for clip in train]
    assert dealt[3] == shuffled(train, 3)


def test_class_weights_balance_the_classes(manifest):
    train = clips_of(manifest, split_of(manifest), "train")
    uneven = [clip for clip in train if clip.label_index != 1 or clip.key == "run/1"]  # 3, 1 and 3 clips
    weights = class_weights(uneven, 4)
    assert weights.dtype == np.float32 and weights.tolist() == pytest.approx([7 / 12, 7 / 4, 7 / 12, 0])
    assert class_weights(train, 3).tolist() == [1, 1, 1]
