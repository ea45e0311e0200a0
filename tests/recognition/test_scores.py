import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.errors import SourceError, SpecError, TrainingError
from araflow.recognition.evaluation.scores import Scores, fuse, score


def softmax(logits) -> np.ndarray:
    powers = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
    return powers / powers.sum()


def scores(per_video: list[list[list[float]]]) -> Scores:
    """Scores from each video's list of windows' logits."""
    clips = [clip for clip, windows in enumerate(per_video) for _ in windows]
    numbers = [number for windows in per_video for number in range(len(windows))]
    logits = [logits for windows in per_video for logits in windows]
    keys = tuple(f"clip {clip}" for clip in range(len(per_video)))
    return Scores(keys, np.array(clips), np.array(numbers), np.array(logits, dtype=np.float32))


def drawn(seed: int, videos: int = 5, classes: int = 4) -> Scores:
    rng = np.random.default_rng(seed)
    return scores([(3 * rng.normal(size=(rng.integers(1, 12), classes))).tolist() for _ in range(videos)])


def taken(found: Scores, order) -> Scores:
    return dataclasses.replace(
        found, clips=found.clips[order], windows=found.windows[order], logits=found.logits[order]
    )


# --- fusing ---

# The softmax of (0, ln 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2).
QUARTERS, HALVES = [0.0, float(np.log(3))], [0.0, 0.0]


def test_a_videos_probability_is_the_mean_of_its_windows_softmax():
    found = fuse(scores([[QUARTERS, HALVES], [HALVES], [QUARTERS, QUARTERS, HALVES]]))
    assert found == pytest.approx(np.array([[3 / 8, 5 / 8], [1 / 2, 1 / 2], [1 / 3, 2 / 3]]), abs=1e-7)


def test_compat_tao_counts_the_first_window_twice_and_nothing_else():
    found = fuse(scores([[QUARTERS, HALVES], [HALVES], [HALVES, QUARTERS, QUARTERS]]), compat="tao")
    expected = [[(1 / 4 + 1 / 4 + 1 / 2) / 3, 2 / 3], [1 / 2, 1 / 2], [(1 + 1 / 2) / 4, (1 + 3 / 2) / 4]]
    assert found == pytest.approx(np.array(expected), abs=1e-7)


def test_compat_tao_can_change_the_answer():
    twice = scores([[[2.0, 0.0], [0.0, 1.5], [0.0, 1.5]]])
    assert fuse(twice).argmax() == 1
    assert fuse(twice, compat="tao").argmax() == 0


@given(st.integers(0, 2**32 - 1), st.floats(-1e3, 1e3, width=32))
def test_one_window_gives_its_softmax_whatever_is_added_to_all_logits(seed, shift):
    logits = np.random.default_rng(seed).normal(size=6).astype(np.float32)
    for compat in ("none", "tao"):
        assert (fuse(scores([[logits.tolist()]]), compat=compat)[0] == softmax(logits)).all()
        assert fuse(scores([[(logits + shift).tolist()]]), compat=compat)[0] == pytest.approx(softmax(logits), abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["none", "tao"]))
def test_neither_the_order_of_the_windows_nor_a_window_given_twice_changes_a_bit(seed, compat):
    found = drawn(seed)
    expected = fuse(found, compat=compat)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(found.clips))
    assert (fuse(taken(found, order), compat=compat) == expected).all()
    padded = np.append(order, rng.choice(order, 3))
    assert (fuse(taken(found, padded), compat=compat) == expected).all()
    assert (taken(found, padded).per_video == found.per_video).all()


@given(st.integers(0, 2**32 - 1))
def test_tao_differs_from_the_plain_mean_by_the_first_window_exactly(seed):
    found = drawn(seed)
    plain, tao = fuse(found), fuse(found, compat="tao")
    assert plain.sum(axis=1) == pytest.approx(1)
    assert tao.sum(axis=1) == pytest.approx(1)
    for clip, count in enumerate(found.per_video):
        first = softmax(found.logits[found.clips == clip][0])
        assert tao[clip] == pytest.approx((plain[clip] * count + first) / (count + 1), abs=1e-12)


def test_logits_too_large_for_a_plain_exponential_are_no_trouble():
    assert fuse(scores([[[1e30, 0.0, -1e30]]])).tolist() == [[1.0, 0.0, 0.0]]


def test_a_video_without_a_window_is_named():
    found = scores([[HALVES], [HALVES]])
    with pytest.raises(SpecError, match="'clip 1' has no window"):
        fuse(taken(found, [0]))


# --- scoring, with a real network ---


@dataclasses.dataclass(frozen=True)
class Clip:
    key: str
    label_index: int = 0
    row: dict = dataclasses.field(default_factory=dict)


class Windows:
    """Noise: as many windows of each clip as are asked for."""

    def __init__(self, counts, streams=("rgb",), broken=None, poisoned=None) -> None:
        self.clips = [Clip(f"walk/{number}") for number in range(len(counts))]
        self.pairs = [(clip, window) for clip, count in enumerate(counts) for window in range(count)]
        self.streams, self.broken, self.poisoned = streams, broken, poisoned

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int):
        import torch

        clip, window = self.pairs[index]
        if index == self.broken:
            raise SourceError(f"{self.clips[clip].key}: rgb/0003.png: damaged")
        channels = {"rgb": 3, "flow": 2}
        rng = np.random.default_rng(index)
        tensors = {
            name: torch.from_numpy(rng.normal(size=(channels[name], 4, 24, 24)).astype(np.float32))
            for name in self.streams
        }
        if index == self.poisoned:
            tensors[self.streams[0]][0, 0, 0, 0] = np.nan
        return {**tensors, "label": 0, "clip": clip, "window": window}


@pytest.fixture
def network():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    nn = torch.nn
    yield nn.Sequential(
        nn.Conv3d(3, 16, 3, padding=1),
        nn.BatchNorm3d(16),
        nn.ReLU(),
        nn.Conv3d(16, 32, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32, 5),
    )
    torch.set_num_threads(before[0])
    torch.set_rng_state(before[1])


CONV = [10] * 3 + [1, 7]


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_any_batch_size_gives_the_same_bits_on_a_cpu(network, batch_size):
    expected = score(network, Windows(CONV), batch_size=8)
    found = score(network, Windows(CONV), batch_size=batch_size)
    assert found.logits.tobytes() == expected.logits.tobytes()
    assert found.per_video.tolist() == CONV
    assert (fuse(found) == fuse(expected)).all()


def test_scores_are_the_networks_own_and_a_video_scores_alone_as_among_others(network):
    import torch

    windows = Windows(CONV)
    found = score(network, windows)
    with torch.inference_mode():
        own = torch.cat([network.eval()(windows[index]["rgb"][None]) for index in range(len(windows))])
    assert found.logits == pytest.approx(own.numpy(), abs=1e-6)
    assert found.logits.dtype == np.float32
    alone = score(network, Windows(CONV[:1]))
    assert alone.logits == pytest.approx(found.logits[:10], abs=1e-6)


def test_scoring_within_a_training_leaves_modes_statistics_and_random_numbers_as_they_were(network):
    import torch

    network.train()
    network[1].eval()  # a frozen part
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    score(network, Windows([2]))
    assert [module.training for module in network] == [module is not network[1] for module in network]
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_rgb_comes_before_flow(network):
    import torch

    class Joint(torch.nn.Module):
        def forward(self, rgb, flow):
            return torch.stack([rgb.mean((1, 2, 3, 4)), flow.mean((1, 2, 3, 4))], dim=1)

    windows = Windows([2], streams=("flow", "rgb"))
    expected = [[windows[index][name].mean() for name in ("rgb", "flow")] for index in range(2)]
    assert score(Joint(), windows).logits == pytest.approx(np.array(expected), abs=1e-6)


def test_progress_counts_windows_to_the_end(network):
    seen = []
    score(network, Windows([5, 4]), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 9), (8, 9), (9, 9)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_is_one_clear_error_in_a_loading_process_too_and_the_scores_before_it_are_the_same(
    network, workers
):
    expected = score(network, Windows([3, 3])).logits[:4]
    seen = []
    hook = network.register_forward_hook(lambda _module, _inputs, logits: seen.append(logits.numpy()))
    network.train()
    with pytest.raises(SourceError) as caught:
        score(network, Windows([3, 3], broken=5), workers=workers)
    hook.remove()
    assert str(caught.value) == "walk/1: rgb/0003.png: damaged"  # and no traceback of the process
    assert [logits.tobytes() for logits in seen] == [expected.tobytes()]
    assert network.training


def test_scores_that_are_no_numbers_name_clip_and_window(network):
    with pytest.raises(TrainingError, match="'walk/1', window 2, are not numbers"):
        score(network, Windows([3, 3], poisoned=5))


def test_nothing_to_score_is_an_error(network):
    with pytest.raises(SpecError, match="split is empty"):
        score(network, Windows([]))
