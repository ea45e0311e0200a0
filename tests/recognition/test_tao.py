"""NVIDIA TAO's experiment files, written here from its schema, and its dataset folders, drawn here."""

import copy
import json

import cv2
import numpy as np
import pytest
import yaml

from araflow.core import spec_file
from araflow.core.errors import AraflowError, SourceError, SpecError
from araflow.recognition import experiment, tao
from araflow.recognition.spec import ExperimentSpec
from araflow.store.manifest import Manifest

RGB = """
model_name: my run/1
results_dir: /results/rgb
encryption_key: secret
wandb: {enable: false, project: actions}
model:
  model_type: rgb
  backbone: resnet_34
  input_type: 2d
  rgb_seq_length: 16
  of_seq_length: 12
  rgb_pretrained_model_path: /weights/rgb.pth
  rgb_pretrained_num_classes: 5
  imagenet_pretrained: true
  sample_strategy: consecutive
  sample_rate: 2
  dropout_ratio: 0.0
  input_width: 192
  input_height: 160
  num_fc: 32
dataset:
  train_dataset_dir: /data/train
  val_dataset_dir: /data/test
  label_map: {push: 0, fall_floor: 1, walk: 2}
  batch_size: 32
  workers: 4
  clips_per_video: 5
  augmentation_config:
    train_crop_type: multi_scale_crop
    scales: [1, 0.875]
    horizontal_flip_prob: 0.25
    rgb_input_mean: [0.5]
    rgb_input_std: [0.25]
    val_center_crop: true
    crop_smaller_edge: 240
train:
  optim: {lr: 1e-3, momentum: 0.8, weight_decay: 1e-4, lr_scheduler: MultiStep, lr_steps: [5, 15], lr_decay: 0.2,
          patience: 3}
  num_epochs: 20
  clip_grad_norm: 1.5
  checkpoint_interval: 1
  validation_interval: 2
  seed: 7
  cudnn: {benchmark: true, deterministic: false}
  num_gpus: 2
  gpu_ids: [0, 3]
  num_nodes: 1
  resume_training_checkpoint_path: null
evaluate: {checkpoint: "???", test_dataset_dir: /data/test, batch_size: 1, video_eval_mode: conv,
           video_num_segments: 6, trt_engine: null}
inference: {checkpoint: "???", video_inf_mode: center}
export: {checkpoint: "???", onnx_file: null, batch_size: 1}
gen_trt_engine: {gpu_id: 0}
"""
FLOW = """
results_dir: /results/of
model: {model_type: of, input_type: 3d, rgb_seq_length: 32}
dataset:
  train_dataset_dir: /data/train
  label_map: {walk: 1, run: 0}
train: {optim: {lr_scheduler: AutoReduce, lr_monitor: train_loss, patience: 2, min_lr: 1e-6}, seed: -1}
"""
JOINT = """
model: {model_type: joint, input_type: 3d, backbone: resnet_50, rgb_seq_length: 32, of_seq_length: 32, num_fc: 128,
        joint_pretrained_model_path: /weights/joint.tlt, sample_strategy: consecutive, sample_rate: 2}
dataset: {label_map: {walk: 0, run: 1}}
train: {results_dir: /results/joint, gpu_ids: [1, 2]}
"""
I3D = """
model: {backbone: i3d, input_type: 3d, rgb_seq_length: 64, rgb_pretrained_model_path: /weights/k400.pt}
dataset: {label_map: {walk: 0, run: 1}}
"""
OLD = """
output_dir: /results/old
key: secret
gpu_ids: [0, 1, 2]
model_config: {model_type: rgb, backbone: resnet18, input_type: 3d, rgb_seq_length: 3, sample_strategy: consecutive}
train_config:
  optim: {lr: 0.001, lr_scheduler: MultiStep, lr_steps: [5, 15, 20]}
  epochs: 20
  checkpoint_interval: 1
dataset_config:
  train_dataset_dir: /data/train
  val_dataset_dir: /data/test
  label_map: {fall_floor: 0, ride_bike: 1}
  output_shape: [112, 128]
  augmentation_config: {multi_scale_crop: true, scales: [1.0, 0.75], rgb_input_mean: [0.5], rgb_input_std: [0.5]}
model: /weights/trained.tlt
video_eval_mode: all
"""


def read(text, **changes):
    tree = yaml.safe_load(text)
    for key, value in changes.items():
        *groups, last = key.split("__")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return tree


def spec_of(text, **changes):
    settings, fields = tao.translate(read(text, **changes))
    return spec_file.validate(settings, ExperimentSpec, "their.yaml"), {field.path: field for field in fields}


def leaves(tree, above=""):
    for key, value in tree.items():
        if isinstance(value, dict) and key != "label_map":
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", "(hidden)" if key in ("key", "encryption_key") else value


@pytest.mark.parametrize("text", [RGB, FLOW, JOINT, I3D, OLD])
def test_every_field_of_a_file_is_accounted_for_exactly_once_with_its_value(text):
    tree = yaml.safe_load(text)
    before = copy.deepcopy(tree)
    settings, fields = tao.translate(tree)
    assert tree == before
    written = [field for field in fields if "TAO's default" not in field.note or field.note.startswith("not set")]
    assert [(field.path, field.value) for field in written] == list(leaves(tree))
    assert len({field.path for field in fields}) == len(fields)
    spec_file.validate(settings, ExperimentSpec, "their.yaml")
    for field in fields:
        assert (field.status == "mapped") == (field.became is not None) == bool(field.ours)
        assert field.status == "mapped" or field.note


def test_an_rgb_file_of_the_current_schema_becomes_the_same_experiment():
    spec, fields = spec_of(RGB)
    network, data, training = spec.network, spec.data, spec.training
    assert (spec.name, spec.out, spec.manifest) == ("my-run-1", "/results/rgb", "/results/rgb/manifest.parquet")
    assert (network.architecture, network.depth, network.modality, network.dropout) == ("arn_2d", 34, "rgb", 0.0)
    assert network.rgb.model_dump() == {"frames": 16, "width": 192, "height": 160, "mean": (0.5,), "std": (0.25,)}
    assert network.weights.rgb == "/weights/rgb.pth"
    assert (data.sampler, data.sample_rate, data.clips_per_video, data.workers) == ("consecutive", 2, 5, 4)
    assert (data.crop, data.scales, data.flip) == ("multi_scale", (1.0, 0.875), 0.25)
    assert (data.center_crop, data.short_side) == (True, 240)
    optimizer = training.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (1e-3, 0.8, 1e-4)
    assert (optimizer.schedule, optimizer.steps, optimizer.decay) == ("multi_step", (5, 15), 0.2)
    assert (training.epochs, training.batch_size, training.clip_gradient) == (20, 32, 1.5)
    assert (training.validate_every, training.seed, training.deterministic) == (2, 7, False)
    assert training.devices == 2
    assert (spec.evaluation.mode, spec.evaluation.segments, spec.evaluation.compat) == ("conv", 6, "none")
    status = {path: field.status for path, field in fields.items()}
    tao_ignores = {path for path, found in status.items() if found == "ignored, as TAO itself ignores it"}
    assert tao_ignores == {
        "model.of_seq_length",
        "model.num_fc",
        "train.optim.patience",
        "evaluate.trt_engine",
        "export.batch_size",
    }
    assert {path for path, found in status.items() if found == "unknown"} == {"gen_trt_engine.gpu_id"}
    assert "evaluation.compat=tao" in fields["evaluate.video_eval_mode"].note
    assert "network.weights counts" in fields["model.imagenet_pretrained"].note
    assert "araflow export" in fields["export.onnx_file"].note
    assert "CUDA_VISIBLE_DEVICES=0,3" in fields["train.gpu_ids"].note


def test_what_a_flow_file_leaves_out_is_taos_default_and_not_ours():
    spec, fields = spec_of(FLOW)
    assert (spec.network.modality, spec.network.architecture, spec.network.depth) == ("flow", "arn_3d", 18)
    assert spec.network.flow.frames == fields["model.of_seq_length"].value == 10
    assert (spec.data.sampler, spec.training.batch_size) == ("random_interval", 2)
    assert {path for path, field in fields.items() if field.note.startswith("TAO's default")} == {
        "model.backbone",
        "model.of_seq_length",
        "model.sample_strategy",
        "dataset.batch_size",
    }
    optimizer = spec.training.optimizer
    assert (optimizer.schedule, optimizer.patience, optimizer.min_lr) == ("plateau", 2, 1e-6)
    assert spec.training.seed == 1234
    assert "another seed" in fields["train.seed"].note


def test_the_slip_of_giving_rgb_seq_length_in_a_flow_run_is_pointed_out():
    _, fields = spec_of(FLOW)
    slip = fields["model.rgb_seq_length"]
    assert slip.status == "ignored, as TAO itself ignores it"
    assert "of_seq_length's default of 10" in slip.note
    _, fields = spec_of(FLOW, model__of_seq_length=32)
    assert "slip" not in fields["model.rgb_seq_length"].note


def test_an_rgb_run_gets_taos_imagenet_normalisation_unless_its_file_says_otherwise():
    spec, _ = spec_of(I3D)
    assert (spec.network.rgb.mean, spec.network.rgb.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (spec.network.architecture, spec.network.depth, spec.network.rgb.frames) == ("i3d", None, 64)
    assert spec.out == "runs/action_recognition"


def test_a_joint_file_sets_both_streams():
    spec, fields = spec_of(JOINT)
    assert (spec.network.modality, spec.network.depth, spec.network.hidden) == ("joint", 50, 128)
    assert (spec.network.rgb.frames, spec.network.flow.frames) == (32, 32)
    assert spec.network.weights.joint == "/weights/joint.tlt"
    assert (spec.out, spec.training.devices) == ("/results/joint", 2)
    assert "TAO drops it" in fields["model.sample_rate"].note


def test_a_file_of_the_old_schema_becomes_the_same_experiment():
    spec, fields = spec_of(OLD)
    assert (spec.network.architecture, spec.network.depth, spec.out) == ("arn_3d", 18, "/results/old")
    assert (spec.network.rgb.frames, spec.network.rgb.height, spec.network.rgb.width) == (3, 112, 128)
    assert (spec.training.epochs, spec.training.optimizer.steps, spec.training.devices) == (20, (5, 15, 20), 3)
    assert spec.training.batch_size == 32, "the old default"
    assert (spec.data.crop, spec.data.scales, spec.evaluation.mode) == ("multi_scale", (1.0, 0.75), "all")
    assert fields["model"].status == fields["key"].status == "not applicable"


def test_the_old_schemas_default_is_a_joint_model_and_the_current_ones_is_rgb():
    assert spec_of("model_config: {input_type: 3d}")[0].network.modality == "joint"
    assert spec_of("model: {input_type: 3d}")[0].network.modality == "rgb"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model__model_type": "flow"}, ["model.model_type: 'flow'", "allowed: rgb, of, joint"]),
        ({"model__backbone": "resnet_20"}, ["model.backbone: 'resnet_20'", "resnet_18, resnet_34", "did you mean"]),
        ({"model__input_type": "4d"}, ["model.input_type: '4d'", "allowed: 2d, 3d"]),
        ({"model__backbone": "i3d"}, ["model.input_type: 2d", "i3d", "allowed: 3d"]),
        ({"model__sample_strategy": "dense"}, ["model.sample_strategy", "allowed: random_interval, consecutive"]),
        ({"model__dropout_ratio": 1.0}, ["model.dropout_ratio: 1.0", "at least 0 and less than 1"]),
        ({"model__rgb_seq_length": 2.5}, ["model.rgb_seq_length: 2.5", "a whole number at least 1"]),
        ({"model__imagenet_pretrained": "maybe"}, ["model.imagenet_pretrained", "allowed: true, false"]),
        ({"dataset__augmentation_config__train_crop_type": "center"}, ["train_crop_type", "random_crop, multi_scale"]),
        ({"dataset__augmentation_config__rgb_input_std": [0]}, ["rgb_input_std[0]: 0", "more than 0"]),
        ({"dataset__augmentation_config__rgb_input_mean": [0, 1]}, ["rgb_input_mean: [0, 1]", "a list of 1 or 3"]),
        ({"dataset__label_map": {"walk": 0, "run": 0}}, ["dataset.label_map", "each number once"]),
        ({"dataset__label_map": {True: 0, "run": 1}}, ["dataset.label_map: True", "quote"]),
        ({"dataset__label_map": ["walk"]}, ["dataset.label_map: ['walk']", "class names with their numbers"]),
        ({"train__optim__lr_scheduler": "cosine"}, ["train.optim.lr_scheduler", "allowed: MultiStep, AutoReduce"]),
        ({"train__optim__lr": "fast"}, ["train.optim.lr: 'fast'", "a number more than 0"]),
        ({"train__num_epochs": True}, ["train.num_epochs: True", "a whole number"]),
        ({"train__optim": 3}, ["train.optim: expected a group of settings (found 3)"]),
        ({"evaluate__video_eval_mode": "dense"}, ["evaluate.video_eval_mode", "allowed: center, conv, all"]),
        ({"results_dir": "${oc.env:HOME}"}, ["results_dir: ${oc.env:HOME} is no value of this file"]),
        ({"results_dir": "${results_dir}"}, ["results_dir: ${results_dir} is no value of this file"]),
        ({"output_dir": "/elsewhere"}, ["output_dir: results_dir says the same"]),
    ],
)
def test_a_value_that_tao_does_not_allow_is_an_error_with_their_key_and_what_is_allowed(change, words):
    if "results_dir" in change:
        change = {**change, "train__results_dir": None}
    with pytest.raises(SpecError) as caught:
        tao.translate(read(RGB, **change))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_old_schemas_errors_name_the_old_keys():
    with pytest.raises(SpecError, match=r"^train_config\.optim\.lr: 0 is not allowed"):
        tao.translate(read(OLD, train_config__optim__lr=0))
    with pytest.raises(SpecError, match=r"^model_config\.input_type: 2d \(TAO's default\)|^model_config"):
        tao.translate(read("model_config: {backbone: i3d, input_type: 2d}"))


def test_a_field_that_tao_does_not_have_is_listed_as_unknown_with_the_nearest_one():
    _, fields = spec_of(RGB, train__num_epoch=3)
    assert fields["train.num_epoch"].status == "unknown"
    assert "did you mean train.num_epochs" in fields["train.num_epoch"].note


def test_weights_that_tao_would_download_are_asked_for_by_stream():
    _, fields = spec_of(FLOW, model__imagenet_pretrained=True)
    assert "NOT DONE" in fields["model.imagenet_pretrained"].note
    assert "network.weights.flow=FILE" in fields["model.imagenet_pretrained"].note
    _, fields = spec_of(JOINT, model__imagenet_pretrained=True)
    assert "NOT DONE" not in fields["model.imagenet_pretrained"].note


SCHEMA = """
model_name encryption_key results_dir
wandb: enable project entity name tags run_id
model: model_type backbone input_type rgb_seq_length of_seq_length rgb_pretrained_model_path of_pretrained_model_path
 rgb_pretrained_num_classes of_pretrained_num_classes joint_pretrained_model_path num_fc sample_strategy sample_rate
 imagenet_pretrained dropout_ratio input_width input_height
dataset: train_dataset_dir val_dataset_dir label_map batch_size workers clips_per_video
dataset.augmentation_config: train_crop_type scales horizontal_flip_prob rgb_input_mean rgb_input_std of_input_mean
 of_input_std val_center_crop crop_smaller_edge
train.optim: lr momentum weight_decay lr_scheduler lr_steps lr_decay lr_monitor patience min_lr
train: clip_grad_norm num_epochs checkpoint_interval checkpoint_interval_unit validation_interval seed num_gpus gpu_ids
 num_nodes resume_training_checkpoint_path results_dir
train.cudnn: benchmark deterministic
evaluate: checkpoint test_dataset_dir batch_size video_eval_mode video_num_segments num_gpus gpu_ids num_nodes
 results_dir trt_engine
inference: checkpoint inference_dataset_dir batch_size video_inf_mode video_num_segments trt_engine
export: checkpoint onnx_file gpu_id batch_size
"""


def test_every_field_of_the_current_schema_is_known():
    section, names = "", {}
    for word in SCHEMA.split():
        if word.endswith(":"):
            section = word[:-1].replace(".", "__") + "__"
        else:
            names[section + word] = None
    _, fields = tao.translate(read("{}", **names))
    assert not [field.path for field in fields if field.status == "unknown"]
    assert {name.replace("__", ".") for name in names} <= {field.path for field in fields}


def test_references_within_a_file_are_filled_in():
    spec, _ = spec_of(FLOW, model__of_pretrained_model_path="${results_dir}/start.pth")
    assert spec.network.weights.flow == "/results/of/start.pth"
    assert tao.folders(read(FLOW, root="/data", dataset__train_dataset_dir="${root}/x")).train.as_posix() == "/data/x"


def test_only_taos_files_are_taken_for_taos():
    for text in (RGB, FLOW, JOINT, I3D, OLD):
        assert tao.is_tao(yaml.safe_load(text))
    for text in (
        "{name: a, manifest: m, out: o, network: {architecture: i3d}}",
        "{name: hmdb5, dataset: {name: hmdb51}, out: data}",
        "{something: else}",
        "{model: weights.pth}",
    ):
        assert not tao.is_tao(yaml.safe_load(text)), text


def test_overrides_are_told_apart_by_whose_names_they_use():
    both = ["train.num_epochs=3", "training.epochs=4", "manifest=data/x", "model.num_fc=2", "out=a=b"]
    assert tao.split_overrides(both) == (
        ["train.num_epochs=3", "model.num_fc=2"],
        ["training.epochs=4", "manifest=data/x", "out=a=b"],
    )


def test_the_report_has_a_line_per_field_as_text_as_a_table_and_as_json(capsys):
    _, fields = tao.translate(yaml.safe_load(RGB))
    lines = tao.report(fields)
    assert len(lines) == len(fields)
    assert "model.backbone = resnet_34 → network.architecture = arn_2d, network.depth = 34" in lines
    assert (
        "model.num_fc = 32 → ignored, as TAO itself ignores it (counts only with model.model_type joint; it is rgb)"
        in lines
    )
    assert json.loads(json.dumps(tao.to_json(fields)))[0]["path"] == "model_name"
    tao.print_report(fields)
    assert "gen_trt_engine" in capsys.readouterr().err


# The dataset folders


def draw(folder, rgb=0, u=0, v=None, digits=6, first=0):
    for kind, count, suffix in (("rgb", rgb, "png"), ("u", u, "jpg"), ("v", u if v is None else v, "jpg")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            shape = (12, 16, 3) if kind == "rgb" else (12, 16)
            cv2.imwrite(str(folder / kind / f"{number:0{digits}d}.{suffix}"), np.full(shape, number, np.uint8))
    return folder


LABELS = {"walk": 1, "run": 0}


@pytest.fixture
def data(tmp_path):
    """Two classes on both sides; the layouts of NVIDIA's documents (one flow image fewer) and of its model card."""
    for split in ("train", "test"):
        draw(tmp_path / split / "walk" / f"Film_{split}_walk_f_cm_np1_ri_med_0", 5, 4, first=1)
        draw(tmp_path / split / "run" / f"{split}_video", 6, 6, digits=4)
    return tmp_path


def rows_of(path):
    return {row["key"]: row for row in Manifest.read(path).table.to_pylist()}


def test_tao_folders_become_a_manifest_that_an_experiment_can_be_prepared_from(data):
    path = tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="joint")
    assert path == data / "out" / "manifest.parquet"
    manifest, rows = Manifest.read(path), rows_of(path)
    assert manifest.metadata["labels"] == ["run", "walk"]
    walk, run = rows["walk/Film_train_walk_f_cm_np1_ri_med_0"], rows["run/test_video"]
    assert (walk["split"], walk["label_index"], walk["frames"], walk["flows"]) == ("train", 1, 5, 4)
    assert (walk["width"], walk["height"], walk["outcome"]) == (16, 12, "done")
    assert (walk["group"], walk["camera"]) == ("Film_train", "moving")
    assert (run["split"], run["label_index"], run["frames"], run["flows"], run["group"]) == ("test", 0, 6, 6, None)
    assert (run["quantizer"], run["radii"], run["bound"]) == ("max_radius", None, None)
    assert manifest.folder / run["path"] == data / "test" / "run" / "test_video"


def test_a_translated_file_can_be_prepared_and_pixels_cannot_be_had(data):
    pytest.importorskip("torch")
    text = f"""
results_dir: {data / "out"}
model: {{model_type: joint, rgb_seq_length: 3, of_seq_length: 3, input_width: 16, input_height: 16}}
dataset: {{train_dataset_dir: {data / "train"}, val_dataset_dir: {data / "test"}, label_map: {{walk: 1, run: 0}}}}
"""
    tree = yaml.safe_load(text)
    settings, _ = tao.translate(tree)
    found = tao.folders(tree)
    assert (found.test, found.val) == (data / "test", None)
    assert str(found.manifest(data / "out", "joint")) == settings["manifest"]
    prepared = experiment.prepare(spec_file.validate(settings, ExperimentSpec, "their.yaml"))
    assert prepared.model.labels == ("run", "walk")
    assert (len(prepared.train), len(prepared.test), len(prepared.val)) == (2, 2, 0)
    assert prepared.model.flow.quantizer == "max_radius"
    from araflow.recognition.data.windows import TrainingWindows

    windows = TrainingWindows(prepared.train, prepared.model, prepared.spec.data, seed=0)
    assert windows[0, 0]["flow"].shape == (2, 3, 16, 16)
    settings["data"]["flow_scale"] = "pixels"
    with pytest.raises(AraflowError, match="flow_scale"):
        pixels = experiment.prepare(spec_file.validate(settings, ExperimentSpec, "their.yaml"))
        TrainingWindows(pixels.train, pixels.model, pixels.spec.data, seed=0)[0, 0]


def test_the_same_folders_give_the_same_bytes(data):
    paths = [tao.manifest_of_folders(data / "train", data / "test", LABELS, data / out, modality="rgb") for out in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_rgb_run_does_not_look_at_flow_and_a_flow_run_not_at_rgb(data):
    broken = draw(data / "train" / "run" / "more", 4, 9, 2)
    rows = rows_of(tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="rgb"))
    assert (rows["run/more"]["outcome"], rows["run/more"]["frames"], rows["run/more"]["flows"]) == ("done", 4, 0)
    assert rows["run/more"]["quantizer"] is None
    draw(broken, 0, 9, 9)
    rows = rows_of(tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="flow"))
    assert (rows["run/more"]["outcome"], rows["run/more"]["flows"]) == ("done", 9)


def _unequal(folder):
    draw(folder, 6, 5, 4)


def _too_few(folder):
    draw(folder, 6, 3)


def _no_frames(folder):
    draw(folder, 0, 3)


def _no_folder(folder):
    draw(folder, 3)
    (folder / "u").rmdir()


def _stray(folder):
    (draw(folder, 3, 2) / "u" / "Thumbs.db").write_bytes(b"")


def _unpadded(folder):
    draw(folder, 12, 11, digits=1)


def _damaged(folder):
    (draw(folder, 3, 2) / "rgb" / "000000.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_unequal, "error: u and v must have the same names, and 000004.jpg"),
        (_too_few, "error: 6 frames in rgb, 3 flow images"),
        (_no_frames, "no-frames: rgb is empty"),
        (_no_folder, "missing: no folder u"),
        (_stray, "error: u holds Thumbs.db"),
        (_unpadded, "error: names in rgb are not in order"),
        (_damaged, "decode-error: rgb/000000.png"),
    ],
)
def test_a_clip_whose_images_do_not_fit_is_quarantined_with_its_reason(data, make, reason, caplog):
    folder = data / "train" / "run" / "bad"
    make(folder)
    rows = rows_of(tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="joint"))
    assert rows["run/bad"]["outcome"] == "quarantined"
    assert rows["run/bad"]["reason"].startswith(reason)
    assert rows["run/bad"]["path"] is None
    assert "1 of 3 clips are left out" in caplog.text


def test_clips_of_one_name_in_both_splits_keep_apart(data, caplog):
    for split in ("train", "test"):
        draw(data / split / "run" / "video_1", 4, 3)
    rows = rows_of(tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="joint"))
    assert (rows["run/video_1"]["split"], rows["train/run/video_1"]["split"]) == ("test", "train")
    assert rows["train/run/video_1"]["path"] == str(data / "train" / "run" / "video_1")
    assert "1 clips have the name of one in another split" in caplog.text


def test_validation_clips_of_their_own_are_a_split_of_their_own(data):
    draw(data / "val" / "run" / "seen", 4, 3)
    tree = read(RGB, dataset__val_dataset_dir="/data/val")
    assert tao.folders(tree).val.as_posix() == "/data/val"
    path = tao.manifest_of_folders(
        data / "train", data / "test", LABELS, data / "out", modality="rgb", val=data / "val"
    )
    assert rows_of(path)["run/seen"]["split"] == "val"


def test_clips_that_araflow_made_keep_what_is_known_of_their_flow(tmp_path, data):
    from araflow.core.clip import ClipRecord, Outcome

    record = ClipRecord("run/x", Outcome.DONE, "complete", frames=4, flows=3, quantizer="max_radius", backend="opencv",
                        algorithm="dis", preset="fast", radii=(1.0, 2.0, 3.5))  # fmt: skip
    (draw(data / "train" / "run" / "x", 4, 3) / ".araflow.json").write_text(json.dumps(record.to_json()))
    rows = rows_of(tao.manifest_of_folders(data / "train", data / "test", LABELS, data / "out", modality="joint"))
    assert (rows["run/x"]["backend"], rows["run/x"]["radii"]) == ("opencv", [1.0, 2.0, 3.5])


def test_folders_that_cannot_be_used_are_one_clear_error(data):
    def refused(match, train=data / "train", test=data / "test", labels=LABELS, error=SpecError):
        with pytest.raises(error, match=match):
            tao.manifest_of_folders(train, test, labels, data / "out", modality="rgb")

    (data / "train.tar.gz").write_bytes(b"")
    refused("unpack it", train=data / "train.tar.gz")
    refused("container", train=data / "absent")
    refused("given for two", test=data / "train")
    refused(r"label_map has no class 'walk'; it has run, jump", labels={"run": 0, "jump": 1})
    (data / "none").mkdir()
    refused("none: empty", test=data / "none", error=SourceError)
    (data / "train" / "walk" / "notes.txt").write_text("a stray")
    refused("notes.txt: a file where only video folders belong", error=SourceError)
    (data / "train" / "walk" / "notes.txt").unlink()
    (data / "train" / "list.csv").write_text("a stray")
    refused("list.csv: a file where only class folders belong", error=SourceError)
    (data / "train" / "list.csv").unlink()
    draw(data / "bare" / "run" / "x", 0)
    refused("none of the 1 test clips can be used.*no-frames", test=data / "bare", error=SourceError)


def test_a_file_without_training_folders_or_labels_says_what_to_give():
    with pytest.raises(SpecError, match=r"dataset\.train_dataset_dir: not set.*manifest="):
        tao.folders(yaml.safe_load(JOINT))
    with pytest.raises(SpecError, match=r"dataset\.label_map: not set"):
        tao.folders(read("dataset: {train_dataset_dir: /data/train}"))


@pytest.mark.parametrize(
    "line",
    [
        "results_dir: /x/${encryption_key}/y",
        "results_dir: ${model_name}\nmodel_name: ${encryption_key}",
        "model_name: a-${wandb.api_key}\nwandb: {api_key: S3CRET}",
    ],
)
def test_a_secret_is_put_into_no_name_and_no_message(line):
    tree = {**yaml.safe_load(RGB), **yaml.safe_load(line), "encryption_key": "S3CRET"}
    with pytest.raises(SpecError, match=r"(results_dir|model_name): \$\{\S+\} is a secret") as caught:
        tao.translate(tree)
    assert "S3CRET" not in str(caught.value)


def test_secrets_that_are_not_known_are_not_shown():
    given = {"clearml_task": {"token": "S3CRET"}, "wandb": {"api_key": "S3CRET"}, "encryption_key": "S3CRET"}
    _, fields = tao.translate({**yaml.safe_load(RGB), **given})
    assert "S3CRET" not in str(tao.report(fields)) + str(tao.to_json(fields)) + str(fields)
