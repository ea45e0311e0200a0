import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from araflow.core.errors import SpecError
from araflow.recognition import pictures
from araflow.recognition.evaluation.metrics import Metrics, measure

AWKWARD = ("walk", "a$b$_{c", "_hidden", "[b]跑步", "a very long name that nobody could read beside a small picture")
TITLE = "top-1 100.0 % (100.0 to 100.0), 1,234 videos"
HISTORY = [
    {"epoch": 1.0, "lr": 0.01, "train_loss": 1.5, "train_top1": 0.4},
    {"epoch": 2.0, "lr": 0.01, "train_loss": 1.0, "train_top1": 0.6, "val_loss": 1.2, "val_top1": 0.5},
    {"epoch": 3.0, "lr": 0.001, "train_loss": float("nan"), "val_loss": None},
]


def measured(classes: int, seed: int = 0) -> Metrics:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, 3 * classes)
    probabilities = rng.random((len(targets), classes))
    probabilities[np.arange(len(targets)), targets] += 0.6
    return measure(probabilities, targets, names(classes))


def names(classes: int) -> list[str]:
    return [AWKWARD[index] if index < len(AWKWARD) else f"class {index}" for index in range(classes)]


def decoded(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image[..., ::-1]


def all_kinds() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    targets = np.arange(30) % 5
    return {
        "confusion": pictures.confusion(measured(5).confusion, names(5), TITLE),
        "curves": pictures.curves(HISTORY),
        "rgb filters": pictures.first_layer(rng.normal(size=(10, 3, 3, 7, 7)).astype(np.float32)),
        "flow filters": pictures.first_layer(rng.normal(size=(10, 2, 7, 7))),
        "embedding": pictures.embedding_plot(rng.normal(size=(30, 2)), targets, names(5)),
    }


def test_the_same_input_gives_the_same_bytes_with_no_time_and_no_version_in_them():
    first, second = all_kinds(), all_kinds()
    assert first == second
    for png in first.values():
        assert not any(word in png for word in (b"tEXt", b"iTXt", b"zTXt", b"tIME", b"atplotlib"))


def test_pictures_need_no_display_and_no_pyplot():
    code = (
        "import sys, numpy as np\nfrom araflow.recognition import pictures\n"
        "assert 'matplotlib' not in sys.modules\npictures.curves([])\nprint('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("classes", [2, 31, 120, 700])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes_with_two_pixels_for_each(classes):
    image = decoded(pictures.confusion(measured(classes).confusion, names(classes), TITLE))
    assert min(image.shape[:2]) >= 2 * classes
    assert max(image.shape[:2]) < 2000
    assert not (image == image[0, 0]).all()


def test_a_single_cell_can_be_seen_among_700_classes():
    metrics = measured(700)
    before = decoded(pictures.confusion(metrics.confusion, names(700), TITLE))
    row = int(metrics.confusion.sum(axis=1).argmax())
    metrics.confusion[row, 699 if row < 350 else 0] += 5
    assert (decoded(pictures.confusion(metrics.confusion, names(700), TITLE)) != before).any()


def test_everything_stays_within_a_confusion_picture():
    for classes in (2, 5):
        image = decoded(pictures.confusion(measured(classes).confusion, names(classes), TITLE))
        for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
            assert (edge == 255).all()


def test_curves_are_drawn_from_whatever_there_is():
    empty = decoded(pictures.curves([]))
    for history in (HISTORY[:1], HISTORY, [{"train_loss": 0.5}], [{"lr": 0.0}], [{"train_loss": None}]):
        assert decoded(pictures.curves(history)).shape == empty.shape
    assert (decoded(pictures.curves(HISTORY)) != empty).any()


def test_a_filter_is_drawn_in_the_colours_of_its_weights():
    weights = np.zeros((1, 3, 4, 2, 2))
    weights[0, 0, 0, 0, 0], weights[0, 1, 0, 1, 1] = 2.0, -2.0  # R at the top left, minus G at the bottom right
    weights[0, :, 1:] = 9.0  # later instants are not drawn
    image = decoded(pictures.first_layer(weights))
    zoom = image.shape[0] // 4  # one pixel of gap on each side
    colours = [image[zoom * y + zoom // 2, zoom * x + zoom // 2].tolist() for y, x in ((1, 1), (1, 2), (2, 2))]
    assert colours == [pytest.approx(c, abs=1) for c in ([255, 128, 128], [128, 128, 128], [128, 0, 128])]


def test_a_flow_filter_that_answers_to_motion_to_the_right_is_red_and_rest_is_white():
    weights = np.zeros((1, 2, 1, 2))
    weights[0, 0, 0, 0] = 0.01
    image = decoded(pictures.first_layer(weights))
    zoom = image.shape[0] // 3
    assert image[zoom + zoom // 2, zoom + zoom // 2].tolist() == [255, 0, 0]
    assert image[zoom + zoom // 2, 2 * zoom + zoom // 2].tolist() == [255, 255, 255]


def test_stacked_frames_are_refused_with_what_to_do():
    with pytest.raises(SpecError, match=r"\(64, 96, 7, 7\).*reshape stacked frames"):
        pictures.first_layer(np.zeros((64, 96, 7, 7)))


@pytest.mark.parametrize("classes", [10, 20, 400])
def test_an_embedding_is_drawn_for_any_number_of_classes(classes):
    rng = np.random.default_rng(2)
    targets = rng.integers(0, classes, 60)
    image = decoded(pictures.embedding_plot(rng.normal(size=(60, 2)), targets, names(classes)))
    assert image.std() > 5


def test_points_that_are_no_numbers_or_too_few_are_refused():
    with pytest.raises(SpecError, match="2 targets need 2 finite points"):
        pictures.embedding_plot(np.array([[0.0, np.nan], [1.0, 1.0]]), np.array([0, 1]), "ab")
    with pytest.raises(SpecError, match="3 targets need 3"):
        pictures.embedding_plot(np.zeros((2, 2)), np.array([0, 1, 0]), "ab")


def test_pictures_say_what_they_show_and_nothing_is_cut_off(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "_png", lambda figure: drawn.append(figure) or b"")
    pictures.confusion(measured(5).confusion, ["walk", "fall_floor", "a" * 60, "run", "push"], TITLE)
    pictures.curves(HISTORY)
    points = np.random.default_rng(0).normal(size=(9, 2))
    pictures.embedding_plot(points, np.arange(9) % 3, ["walk", "run", "push"], title="nine", axes=("across", "up"))
    matrix, curves, embedding = drawn
    assert matrix.axes[1].get_ylabel() == "share of the true class's videos"
    (caption,) = curves.texts
    assert "may lie below validation's and the test's" in caption.get_text()
    (plane,) = embedding.axes
    assert (plane.get_title(), plane.get_xlabel(), plane.get_ylabel()) == ("nine", "across", "up")
    assert plane.get_position().width > 0.7  # what is left is the legend's
    for figure in drawn:
        inside, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
        assert min(inside.x0, inside.y0, width - inside.x1, height - inside.y1) >= 0
    assert caption.get_window_extent().y1 <= min(panel.xaxis.label.get_window_extent().y0 for panel in curves.axes)
