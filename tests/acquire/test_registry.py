import csv
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from araflow.acquire import registry
from araflow.datasets import _hmdb51, _ucf101

FOLDER = Path(registry.__file__).resolve().parents[2] / "data_manifests"
NAMES = ("hmdb51", "kinetics400", "kinetics600", "kinetics700_2020", "ucf101")
KINETICS = {"kinetics400": 400, "kinetics600": 600, "kinetics700_2020": 700}


def artefacts(known: registry.Registry) -> list[registry.Artefact]:
    return [*known.videos, *known.splits, *([known.replacement] if known.replacement else [])]


def addresses(known: registry.Registry) -> list[str]:
    lists = [url for subset in known.subsets.values() for url in (subset.parts, *subset.annotations)]
    return lists + [url for artefact in artefacts(known) for url in artefact.mirrors]


def test_every_shipped_dataset_is_there_and_no_other():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_registry_says_what_a_user_must_know(name):
    known = registry.load(name)
    assert known.name == name
    assert bool(known.videos and known.splits) != bool(known.subsets)
    for text in (known.title, known.page, known.citation, known.licence, known.classes_source):
        assert text.strip()
    assert "rights" in known.licence
    for artefact in artefacts(known):
        assert artefact.source
        assert artefact.holds
        assert "not tried" in (artefact.note or "")
    for subset in known.subsets.values():
        assert subset.source


@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_https_each_given_once_and_none_is_dead(name):
    urls = addresses(registry.load(name))
    assert len(set(urls)) == len(urls)
    for url in urls:
        parts = urlsplit(url)
        assert parts.scheme == "https"
        assert not re.search(r"[\s<>\"]", url)
        assert parts.hostname != "serre-lab.clps.brown.edu"


@pytest.mark.parametrize("name", NAMES)
def test_no_checksum_stands_for_two_files(name):
    known = [artefact.sha256 for artefact in artefacts(registry.load(name)) if artefact.sha256]
    assert len(set(known)) == len(known)


def test_the_historic_hmdb51_checksum_is_told_but_claimed_for_no_living_address():
    known = registry.load("hmdb51")
    historic = "9e714a0d8b76104d76e932764a7ca636f929fff66279cda3f2e326fa912a328e"
    (drive,) = (artefact for artefact in known.videos if "drive.google.com" in artefact.mirrors[0])
    assert historic in (drive.note or "")
    assert historic not in [artefact.sha256 for artefact in artefacts(known)]
    assert [urlsplit(artefact.mirrors[0]).path.split("/")[2] for artefact in known.videos[:3]] == [
        "MichiganNLP",
        "jili5044",
        "innat",
    ]


def test_ucf101_says_that_no_licence_is_stated():
    assert "None is stated" in registry.load("ucf101").licence


# --- against the official lists and the gathered facts ---


def test_hmdb51_agrees_with_the_official_split_files(official_splits):
    known = registry.load("hmdb51").classes
    assert (len(known), sum(count or 0 for count in known.values())) == (51, 6766)
    assert known == {label: len(_hmdb51.read_splits(official_splits, label)) for label in known}
    assert len(list(official_splits.glob("*_test_split1.txt"))) == 51
    assert list(known) == sorted(known)


def test_ucf101_agrees_with_the_official_lists(real_data):
    known = registry.load("ucf101").classes
    assert (len(known), sum(count or 0 for count in known.values())) == (101, 13320)
    counted = dict.fromkeys(known, 0)
    for label, _ in _ucf101.read_splits(real_data / "ucf101_splits").values():
        counted[label] += 1
    assert known == counted
    order = (real_data / "ucf101_splits" / "classInd.txt").read_text().split()
    assert list(known) == order[1::2]


@pytest.mark.parametrize(("name", "count"), KINETICS.items())
def test_kinetics_has_its_number_of_sorted_labels_of_unknown_size(name, count):
    known = registry.load(name).classes
    assert len(known) == count
    assert list(known) == sorted(known)
    assert set(known.values()) == {None}
    for label in known:
        assert re.fullmatch(r"[A-Za-z]+( [A-Za-z()']+)*", label)


@pytest.fixture(scope="module")
def facts(real_data) -> Path:
    folder = real_data.parent / "facts"
    if not folder.is_dir():
        pytest.skip(f"needs the gathered facts, and {folder} is absent")
    return folder


def test_hmdb51_agrees_with_the_gathered_counts(facts):
    with (facts / "hmdb51_counts.csv").open() as file:
        counted = {row["class"]: int(row["clips"]) for row in csv.DictReader(file)}
    assert registry.load("hmdb51").classes == counted


@pytest.mark.parametrize(("name", "count"), KINETICS.items())
def test_kinetics_agrees_with_the_gathered_facts(facts, name, count):
    everything = json.loads((facts / "kinetics_facts.json").read_text())
    fact, labels, known = everything[name], everything["labels"], registry.load(name)
    assert sum("(" in label for label in known.classes) == labels["parentheses"][str(count)]
    assert [label for label in known.classes if "'" in label] == labels["apostrophe"]
    assert {subset: known.subsets[subset].parts for subset in ("train", "val", "test")} == fact["lists"]
    for subset, given in known.subsets.items():
        if "bytes" in fact:
            assert (given.size, given.archives) == (fact["bytes"][subset], fact["parts"][subset])
        else:
            assert given.size == fact["size_gb"]["f1"][subset] * 10**9
        present = fact.get("videos_cvdf", fact.get("videos_in_tars"))[subset]
        assert given.present == int(str(present).split()[0])
        rows = fact.get("original_rows") or fact["csv_rows"]
        assert given.listed == rows.get(subset, rows.get(f"{subset}_cvdf"))
        assert given.present <= (given.listed or given.present)


def test_the_replacement_of_kinetics400_agrees_with_the_gathered_facts(facts):
    fact = json.loads((facts / "kinetics_facts.json").read_text())["kinetics400"]["replacement"]
    given = registry.load("kinetics400").replacement
    assert given is not None
    assert (given.mirrors, given.size) == ((fact["url"],), fact["bytes"])
    assert f"{fact['files']:,}" in (given.holds or "")
    assert fact["top_folder"] in (given.holds or "")


def test_kinetics600_names_its_complete_lists_first():
    subsets = registry.load("kinetics600").subsets
    for subset in ("train", "val"):
        assert [url.rpartition("/")[2] for url in subsets[subset].annotations] == [f"{subset}.txt", f"{subset}.csv"]


def test_the_american_football_labels_keep_their_case():
    def pair(name: str) -> list[str]:
        return [label for label in registry.load(name).classes if label.lower().startswith("passing american")]

    assert pair("kinetics600") == ["passing American football (in game)", "passing american football (not in game)"]
    for name in ("kinetics400", "kinetics700_2020"):
        assert pair(name) == ["passing American football (in game)", "passing American football (not in game)"]
