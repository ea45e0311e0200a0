"""Loss, optimiser, schedule and loaders, under Lightning's real trainer with a network of a few weights."""

import json
import logging
import math
import warnings
from collections import OrderedDict

import kills
import numpy as np
import pytest
import torch
import training_world as world
from torch import nn
from torch.nn import functional

from araflow.core.errors import SpecError, TrainingError
from araflow.core.written import LIST
from araflow.recognition import experiment
from araflow.recognition._training_spec import OptimizerSpec, TrainingSpec
from araflow.recognition.data import windows as windows
from araflow.recognition.data.clips import class_weights
from araflow.recognition.training import _module as training
from araflow.recognition.training import _trainer as loop


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("data"))


def network():
    torch.manual_seed(0)
    stem = nn.Sequential(OrderedDict(conv=nn.Conv3d(2, 3, (1, 3, 3)), norm=nn.BatchNorm3d(3)))
    parts = OrderedDict(stem=stem, pool=nn.AdaptiveAvgPool3d(1), flat=nn.Flatten(), fc=nn.Linear(3, 3))
    return nn.Sequential(parts)


def factors(epochs, **settings):
    spec = OptimizerSpec.model_validate(settings)
    return [training.learning_rate_factor(spec, epochs, epoch) for epoch in range(epochs)]


def test_the_rate_falls_at_the_steps_of_multi_step():
    assert factors(6, schedule="multi_step", steps=[2, 4], decay=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors(3, schedule="multi_step", steps=[9, 4], decay=0.5) == [1, 1, 1]
    assert factors(4, schedule="multi_step", steps=[1, 1], decay=0.5) == [1, 0.25, 0.25, 0.25]


def test_the_rate_of_constant_is_constant():
    assert factors(5, schedule="constant") == [1] * 5


def test_the_rate_of_cosine_is_half_a_cosine_down_to_the_least():
    expected = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert factors(4, schedule="cosine", lr=1.0, min_lr=0.0) == pytest.approx(expected)
    assert factors(4, schedule="cosine", lr=1.0, min_lr=0.0)[2] == pytest.approx(0.5)
    assert factors(4, schedule="cosine", lr=1.0, min_lr=0.2)[2] == pytest.approx(0.6)
    assert factors(2, schedule="cosine", lr=1e-4, min_lr=1e-2) == [1, 1], "never above lr"


def test_warm_up_rises_linearly_to_the_rate_and_the_schedule_follows():
    assert factors(5, schedule="constant", warmup_epochs=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert factors(6, schedule="multi_step", steps=[3], decay=0.1, warmup_epochs=1) == pytest.approx(
        [0.5, 1, 1, 0.1, 0.1, 0.1]
    )
    warmed = factors(6, schedule="cosine", lr=1.0, min_lr=0.0, warmup_epochs=2)
    assert warmed[:2] == pytest.approx([1 / 3, 2 / 3])
    assert warmed[2:] == pytest.approx(factors(4, schedule="cosine", lr=1.0, min_lr=0.0))


def test_fewer_epochs_than_of_warm_up_work():
    assert factors(2, schedule="cosine", warmup_epochs=5) == pytest.approx([1 / 6, 2 / 6])


def module(settings=None, net=None, **others):
    spec = TrainingSpec.model_validate(settings or {})
    return training.Recogniser(net or network(), ("flow",), spec, world.KEYS, **others)


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({"name": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.25}, torch.optim.SGD, {"momentum": 0.5}),
        ({"name": "adamw", "lr": 0.1, "weight_decay": 0.25}, torch.optim.AdamW, {}),
    ],
)
def test_the_optimiser_is_as_asked_for_and_moves_what_is_not_frozen(settings, kind, expected):
    one = module({"optimizer": settings}, freeze=("stem",))
    optimizer = one.configure_optimizers()["optimizer"]
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in ("lr", "weight_decay", *expected)} == {
        "lr": 0.1,
        "weight_decay": 0.25,
        **expected,
    }
    assert [id(parameter) for parameter in group["params"]] == [id(p) for p in one.network.fc.parameters()]


def test_frozen_modules_stay_in_evaluation_mode_whatever_is_set():
    one = module(freeze=("stem.norm",))
    assert not one.network.stem.norm.training
    assert one.network.stem.conv.training
    one.eval()
    one.train()
    assert not one.network.stem.norm.training
    assert one.network.fc.training


@pytest.mark.parametrize("beginning", ["ste", "stem.con", "fc.weights", "network", ""])
def test_what_is_not_the_name_of_a_layer_freezes_nothing_and_the_tops_are_named(beginning):
    with pytest.raises(SpecError, match=r"network\.freeze: .*; there are fc, stem$"):
        module(freeze=(beginning,))


def batch(size=4, fill=None):
    generator = torch.Generator().manual_seed(1)
    flow = torch.randn(size, 2, 2, 8, 8, generator=generator) if fill is None else torch.full((size, 2, 2, 8, 8), fill)
    return {"flow": flow, "label": torch.arange(size) % 3, "clip": torch.arange(size)}


@pytest.fixture
def step(monkeypatch):
    """Call training_step outside of a training."""

    def call(one, items):
        monkeypatch.setattr(one, "log", lambda *_, **__: None)
        return one.training_step(items, 0)

    return call


def test_the_loss_is_the_weighted_smoothed_cross_entropy(step):
    weights = torch.tensor([1.0, 4.0, 0.0])
    one = module({"label_smoothing": 0.25}, class_weights=weights)
    items = batch()
    logits = network()(items["flow"])
    probabilities = functional.log_softmax(logits, 1)
    # Szegedy et al., arXiv:1512.00567, section 7, with each class's share weighted as torch documents it.
    targets = functional.one_hot(items["label"], 3) * 0.75 + 0.25 / 3
    expected = -(targets * weights * probabilities).sum() / weights[items["label"]].sum()
    assert step(one, items).item() == pytest.approx(expected.item(), rel=1e-5)
    plain = -probabilities.gather(1, items["label"][:, None]).mean()
    assert step(module(), items).item() == pytest.approx(plain.item(), rel=1e-5)


def test_weights_of_classes_are_no_part_of_the_recogniser():
    assert all(name.startswith("network.") for name in module(class_weights=torch.ones(3)).state_dict())


def test_a_loss_that_is_no_number_names_the_batchs_clips(step):
    one = module()
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1, with walk/0, walk/1, walk/2, walk/3 …"):
        step(one, batch(fill=math.nan))


class Recorder(nn.Module):
    """Keeps what a network is shown."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen, self.draws = network(), [], []

    def forward(self, flow):
        if self.training:
            self.seen.append(flow.clone())
            self.draws.append(torch.rand(()).item())
        return self.inner(flow)


def fitted(data, out, net=None, validate=False, **settings):
    """Train under the real trainer; return module and history."""
    if validate:
        settings["split"] = {"protocol": "official", "val_fraction": 0.34}
    prepared = experiment.prepare(world.spec(data, out, training__tensorboard=False, **settings))
    spec = prepared.spec.training
    train = windows.TrainingWindows(prepared.train, prepared.model, prepared.spec.data, seed=spec.seed)
    val = windows.EvaluationWindows(prepared.val, prepared.model) if validate else None
    loaders = training.Loaders(train, val, batch_size=spec.batch_size, seed=spec.seed, workers=0)
    one = training.Recogniser(net or network(), ("flow",), spec, [c.key for c in prepared.train], validated=validate)
    history = loop.History(out / "history.json", spec.epochs)
    out.mkdir(exist_ok=True)
    with loop.quiet():
        loop.fit(loop.trainer(prepared.spec, "cpu", [history]), one, loaders, None)
    return one, history.rows


def test_order_and_windows_differ_between_epochs_and_are_the_same_in_another_run(data, tmp_path):
    runs = []
    for _ in range(2):
        net = Recorder()
        fitted(data, tmp_path / "run", net, training__epochs=3, data__flip=0.0)
        assert [len(flow) for flow in net.seen] == [4, 4, 1] * 3
        runs.append((net.seen, net.draws))
    (one, draws), (other, others) = runs
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert draws == others
    assert len(set(draws)) == len(draws), "dropout's numbers differ between epochs"
    epochs = [torch.cat(one[start : start + 3]) for start in (0, 3, 6)]
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def test_the_best_checkpoint_is_the_first_with_the_highest_val_top1_and_the_last_is_the_last(data, tmp_path):
    found = [0.2, 0.6, 0.4, 0.6, 0.5]

    class Scripted(training.Recogniser):
        def validation_step(self, items, index):
            self.log("val_top1", found[self.current_epoch], batch_size=len(items["label"]))

    settings = {"training__epochs": 5, "split__protocol": "official", "split__val_fraction": 0.34}
    prepared = experiment.prepare(world.spec(data, tmp_path, training__tensorboard=False, **settings))
    one = Scripted(network(), ("flow",), prepared.spec.training, world.KEYS)
    loaders = training.Loaders(
        windows.TrainingWindows(prepared.train, prepared.model, prepared.spec.data, seed=1),
        windows.EvaluationWindows(prepared.val, prepared.model),
        batch_size=4,
        seed=1,
        workers=0,
    )
    kept = [loop.kept(tmp_path, "best", "val_top1"), loop.kept(tmp_path, "last")]
    with loop.quiet():
        loop.fit(loop.trainer(prepared.spec, "cpu", kept), one, loaders, None)
    assert {file.name for file in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt", LIST}
    assert [torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")] == [1, 4]


def test_an_epoch_shows_every_clip_once(data, tmp_path):
    seen = []

    class Counted(training.Recogniser):
        def training_step(self, items, index):
            seen.extend(items["clip"].tolist())
            return super().training_step(items, index)

    prepared = experiment.prepare(world.spec(data, tmp_path, training__tensorboard=False, training__epochs=2))
    train = windows.TrainingWindows(prepared.train, prepared.model, prepared.spec.data, seed=1)
    one = Counted(network(), ("flow",), prepared.spec.training, world.KEYS)
    with loop.quiet():
        loop.fit(
            loop.trainer(prepared.spec, "cpu", []),
            one,
            training.Loaders(train, None, batch_size=4, seed=1, workers=0),
            None,
        )
    assert sorted(seen[:9]) == sorted(seen[9:]) == list(range(9))
    assert seen[:9] != seen[9:]


@pytest.mark.slow
def test_two_processes_share_an_epoch_between_them(data, tmp_path):
    settings = {
        "training__tensorboard": False,
        "training__epochs": 2,
        "training__devices": 2,
        "data__clips_per_video": 2,
    }
    prepared = experiment.prepare(world.spec(data, tmp_path, **settings))
    train = windows.TrainingWindows(prepared.train, prepared.model, prepared.spec.data, seed=1)
    one = world.Seen(network(), ("flow",), prepared.spec.training, world.KEYS)
    one.folder = tmp_path
    history = loop.History(tmp_path / "history.json", 2)
    with loop.quiet():
        loaders = training.Loaders(train, None, batch_size=3, seed=1, workers=0)
        loop.fit(loop.trainer(prepared.spec, "cpu", [history]), one, loaders, None)
    seen = [[json.loads(line) for line in (tmp_path / f"seen-{rank}").read_text().splitlines()] for rank in (0, 1)]
    for epoch in (0, 1):
        assert len(seen[0][epoch]) == len(seen[1][epoch]) == 9
        assert sorted(seen[0][epoch] + seen[1][epoch]) == sorted([*range(9)] * 2), "each of 18 windows once"
    assert seen[0][0] != seen[0][1]


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"schedule": "multi_step", "steps": [1, 3], "decay": 0.1, "lr": 1.0}, [1, 0.1, 0.1, 0.01]),
        ({"schedule": "constant", "warmup_epochs": 1, "lr": 2.0}, [1, 2, 2, 2]),
        ({"schedule": "cosine", "lr": 1.0, "min_lr": 0.0}, [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
    ],
)
def test_the_schedule_is_what_the_epochs_are_trained_at(data, tmp_path, settings, rates):
    rows = fitted(data, tmp_path, training__epochs=4, training__optimizer={"name": "adamw", **settings})[1]
    assert [row["lr"] for row in rows] == pytest.approx(rates)


@pytest.mark.parametrize("validate", [False, True])
def test_plateau_watches_val_loss_and_without_val_clips_train_loss(data, tmp_path, validate):
    optimizer = {"schedule": "plateau", "patience": 0, "decay": 0.5, "lr": 3.0, "min_lr": 0.5, "momentum": 0.0}
    rows = fitted(data, tmp_path, validate=validate, training__epochs=8, training__optimizer=optimizer)[1]
    best, rate, expected = math.inf, 3.0, [3.0]
    for row in rows[:-1]:
        loss = row["val_loss" if validate else "train_loss"]
        if loss < best * (1 - 1e-4):  # torch's threshold
            best = loss
        else:
            rate = max(0.5, rate * 0.5)
        expected.append(rate)
    assert [row["lr"] for row in rows] == pytest.approx(expected)
    assert len(set(expected)) > 1


def test_the_gradients_norm_is_limited(data, tmp_path):
    """One step of plain SGD moves all weights together by rate × limit."""
    one, _ = fitted(
        data,
        tmp_path,
        training__epochs=1,
        training__batch_size=9,
        training__clip_gradient=0.01,
        training__optimizer={"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"},
    )
    before = network().state_dict()
    after = {name: tensor.detach() for name, tensor in one.network.named_parameters()}
    moved = sum(float((after[name] - before[name]).square().sum()) for name in after)
    assert math.sqrt(moved) == pytest.approx(0.01, rel=1e-3)


def test_figures_are_those_of_the_epoch(data, tmp_path):
    rows = fitted(data, tmp_path, validate=True, training__epochs=3, training__validate_every=2)[1]
    assert [row.keys() >= {"val_loss", "val_top1"} for row in rows] == [False, True, False]
    for row in rows:
        assert row["train_top1"] * 6 == pytest.approx(round(row["train_top1"] * 6), abs=1e-5), "of six clips"


def test_warnings_and_loggers_are_afterwards_as_before():
    logger = logging.getLogger("lightning.pytorch")
    level, filters = logger.level, list(warnings.filters)
    with loop.quiet():
        assert logging.getLogger("lightning.pytorch.utilities.rank_zero").getEffectiveLevel() == logging.ERROR
        assert logging.getLogger("lightning.fabric.utilities.distributed").getEffectiveLevel() == logging.ERROR
    assert logger.level == level
    assert warnings.filters == filters


def test_balanced_weights_make_classes_count_alike(data, tmp_path):
    prepared = experiment.prepare(world.spec(data, tmp_path))
    clips = [*prepared.train, *prepared.train[:1]]
    weights = class_weights(clips, 3)
    counts = np.bincount([clip.label_index for clip in clips])
    assert weights * counts == pytest.approx([10 / 3] * 3)


def test_lightnings_checkpoints_are_whole_or_not_there_whenever_their_writer_is_killed(tmp_path):
    path, writer = tmp_path / "last.ckpt", loop.WholeFiles()
    writer.save_checkpoint({"weights": torch.zeros(3)}, path)
    changes = kills.in_a_child(lambda: writer.save_checkpoint({"weights": torch.ones(3)}, path))
    for kill_at in range(1, changes + 1):
        writer.save_checkpoint({"weights": torch.zeros(3)}, path)
        assert kills.in_a_child(lambda: writer.save_checkpoint({"weights": torch.ones(3)}, path), kill_at) == -9
        assert torch.load(path, weights_only=True)["weights"].sum().item() in (0, 3)
    writer.save_checkpoint({"weights": torch.ones(3)}, path)
    assert {file.name for file in tmp_path.iterdir()} == {"last.ckpt", LIST}
