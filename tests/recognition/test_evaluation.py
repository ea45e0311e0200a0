import csv
import dataclasses
import io
import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from araflow.core.errors import OutputError, SourceError, SpecError, TrainingError
from araflow.core.leakage import Leakage
from araflow.core.written import LIST
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.evaluate import evaluate
from araflow.recognition.evaluation.fusion import fuse_streams
from araflow.recognition.evaluation.tables import markdown, print_evaluation, side_by_side
from araflow.recognition.evaluation.write import read_predictions, table, write
from araflow.recognition.spec import EvaluationSpec

LABELS = ("walk", "run|x", "[b]push")
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
LEAKAGE = Leakage(4, 1, 3)


@dataclasses.dataclass(frozen=True)
class Clip:
    key: str
    label_index: int
    row: dict


def clips(**row: object) -> list[Clip]:
    row = {"split": "train", "group": "film", "camera": "moving", "people": 2, "fps": 30.0, **row}
    return [Clip(f"{key}/a", index, row) for key, index in zip("zyxw", (0, 0, 1, 2), strict=True)]


def evaluation(probabilities=PROBABILITIES, order=(0, 1, 2, 3), labels=LABELS, **row: object) -> Evaluation:
    chosen = [clips(**row)[place] for place in order]
    windows = np.array([1, 10, 1, 3])[list(order)]
    return Evaluation.of(probabilities[list(order)], chosen, labels, windows=windows, split="test")


def text_of(show) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    show(console)
    return console.file.getvalue()


# --- written and read ---


def test_predictions_say_per_video_what_was_found(tmp_path):
    write(evaluation(), tmp_path / "new" / "folder")
    rows = pq.read_table(tmp_path / "new" / "folder" / "predictions.parquet").to_pylist()
    assert [row["key"] for row in rows] == ["w/a", "x/a", "y/a", "z/a"]  # by key, as in a manifest
    assert rows[2] == {
        "key": "y/a",
        "label": "walk",
        "label_index": 0,
        "predicted": "run|x",
        "correct": False,
        "probability": [0.3, 0.6, 0.1],
        "top5": ["run|x", "walk", "[b]push"],
        "windows": 10,
        "split": "test",
        "group": "film",
        "camera": "moving",
        "view": None,
        "body": None,
        "quality": None,
        "people": 2,
    }


def test_metrics_and_confusion_matrix_are_written(tmp_path):
    write(evaluation(), tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert (figures["top1"]["value"], figures["videos"], figures["mean_class"]) == (0.75, 4, pytest.approx(2.5 / 3))
    assert figures["attributes"]["camera"]["moving"]["hits"] == 3
    table = list(csv.reader(io.StringIO((tmp_path / "confusion.csv").read_text())))
    assert table == [
        ["true / predicted", *LABELS],
        ["walk", "1", "1", "0"],
        ["run|x", "0", "1", "0"],
        ["[b]push", "0", "0", "1"],
    ]
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_scores_give_the_same_bytes_in_whatever_order(tmp_path):
    for name, order in (("one", (0, 1, 2, 3)), ("other", (2, 0, 3, 1))):
        write(evaluation(order=order), tmp_path / name, leakage=LEAKAGE)
    names = sorted(file.name for file in (tmp_path / "one").iterdir() if file.name != LIST)
    assert names == ["confusion.csv", "confusion.png", "metrics.json", "predictions.parquet", "summary.md"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def test_predictions_are_read_back_to_the_last_bit(tmp_path):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    written = evaluation(probabilities)
    write(written, tmp_path)
    for path in (tmp_path, tmp_path / "predictions.parquet"):
        found = read_predictions(path)
        assert found.labels == LABELS
        assert found.keys == written.keys[::-1]
        assert (found.probabilities[::-1] == probabilities).all()
        assert found.metrics.to_json() == written.metrics.to_json()
    write(found, tmp_path / "again")
    assert (tmp_path / "again" / "predictions.parquet").read_bytes() == (tmp_path / "predictions.parquet").read_bytes()


def test_the_split_is_the_rows_own_unless_it_is_said():
    found = Evaluation.of(PROBABILITIES, clips(), LABELS, windows=np.ones(4, dtype=np.int64))
    assert {row["split"] for row in found.rows} == {"train"}
    assert "fps" not in found.rows[0]


def test_probabilities_that_are_no_numbers_name_the_clip():
    wrong = PROBABILITIES.copy()
    wrong[2] = np.nan
    with pytest.raises(TrainingError, match="'x/a'"):
        evaluation(wrong)


def test_what_is_no_table_of_predictions_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"predictions\.parquet: no such predictions"):
        read_predictions(tmp_path)
    file = tmp_path / "predictions.parquet"
    file.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        read_predictions(file)
    predictions = table(evaluation())
    pq.write_table(predictions.drop_columns(["windows"]), file)
    with pytest.raises(SourceError, match="without windows"):
        read_predictions(file)
    pq.write_table(predictions.replace_schema_metadata(None), file)
    with pytest.raises(SourceError, match="without the names of its classes"):
        read_predictions(file)
    pq.write_table(predictions.replace_schema_metadata({"araflow-labels": '["one", "two"]'}), file)
    with pytest.raises(SourceError, match="'w/a' does not have 2 probabilities"):
        read_predictions(file)
    rows = len(predictions)
    for name, values in (
        ("windows", pa.nulls(rows, pa.int32())),
        ("label_index", pa.array(["x"] * rows)),
        ("probability", pa.array([["y"] * 3] * rows)),
        ("top5", pa.array([1] * rows)),
    ):
        number = predictions.schema.get_field_index(name)
        pq.write_table(predictions.set_column(number, name, values), file)
        with pytest.raises(SourceError, match=r"its rows are not araflow's predictions|does not have"):
            read_predictions(file)
    for labels in ("[" * 100_000, "{}", "[1, 2, 3]"):
        pq.write_table(predictions.replace_schema_metadata({"araflow-labels": labels}), file)
        with pytest.raises(SourceError, match="its rows are not araflow's predictions") as caught:
            read_predictions(file)
        assert len(str(caught.value)) < 500


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        write(evaluation(), tmp_path / "file")


# --- fused ---


def test_two_streams_are_averaged_by_weights_of_any_scale_and_videos_in_any_order():
    other = np.array([[0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]])
    rgb, flow = evaluation(), evaluation(other, order=(3, 1, 0, 2))
    fused = fuse_streams([rgb, flow], [2, 6])
    assert fused.keys == rgb.keys
    assert fused.probabilities == pytest.approx(0.25 * PROBABILITIES + 0.75 * other)
    assert fused.windows.tolist() == [2, 20, 2, 6]
    assert fused.metrics.confusion.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert fuse_streams([rgb, flow]).probabilities == pytest.approx((PROBABILITIES + other) / 2)
    assert (fuse_streams([rgb, flow], [1, 0]).probabilities == PROBABILITIES).all()


def test_scores_of_other_clips_are_refused_and_the_clips_named():
    whole = evaluation()
    with pytest.raises(SpecError, match="predictions 1 and 2 are not of the same clips; only in 1: w/a, x/a"):
        fuse_streams([whole, evaluation(order=(0, 1))])
    renamed = dataclasses.replace(whole, keys=("z/a", "y/a", "new/b", "w/a"))
    with pytest.raises(SpecError, match="1 and 3 are not of the same clips; only in 1: x/a; only in 3: new/b"):
        fuse_streams([whole, whole, renamed])


def test_a_long_list_of_clips_is_cut():
    many = [Clip(f"c{number}", 0, {}) for number in range(9)]
    one, other = (
        Evaluation.of(np.full((n, 2), 0.5), many[:n], "ab", windows=np.ones(n, dtype=np.int64)) for n in (9, 1)
    )
    with pytest.raises(SpecError, match="c1, c2, c3, c4, c5 and 3 more"):
        fuse_streams([one, other])


def test_scores_against_other_labels_are_refused():
    whole = evaluation()
    relabelled = dataclasses.replace(whole, targets=np.array([0, 1, 1, 2]))
    with pytest.raises(SpecError, match="held against other labels: y/a"):
        fuse_streams([whole, relabelled])
    with pytest.raises(SpecError, match="other classes, or in another order"):
        fuse_streams([whole, evaluation(labels=LABELS[::-1])])


@pytest.mark.parametrize("weights", [[1.0], [-1.0, 2.0], [0.0, 0.0], [float("nan"), 1.0]])
def test_weights_that_make_no_mean_are_refused(weights):
    with pytest.raises(SpecError, match="weights"):
        fuse_streams([evaluation(), evaluation()], weights)


# --- from a checkpoint ---


@pytest.fixture
def recogniser(tmp_path):
    """A checkpoint that has learned nothing, with four clips of noise."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from araflow.recognition import checkpoint
    from araflow.recognition.data.clips import VideoClip
    from araflow.recognition.networks import create
    from araflow.recognition.spec import ModelSpec

    window = {"frames": 2, "width": 32, "height": 32}
    spec = ModelSpec.model_validate({"network": {"architecture": "arn_2d", "rgb": window}, "labels": LABELS})
    before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "model.safetensors", create(spec), spec)
    rng = np.random.default_rng(0)
    videos = []
    for clip in clips():
        (tmp_path / clip.key / "rgb").mkdir(parents=True)
        for frame in range(7):
            picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / clip.key / "rgb" / f"{frame:04}.png"), picture)
        folder = tmp_path / clip.key
        videos.append(VideoClip(clip.key, clip.label_index, folder, 7, 6, "bound", 20.0, None, clip.row))
    yield tmp_path / "model.safetensors", videos
    torch.set_num_threads(before[0])
    torch.set_rng_state(before[1])


def test_a_checkpoint_is_evaluated_alike_at_every_batch_size(recogniser):
    file, videos = recogniser
    found = [
        evaluate(
            file,
            videos,
            EvaluationSpec(mode="conv", segments=10, batch_size=size),
            split="val",
            device="cpu",
            workers=0,
        )
        for size in (1, 3, 10)
    ]
    assert found[0].windows.tolist() == [10] * 4
    assert found[0].labels == LABELS
    assert {row["split"] for row in found[0].rows} == {"val"}
    assert len({one.probabilities.tobytes() for one in found}) == 1
    tao = evaluate(file, videos, EvaluationSpec(mode="conv", segments=10, compat="tao"), device="cpu", workers=0)
    assert (tao.probabilities != found[0].probabilities).any()
    assert tao.probabilities == pytest.approx(found[0].probabilities, abs=0.2)


def test_a_damaged_frame_names_its_clip_and_file(recogniser):
    file, videos = recogniser
    damaged = videos[1].folder / "rgb" / "0003.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"y/a.*0003\.png"):
        evaluate(file, videos, EvaluationSpec(mode="all"), device="cpu", workers=0)


# --- shown ---


def test_the_summary_says_how_good_it_is_and_how_much_leaked():
    text = markdown(evaluation(), LEAKAGE)
    assert text.startswith("# test: 4 videos, 3 classes\n\n|  | share |")
    assert "| top-1 | 75.0 % | 30.1 to 95.4 | 3 of 4 |" in text
    assert "| mean class accuracy | 83.3 % |  | 3 of 3 classes |" in text
    assert "| always walk | 50.0 % |  | 2 of 4 |" in text
    assert "| leaked | 25.0 % |  | 1 of 4 |" in text
    assert "| leaked across classes | 75.0 % |  | 3 of 4 |" in text
    assert "| run\\|x | 1 | 100.0 % | 20.7 to 100.0 | 50.0 % | 66.7 % |" in text
    assert "| camera | moving | 4 | 75.0 % | 30.1 to 95.4 |" in text
    assert "top-3" not in text  # of three classes it says nothing
    assert "leaked" not in markdown(evaluation())


def test_every_line_of_a_markdown_table_has_as_many_cells():
    for block in markdown(evaluation(), LEAKAGE).split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_a_terminal_shows_names_as_they_are():
    shown = text_of(lambda console: print_evaluation(evaluation(), LEAKAGE, console=console))
    assert "[b]push" in shown
    assert "run|x" in shown
    assert "75.0 %" in shown


def test_of_many_classes_a_terminal_shows_the_worst_and_the_summary_all():
    count = 40
    probabilities = np.eye(count)
    probabilities[33] = probabilities[0]
    labels = [f"class {number:02}" for number in range(count)]
    many = [Clip(f"c{number:02}", number, {}) for number in range(count)]
    found = Evaluation.of(probabilities, many, labels, windows=np.ones(count, dtype=np.int64))
    shown = text_of(lambda console: print_evaluation(found, console=console))
    assert "the 30 of lowest recall, of 40" in shown
    assert "class 33" in shown
    assert "class 39" not in shown
    assert "| class 39 |" in markdown(found)
    assert "top-5" in shown


def test_protocols_stand_side_by_side_with_their_leakage():
    random = evaluation(np.eye(3)[[0, 0, 1, 2]])
    results = {"official": (evaluation(), None), "random": (random, LEAKAGE)}
    assert side_by_side(results).markdown().splitlines()[2:] == [
        "| official | 4 | 75.0 % | 30.1 to 95.4 | 83.3 % | – | – |",
        "| random | 4 | 100.0 % | 51.0 to 100.0 | 100.0 % | 1 of 4 | 3 of 4 |",
    ]
    assert side_by_side({"random": (random, LEAKAGE)}).rows[0] == side_by_side(results).rows[1]
    shown = text_of(lambda console: side_by_side(results).print(console))
    assert "leaked across classes" in shown
    assert "51.0 to 100.0" in shown
