import hashlib

import cv2
import numpy as np
import pytest
from flo_writer import write_flo

from araflow.core.errors import SourceError
from araflow.optical.quality import pairs as flow_pairs
from araflow.optical.quality.pairs import KINDS, generated, middlebury
from araflow.optical.quality.scene import Layer, Scene, dice

STILL = (0.0,) * 6


def still(*values):
    """Coefficients that begin with these and end with zeros."""
    return (*values, *STILL[len(values) :])


def warped_back(second, flow):
    y, x = np.mgrid[: second.shape[0], : second.shape[1]].astype(np.float32)
    return cv2.remap(second, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def pairs():
    return {pair.name: pair for pair in generated()}


@pytest.fixture(scope="module")
def other_pairs():
    return generated(1)


# --- one layer


def test_a_still_scene_gives_equal_frames_and_no_flow():
    scene = Scene((Layer(STILL, STILL), Layer(STILL, STILL, (30, 20, 9, 7))), (1,))
    first, second = (scene.render(40, 60, second=second) for second in (False, True))
    np.testing.assert_array_equal(first, second)
    flow, valid, layer = scene.truth(40, 60)
    assert not flow.any()
    assert valid.all()
    assert sorted(np.unique(layer)) == [0, 1]


def test_a_shift_by_whole_pixels_moves_every_byte_right_and_down():
    scene = Scene((Layer(still(3.0), still(-2.0)),), (1,))
    first, second = (scene.render(40, 60, second=second) for second in (False, True))
    np.testing.assert_array_equal(second[:-2, 3:], first[2:, :-3])
    flow, valid, _ = scene.truth(40, 60)
    assert (flow == (3, -2)).all()
    assert valid[2:, :-3].all()
    assert valid.sum() == 38 * 57


def test_the_flow_of_a_zoom_is_anchored_on_the_first_frame():
    # What stands at p in the second frame was at p - 0.2 (p - centre): so x goes to centre + (x - centre) / 0.8.
    scene = Scene((Layer((0, 0.2 * 160, 0, 0, 0, 0), (0, 0, 0.2 * 160, 0, 0, 0)),), (1,))
    flow = scene.truth(240, 320)[0]
    y, x = np.mgrid[:240, :320]
    np.testing.assert_allclose(flow[..., 0], (x - 160) * 0.25, atol=1e-4)
    np.testing.assert_allclose(flow[..., 1], (y - 120) * 0.25, atol=1e-4)


def test_the_flow_leads_to_where_the_motion_came_from():
    layer = Layer((9, 2, -2, 2, 1, -2), (-8, 2, 2, -1, 2, 2))
    y, x = np.mgrid[:240, :320].astype(np.float64)
    u, v = layer.flow(x, y)
    back = layer.shift(x + u, y + v)
    np.testing.assert_allclose(back, (u, v), rtol=0, atol=1e-12)


# --- layers


def test_what_is_covered_in_the_second_frame_is_not_valid():
    # A disc moves 10 to the right over a still backdrop: it hides what is ahead of it and uncovers what is behind.
    scene = Scene((Layer(STILL, STILL), Layer(still(10.0), STILL, (30, 30, 12, 12))), (1,))
    flow, valid, layer = scene.truth(60, 80)
    assert flow[30, 30].tolist() == [10, 0]
    assert flow[30, 50].tolist() == [0, 0]
    assert (layer[30, 30], layer[30, 50]) == (1, 0)
    assert valid[30, 20:42].all(), "the disc itself"
    assert not valid[30, 43:52].any(), "ahead of it"
    assert valid[30, 53:].all()
    assert valid[30, :18].all(), "behind it"


def test_a_layer_in_front_hides_the_one_behind():
    behind, front = Layer(still(6.0), STILL, (20, 20, 8, 8)), Layer(STILL, STILL, (36, 20, 8, 8))
    valid = Scene((Layer(STILL, STILL), behind, front), (1,)).truth(40, 60)[1]
    assert not valid[20, 26], "moves behind the front"
    assert valid[20, 36]
    swapped = Scene((Layer(STILL, STILL), front, behind), (1,)).truth(40, 60)[1]
    assert swapped[20, 26]
    assert not swapped[20, 31], "is hidden by what moves over it"


# --- generated pairs


def test_each_kind_comes_twice_and_in_hmdb51s_size(pairs):
    assert [pair.kind for pair in pairs.values()] == [kind for kind in KINDS for _ in range(2)]
    for pair in pairs.values():
        assert pair.first.shape == pair.second.shape == pair.valid.shape == (240, 320)
        assert pair.flow.shape == (240, 320, 2)
        assert (pair.first.dtype, pair.flow.dtype, pair.valid.dtype) == (np.uint8, np.float32, np.bool_)
        assert pair.first.std() > 20, "texture"


@pytest.mark.parametrize(
    ("kind", "slowest", "fastest", "valid"),
    [
        ("small", 0.2, 2.5, (0.97, 1.0)),
        ("large", 5.0, 18.0, (0.85, 0.98)),
        ("boundary", 0.2, 7.5, (0.1, 0.3)),
        ("occlusion", 0.2, 18.0, (0.85, 0.99)),
    ],
)
def test_speeds_are_as_documented(pairs, other_pairs, kind, slowest, fastest, valid):
    for pair in (*pairs.values(), *other_pairs):
        if pair.kind == kind:
            speed = np.linalg.norm(pair.flow, axis=-1)[pair.valid]
            assert slowest <= speed.min()
            assert speed.max() <= fastest
            assert valid[0] <= pair.valid.mean() <= valid[1]
            assert np.abs(pair.flow).max() <= 20, "within the usual bound"


def test_the_second_frame_warped_back_by_the_true_flow_is_the_first(pairs):
    for pair in pairs.values():
        difference = np.abs(warped_back(pair.second, pair.flow).astype(float) - pair.first)[pair.valid]
        # Two frames' noise, of standard deviation 1.5 each, differs by 1.7 on average; edges of layers add a little.
        assert difference.mean() < 2.1, pair.name
        unmoved = np.abs(pair.second.astype(float) - pair.first)[pair.valid]
        assert unmoved.mean() > 2 * difference.mean(), pair.name


def test_without_noise_only_the_interpolation_differs():
    for kind in ("small", "large"):
        scene = Scene(flow_pairs._layers(kind, (0, 1, 0)), (0, 1, 0))
        flow, valid, _ = scene.truth(240, 320)
        first, second = (scene.render(240, 320, second=second) for second in (False, True))
        difference = np.abs(warped_back(second, flow).astype(float) - first)[valid]
        assert difference.mean() < 0.6
        assert np.percentile(difference, 99.9) <= 3


def test_boundary_pairs_count_pixels_near_edges_only(pairs):
    pair = pairs["boundary-1"]
    gradient = cv2.morphologyEx(pair.flow[..., 0], cv2.MORPH_GRADIENT, np.ones((17, 17), np.uint8))
    assert (gradient[pair.valid] > 0.4).mean() > 0.95
    assert pair.valid.sum() > 5000


DIGESTS = {
    "small-1": "35a1fe58209c",
    "small-2": "51989b884013",
    "large-1": "d11127b80b8c",
    "large-2": "5aa8795c45c1",
    "boundary-1": "87918b21067f",
    "boundary-2": "45879cf07796",
    "occlusion-1": "ce939ee7a205",
    "occlusion-2": "6308519ae760",
}
"""SHA-256, first twelve digits, of frames, flow and validity: the same on every machine."""


@pytest.mark.parametrize("name", DIGESTS)
def test_every_machine_draws_the_same_bytes(pairs, name):
    pair = pairs[name]
    content = b"".join(array.tobytes() for array in (pair.first, pair.second, pair.flow, pair.valid))
    assert hashlib.sha256(content).hexdigest()[:12] == DIGESTS[name]


def test_another_seed_gives_other_pairs(pairs, other_pairs):
    for one, different in zip(pairs.values(), other_pairs, strict=True):
        assert not np.array_equal(one.first, different.first)
        assert not np.array_equal(one.flow, different.flow)


def test_dice_are_fair():
    rolls = np.array(list(dice((1, 2), 20_000)))
    assert (rolls.min() >= 0) & (rolls.max() < 1)
    assert rolls.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(rolls, 10, (0, 1))[0].min() > 1800
    assert abs(np.corrcoef(rolls[:-1], rolls[1:])[0, 1]) < 0.02
    assert list(dice((1, 2), 3)) == rolls[:3].tolist()
    assert next(dice((2, 1), 1)) != rolls[0]


# --- Middlebury's files


def make_pair(folder, size=(20, 30), flow_size=None, second_size=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (height, width) in (("frame10.png", size), ("frame11.png", second_size or size)):
        cv2.imwrite(str(folder / name), np.full((height, width, 3), (10, 20, 200), np.uint8))
    write_flo(folder / "flow10.flo", np.full((*(flow_size or size), 2), (1, 2), np.float32))
    return folder


def test_middlebury_folders_are_read_in_order_and_others_passed_over(tmp_path):
    for name in ("Venus", "Army"):
        make_pair(tmp_path / "pairs" / name)
    (tmp_path / "pairs" / "notes").mkdir()
    (tmp_path / "pairs" / "readme.txt").write_text("hello")
    found = list(middlebury(tmp_path / "pairs"))
    assert [(pair.name, pair.kind) for pair in found] == [("Army", "pairs"), ("Venus", "pairs")]
    assert (found[0].first == 73).all(), "0.299 · 200 + 0.587 · 20 + 0.114 · 10"
    assert (found[0].flow == (1, 2)).all()
    assert found[0].valid.all()


def test_a_flat_folder_is_one_pair(tmp_path):
    (pair,) = middlebury(make_pair(tmp_path / "one"))
    assert (pair.name, pair.first.shape) == ("one", (20, 30))


def test_what_is_missing_or_does_not_fit_is_named(tmp_path):
    with pytest.raises(
        SourceError, match=r"holds no pair; expected frame10\.png, frame11\.png, flow10\.flo in it or in"
    ):
        list(middlebury(tmp_path))
    with pytest.raises(SourceError, match="nowhere: cannot be read: No such file"):
        list(middlebury(tmp_path / "nowhere"))
    make_pair(tmp_path / "a", flow_size=(20, 31))
    with pytest.raises(SourceError, match=r"flow10\.flo: 31x20 pixels, but frame10\.png has 30x20"):
        list(middlebury(tmp_path))
    make_pair(tmp_path / "a", second_size=(21, 30))
    with pytest.raises(SourceError, match=r"frame11\.png: 30x21 pixels, but"):
        list(middlebury(tmp_path))
    (make_pair(tmp_path / "a") / "flow10.flo").unlink()
    with pytest.raises(SourceError, match=r"a/flow10\.flo: cannot be read: No such file"):
        list(middlebury(tmp_path))
    (make_pair(tmp_path / "a") / "frame11.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"frame11\.png: not an image"):
        list(middlebury(tmp_path))
    write_flo(make_pair(tmp_path / "a") / "flow10.flo", np.zeros((20, 30, 2), np.float32), np.zeros((20, 30), np.bool_))
    with pytest.raises(SourceError, match="unknown everywhere"):
        list(middlebury(tmp_path))


def test_the_real_middlebury_pairs_are_consistent(real_data):
    pairs = list(middlebury(real_data / "middlebury"))
    assert [pair.name for pair in pairs] == ["Grove2", "RubberWhale", "Urban2", "Venus"]
    for pair in pairs:
        assert pair.valid.mean() > 0.95
        assert not pair.flow[~pair.valid].any()
        assert np.abs(pair.flow).max() < 30
        moved = np.abs(warped_back(pair.second, pair.flow).astype(float) - pair.first)[pair.valid].mean()
        unmoved = np.abs(pair.second.astype(float) - pair.first)[pair.valid].mean()
        assert moved < 0.6 * unmoved, pair.name
