import json

import kills
import pytest
import safetensors.torch
import torch
from torch import nn

from araflow.core.errors import OutputError, SourceError
from araflow.core.written import LIST
from araflow.recognition import checkpoint
from araflow.recognition.networks import create
from araflow.recognition.spec import ModelSpec

SPEC = ModelSpec.model_validate({"network": {"modality": "flow", "dropout": 0.25}, "labels": ["b", "a", "ä c"]})


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return create(SPEC)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "deep" / "last.safetensors"
    checkpoint.save(path, network, SPEC)
    yield path
    path.unlink()


def test_what_is_saved_is_loaded_weights_statistics_and_description(file, network):
    loaded, spec = checkpoint.load(file)
    assert spec == SPEC
    assert spec.labels == ("b", "a", "ä c"), "in the order of the label numbers"
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_the_description_is_read_without_the_weights(file, tmp_path):
    size = int.from_bytes(file.read_bytes()[:8], "little")
    header = json.loads(file.read_bytes()[8 : 8 + size])
    assert json.loads(header["__metadata__"]["araflow"]) == SPEC.to_json()
    assert checkpoint.read_spec(file) == SPEC


def test_the_same_weights_give_the_same_bytes(file, network, tmp_path):
    again, _ = checkpoint.load(file)
    checkpoint.save(tmp_path / "again.safetensors", again, SPEC)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    (tmp_path / "again.safetensors").unlink()


def test_a_file_that_is_not_there_names_those_that_are(file, tmp_path):
    with pytest.raises(SourceError, match="no such checkpoint"):
        checkpoint.read_spec(tmp_path / "best.safetensors")
    with pytest.raises(SourceError, match=r"a folder, with last\.safetensors"):
        checkpoint.load(file.parent)
    with pytest.raises(SourceError, match=r"it is a folder$"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no such file at all", b"\xff" * 64])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.safetensors: not a readable safetensors file"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_a_file_that_was_cut_off_is_named(file, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(file.read_bytes()[:-4])
    with pytest.raises(SourceError, match=r"x\.safetensors: not a readable"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_weights_of_others_are_pointed_to_their_place(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(SourceError, match=r"network\.weights\.rgb="):
        checkpoint.read_spec(path)


@pytest.mark.parametrize(
    "change", [{"labels": ["only"]}, {"unheard": 1}, {"network": {"architecture": "of_tomorrow"}}], ids=str
)
def test_a_description_of_another_version_is_an_error(tmp_path, change):
    path = tmp_path / "x.safetensors"
    description = json.dumps({**SPEC.to_json(), **change})
    safetensors.torch.save_file({"fc.weight": torch.zeros(2, 2)}, path, {"araflow": description})
    with pytest.raises(SourceError, match=r"x\.safetensors: its description is of another version"):
        checkpoint.read_spec(path)
    safetensors.torch.save_file({"fc.weight": torch.zeros(2, 2)}, path, {"araflow": "{"})
    with pytest.raises(SourceError, match=r"x\.safetensors: its description"):
        checkpoint.read_spec(path)


def test_weights_that_do_not_fit_their_description_are_an_error(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, nn.Linear(2, 2), SPEC)
    with pytest.raises(SourceError, match="do not fit arn_2d"):
        checkpoint.load(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/x"):
        checkpoint.save(tmp_path / "file" / "x.safetensors", nn.Linear(2, 2), SPEC)


def test_a_checkpoint_is_whole_or_not_there_whenever_its_writer_is_killed(tmp_path):
    before, new = nn.Linear(2, 2), nn.Linear(2, 2)
    for kill_at in range(1, 100):
        path = tmp_path / str(kill_at) / "x.safetensors"
        checkpoint.save(path, before, SPEC)
        old = path.read_bytes()
        how = kills.in_a_child(lambda: checkpoint.save(path, new, SPEC), kill_at)  # noqa: B023
        found = path.read_bytes()
        checkpoint.save(path, new, SPEC)
        whole = path.read_bytes()
        assert found in (old, whole) and whole != old
        assert {file.name for file in path.parent.iterdir()} == {"x.safetensors", LIST}
        if how != -9:
            break
    assert kill_at > 2
