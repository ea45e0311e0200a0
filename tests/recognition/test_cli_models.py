import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from araflow.cli.models import models
from araflow.cli.options import Group
from araflow.core.errors import SpecError
from araflow.recognition import checkpoint, inspect
from araflow.recognition import models as registry
from araflow.recognition.flow_storage import FlowStorage
from araflow.recognition.networks import create
from araflow.recognition.spec import ModelSpec

AS_PUBLISHED = True

COMMANDS = Group(commands={"models": models})


def run(*arguments):
    result = CliRunner().invoke(COMMANDS, ["models", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    stream = {"frames": 3, "width": 32, "height": 24, "mean": [0.5], "std": [0.25]}
    model = ModelSpec.model_validate(
        {
            "network": {"architecture": "arn_2d", "modality": "joint", "rgb": stream, "flow": {**stream, "frames": 2}},
            "labels": ["walk", "[bold]run", "push"],
            "flow": FlowStorage(backend="opencv", algorithm="dis", preset="fast", quantizer="bound", bound=20.0),
            "manifest_sha256": "ab" * 32,
            "software": {"araflow": "1"},
        }
    )
    network = create(model)
    network.rgb.conv1.weight.data[:] = 0
    network.rgb.conv1.weight.data[:, 0] = 1  # red of the first frame
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    checkpoint.save(path, network, model)
    return path


def test_every_architecture_is_listed_with_its_paper_and_parameters():
    result = run("--json")
    assert result.exit_code == 0, result.output
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert tuple(found) == registry.names()
    assert all("http" in one["paper"] for one in found.values())
    # torchvision's published counts at 400 classes
    assert found["r3d_18"]["parameters"]["rgb"] == 33_371_472
    assert found["mc3_18"]["parameters"]["rgb"] == 11_695_440
    assert found["r2plus1d_18"]["parameters"]["rgb"] == 31_505_325
    # 5 classes: 33,187,653; each further one has 512 weights and a bias
    assert found["arn_3d"]["parameters"]["rgb"] == 33_187_653 + 395 * 513
    assert found["arn_3d"]["depths"] == [18, 34, 50, 101, 152]
    assert found["arn_2d"]["input"]["frames"] == 32
    text = run().stdout
    assert all(name in text for name in registry.names())
    assert "33,371,472" in text
    assert text.splitlines()[-1].startswith(f"{len(found)} architectures")


def test_the_layers_of_an_architecture_are_what_the_network_is():
    result = run("show", "arn_3d", "--classes", 5, "--json")
    content = json.loads(result.stdout)
    assert content["parameters"] == 33_187_653
    by_name = {layer["name"]: layer for layer in content["layers"]}
    assert by_name["conv1"]["kernel"] == [5, 7, 7]
    assert by_name["conv1"]["output"] == [64, 16, 112, 112]
    assert by_name["pool"]["output"] == [64, 8, 56, 56]
    assert by_name["layer4"]["output"] == [512, 8, 7, 7]
    assert by_name["fc"]["parameters"] == 512 * 5 + 5
    assert sum(kind["parameters"] for kind in content["totals"]) == content["parameters"]
    counts = {kind["type"]: kind["layers"] for kind in content["totals"]}
    assert (counts["Conv3d"], counts["BatchNorm3d"], counts["Linear"]) == (20, 20, 1)


def test_the_counts_of_r2plus1d_are_those_of_the_published_network():
    counts = {
        kind["type"]: kind["layers"] for kind in json.loads(run("show", "r2plus1d_18", "--json").stdout)["totals"]
    }
    assert (counts["Conv3d"], counts["BatchNorm3d"], counts["Linear"]) == (37, 37, 1)


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("modality", ["flow", "joint"])
def test_every_architecture_can_be_shown(name, modality):
    spec = inspect.published(name, modality, classes=4)
    found = inspect.layers(spec)
    assert all(layer.output is not None for layer in found)
    assert found[-1].name == "fc"
    assert found[-1].output == (4,)


def test_a_table_is_indented_and_summed_up():
    result = run("show", "arn_2d", "--depth", 50, "--classes", 5)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.startswith("layer1 ") for line in lines)
    assert any(line.startswith("    conv1 ") and "1×1" in line for line in lines)
    assert lines[-1].startswith("arn_2d: 23,8")
    assert lines[-1].endswith("rgb 3×32×224×224 → 5 classes")


def test_a_checkpoint_tells_what_it_knows(joint):
    result = run("show", joint)
    assert result.exit_code == 0, result.output
    for text in ("classes: walk, [bold]run, push", "mean 0.5, std 0.25", "opencv dis fast", "±20 pixels", "abab"):
        assert text in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.endswith("rgb 3×3×24×32 and flow 2×2×24×32 → 3 classes")
    content = json.loads(run("show", joint, "--json").stdout)
    assert content["model"]["labels"] == ["walk", "[bold]run", "push"]
    assert any(layer["name"] == "flow.layer1.0.conv1" for layer in content["layers"])


def test_the_first_layer_is_drawn_for_each_stream(joint, tmp_path):
    result = run("show", joint, "--out", tmp_path / "deep" / "first.png", "--json")
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["pictures"]
    assert files == {name: str(tmp_path / "deep" / f"first-{name}.png") for name in ("rgb", "flow")}
    picture = cv2.imread(files["rgb"])[..., ::-1].reshape(-1, 3)
    # All filters answer to red of the first frame alone, so every filter is one reddish square.
    inner = picture[(picture != 255).any(axis=1)]
    assert len(inner) > len(picture) / 2
    assert (inner[:, 0] < inner[:, 1]).sum() == 0
    assert np.ptp(inner, axis=0).max() <= 1


def test_first_weights_of_stacked_frames_come_apart_by_channel_and_frame(joint):
    network, spec = checkpoint.load(joint)
    found = inspect.first_weights(network, spec)
    assert {name: own.shape for name, own in found.items()} == {"rgb": (64, 3, 3, 7, 7), "flow": (64, 2, 2, 7, 7)}
    assert (found["rgb"][:, 0, 0] == 1).all()
    assert found["rgb"][:, 1:].max() == found["rgb"][:, 0, 1:].max() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["arn_4d"], 1, ["neither an architecture nor a file", "did you mean arn_"]),
        (["absent.safetensors"], 1, ["absent.safetensors: no such checkpoint"]),
        (["arn_2d", "--out", "a.png"], 2, ["checkpoint"]),
        (["arn_2d", "--depth", "19"], 1, ["network.depth", "allowed"]),
        (["i3d", "--depth", "18"], 1, ["network.depth", "null only"]),
        (["absent.safetensors", "--depth", "18"], 2, ["--depth"]),
        (["arn_2d", "--modality", "both"], 2, ["joint"]),
    ],
)
def test_wrong_targets_and_options_get_one_message(arguments, status, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("show", *arguments)
    assert result.exit_code == status
    assert all(text in result.stderr for text in said)


def test_a_picture_that_cannot_be_written_is_an_error(joint, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("show", joint, "--out", tmp_path / "file" / "first.png")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["show", "arn_2d"]])
def test_without_torch_there_is_one_clear_line(arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: torch is not installed: pip install 'araflow[train]'"


def test_help_shows_examples_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom araflow.cli.models import models\n"
        "for arguments in (['--help'], ['show', '--help']):\n"
        "    try:\n        models(arguments)\n    except SystemExit:\n        pass\n"
        "print([n for n in ('torch', 'numpy', 'pydantic', 'cv2', 'pyarrow', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "araflow models show r2plus1d_18" in done.stdout
    assert "\b" not in done.stdout


class Awkward(torch.nn.Module):
    """A network whose parts return what modules may return."""

    class Part(torch.nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x):
            return self.answer(x)

    def __init__(self):
        super().__init__()
        self.several = self.Part(lambda x: (None, [x[:, :1], x], {"all": x}))
        self.named = self.Part(lambda x: {"mask": None, "rest": (x,)})
        self.nothing = self.Part(lambda x: None)
        self.empty = self.Part(lambda x: ())
        self.word = self.Part(lambda x: "rgb")
        self.pool = torch.nn.MaxPool3d(2, return_indices=True)
        self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        for part in (self.several, self.named, self.nothing, self.empty, self.word, self.pool):
            part(x)
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)


def test_modules_may_return_several_tensors_or_none():
    found = {layer.name: layer for layer in inspect.layers_of(Awkward().eval(), torch.zeros(1, 4, 2, 4, 6))}
    outputs = {name: layer.output for name, layer in found.items()}
    assert outputs["several"] == (1, 2, 4, 6), "the first tensor"
    assert outputs["named"] == (4, 2, 4, 6)
    assert outputs["nothing"] is outputs["empty"] is outputs["word"] is None
    assert outputs["pool"] == (4, 1, 2, 3)
    assert outputs["attention"] == (48, 4)
    assert found["pool"].kernel == (2, 2, 2)


class TemporalConv(torch.nn.Conv1d):
    """A kind of layer whose name ends with no number."""


class Shift(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel_size = 3
        self.weight = torch.nn.Parameter(torch.zeros(4, 1, 3, 1, 1))

    def forward(self, x):
        return x


def test_a_kernel_is_as_its_weights_are_whatever_its_class_is_called():
    class Last2d(torch.nn.Conv3d):
        pass

    network = torch.nn.Sequential(Last2d(2, 4, (3, 5, 5), padding=(1, 2, 2)), Shift(), torch.nn.AvgPool3d(2, stride=1))
    kernels = [layer.kernel for layer in inspect.layers_of(network, torch.zeros(1, 2, 4, 8, 8))]
    assert kernels == [(3, 5, 5), (3, 1, 1), (2, 2, 2)]
    network = torch.nn.Sequential(TemporalConv(2, 4, 3), torch.nn.MaxPool1d(2), torch.nn.LayerNorm(7))
    kernels = [layer.kernel for layer in inspect.layers_of(network, torch.zeros(1, 2, 16))]
    assert kernels == [(3,), (2,), ()]


def test_a_network_without_convolutions_has_no_first_layer_to_draw():
    spec = inspect.published("arn_2d")
    with pytest.raises(SpecError, match="arn_2d: no layer of rgb is a convolution"):
        inspect.first_weights(torch.nn.Linear(3, 2), spec)
