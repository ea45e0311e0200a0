"""Files by which NVIDIA DeepStream runs an exported recogniser on video.

Two elements do it: Gst-nvdspreprocess, whose sequence library collects frames into windows, and Gst-nvinfer, which runs
the network on them. Keys and their meaning: https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/
DS_plugin_gst-nvdspreprocess.html and DS_plugin_gst-nvinfer.html; values are those of DeepStream's own example of a 3D
action recogniser, except where the network's description says otherwise, and ``scaling-filter``: 1, bilinear, by which
the network's training pictures were resized too, and not 0, nearest.

None of this was ever run on DeepStream.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from araflow.core import written
from araflow.core.errors import SpecError
from araflow.core.screen import as_markdown
from araflow.deploy.onnx import contract
from araflow.deploy.onnx.contract import OnnxModel
from araflow.recognition.data.transforms import evaluation_view
from araflow.recognition.spec import ModelSpec

PREPROCESS, INFERENCE, LABELS, MODEL, README = (
    "config_preprocess.txt",
    "config_infer.txt",
    "labels.txt",
    "model.onnx",
    "README.md",
)
BATCH = 4
"""Windows at once where the file takes any number; that of DeepStream's example."""
FRAME_SIZE = (1280, 720)
"""Width and height of Gst-nvstreammux's frames, in pixels; those of DeepStream's example."""
_LIBRARY = "/opt/nvidia/deepstream/deepstream/lib/libnvds_custom_sequence_preprocess.so"
_STREAM = "rgb"


def files(
    model: OnnxModel,
    *,
    batch: int | None = None,
    sources: int = 1,
    stride: int = 1,
    frame_size: tuple[int, int] = FRAME_SIZE,
) -> dict[str, str]:
    """Return the texts of all files by their names, but for the network itself, which is to lie beside them.

    Args:
        model: The exported recogniser; of rgb alone.
        batch: Windows at once; ``None``: as the file says, or ``BATCH``, or as many as there are sources.
        sources: Videos at once.
        stride: From one window to the next, in frames that are kept.
        frame_size: Width and height of Gst-nvstreammux's frames, in pixels.

    Raises:
        SpecError: The network takes flow, or frames that do not follow each other; or a setting is not allowed.
    """
    _refuse(model.spec)
    if min(sources, stride, *frame_size) < 1:
        raise SpecError(f"sources, stride and frame size: 1 or more; given: {sources}, {stride}, {frame_size}")
    chosen = batch or model.batch or max(BATCH, sources)
    if model.batch not in (None, chosen):
        raise SpecError(f"batch: {chosen}, but {model.path.name} was exported for {model.batch} windows at once")
    if chosen < sources:
        # The sequence library hands on one batch per frame and drops others (its popReady, after collectReady).
        raise SpecError(f"batch: {chosen} is too few for {sources} sources: give {sources} or more")
    return {
        PREPROCESS: _preprocess(model, chosen, sources, stride, frame_size),
        INFERENCE: _inference(model, chosen),
        LABELS: _labels(model.spec),
        README: _readme(model, chosen, sources, frame_size),
    }


def write(model: OnnxModel, out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files, and a copy of the network beside them, so that the folder can be taken to a device.

    Args:
        model: The exported recogniser.
        out: The folder.
        texts: What ``files`` returned.

    Returns:
        What was written.

    Raises:
        OutputError: It cannot be written, or something else than araflow's own is there.
    """
    content = {MODEL: model.path.read_bytes(), **{name: text.encode() for name, text in texts.items()}}
    return written.write({out / name: data for name, data in content.items()}, out)


def scales_and_offsets(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return the sequence library's numbers per channel: it computes ``(x - offset) * scale`` of levels 0 to 255.

    ``(x / 255 - mean) / std`` is that with offset 255 × mean and scale 1 / (255 × std).
    """
    mean, std = spec.stream(_STREAM).per_channel(_STREAM)
    return [f"{1 / (255 * value):.7g}" for value in std], [f"{255 * value:.7g}" for value in mean]


def _refuse(spec: ModelSpec) -> None:
    modality = spec.network.modality
    if modality != _STREAM:
        raise SpecError(
            f"modality: this recogniser takes {' and '.join(spec.streams)}, but DeepStream's sequence library collects "
            "R, G and B frames alone; export one of modality rgb, or serve it with araflow triton"
        )
    if spec.sampler != "consecutive":
        raise SpecError(
            f"sampler: this recogniser was trained on {spec.sampler}, not on frames at a fixed step, but DeepStream's "
            "windows are of frames at equal steps; train with data.sampler=consecutive"
        )
    for label in spec.labels:
        if ";" in label or "\n" in label:
            raise SpecError(f"labels: {label!r} holds what separates labels in {LABELS}; rename the class")


def _labels(spec: ModelSpec) -> str:
    """Return a classifier's labels as Gst-nvinfer reads them: one line, in the order of the logits."""
    return ";".join(spec.labels) + "\n"


def _region(spec: ModelSpec, frame_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, width and height, in pixels, of what the network looks at in a frame."""
    width, height = frame_size
    view = evaluation_view(
        spec.stream(_STREAM), (height, width), short_side=spec.short_side, center_crop=spec.center_crop
    )
    across, down = round(view.width * width), round(view.height * height)
    return min(round(view.left * width), width - across), min(round(view.top * height), height - down), across, down


def _preprocess(model: OnnxModel, batch: int, sources: int, stride: int, frame_size: tuple[int, int]) -> str:
    spec, own = model.spec, model.spec.stream(_STREAM)
    scales, offsets = scales_and_offsets(spec)
    region = ";".join(map(str, _region(spec, frame_size)))
    return _sections(
        {
            "property": {
                "enable": 1,
                "target-unique-ids": 1,
                "gpu-id": 0,
                "unique-id": 5,
                "process-on-frame": 1,
                "maintain-aspect-ratio": 0,
                "network-input-order": 2,
                "network-input-shape": ";".join(map(str, (batch, *contract.shape(spec, _STREAM)))),
                "network-color-format": 0,
                "tensor-data-type": 0,
                "tensor-name": contract.INPUTS[_STREAM],
                "processing-width": own.width,
                "processing-height": own.height,
                "scaling-pool-memory-type": 0,
                "scaling-pool-compute-hw": 0,
                "scaling-filter": 1,
                "scaling-buf-pool-size": 8,
                "tensor-buf-pool-size": 8,
                "custom-lib-path": _LIBRARY,
                "custom-tensor-preparation-function": "CustomSequenceTensorPreparation",
            },
            "user-configs": {
                "channel-scale-factors": ";".join(scales),
                "channel-mean-offsets": ";".join(offsets),
                "stride": stride,
                "subsample": spec.sample_rate - 1,
            },
            "group-0": {
                "src-ids": ";".join(map(str, range(sources))),
                "process-on-roi": 1,
                **{f"roi-params-src-{source}": region for source in range(sources)},
            },
        }
    )


def _inference(model: OnnxModel, batch: int) -> str:
    return _sections(
        {
            "property": {
                "gpu-id": 0,
                "gie-unique-id": 1,
                "onnx-file": MODEL,
                "model-engine-file": f"{MODEL}_b{batch}_gpu0_{model.precision}.engine",
                "labelfile-path": LABELS,
                "batch-size": batch,
                "network-mode": {"fp32": 0, "fp16": 2}[model.precision],
                "network-type": 1,
                "input-tensor-from-meta": 1,
                "output-tensor-meta": 1,
            }
        }
    )


def _sections(content: Mapping[str, Mapping[str, object]]) -> str:
    """Return a key file, as GLib reads them."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
        for name, section in content.items()
    )


def _readme(model: OnnxModel, batch: int, sources: int, frame_size: tuple[int, int]) -> str:
    spec, own = model.spec, model.spec.stream(_STREAM)
    width, height = frame_size
    name = as_markdown(model.path.name)
    reach = (own.frames - 1) * spec.sample_rate + 1
    return f"""# A recogniser on DeepStream

Written by `araflow deepstream` from {name} ({spec.network.architecture}, {model.precision}, SHA-256
{model.sha256}).

| file | what it is |
|---|---|
| {PREPROCESS} | Gst-nvdspreprocess: {own.frames} frames of {own.width}×{own.height} become one window |
| {INFERENCE} | Gst-nvinfer: the network on up to {batch} windows at once |
| {LABELS} | {len(spec.labels)} classes in the order of the network's logits |
| {MODEL} | the network; TensorRT makes an engine of it at the first start, which takes minutes |

**Never run.** The files follow NVIDIA's documents; the order of channels and the numbers were proven by ONNX Runtime on
a tensor laid out as DeepStream's sequence library lays it out. They were not run on DeepStream.

In this folder, on a machine with DeepStream whose TensorRT reads ONNX opset {model.opset} (8.5 or later for 17):

```sh
gst-launch-1.0 uridecodebin uri=file:///videos/one.mp4 ! m.sink_0 \\
    nvstreammux name=m batch-size={sources} width={width} height={height} \\
    ! nvdspreprocess config-file={PREPROCESS} \\
    ! nvinfer config-file-path={INFERENCE} input-tensor-meta=1 ! fakesink
```

- Frames must come out of nvstreammux with {width}×{height} pixels: the regions in `[group-0]` are in these.
- A first answer comes after {reach} frames.
- The network gives logits. Gst-nvinfer names the class of the largest if it is above `classifier-threshold`; for
  probabilities, take the softmax of the output tensor `{contract.OUTPUT}`, which is attached to the frames.
"""
