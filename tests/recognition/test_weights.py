"""Files of weights under every publisher's names."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")

from state_dicts import State, assert_loaded, build, joint, numbered, saved  # noqa: E402

from araflow.recognition.weights import load_weights  # noqa: E402

NAME = "network.weights.rgb"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _files_do_not_stay(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(tmp_path)  # some are large, and pytest would keep those of three runs


def test_torchvision_2d_weights_answer_to_a_gray_clip_as_to_its_frame(tmp_path):
    image_network = build("arn_2d", frames=1, classes=1000)  # with one frame it is torchvision's resnet18
    file = saved(tmp_path, image_network.state_dict(), "resnet18.pth")
    gray = torch.rand(2, 1, 1, 32, 32)
    for channels, frames in ((3, 6), (2, 4)):
        network = build("arn_2d", channels=channels, frames=frames)
        lines = load_weights(network, file, name=NAME)
        clip = gray.expand(-1, channels, frames, -1, -1)
        torch.testing.assert_close(network.features(clip), image_network.features(gray.expand(-1, 3, -1, -1, -1)))
        assert any(f"conv1.weight: 3 channels there, {3 * frames if channels == 3 else 8} here" in x for x in lines)
        assert any("1000 classes there, 5 here: fc start at random" in line for line in lines)


@pytest.mark.parametrize(("channels", "depth"), [(3, 18), (2, 18), (3, 50)])
def test_inflated_2d_weights_answer_to_a_still_clip_as_to_its_frame(tmp_path, channels, depth):
    image_network = build("arn_2d", frames=1, classes=1000, depth=depth)
    network = build("arn_3d", channels=channels, depth=depth)
    lines = load_weights(network, saved(tmp_path, image_network.state_dict()), name=NAME)
    gray = torch.rand(1, 1, 32, 32)
    still = gray[:, :, None].expand(-1, channels, 12, -1, -1)
    inner = network.conv1(still)[:, :, 1:-1]  # the outermost see the padding
    torch.testing.assert_close(inner, image_network.conv1(gray.expand(-1, 3, -1, -1))[:, :, None].expand_as(inner))
    block = network.layer2[0].conv2
    x = torch.rand(1, block.in_channels, 8, 8)
    inner = block(x[:, :, None].expand(-1, -1, 5, -1, -1))[:, :, 1:-1]
    torch.testing.assert_close(inner, image_network.layer2[0].conv2(x)[:, :, None].expand_as(inner))
    assert any(re.search(r": \d+ 2D convolutions inflated", line) for line in lines)
    assert torch.equal(network.bn1.weight, image_network.bn1.weight)


def test_inflated_colour_kernels_sum_over_time_to_what_they_were(tmp_path):
    image_network, network = build("arn_2d", frames=1), build("r3d_18")
    load_weights(network, saved(tmp_path, image_network.state_dict()), name=NAME)
    torch.testing.assert_close(network.conv1.weight.sum(dim=2), image_network.conv1.weight)
    assert torch.equal(network.conv1.weight[:, :, 0], network.conv1.weight[:, :, 2])


def test_rgb_weights_over_clips_go_into_a_flow_network(tmp_path):
    rgb, flow = build("mc3_18"), build("mc3_18", channels=2)
    lines = load_weights(flow, saved(tmp_path, rgb.state_dict()), name="network.weights.flow")
    gray = torch.rand(1, 1, 3, 16, 16)
    torch.testing.assert_close(flow(gray.expand(-1, 2, -1, -1, -1)), rgb(gray.expand(-1, 3, -1, -1, -1)))
    assert any("conv1.weight: 3 channels there, 2 here: each gets their mean times 3/2" in line for line in lines)


def torchvision_video_names(key: str, factorised: bool) -> str:
    """The name in torchvision's video networks of a tensor of ours."""
    stem = {"conv1.weight": "stem.0.weight", "conv1.0.weight": "stem.0.weight", "conv1.3.weight": "stem.3.weight"}
    if key in stem:
        return stem[key]
    if key.startswith("conv1.1."):
        return key.replace("conv1.1.", "stem.1.")
    if key.startswith("bn1."):
        return key.replace("bn1.", "stem.4." if factorised else "stem.1.")
    parts = key.split(".")
    if parts[0].startswith("layer") and parts[2].startswith("conv"):
        return ".".join([*parts[:3], "0", *parts[3:]])
    if parts[0].startswith("layer") and parts[2].startswith("bn"):
        return ".".join([*parts[:2], parts[2].replace("bn", "conv"), "1", *parts[3:]])
    return key


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_torchvision_video_weights_load_by_name(tmp_path, name):
    network = build(name, classes=400)
    expected = numbered(network)
    theirs = {torchvision_video_names(key, name == "r2plus1d_18"): value for key, value in expected.items()}
    known = {"stem.0.weight", "layer1.0.conv1.1.running_mean", "layer2.0.downsample.0.weight", "fc.bias"}
    known |= {"layer4.1.conv2.0.3.weight", "stem.4.bias"} if name == "r2plus1d_18" else {"layer4.1.conv2.0.weight"}
    assert known < theirs.keys()
    lines = load_weights(network, saved(tmp_path, theirs), name=NAME)
    assert_loaded(network, expected)
    assert lines == [f"{NAME}: weights.pth: {len(expected)} tensors, a video network of torchvision"]


def tao_names(state: State) -> State:
    return {re.sub(r"^fc\.", "fc_cls.", key): value for key, value in state.items()}


@pytest.mark.parametrize("name", ["arn_2d", "arn_3d"])
def test_tao_weights_load_by_name(tmp_path, name):
    network = build(name)
    expected = numbered(network)
    state = {f"model.{key}": value for key, value in tao_names(expected).items()}
    assert "model.fc_cls.weight" in state
    lines = load_weights(network, saved(tmp_path, {"epoch": 3, "state_dict": state}, "resnet18_rgb.tlt"), name=NAME)
    assert_loaded(network, expected)
    assert lines == [f"{NAME}: resnet18_rgb.tlt: {len(expected)} tensors, a residual network of NVIDIA TAO"]


def pytorch_i3d_names(state: State) -> State:
    """The names of https://github.com/piergiaj/pytorch-i3d, whose classifier is a 1×1×1 convolution."""
    stem = {"conv1": "Conv3d_1a_7x7", "conv2": "Conv3d_2b_1x1", "conv3": "Conv3d_2c_3x3", "fc": "logits.conv3d"}
    renamed = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        first = stem.get(first, first.replace("mixed", "Mixed_"))
        rest = ["conv3d" if part == "conv" else part for part in rest]
        renamed[".".join([first, *rest])] = value
    renamed["logits.conv3d.weight"] = renamed["logits.conv3d.weight"][:, :, None, None, None]
    return renamed


@pytest.mark.parametrize("name", ["arn_2d", "i3d"])
def test_joint_weights_of_tao_load_by_name(tmp_path, name):
    network = joint(name=name)
    expected, state = numbered(network), {}
    inner = pytorch_i3d_names if name == "i3d" else tao_names
    for ours, theirs in (("rgb.", "model_rgb."), ("flow.", "model_of.")):
        branch = {key.removeprefix(ours): value for key, value in expected.items() if key.startswith(ours)}
        state |= {f"model.{theirs}{key}": value for key, value in inner(branch).items()}
    for ours, theirs in (("fusion", "fc1"), ("fc", "fc2")):
        state |= {f"model.{theirs}.{kind}": expected[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    load_weights(network, saved(tmp_path, {"state_dict": state}), name="network.weights.joint")
    assert_loaded(network, expected)


def test_pytorch_i3d_weights_load_by_name_with_or_without_counts_of_batches(tmp_path):
    network = build("i3d", classes=400)
    expected = numbered(network)
    theirs = pytorch_i3d_names(expected)
    assert {"Conv3d_1a_7x7.conv3d.weight", "Mixed_5c.b3b.bn.running_var", "logits.conv3d.bias"} < theirs.keys()
    load_weights(network, saved(tmp_path, theirs), name=NAME)
    assert_loaded(network, expected)
    old = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    network = build("i3d", classes=5)
    lines = load_weights(network, saved(tmp_path, old), name=NAME)
    counts = tuple(key for key in expected if key.endswith("num_batches_tracked"))
    assert_loaded(network, expected, besides=(*counts, "fc.weight", "fc.bias"))
    assert lines[1:] == [f"{NAME}: weights.pth: 400 classes there, 5 here: fc start at random"]


@pytest.mark.parametrize("half", [False, True])
def test_our_own_safetensors_files_load(tmp_path, half):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    network, source = build("arn_2d"), build("arn_2d")
    state = {k: v.half() if half and v.is_floating_point() else v for k, v in source.state_dict().items()}
    safetensors.save_file(state, tmp_path / "best.safetensors", metadata={"araflow": "{}"})
    lines = load_weights(network, tmp_path / "best.safetensors", name=NAME)
    assert_loaded(network, state)
    assert len(lines) == 1 and network.conv1.weight.dtype == torch.float32


@pytest.mark.parametrize("prefix", ["network.", "module.", "model.module.", "model._orig_mod."])
@pytest.mark.parametrize("container", [None, "state_dict", "model_state"])
def test_what_training_tools_wrap_around_weights_is_taken_off(tmp_path, prefix, container):
    network = build("arn_2d")
    expected = numbered(network)
    state: object = {prefix + key: value for key, value in expected.items()}
    if container:
        state = {"epoch": 1, "optimizer": {"lr": 0.1}, container: state}
    load_weights(network, str(saved(tmp_path, state, "last.ckpt")), name=NAME)
    assert_loaded(network, expected)


def test_another_number_of_classes_keeps_the_classifier_of_the_network_and_says_so(tmp_path):
    network, source = build("arn_2d", classes=5), numbered(build("arn_2d", classes=7))
    fresh = {key: network.state_dict()[key].clone() for key in ("fc.weight", "fc.bias")}
    lines = load_weights(network, saved(tmp_path, source), name=NAME)
    assert_loaded(network, source | fresh)
    assert lines[-1] == f"{NAME}: weights.pth: 7 classes there, 5 here: fc start at random"


def test_another_number_of_classes_keeps_the_whole_fusion_of_a_joint_network(tmp_path):
    network, source = joint(classes=5), numbered(joint(classes=7))
    layers = ("rgb.fc", "flow.fc", "fusion", "fc")
    heads = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    fresh = {key: network.state_dict()[key].clone() for key in heads}
    lines = load_weights(network, saved(tmp_path, source), name="network.weights.joint")
    assert_loaded(network, source | fresh)
    assert "7 classes there, 5 here: fc, flow.fc, fusion, rgb.fc start at random" in lines[-1]
