"""What holds for every architecture: shapes, seeds, gradients, names. Windows are small, so that it takes seconds."""

import subprocess
import sys
import typing
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")

from small_networks import small_networks  # noqa: E402, F401

from araflow.core.errors import SpecError  # noqa: E402
from araflow.recognition import models, networks  # noqa: E402
from araflow.recognition.spec import ModelSpec, NetworkSpec  # noqa: E402
from araflow.recognition.streams import CHANNELS, STREAMS, Layout, StreamSpec  # noqa: E402

LABELS = tuple("abcde")
FRAMES, HEIGHT, WIDTH = 9, 16, 24
CASES = [(name, modality) for name in models.names() for modality in STREAMS]


def spec(name: str, modality: str, **settings: object) -> ModelSpec:
    window = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}
    network = {"architecture": name, "modality": modality, "rgb": window, "flow": window, **settings}
    return ModelSpec(network=NetworkSpec.model_validate(network), labels=LABELS)


def clips(modality: str, batch: int, seed: int = 0) -> list["torch.Tensor"]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, CHANNELS[stream], FRAMES, HEIGHT, WIDTH) for stream in STREAMS[modality]]
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def built(request: pytest.FixtureRequest) -> tuple["torch.nn.Module", str]:
    name, modality = request.param
    torch.manual_seed(0)
    return networks.create(spec(name, modality)).eval(), modality


def test_logits_and_features_have_their_shapes_and_the_classifier_joins_them(built):
    network, modality = built
    with torch.no_grad():
        logits, features = network(*clips(modality, 2)), network.features(*clips(modality, 2))
    assert logits.shape == (2, len(LABELS)) and logits.dtype == torch.float32
    assert features.shape == (2, network.fc.in_features)
    assert torch.isfinite(logits).all()
    assert isinstance(network.fc, torch.nn.Linear)
    torch.testing.assert_close(network.fc(features), logits)


def test_a_batch_gives_what_its_clips_give_one_by_one(built):
    network, modality = built
    streams = clips(modality, 2)
    with torch.no_grad():
        together = network(*streams)
        alone = torch.cat([network(*(stream[i : i + 1] for stream in streams)) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5 * float(together.abs().max()))


def test_different_clips_give_different_features_of_every_stream(built):
    network, modality = built
    streams = clips(modality, 1)
    with torch.no_grad():
        before = network.features(*streams)
        for index, other in enumerate(clips(modality, 1, seed=1)):
            changed = [*streams]
            changed[index] = other
            assert not torch.equal(network.features(*changed), before)


def test_the_gradient_reaches_every_parameter_and_the_first_layer_of_each_stream(built):
    network, modality = built
    network.train()
    torch.nn.functional.cross_entropy(network(*clips(modality, 2)), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    branches = [network.rgb, network.flow] if modality == "joint" else [network]
    assert all(next(branch.parameters()).grad.abs().max() > 0 for branch in branches)
    network.zero_grad(set_to_none=True)
    network.eval()


def test_parameters_are_named_from_conv1_to_fc(built):
    network, modality = built
    names = [name for name, _ in network.named_parameters()]
    prefixes = ["rgb.", "flow."] if modality == "joint" else [""]
    for prefix in prefixes:
        own = [name for name in names if name.startswith(prefix)]
        assert own[0].startswith(f"{prefix}conv1.")
        assert f"{prefix}fc.weight" in own
    assert names[-2:] == ["fc.weight", "fc.bias"]
    if modality == "joint":
        assert {name.split(".")[0] for name in names} == {"rgb", "flow", "fusion", "fc"}


@pytest.mark.parametrize("name", models.names())
def test_the_seed_decides_the_first_weights(name):
    def first_weights(seed: int) -> dict[str, "torch.Tensor"]:
        torch.manual_seed(seed)
        return networks.create(spec(name, "flow")).state_dict()

    once, again, other = first_weights(3), first_weights(3), first_weights(4)
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert all(not torch.equal(once[k], other[k]) for k in ("fc.weight", next(iter(once))))


@pytest.mark.parametrize("name", models.names())
def test_dropout_is_the_only_chance_in_training(name):
    network = networks.create(spec(name, "flow", dropout=0.25)).train()
    streams = clips("flow", 2)
    with torch.no_grad():
        assert network.dropout.p == 0.25
        assert not torch.equal(network(*streams), network(*streams))
        network.dropout.p = 0.0
        assert torch.equal(network(*streams), network(*streams))


@pytest.mark.parametrize("name", models.names())
def test_every_depth_builds_and_null_is_the_first(name):
    architecture = models.load(name)
    stream = StreamSpec(frames=FRAMES, height=HEIGHT, width=WIDTH)

    def shapes(depth: int | None) -> list["torch.Size"]:
        with torch.device("meta"):
            network = architecture.build(stream, 3, 5, depth=depth, dropout=0.5)
        return [p.shape for p in network.parameters()]

    for depth in architecture.DEPTHS:
        assert (shapes(depth) == shapes(None)) is (depth == architecture.DEPTHS[0])


@pytest.mark.parametrize("name", models.names())
def test_a_depth_that_there_is_not_is_an_error_that_names_the_allowed_ones(name):
    allowed = ", ".join(map(str, models.load(name).DEPTHS)) or "null only"
    with pytest.raises(SpecError, match=rf"network\.depth: 19 .*{name}; allowed: {allowed}"):
        networks.create(spec(name, "rgb", depth=19))


@pytest.mark.parametrize("name", models.names())
def test_the_published_window_is_an_rgb_window_and_the_paper_can_be_found(name):
    architecture = models.load(name)
    assert "https://" in architecture.PAPER
    assert architecture.INPUT.per_channel("rgb")
    with torch.device("meta"):
        network = architecture.build(architecture.INPUT, 3, 5, depth=None, dropout=0.5).eval()
        clip = torch.empty(1, 3, architecture.INPUT.frames, architecture.INPUT.height, architecture.INPUT.width)
        assert network(clip).shape == (1, 5)


@pytest.mark.parametrize("name", models.names())
def test_what_an_experiment_does_not_set_of_its_windows_is_as_published(name):
    architecture = models.load(name)
    network = NetworkSpec.model_validate({"architecture": name})
    assert network.rgb == architecture.INPUT
    sizes = ("frames", "width", "height")
    assert [getattr(network.flow, size) for size in sizes] == [getattr(architecture.INPUT, size) for size in sizes]
    assert network.flow.per_channel("flow")
    assert min(architecture.INPUT.width, architecture.INPUT.height) <= architecture.SHORT_SIDE


@pytest.mark.parametrize("name", models.names())
def test_its_layout_is_one_that_exports_know_and_weights_of_somebody_else_are_not_its_own(name):
    architecture = models.load(name)
    assert architecture.LAYOUT in typing.get_args(Layout)
    assert architecture.rename({"patch_embed.proj.weight": torch.zeros(1)}) is None
    own = networks.create(spec(name, "rgb")).state_dict()
    assert models.renamed(own) == ("named as here and in torchvision", own)


@pytest.mark.parametrize("name", [name for name in models.names() if models.load(name).LAYOUT == "NCTHW"])
def test_weights_of_networks_over_time_do_not_depend_on_the_window(name):
    with torch.device("meta"):
        network = networks.create(spec(name, "flow")).eval()
        for frames, height, width in ((9, 16, 16), (17, 40, 24), (64, 256, 320)):
            assert network(torch.empty(1, 2, frames, height, width)).shape == (1, len(LABELS))


def test_importing_the_architectures_does_not_import_torch():
    code = (
        "import sys; from araflow.recognition import models\n"
        "assert [models.load(name).PAPER for name in models.names()]\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_architecture_that_there_is_not_is_an_error_with_the_nearest_name():
    with pytest.raises(SpecError, match=r"'arn3d' is not an architecture; allowed: arn_2d, .*did you mean arn_3d\?"):
        models.load("arn3d")
