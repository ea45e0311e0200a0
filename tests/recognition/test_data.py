import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from clip_world import LABELS, make, write_clip
from torch.utils.data import DataLoader

from araflow.core.errors import SourceError, SpecError
from araflow.media.quantize import quantize
from araflow.optical import load
from araflow.recognition.data import transforms
from araflow.recognition.data import windows as data
from araflow.recognition.data.clips import VideoClip, clips_of, split_of
from araflow.recognition.data.frames import load_window
from araflow.recognition.data.samplers import evaluation_windows
from araflow.recognition.flow_storage import FlowStorage
from araflow.recognition.spec import DataSpec, EvaluationSpec, ModelSpec

RAW = {"mean": (0.0,), "std": (1 / 255,)}
"""Normalisation that gives the levels back."""
PLAIN = {"crop": "none", "flip": 0.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def train(manifest):
    return clips_of(manifest, split_of(manifest), "train")


def model(modality="rgb", rgb=4, flow=4, scale="stored", **settings):
    sizes = {"rgb": {"frames": rgb, **RAW}, "flow": {"frames": flow, **RAW}}
    size = {"width": 32, "height": 24}
    network = {"modality": modality, **{name: {**size, **own} for name, own in sizes.items()}}
    storage = {"backend": "opencv", "algorithm": "dis", "quantizer": "bound", "bound": 20.0, "scale": scale}
    return ModelSpec.model_validate(
        {"network": network, "labels": LABELS, "flow": FlowStorage.model_validate(storage), **settings}
    )


def windows(clips, spec=None, *, seed=0, **settings):
    return data.TrainingWindows(clips, spec or model(), DataSpec.model_validate({**PLAIN, **settings}), seed=seed)


def first_levels(stream):
    """The level that each frame of a one-coloured stream has in its first channel."""
    assert (stream[0].amax((1, 2)) - stream[0].amin((1, 2))).max() < 1e-3
    return stream[0, :, 0, 0].round().int().tolist()


def test_a_training_item_is_a_window_of_its_clip(train):
    item = windows(train)[0, 4]
    assert set(item) == {"rgb", "label", "clip"} and item["clip"] == 4 and item["label"] == train[4].label_index
    assert item["rgb"].shape == (3, 4, 24, 32) and item["rgb"].dtype == torch.float32 and item["rgb"].is_contiguous()
    first, *others = first_levels(item["rgb"])
    assert others == [first + 1, first + 2, first + 3] and 10 <= first <= 10 + train[4].frames - 4


def test_streams_of_a_joint_model_share_the_window(train):
    for index in range(9):
        item = windows(train, model("joint", rgb=6, flow=6), sampler="segments")[0, index]
        frames = [level - 10 for level in first_levels(item["rgb"])]
        assert first_levels(item["flow"]) == [100 + frame for frame in frames]  # u of field k
        assert item["flow"][1, :, 0, 0].round().int().tolist() == [200 - frame for frame in frames]
        shorter = windows(train, model("joint", rgb=6, flow=3), sampler="segments")[0, index]
        assert first_levels(shorter["rgb"]) == first_levels(item["rgb"])
        assert first_levels(shorter["flow"]) == [100 + frames[place] for place in (1, 3, 5)]


def test_a_window_with_flow_ends_with_the_flow(train):
    clip = [train[0]]
    item = windows(clip, model("joint", rgb=12, flow=12))[0, 0]
    assert train[0].frames == 13 and first_levels(item["rgb"]) == list(range(10, 22))  # the one window that fits


def test_a_mirrored_window_is_mirrored_in_every_stream_and_u_is_negated(tmp_path):
    ramp = np.tile(np.arange(100, 132, dtype=np.uint8), (24, 1))
    write_clip(tmp_path / "clips" / "a", np.stack([np.stack([ramp] * 3, -1)] * 3), [ramp + 20] * 2, [ramp] * 2)
    clip = VideoClip("a", 0, tmp_path / "clips" / "a", 3, 2, "bound", 20.0, None, {})
    spec = model("joint", rgb=2, flow=2)
    still, turned = (windows([clip], spec, flip=flip)[0, 0] for flip in (0.0, 1.0))
    assert torch.equal(turned["rgb"], still["rgb"].flip(-1))
    assert torch.equal(turned["flow"][1], still["flow"][1].flip(-1))
    assert torch.allclose(turned["flow"][0], 255 - still["flow"][0].flip(-1), atol=1e-3)


def test_flow_in_pixels_takes_the_radius_of_its_own_field(tmp_path):
    manifest = make(tmp_path, quantizer="max_radius")
    clips = clips_of(manifest, split_of(manifest), "train")
    item = windows(clips, model("flow", flow=4), flow_scale="pixels", sampler="segments")[3, 2]
    stored = first_levels(windows(clips, model("flow", flow=4), sampler="segments")[3, 2]["flow"])
    radii = np.array([2.0 + level - 100 for level in stored])
    pixels = (np.array(stored) + 0.5 - 128) * radii / 127.999
    assert np.allclose(item["flow"][0, :, 0, 0], (pixels + 20) / 40 * 255, atol=0.01)


def test_flow_in_pixels_without_a_scale_is_refused_before_training(manifest, train):
    unknown = VideoClip("walk/1", 0, train[0].folder, 13, 12, "max_radius", None, None, {})
    with pytest.raises(SpecError, match=r"data\.flow_scale: pixels .* clip 'walk/1' .* use stored"):
        windows([train[0], unknown], model("flow"), flow_scale="pixels")
    with pytest.raises(SpecError, match=r"data\.flow_scale"):
        data.EvaluationWindows([unknown], model("flow", scale="pixels"))
    windows([unknown], model("rgb"), flow_scale="pixels")  # which has no flow


def test_clips_per_video_multiplies_the_items_and_draws_each_apart(train):
    several = windows(train, clips_per_video=3)
    assert len(several) == 27
    drawn = [several[0, 2 + 9 * number] for number in range(3)]
    assert [item["clip"] for item in drawn] == [2, 2, 2]
    assert len({tuple(first_levels(several[epoch, 2]["rgb"])) for epoch in range(20)}) > 5


def test_no_training_clip_is_an_error():
    with pytest.raises(SpecError, match="no finished clip to train on"):
        windows([])


def test_clips_that_are_too_short_are_named_where_they_are_refused(train):
    with pytest.raises(SpecError, match=r"clip 'push/1': data\.short_clip: refuse: the clip has 13 frames"):
        windows(train, model(rgb=20), short_clip="refuse")[0, 0]
    with pytest.raises(SpecError, match=r"clip 'push/1': data\.short_clip"):
        data.EvaluationWindows(train, model(rgb=20, short_clip="refuse"))


def test_evaluation_shows_every_window_of_every_clip_in_order(manifest):
    clips = clips_of(manifest, split_of(manifest), "test")
    found = data.EvaluationWindows(clips, model(), EvaluationSpec.model_validate({"mode": "conv", "segments": 3}))
    assert len(found) == 9
    expected = evaluation_windows(
        12, 4, sampler="consecutive", sample_rate=1, short_clip="loop", mode="conv", segments=3
    )
    for number, item in enumerate(found[index] for index in range(9)):
        assert (item["clip"], item["window"]) == divmod(number, 3)
        assert item["label"] == clips[number // 3].label_index
        assert first_levels(item["rgb"]) == [10 + index for index in expected[number % 3]]
    assert len(data.EvaluationWindows(clips, model())) == 3


def test_evaluation_and_prediction_make_the_same_tensor(train):
    for settings in ({}, {"center_crop": True, "short_side": 40}):
        windows = data.EvaluationWindows(train, model("joint", **settings))
        item, spec = windows[0], model("joint")
        index = evaluation_windows(
            12, 4, sampler="consecutive", sample_rate=1, short_clip="loop", mode="center", segments=1
        )[0]
        for stream in ("rgb", "flow"):
            frames = load_window(train[0], stream, index)
            assert torch.equal(data.tensor_of(frames, stream, spec.stream(stream), **settings), item[stream])
            assert torch.equal(data.tensor_of(iter(frames), stream, spec.stream(stream), **settings), item[stream])


def test_prediction_in_pixels_takes_gains():
    fields = np.full((4, 24, 32, 2), 255, np.uint8)
    found = data.tensor_of(fields, "flow", model("flow").stream("flow"), gains=transforms.pixel_gains(bound=10.0))
    assert found[0, 0, 0, 0] == pytest.approx((10 + 20) / 40 * 255, abs=1e-3)
    with pytest.raises(ValueError, match="no frames"):
        data.tensor_of([], "flow", model("flow").stream("flow"))


def everything(windows, workers, epochs=(0, 1)):
    sampler = data.EpochSampler(len(windows), 7)
    more = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
    loader = DataLoader(windows, 4, sampler=sampler, num_workers=workers, **more)
    found = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found += list(loader)
    return found


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than there are cores
def test_the_same_tensors_come_from_any_number_of_processes(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (6, 24, 32, 3), dtype=np.uint8) for _ in range(3)]
    for number, rgb in enumerate(noise):
        write_clip(tmp_path / str(number), rgb, rgb[1:, ..., 0], rgb[1:, ..., 1])
    clips = [VideoClip(str(n), n, tmp_path / str(n), 6, 5, "bound", 20.0, None, {}) for n in range(3)]
    settings = {"crop": "random", "flip": 0.5, "contrast": 0.3, "short_side": 40, "clips_per_video": 6}
    augmented = windows(clips, model("joint"), **settings)
    alone = everything(augmented, 0)
    assert len(alone) == 10 and len({row.sum().item() for batch in alone for row in batch["rgb"]}) == 36
    for ours, theirs in zip(alone, everything(augmented, 3), strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_going_on_at_a_later_epoch_sees_what_running_through_would_have(train):
    through, later = everything(windows(train, flip=0.5), 0, (0, 1, 2)), everything(windows(train, flip=0.5), 0, (2,))
    for ours, theirs in zip(through[-3:], later, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(through[0]["rgb"], later[0]["rgb"])


def test_the_order_covers_every_item_on_any_number_of_processes():
    for size, world in ((9, 1), (9, 2), (2, 4), (12, 3)):
        shares = [data.EpochSampler(size, 5, rank=rank, world=world) for rank in range(world)]
        for share in shares:
            share.set_epoch(3)
        dealt = [list(share) for share in shares]
        assert {len(own) for own in dealt} == {len(shares[0])} == {-(-size // world)}
        assert {index for own in dealt for _, index in own} == set(range(size))
        assert {epoch for own in dealt for epoch, _ in own} == {3}
    one = data.EpochSampler(50, 5)
    orders = []
    for epoch in (0, 1, 0):
        one.set_epoch(epoch)
        orders.append([index for _, index in one])
    assert orders[0] == orders[2] != orders[1] and orders[0] != sorted(orders[0])
    assert orders[0] != [index for _, index in data.EpochSampler(50, 6)]


def damaged(tmp_path, train, number=0):
    """A copy of a clip that a test may damage."""
    clip = train[number]
    folder = tmp_path / "damaged"
    shutil.copytree(clip.folder, folder)
    return VideoClip("run/damaged", 1, folder, clip.frames, clip.flows, "bound", 20.0, None, {})


def spoil(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(("stream", "harm", "match"), [
    ("rgb", lambda clip: spoil(clip.folder / "rgb" / "0003.png"), r"rgb/0003\.png: damaged"),
    ("rgb", lambda clip: (clip.folder / "rgb" / "0003.png").write_bytes(b""), r"rgb/0003\.png: not an image"),
    ("rgb", lambda clip: (clip.folder / "rgb" / "0003.png").unlink(), "rgb: holds 12 files, the manifest says 13"),
    ("rgb", lambda clip: (clip.folder / "rgb" / "x.png").touch(), "rgb: holds 14 files, the manifest says 13"),
    ("rgb", lambda clip: shutil.rmtree(clip.folder), "rgb: No such file or directory"),
    ("flow", lambda clip: shutil.rmtree(clip.folder / "v"), "v: No such file or directory"),
    ("flow", lambda clip: (clip.folder / "v" / "0002.jpg").rename(clip.folder / "v" / "0099.jpg"), "same names"),
    ("flow", lambda clip: (clip.folder / "u" / "0002.jpg").write_bytes(b"nothing"), r"0002\.jpg: not an image"),
    ("flow", lambda clip: (clip.folder / "u" / "0002.jpg").write_bytes(
        (clip.folder / "u" / "0002.jpg").read_bytes()[:-40]), r"u/0002\.jpg: the file is cut"),
    ("flow", lambda clip: cv2.imwrite(str(clip.folder / "u" / "0002.jpg"), np.zeros((9, 9), np.uint8)), "differ in"),
])  # fmt: skip
def test_a_damaged_clip_is_named_with_its_file_and_what_to_do(tmp_path, train, stream, harm, match):
    clip = damaged(tmp_path, train)
    harm(clip)
    with pytest.raises(SourceError, match=f"clip 'run/damaged': .*{match}.* Remove .* and run the build again"):
        windows([clip], model(stream, rgb=13, flow=12))[0, 0]


def test_a_file_that_vanishes_in_mid_epoch_is_named(tmp_path, train):
    clip = damaged(tmp_path, train)
    items = windows([clip], model("joint", rgb=12, flow=12))
    assert items[0, 0]["clip"] == 0
    for kind, name in (("v", "0004.jpg"), ("rgb", "0005.png")):
        (clip.folder / kind / name).unlink()
        with pytest.raises(SourceError, match=f"clip 'run/damaged': .*{kind}/{name}: cannot be read"):
            items[0, 0]


def test_pictures_of_several_sizes_make_no_array(tmp_path, train):
    clip = damaged(tmp_path, train)
    cv2.imwrite(str(clip.folder / "rgb" / "0001.png"), np.zeros((9, 7, 3), np.uint8))
    with pytest.raises(SourceError, match="rgb pictures are not of one size: 32x24, 7x9"):
        load_window(clip, "rgb", [0, 1])
    with pytest.raises(SourceError, match="no picture was asked for"):
        load_window(clip, "rgb", [])


def test_loading_processes_do_not_import_what_they_do_not_need(train):
    import subprocess
    import sys

    code = (
        "import sys, araflow.recognition.data.windows\n"
        "print([name for name in ('prefect', 'pyarrow', 'click', 'rich', 'lightning', 'matplotlib') "
        "if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert pickle.loads(pickle.dumps(windows(train)))[0, 0]["clip"] == 0


def test_flow_of_a_mirrored_video_is_the_flipped_flow_through_storage(tmp_path):
    """Computed, quantised, stored as JPEG and loaded, of a video and of its mirror image."""
    texture = np.random.default_rng(4).integers(0, 256, (200, 260), dtype=np.uint8)
    texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    video = [
        cv2.warpAffine(texture, np.float64([[1, 0, -30 - 3.3 * k], [0, 1, -30 + 1.7 * k]]), (160, 120))
        for k in range(5)
    ]
    clips = []
    for name, shown in (("video", video), ("mirror", [np.ascontiguousarray(frame[:, ::-1]) for frame in video])):
        fields = [quantize(field, "bound", 20.0)[:2] for field in load("opencv").compute(shown, "dis", "balanced")]
        write_clip(tmp_path / name, np.stack([np.stack(shown)] * 3, axis=-1), *zip(*fields, strict=True))
        clips.append(VideoClip(name, 0, tmp_path / name, 5, 4, "bound", 20.0, None, {}))
    spec = model("flow", flow=4)
    sized = {"flow": {"frames": 4, "width": 160, "height": 120, **RAW}, "modality": "flow"}
    spec = spec.model_copy(update={"network": type(spec.network).model_validate(sized)})
    flipped = windows(clips[:1], spec, flip=1.0)[0, 0]["flow"]
    difference = (flipped - windows(clips[1:], spec)[0, 0]["flow"]).abs()
    # Seen with OpenCV 5.0: all but 0.01 % within one level, the worst 2.
    assert (difference <= 1.001).float().mean() > 0.99 and difference.median() < 0.001
    unflipped = (windows(clips[:1], spec)[0, 0]["flow"] - windows(clips[1:], spec)[0, 0]["flow"]).abs()
    assert unflipped[0].mean() > 20  # it does move: left unflipped, u would be far off
