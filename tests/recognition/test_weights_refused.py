"""Files of weights that must not be loaded: each is one clear error, and the network stays as it was."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")

from state_dicts import assert_loaded, build, joint, numbered, saved  # noqa: E402

from araflow.core.errors import SourceError, SpecError  # noqa: E402
from araflow.recognition.weights import load_weights  # noqa: E402

AS_PUBLISHED = True

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


def assert_refused(network, file: Path, error: type[Exception], *texts: str) -> str:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(error) as caught:
        load_weights(network, file, name=NAME)
    assert str(caught.value).startswith(f"{NAME}: {file}")
    for text in texts:
        assert text in str(caught.value)
    assert_loaded(network, before)
    return str(caught.value)


def test_weights_of_another_network_are_refused_with_counts_and_the_first_names(tmp_path):
    file = saved(tmp_path, numbered(build("arn_2d", depth=34)))
    message = assert_refused(build("arn_2d"), file, SpecError, "nothing was loaded", "network.architecture")
    assert re.search(r"96 of 218 tensors of the file are unknown here \(layer1\.2\.conv1\.weight, .*, …\)", message)
    assert "missing" not in message
    file = saved(tmp_path, numbered(build("arn_2d", depth=50)))
    text = "layer1.0.conv1.weight: 64×64×1×1 float32 there, 64×64×3×3 float32 here"
    assert_refused(build("arn_2d"), file, SpecError, text, "have another shape or type")
    file = saved(tmp_path, numbered(build("arn_3d")))
    assert_refused(build("arn_2d"), file, SpecError, "conv1.weight: 64×3×5×7×7 float32 there, 64×27×7×7 float32 here")


def test_weights_for_one_stream_are_refused_by_a_joint_network_and_the_other_way_round(tmp_path):
    single, both = build("arn_2d"), joint()
    assert_refused(both, saved(tmp_path, numbered(single)), SpecError, "missing there (rgb.conv1.weight")
    assert_refused(single, saved(tmp_path, numbered(both)), SpecError, "unknown here (rgb.conv1.weight")
    assert_refused(both, saved(tmp_path, numbered(joint(hidden=32))), SpecError, "fusion.weight: 32×10 float32 there")


def test_a_missing_an_unknown_and_a_wrong_tensor_are_each_refused(tmp_path):
    network = build("arn_2d")
    good = numbered(network)
    lacking = {key: value for key, value in good.items() if key != "layer3.0.bn1.running_var"}
    text = "1 of 122 tensors of the network are missing there (layer3.0.bn1.running_var)"
    assert_refused(network, saved(tmp_path, lacking), SpecError, text)
    more = good | {"extra.weight": torch.zeros(1)}
    assert_refused(network, saved(tmp_path, more), SpecError, "1 of 123 tensors of the file are unknown here (extra.we")
    wrong = good | {"bn1.weight": torch.zeros(64, dtype=torch.int8)}
    assert_refused(network, saved(tmp_path, wrong), SpecError, "bn1.weight: 64 int8 there, 64 float32 here")
    quantised = good | {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int8)}
    assert_refused(network, saved(tmp_path, quantised), SpecError, "conv1.weight: 64×3×7×7 int8 there")
    twice = good | {"fc_cls.weight": good["fc.weight"], "fc_cls.bias": good["fc.bias"]}
    assert_refused(
        network, saved(tmp_path, twice), SpecError, "unknown here (fc_cls.weight (again), fc_cls.bias (again))"
    )
    wider = good | {
        "fc.bias": torch.zeros(7),
        "fc.weight": torch.zeros(7, 2048),
        "layer1.0.conv1.weight": torch.ones(1),
    }
    assert_refused(network, saved(tmp_path, wider), SpecError, "layer1.0.conv1.weight: 1 float32 there")
    broken = good | {"bn1.weight": torch.full((64,), float("nan"))}
    assert_refused(network, saved(tmp_path, broken), SourceError, "infinities or NaN (bn1.weight)", "get it again")


class Hostile:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, zipped):
    state = {"state_dict": {"fc.bias": torch.zeros(5)}, "hyper_parameters": Hostile(tmp_path / "made")}
    file = tmp_path / "hostile.pth"
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    assert_refused(build("arn_2d"), file, SourceError, "mkdir", "could run any code", "save its tensors alone")
    assert not (tmp_path / "made").exists()


def test_encrypted_files_are_refused_with_what_to_do(tmp_path):
    state = {"state_dict": b"\x07" * 64, "state_dict_encrypted": True}
    assert_refused(build("arn_2d"), saved(tmp_path, state), SourceError, "is encrypted; decrypt it with NVIDIA TAO")
    (tmp_path / "old.tlt").write_bytes(bytes(range(7, 200)) * 9)
    assert_refused(build("arn_2d"), tmp_path / "old.tlt", SourceError, "damaged or encrypted", "NVIDIA TAO and its key")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path, suffix):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    network, file = build("arn_2d"), tmp_path / f"cut{suffix}"
    state = {"fc.bias": torch.arange(5000.0)}
    torch.save(state, file) if suffix == ".pth" else safetensors.save_file(state, file)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>Not found</html>"):
        file.write_bytes(content)
        assert_refused(network, file, SourceError, "is damaged")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([torch.zeros(2)], "holds a list, not a state dict"),
        ({}, "holds no state dict: nothing there"),
        ({"epoch": 3, "loss": 0.5}, "holds no state dict: epoch, loss there"),
        ({"state_dict": {"fc.bias": torch.zeros(5), "note": "text"}}, "holds no state dict: note there"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, content, text):
    assert_refused(build("arn_2d"), saved(tmp_path, content), SourceError, text)


def test_files_that_are_not_there_or_of_another_kind_are_refused(tmp_path):
    network = build("arn_2d")
    assert_refused(network, tmp_path / "none.pth", SpecError, "is not a file that exists")
    assert_refused(network, tmp_path, SpecError, "is not a file that exists")
    (tmp_path / "caffe.pkl").write_bytes(b"x")
    assert_refused(
        network, tmp_path / "caffe.pkl", SpecError, "ends with '.pkl'; allowed: .safetensors, .pth, .pt, .tlt"
    )


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("backbone.conv1.conv.weight", "MMAction2"),
        ("s1.pathway0_stem.conv.weight", "PySlowFast"),
        ("blocks.0.multipathway_blocks.0.conv.weight", "PyTorchVideo"),
        ("res_layers.0.0.conv1.weight", "GluonCV"),
    ],
)
def test_files_of_other_tools_are_named(name, maker, tmp_path):
    torch.save({"state_dict": {name: torch.zeros(1)}}, tmp_path / "theirs.pth")
    with pytest.raises(SpecError, match=rf"theirs\.pth \(looks like {maker}'s, which is not read\) does not fit"):
        load_weights(build("arn_2d"), tmp_path / "theirs.pth", name="network.weights.rgb")
