"""What lies beside clips is counted, said, and kept."""

from pathlib import Path

import mirrors
import pytest
from laid import lay

from araflow import datasets
from araflow.acquire.types import Sources
from araflow.build import plan as planning
from araflow.build import stages
from araflow.build.resolved import resolve
from araflow.core.errors import SourceError
from araflow.core.listing import Leftovers, PassedOver, told
from araflow.core.spec_file import parse
from araflow.datasets import folder
from araflow.recognition.prediction.predict import list_videos


def over(root: Path, wanted: list[str] | None = None) -> set[tuple[str, str, int, str]]:
    found = folder.list_clips(Sources(root, None), wanted).passed_over
    return {(one.why, one.what, one.count, one.example) for one in found}


def test_what_is_no_clip_is_counted_by_reason_and_kind(tmp_path):
    lay(tmp_path, "walk/a.avi", "walk/b.txt", "notes.TXT", "walk/c.psd", "walk/README", "walk/a.jpg", "more.zip")
    lay(tmp_path, "walk/.DS_Store", "walk/Thumbs.db", "__MACOSX/walk/._a.avi", "@eaDir/walk/a.avi", "run/b.avi")
    lay(tmp_path, "made/.araflow/build.json")
    (tmp_path / "jump").mkdir()
    assert over(tmp_path, ["walk"]) == {
        ("suffix", ".txt", 2, "notes.TXT"),
        ("suffix", ".psd", 1, "walk/c.psd"),
        ("suffix", "without suffix", 1, "walk/README"),
        ("beside-clips", ".jpg", 1, "walk/a.jpg"),
        ("archive", ".zip", 1, "more.zip"),
        ("empty-folder", "", 1, "jump"),
        ("output", "", 1, "made"),
        ("hidden", "", 4, "@eaDir"),
        ("unwanted-class", "run", 1, "run/b.avi"),
    }


def test_names_that_are_not_text_are_shown_escaped():
    found = Leftovers()
    found.add("suffix", ".\udcff", "a.\udcff")
    assert found.entries() == (PassedOver("suffix", r".\xff", 1, r"a.\xff"),)
    with pytest.raises(ValueError, match="'because' is none of suffix"):
        found.add("because", "", "a")


def test_one_line_says_it_all_but_for_what_is_no_news():
    found = Leftovers()
    for number in range(3):
        found.add("suffix", ".txt", f"{number}.txt")
    found.add("suffix", ".psd", "p.psd")
    found.add("hidden", "", ".DS_Store")
    assert told(found.entries()) == "4 are no clips: 3 .txt, 1 .psd (no video by name or content, such as 0.txt)"
    found.add("empty-folder", "", "jump")
    assert told(found.entries()).endswith("; 1 folders without any file (such as jump)")
    assert not told([one for one in found.entries() if one.why == "hidden"])


def test_it_is_warned_of_once_shown_by_a_plan_and_refused_where_it_is_all(tmp_path, caplog):
    lay(tmp_path / "videos", "walk/a.avi", "walk/b.txt", "walk/.hidden")
    source = {"name": "folder", "source": str(tmp_path / "videos")}
    spec = parse({"name": "x", "out": str(tmp_path / "o"), "dataset": source, "split": {"protocol": "random"}})
    selection = stages.select(resolve(spec), Sources(tmp_path / "videos", None))
    assert [record.message for record in caplog.records if "no clip" in record.message] == [
        "1 is no clip: 1 .txt (no video by name or content, such as walk/b.txt)"
    ]
    found = planning.plan(spec)
    assert found.passed_over == selection.passed_over
    assert {one.why for one in found.passed_over} == {"suffix", "hidden"}
    (tmp_path / "videos" / "walk" / "a.avi").unlink()
    with pytest.raises(SourceError, match=r"no clips found: .*; 1 is no clip: 1 \.txt"):
        planning.plan(spec)


def test_predict_says_what_it_passes_over(tmp_path, caplog):
    lay(tmp_path, "walk/a.avi", "walk/b.txt")
    assert [clip.name for clip in list_videos([tmp_path])] == ["walk/a.avi"]
    assert "1 is no clip: 1 .txt" in caplog.text
    with pytest.raises(SourceError, match=r"no videos found: .*1 is no clip: 1 \.docx"):
        list_videos([lay(tmp_path / "none", "a.docx")])


@pytest.mark.parametrize("pack", ["zip", "tar", "zip of tars"])
@pytest.mark.parametrize("name", ["hmdb51", "ucf101", "kinetics400"])
def test_what_archives_hold_besides_is_counted_at_the_first_look_and_at_the_second(tmp_path, name, pack):
    clip = {
        "hmdb51": "walk/Crash_walk_f_cm_np1_ri_med_0.avi",
        "ucf101": "Archery/v_Archery_g01_c01.avi",
        "kinetics400": "train/archery/abcdefghij0_000001_000011.mp4",
    }[name]
    files = {clip: b"x", "x/notes.txt": b"n", "x/paper.pdf": b"p", "x/holiday.mp4": b"h", "x/._a.avi": b"apple"}
    inner = mirrors.tarred(files)
    content = {"zip": mirrors.zipped(files), "tar": inner, "zip of tars": mirrors.zipped({"in.tar": inner})}[pack]
    given = lay(tmp_path, "given", data=content) / "given"
    spec = parse({"name": "x", "dataset": {"name": name, "source": str(given)}, "out": "o"}).dataset
    dataset = datasets.load(name)
    for _ in range(2):
        files_here = dataset.prepare(spec, tmp_path / "work", report=lambda line: None)
        wanted = {"hmdb51": ["walk"], "ucf101": ["Archery"], "kinetics400": ["archery"]}[name]
        listing = dataset.list_clips(files_here, wanted)
        assert len(listing.clips) == 1
        at = "given/in.tar/x" if pack == "zip of tars" else "given/x"
        assert [(one.why, one.what, one.count, one.example) for one in listing.passed_over if one.why != "hidden"] == [
            ("suffix", ".pdf", 1, f"{at}/paper.pdf"),
            ("suffix", ".txt", 1, f"{at}/notes.txt"),
            ("no-name", ".mp4", 1, f"{at}/holiday.mp4"),
        ]
