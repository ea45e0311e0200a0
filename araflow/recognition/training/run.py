"""Train a prepared experiment, go on with it, or find it done.

::

    <out>/run.json                 settings, manifest and versions; what a later call is held against
    <out>/checkpoints/*.ckpt       Lightning's own, for going on; gone once the training has ended
    <out>/{best,last}.safetensors  the recogniser; best where there were val clips to choose by
    <out>/history.json             figures of each epoch; curves.png shows them
    <out>/tensorboard/             the same for TensorBoard
    <out>/evaluation/              metrics, confusion matrix, predictions per video (``results``)

Under several protocols each has a folder of its own, named as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from araflow.core import written
from araflow.core.errors import OutputError, SpecError, UnavailableError, brief
from araflow.core.files import explained, only_holder
from araflow.core.fingerprint import digest
from araflow.core.processes import usable_cores
from araflow.core.reading import SMALL, read_file
from araflow.recognition.experiment import Prepared
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.training import _note as note

log = logging.getLogger("araflow")
MADE = ("model.onnx", "export.json", "model.engine", "model.engine.json", "bench.json")
"""What is made of a recogniser, beside it."""
_KEPT = ("best", "last")
_KEPT_FILES = tuple(f"{name}.safetensors" for name in _KEPT)


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint: The recogniser to use: the best where there were val clips, else the last.
        epochs: Epochs trained in all.
        new_epochs: Of those, how many this call trained.
        history: Figures of each epoch.
    """

    checkpoint: Path
    epochs: int
    new_epochs: int
    history: list[dict[str, float]]


def train(prepared: Prepared, on_epoch: Callable[[dict[str, float]], None] | None = None) -> Trained:
    """Train, or go on where an earlier call was interrupted, or find that all is done.

    Args:
        prepared: The experiment.
        on_epoch: Called after each epoch with its figures.

    Raises:
        SpecError: The folder holds another experiment, or the device is not there.
        TrainingError: The loss is not a number.
        OutputError: The folder cannot be written to, or another run holds it.
    """
    with _locked(prepared.out):
        identity = _identity(prepared)
        found = _claim(prepared, identity)
        if found is not None:
            return found
        try:
            return _train(prepared, identity, on_epoch)
        except OSError as error:
            where = error.filename or prepared.out
            raise OutputError(f"{where}: cannot be written: {error.strerror or error}") from error


def is_done(prepared: Prepared) -> bool:
    """Whether a training has been there already, and has ended."""
    known = note.read(prepared.out / "run.json")
    return known is not None and bool(known.finished) and _checkpoint(prepared) is not None


def finished(prepared: Prepared) -> Trained | None:
    """Return a training of this very experiment that has ended; ``None`` where ``train`` has something to do or to say.

    Raises:
        OutputError: The folder's note cannot be read.
    """
    known, checkpoint = note.read(prepared.out / "run.json"), _checkpoint(prepared)
    if known is None or not known.finished or checkpoint is None:
        return None
    if note.differences(known, prepared, _identity(prepared)):
        return None
    return Trained(checkpoint, known.finished, 0, _history(prepared.out))


def is_of_other_clips(prepared: Prepared) -> bool:
    """Whether the folder holds a training on another manifest, or on this one before it changed."""
    known = note.read(prepared.out / "run.json")
    if known is None or not _begun(prepared.out):
        return False
    return bool(known.identity.get("manifest_sha256") != prepared.model.manifest_sha256)


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What must be the same for two calls to be one training."""
    spec = prepared.spec
    weights = {name: file for name, file in spec.network.weights.model_dump().items() if file is not None}
    return {
        "weights_sha256": {name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for name, file in weights.items()},
        "manifest_sha256": prepared.model.manifest_sha256,
        "network": spec.network.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json", exclude={"workers"}),
        "split": spec.split.model_dump(mode="json") if spec.split else None,
        "training": spec.training.model_dump(mode="json", exclude={"tensorboard", "mlflow"}),
        "shuffle_labels": spec.shuffle_labels,
    }


def _claim(prepared: Prepared, identity: dict[str, Any]) -> Trained | None:
    """Hold the folder against the experiment; return the training if it is finished already."""
    out = prepared.out
    known = note.read(out / "run.json")
    written.check(_own(out), out, adopt=known is not None)
    written.refuse_links(out, out / "tensorboard")
    if known is None:
        if _begun(out) or any(out.glob("tensorboard/*")):
            raise SpecError(f"out: {out} holds a training, and no run.json says which; choose another out")
    else:
        changed = note.differences(known, prepared, identity)
        checkpoint, modality = _checkpoint(prepared), prepared.spec.network.modality
        onward = f"; to start from its recogniser: network.weights.{modality}={checkpoint}" if checkpoint else ""
        # An experiment that failed in its first epoch left nothing to lose, and may be mended.
        if changed and _begun(out):
            raise SpecError(
                f"out: {out} holds another experiment ({brief('; '.join(changed), 500)}); choose another out{onward}"
            )
        if known.finished and checkpoint is not None:
            _tidy(out)
            log.info("trained already: %s, %d epochs", checkpoint, known.finished)
            return Trained(checkpoint, known.finished, 0, _history(out))
    note.write(prepared, identity, finished=0)
    return None


def _own(out: Path) -> list[Path]:
    """What a training, and what is made of its recogniser, writes; TensorBoard's files have new names each time."""
    kept = (name for one in _KEPT for name in (f"{one}.safetensors", f"checkpoints/{one}.ckpt"))
    return [out / name for name in ("run.json", "history.json", "curves.png", *kept, *MADE, "finished.json")]


def _history(out: Path) -> list[dict[str, float]]:
    try:
        return TypeAdapter(list[dict[str, float]]).validate_json(read_file(out / "history.json", SMALL))
    except (OSError, ValueError):  # lost, which matters to nobody who has the recogniser
        return []


def _tidy(out: Path) -> None:
    """Remove Lightning's checkpoints, from which nothing goes on: each is three times the recogniser's size."""
    for name in _KEPT:
        written.remove(out / "checkpoints" / f"{name}.ckpt", out)


def _begun(out: Path) -> bool:
    return any(True for pattern in (*_KEPT_FILES, "checkpoints/*.ckpt") for _ in out.glob(pattern))


def _kept(prepared: Prepared) -> tuple[str, ...]:
    """Which recognisers a training leaves, the one to use first; what else has such a name is not of this one."""
    return _KEPT if prepared.val else _KEPT[1:]


def _checkpoint(prepared: Prepared) -> Path | None:
    files = (prepared.out / f"{name}.safetensors" for name in _kept(prepared))
    return next((file for file in files if file.is_file()), None)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        with explained(out, "cannot be written to"):
            out.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(only_holder(out / ".lock"))
            except BlockingIOError:
                raise OutputError(f"{out}: another run is training here; wait for it, or choose another out") from None
        yield


def _train(
    prepared: Prepared, identity: dict[str, Any], on_epoch: Callable[[dict[str, float]], None] | None
) -> Trained:
    import torch

    from araflow.recognition import checkpoint, pictures
    from araflow.recognition.data import clips
    from araflow.recognition.data import windows as data
    from araflow.recognition.networks import create
    from araflow.recognition.training import _module as training
    from araflow.recognition.training import _resuming as resuming
    from araflow.recognition.training import _trainer as training_loop
    from araflow.recognition.weights import load_all

    spec, settings, out = prepared.spec, prepared.spec.training, prepared.out
    accelerator = accelerator_of(spec)
    torch.manual_seed(settings.seed)
    network = create(prepared.model)
    for line in load_all(network, spec.network):
        log.info("%s", line)
    windows = data.TrainingWindows(prepared.train, prepared.model, spec.data, seed=settings.seed)
    validation = data.EvaluationWindows(prepared.val, prepared.model) if prepared.val else None
    balanced = settings.class_weights == "balanced"
    module = training.Recogniser(
        network,
        prepared.model.streams,
        settings,
        [clip.key for clip in prepared.train],
        class_weights=torch.from_numpy(clips.class_weights(prepared.train, len(prepared.model.labels)))
        if balanced
        else None,
        freeze=spec.network.freeze,
        validated=validation is not None,
    )
    workers = spec.data.workers
    loaders = training.Loaders(
        windows,
        validation,
        batch_size=settings.batch_size,
        seed=settings.seed,
        workers=min(8, usable_cores()) if workers is None else workers,
    )
    whose = digest(identity)
    before = training_loop.run(
        spec, accelerator, module, loaders, validated=validation is not None, identity=whose, on_epoch=on_epoch
    )
    folder = out / training_loop.CHECKPOINTS
    for name in _kept(prepared):
        if (folder / f"{name}.ckpt").is_file():
            state = resuming.read(folder / f"{name}.ckpt", whose)["state_dict"]
            network.load_state_dict({key.removeprefix("network."): value for key, value in state.items()})
            checkpoint.save(out / f"{name}.safetensors", network, prepared.model)
    rows = json.loads((out / "history.json").read_text(encoding="utf-8"))
    written.write({out / "curves.png": pictures.curves(rows)})
    note.write(prepared, identity, finished=len(rows))
    _tidy(out)
    chosen = _checkpoint(prepared)
    assert chosen is not None
    return Trained(chosen, len(rows), len(rows) - before, rows)


def accelerator_of(spec: ExperimentSpec) -> str:
    """Return what trains here, ``gpu`` or ``cpu``.

    Raises:
        UnavailableError: A GPU is asked for and absent.
        SpecError: There are fewer devices than asked for, or a CPU is asked for what it cannot do.
    """
    import torch

    settings = spec.training
    there = torch.cuda.is_available()
    if settings.accelerator == "gpu" and not there:
        raise UnavailableError("training.accelerator: gpu: torch sees no CUDA device here; use auto or cpu")
    accelerator = "gpu" if there and settings.accelerator != "cpu" else "cpu"
    if accelerator == "gpu" and settings.devices > torch.cuda.device_count():
        raise SpecError(f"training.devices: {settings.devices} asked for, {torch.cuda.device_count()} there")
    if accelerator == "cpu" and settings.precision == "16":
        raise SpecError("training.precision: 16 needs a GPU; use 32 or bf16")
    return accelerator
