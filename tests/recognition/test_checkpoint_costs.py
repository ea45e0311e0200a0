"""Files of strangers whose description, header or tensors ask for more than is there: one line, before any memory."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from araflow.core.errors import SourceError
from araflow.recognition import checkpoint, weights
from araflow.recognition.models import _resnet
from araflow.recognition.networks import create
from araflow.recognition.spec import ModelSpec

pytestmark = pytest.mark.timeout(60)
SPEC = ModelSpec.model_validate(
    {
        "network": {"architecture": "arn_2d", "rgb": {"frames": 4, "width": 32, "height": 32}},
        "labels": ["a", "b"],
        "short_side": 36,
    }
)
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_resnet, "WIDTH", 8)
        return dict(create(SPEC).state_dict())


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resnet, "WIDTH", 8)


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 700
    return message.removeprefix(f"{path}: ")


def put(*keys: str, value: object) -> Callable[[Tree], None]:
    def edit(tree: Tree) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = value

    return edit


FLOW = {"backend": "opencv", "algorithm": "dis", "quantizer": "bound"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("labels", value=[str(number) for number in range(3_000_000)]), "labels: Tuple should have at most 100000"),
        (
            put("labels", value=[str(number) for number in range(90_000)]),
            "differ, such as fc.bias: (2,) there",
        ),
        (put("labels", value=["a" * 5000, "b"]), "labels.0: String should have at most 1000"),
        (put("network", "modality", value="joint"), "tensors differ, such as bn1.bias"),
        (put("network", "hidden", value=10**9), "network.hidden: Input should be less than or equal to 65536"),
        (put("network", "rgb", "frames", value=10**8), "network.rgb.frames: Input should be less"),
        (put("network", "rgb", "frames", value=4000), "tensors differ, such as conv1.weight"),
        (put("network", "rgb", "width", value=10**8), "network.rgb.width: Input should be less"),
        (put("network", "rgb", value={"frames": 4096, "width": 4096, "height": 4096}), "more than 134,217,728 pixels"),
        (put("network", "rgb", "mean", value=[float("nan")]), "network.rgb.mean.0: Input should be a finite number"),
        (put("network", "depth", value=10**9), "network.depth: 1000000000 is not allowed"),
        (put("network", "architecture", value="../../x"), "network.architecture: "),
        (put("sample_rate", value=-3), "sample_rate: Input should be greater than or equal to 1"),
        (put("sample_rate", value=0), "sample_rate: Input should be greater than or equal to 1"),
        (put("sample_rate", value=10**9), "sample_rate: Input should be less than or equal to 10000"),
        (put("short_side", value=0), "short_side: Input should be greater than or equal to 16"),
        (put("short_side", value=10**9), "short_side: Input should be less than or equal to 8192"),
        (put("flow", value=FLOW | {"backend": "../x"}), "flow.backend: String should match"),
        (put("flow", value=FLOW | {"bound": -1}), "flow.bound: Input should be greater than 0"),
        (put("flow", value=FLOW | {"jpeg_quality": 10**6}), "flow.jpeg_quality: Input should be less"),
        (put("x" * 100_000, value=1), "Extra inputs are not permitted"),
    ],
)
def test_a_description_that_asks_for_too_much_is_one_line(
    edit: Callable[[Tree], None], message: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tree = json.loads(json.dumps(SPEC.to_json()))
    edit(tree)
    save_file(state, tmp_path / "x.safetensors", {"araflow": json.dumps(tree)})
    said = refused(tmp_path / "x.safetensors")
    assert message in said or "a header of" in said  # 3,000,000 names are more than a header may have


@pytest.mark.parametrize("text", ["[" * 200_000, "9" * 5000, "3", "null", "[]", '"a"'])
def test_a_description_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"araflow": text})
    assert "its description is of another version" in refused(tmp_path / "x.safetensors")


def header(content: object) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{" + b" " * 20_000_000,
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 0),
        header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4 * 2**40]}}),
        header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 0]}}),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}) + bytes(4),
        header([1]),
    ],
    ids=["2^62", "spaces", "brackets", "0", "large", "overflow", "below 0", "a list"],
)
def test_a_header_that_lies_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "not a readable safetensors file" in refused(path)
    with pytest.raises(SourceError, match="damaged, or no safetensors file"):
        weights.read(path, "network.weights.rgb")


def test_a_good_one_is_loaded(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "x.safetensors", {"araflow": json.dumps(SPEC.to_json())})
    assert checkpoint.load(tmp_path / "x.safetensors")[1] == SPEC


def itself() -> Tree:
    found: Tree = {}
    found["state_dict"] = found
    return found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": torch.zeros(1).expand(2**40)}, "holds 4,398,046,511,104 bytes of tensors in"),
        ({f"w{number}": torch.zeros(1).expand(2**24) for number in range(20)}, "bytes of tensors in"),
        ({"w": torch.zeros(2**40, device="meta")}, "holds no state dict: w there"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "holds no state dict: w there"),
        ({"w" * 10_000: 1}, "characters more"),
        ({"state_dict_encrypted": torch.zeros(2), "w": torch.zeros(2)}, None),
        (itself(), "holds no state dict: state_dict there"),
    ],
    ids=["view", "views", "meta", "sparse", "name", "tensor for a flag", "itself"],
)
def test_tensors_that_are_more_than_their_file_are_refused(content: Tree, message: str | None, tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save(content, file)
    if message is None:
        assert weights.read(file, "network.weights.rgb")
        return
    with pytest.raises(SourceError, match=message) as caught:
        weights.read(file, "network.weights.rgb")
    assert len(str(caught.value)) < 600


def test_compressed_records_are_not_inflated(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "one.pth")
    with (
        zipfile.ZipFile(tmp_path / "one.pth") as one,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in one.namelist():
            bomb.writestr(name, bytes(50 << 20) if name.endswith("/0") else one.read(name))
    with pytest.raises(SourceError, match=r"its records have 52,4.* bytes, more than the file"):
        weights.read(tmp_path / "bomb.pth", "network.weights.rgb")
