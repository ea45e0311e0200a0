"""What proves an engine: the inspector's word on precision, in the words it uses, and the same logits."""

import json

import numpy as np
import pytest
from engine_kit import FRAMES, SIZE, model_spec

from araflow.core.errors import EngineError
from araflow.deploy import windows
from araflow.deploy.tensorrt import _proof as proving

SHAPE = (3, FRAMES, SIZE, SIZE)
LAYER = {"LayerType": "CaskConvolution", "Name": "conv"}


def layers(*words):
    made = [{**LAYER, "Inputs": [{"Format/Datatype": a}], "Outputs": [{"Format/Datatype": b}]} for a, b in words]
    return json.dumps({"Layers": made})


def test_every_wording_of_the_inspector_is_understood():
    half = ("Channel major FP16 format where channel % 8 == 0", "Half")
    full = ("Row major linear FP32", "Float")
    proof = proving.precision_proof(
        layers(half, full, ("Thirty-two wide channel vectorized row major Int8", "Half")), "fp16"
    )
    assert (proof.fp16, proof.fp32, proof.int8) == (1, 1, 1)
    assert proving.precision_proof(layers(full), "fp32").fp32 == 1
    with pytest.raises(EngineError, match="tells no layer's data type"):
        proving.precision_proof(layers(("BFloat16", "BFloat16")), "fp32")


def test_conversions_to_half_do_not_prove_half():
    moved = json.loads(layers(("Half", "Half")))
    moved["Layers"][0]["LayerType"] = "Reformat"
    moved["Layers"] += json.loads(layers(("Float", "Half"), ("Half", "Float"), ("Float", "Float")))["Layers"]
    with pytest.raises(EngineError, match="no layer of the engine computes in it"):
        proving.precision_proof(json.dumps(moved), "fp16")


def test_half_weights_prove_half_where_a_fused_layer_shows_float32_outside():
    fused = json.loads(layers(("Float", "Float")))
    fused["Layers"][0]["Weights"] = {"Type": "Half", "Count": 9}
    assert proving.precision_proof(json.dumps(fused), "fp16").fp16 == 1


def test_fp32_with_a_half_layer_is_not_fp32():
    with pytest.raises(EngineError, match="compute in less"):
        proving.precision_proof(layers(("Half", "Half"), ("Float", "Float")), "fp32")


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '{"Layers": ["conv"]}'])
def test_an_inspector_that_tells_nothing_proves_nothing(text):
    with pytest.raises(EngineError, match="unproven"):
        proving.precision_proof(text, "fp32")


def logits(rows):
    """A recogniser that answers window i (told by its first number) with row i."""
    rows = np.asarray(rows, np.float32)
    return lambda rgb: rows[rgb[:, 0, 0, 0, 0].astype(int)]


NUMBERED = {"rgb": np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1, 1)}
RIGHT = [[3, 1, 0], [0, 3, 1], [1, 0, 3], [3, 0, 1]]


def test_parity_measures_the_relative_error_and_the_first_class():
    near = np.asarray(RIGHT, np.float32) * (1 + 4e-4)
    figures = proving.parity(logits(RIGHT), logits(near), NUMBERED, "numbers", (1, 3, 8), "fp32")
    assert figures.relative_error == pytest.approx(4e-4, rel=1e-3)
    assert (figures.windows, figures.top1, figures.undecided) == (4, 1, 0)


def test_parity_finds_a_swap_of_two_windows_and_a_fault_in_one_batch_size_alone():
    swapped = logits([RIGHT[1], RIGHT[0], *RIGHT[2:]])
    with pytest.raises(EngineError, match="same first class 50"):
        proving.parity(logits(RIGHT), swapped, NUMBERED, "numbers", (1,), "fp16")
    right = logits(RIGHT)
    with pytest.raises(EngineError, match="relative error"):
        proving.parity(
            right, lambda rgb: right(rgb=rgb) * (1 if len(rgb) < 4 else 0), NUMBERED, "numbers", (1, 4), "fp16"
        )


def test_windows_without_a_clear_first_class_do_not_count_for_agreement():
    tied = [[1, 1.0001, 0], *RIGHT[1:]]
    found = [[1.0001, 1, 0], *RIGHT[1:]]
    figures = proving.parity(logits(tied), logits(found), NUMBERED, "numbers", (4,), "fp16")
    assert (figures.undecided, figures.top1) == (1, 1)


def test_an_engine_that_answers_with_no_number_is_not_right():
    with pytest.raises(EngineError):
        proving.parity(logits(RIGHT), logits(np.full((4, 3), np.nan)), NUMBERED, "numbers", (1,), "fp16")


def test_a_single_logit_that_is_no_number_is_not_right_even_where_it_comes_first():
    found = np.asarray(RIGHT, np.float32)
    found[0, 0] = np.nan  # argmax takes it for the largest
    assert found.argmax(1).tolist() == np.argmax(RIGHT, 1).tolist()
    with pytest.raises(EngineError, match="relative error nan"):
        proving.parity(logits(RIGHT), logits(found), NUMBERED, "numbers", (1,), "fp16")


def test_drawn_windows_are_those_of_the_recogniser_and_always_the_same():
    spec = model_spec("arn_3d", "joint")
    first, second = windows.drawn(spec, 3), windows.drawn(spec, 3)
    assert {name: tensor.shape for name, tensor in first.items()} == {"rgb": (3, *SHAPE), "flow": (3, 2, *SHAPE[1:])}
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])
        assert -1.0001 <= tensor.min() < -0.3 and 0.3 < tensor.max() <= 1.0001
        assert tensor.std(axis=(1, 2, 3, 4)).min() > 0.1
