"""How flow was stored: numbers that travel with recognisers and manifests, and what makes two of them differ."""

import json
from pathlib import Path

import clip_world
import pyarrow as pa
import pytest

from araflow.core.errors import ManifestError
from araflow.recognition.flow_storage import FlowStorage, in_words, joined, of_manifest
from araflow.store.manifest import Manifest

KNOWN = FlowStorage(
    backend="opencv",
    algorithm="dis",
    preset="balanced",
    parameters={"patch_size": 8, "finest_scale": 1},
    quantizer="bound",
    bound=20.0,
    jpeg_quality=95,
)


def other(**fields):
    return FlowStorage.model_validate({**KNOWN.model_dump(), **fields})


@pytest.mark.parametrize(
    ("fields", "wrong", "lesser", "unknown"),
    [
        ({}, [], [], []),
        ({"preset": "renamed"}, [], [], []),  # a name alone
        ({"parameters": {"patch_size": 8.0, "finest_scale": 1.0}}, [], [], []),
        ({"bound": 5.0}, ["bound 20 against 5"], [], []),
        ({"quantizer": "max_radius", "bound": None}, ["quantiser bound against max_radius"], [], []),
        ({"algorithm": "tvl1"}, ["algorithm dis against tvl1"], [], []),
        ({"backend": "numba"}, [], ["backend opencv against numba"], []),
        ({"jpeg_quality": 50}, [], ["JPEG quality 95 against 50"], []),
        ({"parameters": {"patch_size": 8, "finest_scale": 2}}, [], ["finest_scale 1 against 2"], []),
        ({"parameters": {"patch_size": 8, "device": "cuda"}}, [], ["finest_scale 1 against null"], []),
        ({"parameters": None}, [], [], ["the numbers of the preset"]),
        ({"parameters": None, "preset": "fast"}, [], ["preset balanced against fast"], []),
        ({"bound": None, "jpeg_quality": None}, [], [], ["bound", "JPEG quality"]),
        ({"quantizer": None, "bound": None, "jpeg_quality": 90}, [], ["JPEG quality 95 against 90"], ["quantiser"]),
        ({"backend": "unknown"}, [], [], ["algorithm", "backend", "quantiser", "JPEG quality"]),
    ],
)
def test_what_is_wrong_what_is_less_and_what_is_not_known_are_told_apart(fields, wrong, lesser, unknown):
    found = KNOWN.differs(other(**fields))
    assert (list(found.wrong), list(found.lesser), list(found.unknown)) == (wrong, lesser, unknown)
    back = other(**fields).differs(KNOWN)
    assert [len(part) for part in (back.wrong, back.lesser, back.unknown)] == list(map(len, (wrong, lesser, unknown)))


def test_a_recogniser_that_is_shown_speeds_may_see_them_stored_in_another_scale():
    shown = other(scale="pixels")
    assert shown.differs(other(bound=5.0)).wrong == ()
    assert shown.differs(other(bound=5.0)).lesser == ("bound 20 against 5",)
    assert shown.differs(other(algorithm="tvl1")).wrong


def test_what_an_older_araflow_guessed_beside_unknown_is_not_known():
    old = FlowStorage.model_validate(
        {"backend": "unknown", "algorithm": "unknown", "quantizer": "max_radius", "jpeg_quality": 95, "scale": "pixels"}
    )
    assert old.known == FlowStorage(scale="pixels")
    assert old.numbers() == {}
    assert str(old) == "algorithm not known, quantiser not known, JPEG quality not known"
    assert str(KNOWN) == "opencv dis balanced, ±20 pixels, JPEG 95"


def test_the_numbers_are_those_of_the_preset_and_not_its_name():
    assert KNOWN.numbers() == {
        "backend": "opencv",
        "algorithm": "dis",
        "parameters": {"patch_size": 8, "finest_scale": 1},
        "quantizer": "bound",
        "bound": 20.0,
        "jpeg_quality": 95,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return clip_world.make(tmp_path_factory.mktemp("clips"), frames=3)


def changed(manifest: Manifest, change, **metadata) -> Manifest:
    rows = [{**row, **change(row)} if row["outcome"] == "done" else row for row in manifest.table.to_pylist()]
    table = pa.Table.from_pylist(rows, schema=manifest.table.schema)
    return Manifest(table, {**manifest.metadata, **metadata}, manifest.folder)


def test_ways_are_counted_and_named_by_a_clip(made):
    (share,) = of_manifest(made)
    assert (share.clips, share.such_as, share.storage.jpeg_quality) == (12, "push/0", None)
    (share,) = of_manifest(changed(made, lambda row: {}, spec={"optical": {"jpeg_quality": 90}}))
    assert share.storage.jpeg_quality == 90
    found = of_manifest(changed(made, lambda row: {"bound": 5.0} if row["label"] == "run" else {}))
    assert [(share.clips, share.such_as, share.storage.bound) for share in found] == [
        (8, "push/0", 20.0),
        (4, "run/0", 5.0),
    ]


def test_a_manifest_of_as_many_ways_as_clips_is_said_in_one_short_message(made):
    bounds = iter(range(1, 100))
    shares = of_manifest(changed(made, lambda row: {"bound": next(bounds)}))
    assert len(shares) == 12
    assert in_words(shares).count("such as") == 4 and in_words(shares).endswith("; 8 other ways")
    assert joined(["bound 20 against 5"] * 99) == "bound 20 against 5"
    assert len(joined(map(str, range(10_000)))) < 600


def test_clips_of_one_fingerprint_have_the_numbers_that_one_of_them_notes(made):
    noted = json.dumps({"patch_size": 8})
    new = {"flow_parameters": noted, "jpeg_quality": 80}
    one = changed(made, lambda row: {"fingerprint": "a", **(new if row["key"] == "walk/2" else {})})
    (share,) = of_manifest(one)
    assert (share.clips, share.storage.parameters, share.storage.jpeg_quality) == (12, {"patch_size": 8}, 80)
    two = changed(made, lambda row: new | {"fingerprint": "b"} if row["key"] == "walk/2" else {"fingerprint": "a"})
    assert [share.storage.parameters for share in of_manifest(two)] == [None, {"patch_size": 8}]


@pytest.mark.parametrize("numbers", ["no JSON", "[1]", '{"a": [1]}', "[" * 100_000, '{"a": NaN}'])
def test_a_row_that_says_what_cannot_be_is_named(made, numbers):
    with pytest.raises(ManifestError, match="clip 'push/0': how its flow was made"):
        of_manifest(changed(made, lambda row: {"flow_parameters": numbers}))


def test_of_a_manifest_of_an_older_version_all_but_the_presets_numbers_is_known():
    (share,) = of_manifest(Manifest.read(Path(__file__).parents[1] / "guards" / "output"))
    assert str(share.storage) == "opencv dis balanced, ±20 pixels, JPEG 95"
    assert share.clips == 3 and share.storage.parameters is None
    assert KNOWN.differs(share.storage).unknown == ("the numbers of the preset",)
