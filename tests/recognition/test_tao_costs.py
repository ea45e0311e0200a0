"""A TAO file whose ``${…}`` grow, lead in a circle, or whose fields nobody knows, is refused in a line, at once."""

from pathlib import Path
from typing import Any

import pytest

from araflow.core.errors import SpecError
from araflow.recognition import experiment, tao

pytestmark = pytest.mark.timeout(20)
MODEL: dict[str, Any] = {"model": {"model_type": "rgb"}, "dataset": {"label_map": {"a": 0, "b": 1}}}


def growing(times: int, levels: int) -> dict[str, str]:
    found = {f"a{i}": f"${{a{i + 1}}}" * times for i in range(levels)}
    return {"results_dir": "${a0}", f"a{levels}": "x" * 30, **found}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (growing(20, 6), "results_dir: grows beyond 10,000 characters"),
        (growing(2000, 1), "results_dir: grows beyond 10,000 characters"),
        (growing(10_000, 1) | {"a1": ""}, None),
        ({"results_dir": "${results_dir}"}, "results_dir: ${results_dir} is no value of this file"),
        ({"results_dir": "${a}", "a": "${b}${b}", "b": "${a}${a}"}, "is no value of this file"),
        (growing(1, 9), "is no value of this file"),
        ({"results_dir": "${" + "a" * 50_000 + "}"}, "49,803 characters more"),
        ({"results_dir": "${" * 20_000}, None),
        ({f"field{number}": 1 for number in range(15_000)}, "15,000 fields are none of TAO's"),
        ({"train": {"num_epochs": "9" * 60_000}}, "train.num_epochs"),
        ({"train": {"num_epochs": [1] * 15_000}}, "train.num_epochs"),
        ({"dataset": {"label_map": {f"c{number}": 0 for number in range(15_000)}}}, "dataset.label_map"),
    ],
)
def test_it_is_one_line(fields: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert tao.translate(MODEL | fields)
        return
    with pytest.raises(SpecError) as caught:
        tao.translate(MODEL | fields)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_value_may_stand_for_several(tmp_path: Path) -> None:
    file = tmp_path / "tao.yaml"
    file.write_text(
        "results_dir: ${root}/${long}/${long}\nroot: /r\nlong: ${short}\nshort: n\n"
        "model: {model_type: rgb}\ndataset: {train_dataset_dir: /x, label_map: {a: 0, b: 1}}\n"
    )
    assert experiment.read(file).spec.out == "/r/n/n"
