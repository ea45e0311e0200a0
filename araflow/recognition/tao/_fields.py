"""The settings of NVIDIA TAO's ActionRecognitionNet, one rule each: what becomes of it here, or why it is nothing here.

Names, values and defaults are those of ``nvidia_tao_core/config/action_recognition/default_config.py`` in
https://github.com/NVIDIA/tao-core (TAO 6.25). The old names are those of TAO 3 and 4, as its files show them that are
still published: ``tao_action_recognition/specs`` in https://github.com/NVIDIA-AI-IOT/tao_toolkit_recipes, and
``nvidia_tao_pytorch/cv/action_recognition/experiment_specs`` in https://github.com/NVIDIA/tao_pytorch_backend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from araflow.core.errors import SpecError
from araflow.recognition.tao._file import MODALITY, Theirs
from araflow.recognition.tao._values import Reader, choice, flag, label_map, listed, number, text

NOTHING: Final[Any] = object()
"""Stands where TAO has no default, or where its default changes no result."""
Ours = dict[str, Any]
"""Our dotted keys, with values."""
Apply = Callable[[Theirs, str, Any], Ours]
"""From the file, the field's path in it and its value to our settings."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of one field.

    Attributes:
        apply: Returns our settings, none of them for a field that has no place here.
        default: TAO's default, as it would stand in a file.
        note: What a person should know; or a function of file and value that says it, or nothing.
        unused: Says why TAO itself does not look at the field in this run, or returns ``None`` if it does.
    """

    apply: Apply = lambda theirs, path, value: {}
    default: Any = NOTHING
    note: str | Callable[[Theirs, Any], str] = ""
    unused: Callable[[Theirs], str | None] = lambda theirs: None


def _to(key: str, read: Reader) -> Apply:
    """Put a field in one place; ``{stream}`` in ``key`` stands for each stream of the run."""

    def apply(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401 - whatever YAML holds
        keys = [key.format(stream=stream) for stream in theirs.streams] if "{stream}" in key else [key]
        return dict.fromkeys(keys, read(path, value))

    return apply


def _checked(read: Reader) -> Apply:
    """Refuse what TAO would refuse, and put the field nowhere."""

    def apply(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
        read(path, value)
        return {}

    return apply


def _only(name: str, *values: str) -> Callable[[Theirs], str | None]:
    """A field that counts only where another one has one of some values."""

    def unused(theirs: Theirs) -> str | None:
        found = theirs.value(name)
        return None if found in values else f"counts only with {theirs.path(name)} {' or '.join(values)}; it is {found}"

    return unused


def _ignored(reason: str) -> Rule:
    return Rule(unused=lambda theirs: reason)


_DEPTHS: Final[dict[str, int | None]] = {
    **{f"resnet_{depth}": depth for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}": depth for depth in (18, 34, 50, 101, 152)},  # as the old schema spells it
    "i3d": None,
}
_INPUT_TYPE = choice({"2d": "arn_2d", "3d": "arn_3d"})
_BACKBONE = choice(_DEPTHS, "resnet_18, resnet_34, resnet_50, resnet_101, resnet_152, i3d")
_COUNT, _SIDE, _FRACTION = number(1, whole=True), number(16, whole=True), number(0, 1)
_MEAN, _STD = number(), number(0, open_at=(0,))
_RGB, _FLOW = _only("model.model_type", "rgb", "joint"), _only("model.model_type", "of", "joint")
_JOINT = _only("model.model_type", "joint")
_MULTI_STEP, _AUTO_REDUCE = (_only("train.optim.lr_scheduler", name) for name in ("MultiStep", "AutoReduce"))


def _architecture(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    kind = _INPUT_TYPE(theirs.path("model.input_type"), theirs.value("model.input_type"))
    backbone = theirs.value("model.backbone")
    if backbone == "i3d" and kind == "arn_2d":
        default = "" if theirs.is_set("model.input_type") else " (TAO's default)"
        raise SpecError(f"{theirs.path('model.input_type')}: 2d{default} does not go with i3d; allowed: 3d")
    return {"network.architecture": "i3d" if backbone == "i3d" else kind}


def _backbone(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    depth = _BACKBONE(path, value)
    return {**_architecture(theirs, path, value), "network.depth": depth}


def _output_shape(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    height, width = listed(_SIDE, 2)(path, value)
    return {
        f"network.{stream}.{side}": size
        for stream in theirs.streams
        for side, size in (("height", height), ("width", width))
    }


def _old_crop(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    return {"data.crop": "multi_scale"} if flag(path, value) else {}


def _scales_unused(theirs: Theirs) -> str | None:
    if theirs.value("dataset.augmentation_config.multi_scale_crop") is True:
        return None
    return _only("dataset.augmentation_config.train_crop_type", "multi_scale_crop")(theirs)


def _seed(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    seed = number(None, 2**32 - 1, whole=True)(path, value)
    return {"training.seed": seed if seed >= 0 else 1234}


def _gpu_ids(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
    ids = listed(number(0, whole=True))(path, value)
    return {} if theirs.is_set("train.num_gpus") else {"training.devices": len(ids)}


def _manifest(read: Reader) -> Apply:
    def apply(theirs: Theirs, path: str, value: Any) -> Ours:  # noqa: ANN401
        read(path, value)
        return {"manifest": f"{theirs.out}/manifest.parquet"}

    return apply


def _sequence_note(theirs: Theirs) -> str | None:
    unused = _RGB(theirs)
    if unused and not theirs.is_set("model.of_seq_length"):
        default = RULES["model.of_seq_length"].default
        unused += f"; a known slip: windows have of_seq_length's default of {default} flow fields, so set that instead"
    return unused


def _flip_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    return "mirrored flow has u negated, which TAO leaves out" if "flow" in theirs.streams else ""


def _rate_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    return "kept in tests too; TAO drops it there for joint models" if len(theirs.streams) > 1 else ""


def _mode_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    if value == "center":
        return ""
    return "each window counts once; evaluation.compat=tao counts each video's first one twice, as TAO does"


def _imagenet_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    if not value:
        return "nothing is ever downloaded"
    lacking = [
        s for s in theirs.streams if not theirs.is_set(f"model.{'of' if s == 'flow' else s}_pretrained_model_path")
    ]
    if not lacking or (len(theirs.streams) > 1 and theirs.is_set("model.joint_pretrained_model_path")):
        return "the file given for network.weights counts"
    files = " and ".join(f"network.weights.{stream}=FILE" for stream in lacking)
    return f"NOT DONE: nothing is downloaded, so weights start at random; give a ResNet's by {files}"


def _val_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    if theirs.is_set("evaluate.test_dataset_dir") and theirs.value("evaluate.test_dataset_dir") != value:
        return "val clips: the best epoch is chosen by them; TAO keeps every epoch and chooses none"
    return "test clips: nothing is chosen by them, the last epoch counts"


def _devices_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    which = f"choose devices by CUDA_VISIBLE_DEVICES={','.join(map(str, value))}"
    return f"{theirs.path('train.num_gpus')} counts; {which}" if theirs.is_set("train.num_gpus") else which


def _seed_note(theirs: Theirs, value: Any) -> str:  # noqa: ANN401
    return "TAO then takes another seed in every run; here a run can always be repeated" if int(value) < 0 else ""


_WANDB = Rule(note="TensorBoard's files are written; training.mlflow=ADDRESS logs to MLflow")
_PREDICT = Rule(note="train-eval labels nothing; `araflow predict` does")
_EXPORT = Rule(note="train-eval exports nothing; `araflow export` does")
_CHECKPOINTS = Rule(note="kept: last.safetensors and, where there are val clips, best.safetensors")
_ONE_DEVICE = Rule(note="evaluation runs on one device")
_INFERENCE = ("checkpoint", "inference_dataset_dir", "batch_size", "video_inf_mode", "video_num_segments")
_DEVICES = ("num_gpus", "gpu_ids", "gpu_id", "num_nodes")
_PRETRAINED_CLASSES = Rule(note="read from the file of weights")
_UNREAD = _ignored("TAO never reads it for this network")

RULES: Final[dict[str, Rule]] = {
    "model_name": Rule(lambda theirs, path, value: {"name": theirs.name}),
    "encryption_key": Rule(note="nothing is encrypted; an encrypted .tlt must be decrypted by TAO first"),
    "results_dir": Rule(
        lambda theirs, path, value: {"out": theirs.out},
        unused=lambda theirs: "train.results_dir goes before it" if theirs.is_set("train.results_dir") else None,
    ),
    **{f"wandb.{name}": _WANDB for name in ("enable", "project", "entity", "name", "tags", "run_id", "group")},
    "model.model_type": Rule(_to("network.modality", MODALITY), "rgb"),
    "model.backbone": Rule(_backbone, "resnet_18"),
    "model.input_type": Rule(_architecture, "2d"),
    "model.rgb_seq_length": Rule(_to("network.rgb.frames", _COUNT), 3, unused=_sequence_note),
    "model.of_seq_length": Rule(_to("network.flow.frames", _COUNT), 10, unused=_FLOW),
    "model.rgb_pretrained_model_path": Rule(_to("network.weights.rgb", text), unused=_RGB),
    "model.of_pretrained_model_path": Rule(_to("network.weights.flow", text), unused=_FLOW),
    "model.joint_pretrained_model_path": Rule(_to("network.weights.joint", text), unused=_JOINT),
    "model.rgb_pretrained_num_classes": _PRETRAINED_CLASSES,
    "model.of_pretrained_num_classes": _PRETRAINED_CLASSES,
    "model.num_fc": Rule(_to("network.hidden", _COUNT), 64, unused=_JOINT),
    "model.sample_strategy": Rule(
        _to("data.sampler", choice({name: name for name in ("random_interval", "consecutive")})), "random_interval"
    ),
    "model.sample_rate": Rule(
        _to("data.sample_rate", _COUNT), 1, _rate_note, _only("model.sample_strategy", "consecutive")
    ),
    "model.imagenet_pretrained": Rule(_checked(flag), note=_imagenet_note),
    "model.dropout_ratio": Rule(_to("network.dropout", number(0, 1, open_at=(1,))), 0.5),
    "model.input_width": Rule(_to("network.{stream}.width", _SIDE), 224),
    "model.input_height": Rule(_to("network.{stream}.height", _SIDE), 224),
    "dataset.output_shape": Rule(_output_shape, note="height, width"),
    "dataset.train_dataset_dir": Rule(_manifest(text), note="training clips"),
    "dataset.val_dataset_dir": Rule(_manifest(text), note=_val_note),
    "dataset.label_map": Rule(_manifest(label_map), note="the manifest's labels, in this order"),
    "dataset.batch_size": Rule(_to("training.batch_size", _COUNT), 2),
    "dataset.workers": Rule(_to("data.workers", number(0, whole=True))),
    "dataset.clips_per_video": Rule(_to("data.clips_per_video", _COUNT), 1),
    "train.optim.lr": Rule(_to("training.optimizer.lr", number(0, open_at=(0,))), 5e-4),
    "train.optim.momentum": Rule(_to("training.optimizer.momentum", number(0, 1, open_at=(1,))), 0.9),
    "train.optim.weight_decay": Rule(_to("training.optimizer.weight_decay", number(0)), 5e-4),
    "train.optim.lr_scheduler": Rule(
        _to("training.optimizer.schedule", choice({"MultiStep": "multi_step", "AutoReduce": "plateau"})), "MultiStep"
    ),
    "train.optim.lr_steps": Rule(_to("training.optimizer.steps", listed(_COUNT)), [15, 25], unused=_MULTI_STEP),
    "train.optim.lr_decay": Rule(_to("training.optimizer.decay", number(0, 1, open_at=(0, 1))), 0.1),
    "train.optim.lr_monitor": Rule(
        _checked(choice(dict.fromkeys(("val_loss", "train_loss")))),
        note="val_loss where there are val clips apart from the test clips, else train_loss",
        unused=_AUTO_REDUCE,
    ),
    "train.optim.patience": Rule(_to("training.optimizer.patience", number(0, whole=True)), 1, unused=_AUTO_REDUCE),
    "train.optim.min_lr": Rule(_to("training.optimizer.min_lr", number(0)), 1e-4, unused=_AUTO_REDUCE),
    "train.clip_grad_norm": Rule(_to("training.clip_gradient", number(0)), 0.0),
    "train.num_epochs": Rule(_to("training.epochs", _COUNT), 10),
    "train.checkpoint_interval": _CHECKPOINTS,
    "train.checkpoint_interval_unit": _CHECKPOINTS,
    "train.validation_interval": Rule(_to("training.validate_every", _COUNT), 1),
    "train.seed": Rule(_seed, 1234, _seed_note),
    "train.cudnn.benchmark": Rule(note="PyTorch's default; its choices differ from run to run"),
    "train.cudnn.deterministic": Rule(_to("training.deterministic", flag), True),
    "train.num_gpus": Rule(_to("training.devices", _COUNT), 1, "a CPU is used where there is no GPU"),
    "train.gpu_ids": Rule(_gpu_ids, note=_devices_note),
    "train.num_nodes": Rule(note="araflow trains on the devices of one machine: training.devices"),
    "train.resume_training_checkpoint_path": Rule(
        note="a run goes on from what is in its own `out`; to start from weights, give network.weights"
    ),
    "train.results_dir": Rule(lambda theirs, path, value: {"out": theirs.out}),
    "evaluate.checkpoint": Rule(note="train-eval evaluates what it has trained; `araflow evaluate` takes a file"),
    "evaluate.test_dataset_dir": Rule(_manifest(text), note="test clips"),
    "evaluate.batch_size": Rule(_to("evaluation.batch_size", _COUNT), note="does not change the scores"),
    "evaluate.video_eval_mode": Rule(
        _to("evaluation.mode", choice({name: name for name in ("center", "conv", "all")})), "center", _mode_note
    ),
    "evaluate.video_num_segments": Rule(
        _to("evaluation.segments", _COUNT), 10, unused=_only("evaluate.video_eval_mode", "conv")
    ),
    **{f"evaluate.{name}": _ONE_DEVICE for name in _DEVICES},
    "evaluate.results_dir": Rule(note="everything of a run is in `out`"),
    "evaluate.trt_engine": _UNREAD,
    **{f"inference.{name}": _PREDICT for name in (*_INFERENCE, *_DEVICES, "results_dir")},
    "inference.trt_engine": _UNREAD,
    **{f"export.{name}": _EXPORT for name in ("checkpoint", "onnx_file", "gpu_id", "results_dir")},
    "export.batch_size": _UNREAD,
}
_AUGMENTATION: Final = {
    "train_crop_type": Rule(
        _to("data.crop", choice({"random_crop": "random", "multi_scale_crop": "multi_scale", "no_crop": "none"})),
        "random_crop",
    ),
    "multi_scale_crop": Rule(_old_crop, note="TAO's old name of train_crop_type: multi_scale_crop"),
    "scales": Rule(_to("data.scales", listed(number(0, 1, open_at=(0,)))), [1], unused=_scales_unused),
    "horizontal_flip_prob": Rule(_to("data.flip", _FRACTION), 0.5, _flip_note),
    "rgb_input_mean": Rule(_to("network.rgb.mean", listed(_MEAN, 1, 3)), [0.485, 0.456, 0.406], unused=_RGB),
    "rgb_input_std": Rule(_to("network.rgb.std", listed(_STD, 1, 3)), [0.229, 0.224, 0.225], unused=_RGB),
    "of_input_mean": Rule(_to("network.flow.mean", listed(_MEAN, 1, 2)), [0.5], unused=_FLOW),
    "of_input_std": Rule(_to("network.flow.std", listed(_STD, 1, 2)), [0.5], unused=_FLOW),
    "val_center_crop": Rule(_to("data.center_crop", flag), False),
    "crop_smaller_edge": Rule(_to("data.short_side", _SIDE), 256),
}
RULES.update({f"dataset.augmentation_config.{name}": rule for name, rule in _AUGMENTATION.items()})
