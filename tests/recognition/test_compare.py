"""Runs side by side: McNemar's test and its interval against published examples, settings, and clips of both."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from araflow.cli.compare import compare as command
from araflow.cli.options import Group
from araflow.core.errors import SourceError
from araflow.recognition import comparison
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.paired import Pair, pair
from araflow.recognition.evaluation.write import write

LABELS = ("run", "walk")


def call(*arguments):
    result = CliRunner().invoke(Group(commands={"compare": command}), ["compare", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def evaluation(right: dict[str, bool], labels=LABELS) -> Evaluation:
    """Videos of the class ``walk``, each recognised or not."""
    walk = labels.index("walk")
    chances = np.array([np.eye(len(labels))[walk if hit else 1 - walk] for hit in right.values()])
    count = len(right)
    return Evaluation.from_parts(
        labels, list(right), np.full(count, walk), chances, np.ones(count, np.int64), [{"split": "test"}] * count
    )


def a_run(folder, right, spec=None, finished=3):
    write(evaluation(right), folder / "evaluation")
    if spec is not None:
        content = {"spec": spec, "identity": {"manifest_sha256": "ab"}, "finished": finished, "software": {}}
        (folder / "run.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("counts", "interval"),
    [
        ((36, 2, 12, 0), (0.0569, 0.3404)),  # Newcombe 1998, the paper's own first example, by method 10
        ((14, 0, 5, 22), (0.011, 0.226)),  # D. G. Altman et al., Statistics with Confidence, 2nd edition, table 6.2
        ((1, 7, 1, 12), (-0.507, -0.026)),  # Bentur et al. in Fagerland, Lydersen, Laake, Stat. Med. 33 (2014)
    ],
)
def test_the_interval_is_the_published_one(counts, interval):
    assert Pair(*counts).interval == pytest.approx(interval, abs=5e-4)
    both, first, second, neither = counts
    low, high = Pair(both, second, first, neither).interval
    assert (-high, -low) == pytest.approx(interval, abs=5e-4)


def test_chance_is_the_published_one():
    assert Pair(1, 1, 7, 12).chance == pytest.approx(0.0391, abs=5e-5)  # Bentur et al. in Fagerland et al. 2013
    assert Pair(59, 6, 16, 80).chance == pytest.approx(0.0347, abs=5e-5)  # Cavo et al. in the same
    assert Pair(9, 0, 0, 3).chance == 1
    assert Pair(0, 1, 1, 0).chance == pytest.approx(0.75)
    assert Pair(0, 20_000, 20_000, 0).chance == pytest.approx(1, abs=0.01)
    assert Pair(0, 0, 5_000, 0).chance == 0  # below what a float can say, and no error


def test_all_alike_and_nothing_at_all_have_intervals():
    for counts in ((5, 0, 0, 0), (0, 0, 0, 5), (0, 5, 0, 0)):
        low, high = Pair(*counts).interval
        assert -1 <= low <= Pair(*counts).difference <= high <= 1
    nothing = Pair(0, 0, 0, 0)
    assert (nothing.interval, math.isnan(nothing.difference), nothing.to_json()["difference"]) == ((-1, 1), True, None)


def test_only_clips_of_both_are_held_side_by_side():
    first = evaluation({"a": True, "b": True, "c": False, "d": False, "mine": True})
    second = evaluation({"d": False, "c": True, "b": False, "a": True, "theirs": False}, ("walk", "run"))
    assert pair(first, second) == Pair(1, 1, 1, 1)


def test_runs_differ_in_settings_and_in_clips(tmp_path):
    spec = {"name": "a", "out": "x", "training": {"epochs": 3, "seed": 1}, "split": None, "protocols": ["random"]}
    other = {**spec, "name": "b", "out": "y", "training": {"epochs": 9, "seed": 1}, "split": {"protocol": "group"}}
    keys = [f"c{number}" for number in range(8)]
    first = a_run(tmp_path / "a", dict.fromkeys(keys, False), spec)
    second = a_run(tmp_path / "b", dict.fromkeys(keys, True), other, finished=9)
    lines = call(first, second).stdout.splitlines()
    assert lines[2].split() == [str(first), "3", "8", "0.0", "%", "0.0", "to", "32.4", "0.0", "%"]
    at = lines.index(f"clip by clip, against {first}")
    assert lines[at + 2].split() == [str(second), "8", "+100.0", "+54.1", "to", "+100.0", "8", "0", "p", "=", "0.0039"]
    at = lines.index("settings that differ")
    rows = {line.split()[0]: line.split()[1:] for line in lines[at + 2 :]}
    assert rows == {"split.protocol": ["–", "group"], "training.epochs": ["3", "9"]}
    content = json.loads(call(first, second, "--json").stdout)
    assert content["settings"]["training.epochs"] == [3, 9]
    assert content["pairs"][0]["difference"] == 1
    assert [run["epochs"] for run in content["runs"]] == [3, 9]
    assert call(tmp_path, "--json").stdout == call(first, second, "--json").stdout  # all that lie in a folder


def test_what_is_no_run_is_named(tmp_path):
    right = a_run(tmp_path / "right", {"a": True})
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    broken = a_run(tmp_path / "broken", {"a": True}, {})
    (broken / "run.json").write_text('{"spec": 3}')
    for paths, words in (
        ([right], "1 evaluated run in"),
        ([right, tmp_path / "begun"], "not evaluated yet"),
        ([right, tmp_path / "nowhere"], "no such predictions"),
        ([right, broken], "not what a run of araflow writes"),
    ):
        with pytest.raises(SourceError, match=words):
            comparison.compare(paths)
    assert call(right, right / "evaluation").exit_code == 0  # without a run.json: figures alone
