"""Recognisers against what is known of them: parameter counts, sizes on the way, and a forward pass written apart.

The references below are plain functional calls over a network's state dict. They follow the papers and the published
descriptions of the networks, share no code with them, and see batch statistics drawn at random, since those that a
network begins with would hide a mistake.
"""

import math
from collections.abc import Callable, Iterator

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")

import torch.nn.functional as F  # noqa: E402, N812

from araflow.core.errors import SpecError  # noqa: E402
from araflow.recognition import models  # noqa: E402
from araflow.recognition.models._joint import Joint  # noqa: E402
from araflow.recognition.streams import StreamSpec  # noqa: E402

AS_PUBLISHED = True
State = dict[str, "torch.Tensor"]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str, channels: int, classes: int, frames: int = 32, depth: int | None = None) -> "torch.nn.Module":
    stream = StreamSpec(frames=frames)
    return models.load(name).build(stream, channels, classes, depth=depth, dropout=0.5).eval()


def on_meta(name: str, channels: int, classes: int, frames: int = 32, depth: int | None = None) -> "torch.nn.Module":
    with torch.device("meta"):
        return build(name, channels, classes, frames, depth)


def parameters(network: "torch.nn.Module") -> int:
    return sum(p.numel() for p in network.parameters())


def size_after(network: "torch.nn.Module", module: "torch.nn.Module", clip: "torch.Tensor") -> tuple[int, ...]:
    seen = []
    handle = module.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    network(clip)
    handle.remove()
    return seen[0]


def with_statistics(network: "torch.nn.Module") -> "torch.nn.Module":
    generator = torch.Generator().manual_seed(7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            for values, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
    return network


@pytest.mark.parametrize(
    ("name", "channels", "classes", "count"),
    [
        ("arn_2d", 3, 5, 11_470_725),
        ("arn_2d", 2, 5, 11_370_373),
        ("arn_3d", 3, 5, 33_187_653),
        ("arn_3d", 2, 5, 33_171_973),
        ("r3d_18", 3, 400, 33_371_472),
        ("mc3_18", 3, 400, 11_695_440),
        ("r2plus1d_18", 3, 400, 31_505_325),
        ("i3d", 3, 400, 12_697_264),
    ],
)
def test_networks_have_exactly_the_published_number_of_parameters(name, channels, classes, count):
    assert parameters(on_meta(name, channels, classes)) == count


@pytest.mark.parametrize(
    ("depth", "millions_2d", "millions_3d"),
    [(34, 21.6, 63.5), (50, 23.8, 46.2), (101, 42.8, 85.2), (152, 58.4, 117.4)],
)
def test_deeper_recognisers_have_the_published_number_of_parameters(depth, millions_2d, millions_3d):
    for name, millions in (("arn_2d", millions_2d), ("arn_3d", millions_3d)):
        assert round(parameters(on_meta(name, 3, 5, depth=depth)) / 1e6, 1) == millions


def test_the_3d_stem_leaves_8_of_32_frames_and_the_stages_keep_them():
    network = on_meta("arn_3d", 3, 5)
    clip = torch.empty(2, 3, 32, 224, 224, device="meta")
    assert size_after(network, network.conv1, clip) == (2, 64, 16, 112, 112)
    assert size_after(network, network.pool, clip) == (2, 64, 8, 56, 56)
    assert size_after(network, network.layer4, clip) == (2, 512, 8, 7, 7)
    short = torch.empty(2, 3, 3, 224, 224, device="meta")
    assert size_after(network, network.layer4, short) == (2, 512, 1, 7, 7)


def test_the_video_networks_of_torchvision_halve_time_as_they_should():
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    for name, frames in (("r3d_18", 2), ("r2plus1d_18", 2), ("mc3_18", 16)):
        network = on_meta(name, 3, 400)
        assert size_after(network, network.layer4, clip) == (1, 512, frames, 7, 7)


def test_both_convolutions_of_a_factorised_block_have_the_inner_channels_of_its_first():
    state = on_meta("r2plus1d_18", 3, 400).state_dict()
    assert state["conv1.0.weight"].shape == (45, 3, 1, 7, 7)
    assert state["layer1.0.conv1.0.weight"].shape == (144, 64, 1, 3, 3)
    assert state["layer2.0.conv1.0.weight"].shape == (230, 64, 1, 3, 3)
    assert state["layer2.0.conv2.0.weight"].shape == (230, 128, 1, 3, 3)  # 288 by its own channels
    assert state["layer2.1.conv1.0.weight"].shape == (288, 128, 1, 3, 3)


def test_i3d_needs_9_frames_and_says_which_setting_is_too_small():
    network = on_meta("i3d", 2, 5, frames=9)
    clip = torch.empty(1, 2, 9, 224, 224, device="meta")
    assert size_after(network, network.mixed5c, clip) == (1, 1024, 2, 7, 7)
    for channels, stream in ((3, "rgb"), (2, "flow")):
        with pytest.raises(SpecError, match=rf"network\.{stream}\.frames: 8 is too few for i3d.*give 9 or more"):
            build("i3d", channels, 5, frames=8)
    with pytest.raises(SpecError, match="a window of 8 frames is too short: give 9 or more"):
        network(clip[:, :, :8])


def test_the_2d_network_sees_all_frames_of_a_channel_before_the_next_channel():
    network = build("arn_2d", 3, 5, frames=4)
    seen = []
    network.conv1.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    clip = torch.arange(12.0).reshape(1, 3, 4, 1, 1).expand(1, 3, 4, 32, 32)  # R0 is 0, R1 1, … G0 4, … B3 11
    with torch.no_grad():
        network(clip)
    assert seen[0][0, :, 0, 0].tolist() == list(range(12))


@pytest.mark.parametrize("name", ["arn_2d", "arn_3d", "r3d_18", "mc3_18", "r2plus1d_18"])
def test_first_weights_have_the_variance_that_suits_relu(name):
    network = build(name, 3, 400).requires_grad_(False)
    for weight in (network.layer1[0].conv1, network.layer3[1].conv2):
        kernel = (weight if hasattr(weight, "weight") else weight[0]).weight
        expected = math.sqrt(2 / (kernel.shape[0] * kernel[0, 0].numel()))
        assert float(kernel.std()) == pytest.approx(expected, rel=0.02)
        assert float(kernel.mean()) == pytest.approx(0, abs=expected / 50)
    if name.startswith("arn"):  # PyTorch's own: uniform within 1 / sqrt(512)
        assert float(network.fc.weight.abs().max()) == pytest.approx(1 / math.sqrt(512), rel=0.01)
    else:
        assert float(network.fc.weight.std()) == pytest.approx(0.01, rel=0.02)
        assert not network.fc.bias.any()


def normed(x: "torch.Tensor", state: State, name: str, eps: float = 1e-5) -> "torch.Tensor":
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state[f"{name}.{n}"].reshape(-1, *[1] * (x.dim() - 2)) for n in names)
    return (x - mean) / torch.sqrt(var + eps) * weight + bias


Convolve = Callable[["torch.Tensor", State, str, int], "torch.Tensor"]


def residual_18(x: "torch.Tensor", state: State, wide: list[Convolve], point: list[Convolve]) -> "torch.Tensor":
    for stage in range(4):
        for block in range(2):
            name, step = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            out = F.relu(normed(wide[stage](x, state, f"{name}.conv1", step), state, f"{name}.bn1"))
            out = normed(wide[stage](out, state, f"{name}.conv2", 1), state, f"{name}.bn2")
            if step == 2:
                x = normed(point[stage](x, state, f"{name}.downsample.0", step), state, f"{name}.downsample.1")
            x = F.relu(out + x)
    pooled = x.flatten(2).sum(2) / x[0, 0].numel()
    return pooled @ state["fc.weight"].T + state["fc.bias"]


def tao_3d(clip: "torch.Tensor", state: State) -> "torch.Tensor":
    x = F.conv3d(clip, state["conv1.weight"], stride=2, padding=(2, 3, 3))
    x = F.max_pool3d(F.relu(normed(x, state, "bn1")), (1, 3, 3), stride=(2, 2, 2), padding=(0, 1, 1))
    wide = lambda x, state, name, step: F.conv3d(x, state[f"{name}.weight"], stride=(1, step, step), padding=1)  # noqa: E731
    point = lambda x, state, name, step: F.conv3d(x, state[f"{name}.weight"], stride=(1, step, step))  # noqa: E731
    return residual_18(x, state, [wide] * 4, [point] * 4)


def tao_2d(clip: "torch.Tensor", state: State) -> "torch.Tensor":
    image = torch.cat([clip[:, channel] for channel in range(clip.shape[1])], dim=1)
    x = F.relu(normed(F.conv2d(image, state["conv1.weight"], stride=2, padding=3), state, "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    wide = lambda x, state, name, step: F.conv2d(x, state[f"{name}.weight"], stride=step, padding=1)  # noqa: E731
    point = lambda x, state, name, step: F.conv2d(x, state[f"{name}.weight"], stride=step)  # noqa: E731
    return residual_18(x, state, [wide] * 4, [point] * 4)


def video(clip: "torch.Tensor", state: State, kind: str) -> "torch.Tensor":
    def solid(x: "torch.Tensor", state: State, name: str, step: int) -> "torch.Tensor":
        return F.conv3d(x, state[f"{name}.weight"], stride=step, padding=1)

    def flat(x: "torch.Tensor", state: State, name: str, step: int) -> "torch.Tensor":
        frames = [
            F.conv2d(x[:, :, t], state[f"{name}.weight"][:, :, 0], stride=step, padding=1) for t in range(x.shape[2])
        ]
        return torch.stack(frames, dim=2)

    def halves(x: "torch.Tensor", state: State, name: str, step: int) -> "torch.Tensor":
        x = F.conv3d(x, state[f"{name}.0.weight"], stride=(1, step, step), padding=(0, 1, 1))
        x = F.relu(normed(x, state, f"{name}.1"))
        return F.conv3d(x, state[f"{name}.3.weight"], stride=(step, 1, 1), padding=(1, 0, 0))

    every = lambda x, state, name, step: F.conv3d(x, state[f"{name}.weight"], stride=step)  # noqa: E731
    space = lambda x, state, name, step: F.conv3d(x, state[f"{name}.weight"], stride=(1, step, step))  # noqa: E731
    if kind == "r2plus1d_18":
        x = F.conv3d(clip, state["conv1.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
        x = F.conv3d(F.relu(normed(x, state, "conv1.1")), state["conv1.3.weight"], padding=(1, 0, 0))
    else:
        x = F.conv3d(clip, state["conv1.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
    x = F.relu(normed(x, state, "bn1"))
    wide = {"r3d_18": [solid] * 4, "mc3_18": [solid, flat, flat, flat], "r2plus1d_18": [halves] * 4}[kind]
    return residual_18(x, state, wide, [space if kind == "mc3_18" else every] * 4)


def inception(clip: "torch.Tensor", state: State) -> "torch.Tensor":
    def around(x: "torch.Tensor", kernel: tuple[int, ...], step: tuple[int, ...]) -> "torch.Tensor":
        for axis in range(3):  # ceil(size / step) values come out, and an odd one of padding goes behind
            size = x.shape[2 + axis]
            left = kernel[axis] - (size % step[axis] or step[axis])
            pads = [0] * 6
            pads[2 * (2 - axis)], pads[2 * (2 - axis) + 1] = max(left, 0) // 2, math.ceil(max(left, 0) / 2)
            x = F.pad(x, pads)
        return x

    def unit(x: "torch.Tensor", name: str, size: int = 1, step: int = 1) -> "torch.Tensor":
        x = F.conv3d(around(x, (size,) * 3, (step,) * 3), state[f"{name}.conv.weight"], stride=step)
        return F.relu(normed(x, state, f"{name}.bn", eps=1e-3))

    def pool(x: "torch.Tensor", kernel: tuple[int, ...], step: tuple[int, ...]) -> "torch.Tensor":
        return F.max_pool3d(around(x, kernel, step), kernel, step)

    x = pool(unit(clip, "conv1", 7, 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "conv2"), "conv3", 3), (1, 3, 3), (1, 2, 2))
    for name in ("3b", "3c", None, "4b", "4c", "4d", "4e", "4f", "", "5b", "5c"):
        if not name:
            kernel = (2, 2, 2) if name == "" else (3, 3, 3)
            x = pool(x, kernel, (2, 2, 2))
            continue
        mixed = f"mixed{name}"
        branches = [unit(x, f"{mixed}.b0"), *(unit(unit(x, f"{mixed}.b{n}a"), f"{mixed}.b{n}b", 3) for n in (1, 2))]
        branches.append(unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{mixed}.b3b"))
        x = torch.cat(branches, dim=1)
    # the head as it was published: means over 2 steps and all of space, a 1×1×1 convolution, a mean over time
    means = F.avg_pool3d(x, (2, x.shape[3], x.shape[4]), stride=1)
    logits = F.conv3d(means, state["fc.weight"][:, :, None, None, None], state["fc.bias"])
    return logits.squeeze(4).squeeze(3).mean(2)


@pytest.mark.parametrize(
    ("name", "shape", "reference"),
    [
        ("arn_2d", (2, 3, 6, 72, 56), tao_2d),
        ("arn_3d", (2, 2, 11, 72, 56), tao_3d),
        ("r3d_18", (2, 3, 7, 40, 56), lambda clip, state: video(clip, state, "r3d_18")),
        ("mc3_18", (2, 3, 7, 40, 56), lambda clip, state: video(clip, state, "mc3_18")),
        ("r2plus1d_18", (2, 3, 7, 40, 56), lambda clip, state: video(clip, state, "r2plus1d_18")),
        ("i3d", (2, 2, 19, 70, 96), inception),
    ],
)
def test_logits_equal_those_of_a_reference_written_apart(name, shape, reference):
    torch.manual_seed(0)
    network = with_statistics(build(name, shape[1], 5, frames=max(shape[2], 9) if name == "i3d" else shape[2]))
    clip = torch.randn(shape)
    with torch.no_grad():
        ours, theirs = network(clip), reference(clip, network.state_dict())
    assert float(ours.std()) > 1e-3  # clips and classes differ, so that agreement says something
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_joint_is_two_linear_layers_on_the_logits_of_both():
    torch.manual_seed(0)
    rgb, flow = build("arn_2d", 3, 5, frames=3), build("arn_2d", 2, 5, frames=2)
    joint = Joint(rgb, flow, classes=5, hidden=64).eval()
    clips = torch.randn(2, 3, 3, 32, 32), torch.randn(2, 2, 2, 48, 48)  # lengths and sizes need not be the same
    with torch.no_grad():
        ten = torch.cat([rgb(clips[0]), flow(clips[1])], dim=1)
        hidden = (ten @ joint.fusion.weight.T + joint.fusion.bias).clamp(min=0)
        torch.testing.assert_close(joint.features(*clips), hidden)
        torch.testing.assert_close(joint(*clips), hidden @ joint.fc.weight.T + joint.fc.bias)
    assert parameters(joint) - parameters(rgb) - parameters(flow) == (10 + 1) * 64 + (64 + 1) * 5
