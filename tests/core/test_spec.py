import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pydantic
import pytest
import yaml

from araflow.cli import schema as schemas
from araflow.core import resources, spec, spec_file
from araflow.core.errors import SpecError
from araflow.core.fingerprint import digest
from araflow.core.resources import plugins
from araflow.core.spec import Algorithm, BuildSpec, RunSpec
from araflow.core.spec_file import load, parse, validate
from araflow.recognition.spec import ExperimentSpec

DATASETS, BACKENDS = (", ".join(names) for names in (plugins("datasets"), ("auto", *plugins("optical/backends"))))
ALGORITHMS = ", ".join(get_args(Algorithm))
MINIMAL = {"name": "small", "out": "data/small"}

# Every leaf of the tree: another value for it, whether it changes what is written in the default settings, and settings
# (if any) under which the answer is the other one.
FIELDS: dict[str, tuple[object, bool, list[str]]] = {
    "name": ("other", False, []),
    "dataset.name": ("folder", True, []),
    "dataset.classes": (["walk"], True, []),
    "dataset.source": ("videos", False, []),
    "dataset.splits": ("splits", False, []),
    "dataset.subsets": (["val"], False, ["dataset.name=kinetics400"]),
    "dataset.clips_per_class": (2, True, []),
    "dataset.folder": ("elsewhere", False, []),
    "dataset.mirror": ("example.org", False, []),
    "dataset.keep_archives": (True, False, []),
    "dataset.youtube": (True, False, []),
    "dataset.sample.clips_per_class": (9, False, ["dataset.name=sample"]),
    "dataset.sample.sources_per_class": (3, False, ["dataset.name=sample"]),
    "dataset.sample.width": (160, False, ["dataset.name=sample"]),
    "dataset.sample.height": (120, False, ["dataset.name=sample"]),
    "dataset.sample.seed": (1, False, ["dataset.name=sample"]),
    "split.protocol": ("random", True, []),
    "split.fold": (2, True, ["split.protocol=random"]),
    "split.test_fraction": (0.2, False, ["split.protocol=group"]),
    "split.val_fraction": (0.1, True, []),
    "split.seed": (1, False, ["split.protocol=random"]),
    "video.rotation": ("ignore", True, []),
    "rgb.naming": ("recipe", True, []),
    "rgb.max_frames": (16, True, []),
    "rgb.short_side": (256, True, []),
    "rgb.format": ("jpeg", True, []),
    "rgb.jpeg_quality": (90, False, ["rgb.format=jpeg"]),
    "rgb.fps": (15.0, True, []),
    "optical.backend": ("opencv", True, []),
    "optical.algorithm": ("tvl1", True, []),
    "optical.preset": ("fast", True, ["optical.algorithm=farneback"]),
    "optical.quantizer": ("max_radius", True, []),
    "optical.bound": (16.0, True, ["optical.quantizer=max_radius"]),
    "optical.jpeg_quality": (90, True, []),
    "optical.lossless": (True, True, []),
    "optical.also": (["flo"], True, []),
    "run.workers": (3, False, []),
    "run.shard_size": (1, False, []),
    "run.on_error": ("stop", False, []),
    "run.clip_timeout": (5.0, False, []),
    "run.retries": (5, False, []),
    "run.verify": (True, False, []),
    "run.engine": ("workers", False, []),
    "run.range_size": (512, False, []),
    "run.dask_address": ("tcp://head:8786", False, []),
    "run.parts_at_once": (3, False, []),
    "out": ("elsewhere", False, []),
}


def leaves(model: type[pydantic.BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
            yield from leaves(field.annotation, f"{above}{name}.")
        else:
            yield above + name


def tree(**settings: object) -> dict:
    """A valid tree; keyword ``optical__bound`` sets ``optical.bound``."""
    result: dict = json.loads(json.dumps(MINIMAL))
    for path, value in settings.items():
        *groups, leaf = path.split("__")
        inner = result
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[leaf] = value
    return result


def changed(path: str, value: object, **settings: object) -> tuple[BuildSpec, BuildSpec]:
    before = parse(tree(**settings))
    after = parse(tree(**settings | {path.replace(".", "__"): value}))
    return before, after


def get(settings: BuildSpec, path: str) -> object:
    for part in path.split("."):
        settings = getattr(settings, part)
    return settings


def test_every_field_is_listed_here():
    assert list(FIELDS) == list(leaves(BuildSpec))


@pytest.mark.parametrize("path", list(leaves(BuildSpec)))
def test_a_field_is_in_the_fingerprint_exactly_if_it_changes_what_is_written(path):
    value, counts, otherwise = FIELDS[path]
    before, after = changed(path, value)
    assert get(before, path) != get(after, path)
    assert (before.fingerprint() != after.fingerprint()) is counts
    if otherwise:
        key, _, word = otherwise[0].partition("=")
        before, after = changed(path, value, **{key.replace(".", "__"): word})
        assert (before.fingerprint() != after.fingerprint()) is not counts


def test_the_seed_counts_under_official_folds_only_where_val_is_drawn():
    before, after = changed("split.seed", 1, split__val_fraction=0.1)
    assert before.fingerprint() != after.fingerprint()
    before, after = changed("split.fold", 2, split__protocol="group")
    assert before.fingerprint() == after.fingerprint()


@pytest.mark.parametrize("name", plugins("datasets"))
def test_subsets_count_for_kinetics_alone_and_a_number_of_clips_only_where_it_is_set(name):
    before, after = changed("dataset.subsets", ["train"], dataset__name=name)
    assert (before.fingerprint() != after.fingerprint()) is name.startswith("kinetics")
    assert ("subsets" in before.output_settings()["dataset"]) is name.startswith("kinetics")
    before, after = changed("dataset.clips_per_class", 2, dataset__name=name)
    assert before.fingerprint() != after.fingerprint()
    assert "clips_per_class" not in before.output_settings()["dataset"]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("subsets", [], "dataset.subsets"),
        ("subsets", ["train", "train"], "subsets: named twice"),
        ("subsets", ["training"], "dataset.subsets"),
        ("clips_per_class", 0, "dataset.clips_per_class"),
        ("mirror", "", "dataset.mirror"),
        ("folder", "", "dataset.folder"),
        ("keep_archives", "perhaps", "dataset.keep_archives"),
    ],
)
def test_what_a_dataset_cannot_be_asked_for_is_refused_by_name(setting, value, message):
    with pytest.raises(SpecError, match=message):
        parse(tree(**{f"dataset__{setting}": value}))


def test_the_order_of_classes_is_the_order_of_labels_and_counts():
    one, other = (parse(tree(dataset__classes=names)) for names in (["walk", "run"], ["run", "walk"]))
    assert one.fingerprint() != other.fingerprint()


def test_the_fingerprint_does_not_depend_on_how_a_number_is_written_or_on_the_order_of_keys():
    text = "optical: {bound: 20.0, preset: fast}\nname: small\nout: o\nsplit: {fold: 2}"
    turned = "out: p\nsplit:\n  fold: 2\nname: small\noptical:\n  preset: fast\n  bound: 20"
    first, second = (parse(yaml.safe_load(t)).fingerprint() for t in (text, turned))
    assert first == second
    assert len(first) == 16
    assert int(first, 16)


def test_the_fingerprint_of_known_settings_stays_what_it_was():
    # A change here makes everybody's finished datasets look out of date: mean it.
    # Changed once: optical.algorithm, auto by default, was dis (b898652bc5d790e0, still that of dis). No clip is made
    # again for that: its own fingerprint has the algorithm that was settled on (tests/test_extract.py).
    known = {
        "dataset": {"name": "hmdb51", "classes": None},
        "optical": {
            "backend": "auto",
            "algorithm": "auto",
            "preset": "balanced",
            "quantizer": "bound",
            "bound": 20.0,
            "jpeg_quality": 95,
        },
        "rgb": {"naming": "card", "max_frames": None},
        "split": {"protocol": "official", "fold": 1, "val_fraction": 0.0},
    }
    assert parse(MINIMAL).output_settings() == known
    assert parse(MINIMAL).fingerprint() == digest(known)
    assert parse(MINIMAL).fingerprint() == "c1642c0fe809090b"
    assert parse(tree(optical__algorithm="dis")).fingerprint() == "b898652bc5d790e0"


def test_a_spec_is_frozen_and_hashable():
    settings = parse(tree(dataset__classes=["walk"]))
    assert hash(settings) == hash(parse(tree(dataset__classes=["walk"])))
    for owner, name in ((settings, "name"), (settings.optical, "bound"), (settings.dataset.sample, "width")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(owner, name, getattr(owner, name))


@pytest.mark.parametrize(
    ("path", "nearest", "allowed"),
    [
        ("optical.algoritm", "algorithm", "backend, algorithm, preset, quantizer, bound, jpeg_quality, lossless, also"),
        ("dataset.sample.widht", "width", "clips_per_class, sources_per_class, width, height, seed"),
        ("opticals", "optical", "name, dataset, split, video, rgb, optical, run, out"),
        ("run.worker", "workers", ", ".join(RunSpec.model_fields)),
    ],
)
@pytest.mark.parametrize("how", ["yaml", "override"])
def test_an_unknown_key_is_named_in_full_with_the_allowed_and_the_nearest(tmp_path, how, path, nearest, allowed):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tree(**{path.replace(".", "__"): 1} if how == "yaml" else {})))
    overrides = [f"{path}=1"] if how == "override" else []
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "a.yaml", overrides)
    assert f"{path}: unknown key; allowed: {allowed}; did you mean {nearest}?" in str(caught.value)
    assert str(tmp_path / "a.yaml") in str(caught.value)


def test_a_key_like_nothing_else_gets_no_guess():
    with pytest.raises(SpecError, match=r"optical\.zzzzzz: unknown key; allowed: backend, .*lossless, also$"):
        parse(tree(optical__zzzzzz=1))


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(SpecError) as caught:
        parse({"out": "", "split": {"fold": 4}, "rgb": {"namig": "card"}})
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip().partition(":")[0] for line in lines] == ["name", "split.fold", "rgb.namig", "out"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optical__algorithm": "tv-l1"}, f"'tv-l1' is not allowed; allowed: {ALGORITHMS}; did you mean tvl1?"),
        ({"split__protocol": "grop"}, "allowed: official, random, group, auto; did you mean group?"),
        ({"optical__backend": "opencl"}, f"backend: allowed: {BACKENDS}; did you mean opencv? (found 'opencl')"),
        ({"dataset__name": "hmdb15"}, f"dataset.name: allowed: {DATASETS}; did you mean hmdb51? (found 'hmdb15')"),
        ({"split__fold": 0}, "split.fold: input should be greater than or equal to 1 (found 0)"),
        ({"split__test_fraction": 1.0}, "split.test_fraction: input should be less than 1 (found 1.0)"),
        ({"optical__bound": float("nan")}, "optical.bound: input should be a finite number (found nan)"),
        ({"run__clip_timeout": float("nan")}, "run.clip_timeout: input should be a finite number (found nan)"),
        ({"rgb__max_frames": 1}, "rgb.max_frames: input should be greater than or equal to 2 (found 1)"),
        ({"optical__jpeg_quality": 95.5}, "optical.jpeg_quality: input should be a valid integer"),
        ({"dataset__classes": []}, "dataset.classes: must not be empty; null takes all"),
        ({"dataset__classes": "walk"}, "dataset.classes: expected a list, such as [walk, punch] (found 'walk')"),
        ({"dataset__classes": ["walk", "run", "walk"]}, "dataset: classes: named twice: walk"),
        ({"dataset__classes": ["walk", 7]}, "dataset.classes.1: input should be a valid string (found 7)"),
        ({"dataset__source": ""}, "dataset.source: string should have at least 1 character"),
        ({"dataset__splits": ""}, "dataset.splits: string should have at least 1 character"),
        ({"name": "Not A Name"}, "name: string should match pattern"),
        ({"name": "../x"}, "name: string should match pattern"),
        ({"run__on_error": "ignore"}, "run.on_error: 'ignore' is not allowed; allowed: quarantine, stop"),
        ({"optical": "dis"}, "optical: expected a group of settings"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_allowed_says_what_is(settings, message):
    with pytest.raises(SpecError) as caught:
        parse(tree(**settings))
    assert message in str(caught.value)


NEEDED = {BuildSpec: MINIMAL, ExperimentSpec: {"name": "x", "manifest": "m", "out": "o"}}
WRONG = [None, [], "", {}, [None], [[]], 5, -1, 0, "zzz", True, 0.5, float("inf"), float("nan"), 10**12]


def settings_of(model: type[pydantic.BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every setting and of every group of them."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, pydantic.BaseModel):
                yield from settings_of(part, (*above, name))


def field_at(model: type[pydantic.BaseModel], path: tuple[str, ...]) -> pydantic.fields.FieldInfo:
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation
        model = next(one for one in (*get_args(annotation), annotation) if hasattr(one, "model_fields"))
    return model.model_fields[path[-1]]


def said(model: type[pydantic.BaseModel], path: tuple[str, ...], value: object) -> list[str]:
    """What is said of a setting, or of places in its list, where it has this value."""
    tree = inner = json.loads(json.dumps(NEEDED[model]))
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
    inner[path[-1]] = value
    try:
        validate(tree, model, "spec")
    except SpecError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        return [line for line in lines if re.match(rf"{re.escape('.'.join(path))}(\.\w+)?: ", line)]
    return []


def recommended(line: str) -> Iterator[object]:
    """The values that a line calls allowed."""
    if found := re.search(r"such as (\[.*?\])", line):
        yield yaml.safe_load(found[1])
    yield from map(yaml.safe_load, re.findall(r" of at (?:least|most) ([\d.]+)", line))
    if found := re.search(r"allowed: ((?!a number|a whole number|text).*?)(?: \(|;|$)", line):
        yield from map(yaml.safe_load, found[1].split(", "))
    if re.search(r"\bnull\b", re.sub(r"\(found .*?\)(?=;|$)|^\S+ null is not allowed", "", line)):
        yield None


@pytest.mark.parametrize(
    ("model", "path"),
    [pytest.param(m, path, id=f"{m.__name__}-{'.'.join(path)}") for m in NEEDED for path in settings_of(m)],
)
def test_what_the_message_about_any_setting_recommends_is_accepted(model, path):
    name = ".".join(path)
    refused = {repr(value): lines for value in WRONG if (lines := said(model, path, value))}
    takes_null = "None" not in refused
    assert {"[[]]", "{}"} & refused.keys()
    for line in itertools.chain(*refused.values()):
        values = list(recommended(line))
        if "expected a group" in line:
            annotation = field_at(model, path).annotation
            (group,) = (one for one in (*get_args(annotation), annotation) if hasattr(one, "model_fields"))
            assert [value for value in values if value is not None] == list(group.model_fields)
            continue
        for value in values:
            place = re.match(rf"{re.escape(name)}\.(\d)", line)
            whole = "list" in line or "must not be empty" in line
            if value is not None and not isinstance(value, list) and (place or whole):
                items = list(field_at(model, path).default or [value])
                items[0] = value
                value = items
            assert not said(model, path, value), line
        of_the_whole = line.startswith(f"{name}:") and re.search("expected|valid|empty", line)
        if takes_null and of_the_whole and "not allowed" not in line and "finite" not in line:
            assert None in values, line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset__subsets": []}, "dataset.subsets: must not be empty; allowed: train, val, test"),
        ({"dataset__subsets": None}, "expected a list, such as [train, val] (found null); allowed: train, val, test"),
        ({"dataset__classes": [None]}, "dataset.classes.0: input should be a valid string (found null)"),
        ({"dataset__name": None}, f"dataset.name: input should be a valid string (found null); allowed: {DATASETS}"),
        ({"run__workers": []}, "(found []); allowed: a whole number of at least 1; null: one per usable core"),
    ],
)  # fmt: skip
def test_null_is_recommended_where_it_is_allowed_and_nowhere_else(settings, message):
    with pytest.raises(SpecError) as caught:
        parse(tree(**settings))
    (line,) = str(caught.value).splitlines()[1:]
    assert message in line


@pytest.mark.parametrize("override", ["training.precision=32", "training.precision=bf16", "deploy.opset=18"])
def test_an_override_with_a_word_that_looks_like_a_number_is_that_word(override):
    made = validate(spec_file.override(dict(NEEDED[ExperimentSpec]), [override], ExperimentSpec), ExperimentSpec, "x")
    assert str(get(made, override.partition("=")[0])) == override.partition("=")[2]


@pytest.mark.parametrize("key", [1, True, None, 2.5])
def test_a_key_that_is_no_text_is_an_error_with_its_place(key):
    with pytest.raises(SpecError, match=f"{key}"):
        parse({**MINIMAL, key: 1})


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("out=2024_01", "out", "2024_01"),
        ("out=007", "out", "007"),
        ("out=yes", "out", "yes"),
        ("out=a=b", "out", "a=b"),
        ("out={x}: #1", "out", "{x}: #1"),
        ("name=2024-01-31", "name", "2024-01-31"),
        ("dataset.source=1e5", "dataset.source", "1e5"),
        ("dataset.source=[a]", "dataset.source", "[a]"),
        ("dataset.source=null", "dataset.source", None),
        ("dataset.splits=~", "dataset.splits", "~"),
        ("dataset.classes=[walk,punch]", "dataset.classes", ("walk", "punch")),
        ("dataset.classes=[walk, ride_bike]", "dataset.classes", ("walk", "ride_bike")),
        ("dataset.classes=null", "dataset.classes", None),
        ("dataset.sample.width=64", "dataset.sample.width", 64),
        ("rgb.max_frames=null", "rgb.max_frames", None),
        ("rgb.max_frames=17", "rgb.max_frames", 17),
        ("optical.bound=16", "optical.bound", 16.0),
        ("optical.bound=1e1", "optical.bound", 10.0),
        ("optical.algorithm=tvl1", "optical.algorithm", "tvl1"),
        (" split.fold =3", "split.fold", 3),
        ("run={workers: 2, shard_size: 5}", "run.shard_size", 5),
    ],
)
def test_an_override_is_read_as_its_field_needs_it(override, path, value):
    assert get(load("hmdb5", [override]), path) == value


def test_overrides_apply_in_order_and_keep_their_neighbours(tmp_path):
    (tmp_path / "a.yaml").write_text("name: a\nout: b\noptical:\nrgb: {max_frames: 9}\n")  # optical: null
    settings = load(tmp_path / "a.yaml", ["optical.bound=5", "optical.preset=fast", "optical.bound=7", "split.fold=2"])
    assert (settings.optical.bound, settings.optical.preset, settings.split.fold) == (7.0, "fast", 2)
    assert settings.rgb.max_frames == 9


@pytest.mark.parametrize("override", ["optical.bound", "=3", ".bound=3", "optical..bound=3", "optical.=1", ""])
def test_a_malformed_override_says_what_one_looks_like(override):
    with pytest.raises(SpecError, match=r"expected dotted\.key=value"):
        load("hmdb5", [override])


def test_an_override_below_a_value_or_that_is_not_yaml_is_an_error():
    with pytest.raises(SpecError, match="out is a value, not a group"):
        load("hmdb5", ["out.folder=3"])
    with pytest.raises(SpecError, match="the value is not YAML"):
        load("hmdb5", ["dataset.classes=[walk"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no settings"),
        (b"- a\n- b\n", "holds no settings"),
        (b"name: [", "not readable as YAML"),
        (b"name: caf\xe9\n", "not readable as YAML"),
        (b"name: !!python/object/apply:os.system [true]\n", "not readable as YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_an_error_that_names_it(tmp_path, content, message):
    (tmp_path / "broken.yaml").write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        load(tmp_path / "broken.yaml")
    assert str(tmp_path / "broken.yaml") in str(caught.value)


def test_a_configuration_is_a_file_or_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("hmdb5").name == "hmdb5"
    (tmp_path / "hmdb5").mkdir()  # a folder of that name is no configuration
    assert load("hmdb5").name == "hmdb5"
    with pytest.raises(SpecError, match=r"no configuration 'hmbd5'.*hmdb5, hmdb51, .*sample.*did you mean hmdb5\?"):
        load("hmbd5")
    with pytest.raises(SpecError, match="no configuration"):
        load(tmp_path / "configs" / "nothing.yaml")


def shipped() -> list[str]:
    return sorted(path.stem for path in resources.folder("configs").glob("*.yaml"))


def test_the_shipped_configurations_are_there():
    assert {"hmdb5", "hmdb51", "sample"} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_configuration_loads_and_is_called_as_its_file(name):
    settings = load(name)
    assert settings.name == name
    assert parse(settings.model_dump(mode="json")) == settings
    assert settings.dataset.source is None or settings.name == "folder"  # nobody else has our folders


def test_the_tree_of_hmdb5_is_what_the_issue_says():
    settings = load("hmdb5")
    assert settings.dataset.classes == ("walk", "ride_bike", "run", "fall_floor", "push")
    assert (settings.split.protocol, settings.split.test_fraction) == ("official", 0.10)
    assert (settings.optical.algorithm, settings.optical.bound, settings.run.shard_size) == ("auto", 20.0, 64)


def test_the_json_schema_on_disk_is_the_one_of_the_model():
    path = resources.folder("configs") / "schema.json"
    # Not as text: 0 and 0.0 are the same, and Pydantic 2.10 writes the one, Pydantic 2.14 the other.
    assert json.loads(path.read_bytes()) == json.loads(schemas.json_schema(spec.BuildSpec)), "run `make schema`"


def test_the_json_schema_forbids_unknown_keys_describes_each_field_and_lists_the_plugins():
    schema = json.loads(schemas.json_schema(spec.BuildSpec))
    for name, model in {"BuildSpec": schema, **schema["$defs"]}.items():
        assert model["additionalProperties"] is False, name
        for key, field in model["properties"].items():
            assert "$ref" in field or field.get("description"), f"{name}.{key}"
    assert schema["$defs"]["DatasetSpec"]["properties"]["name"]["enum"] == DATASETS.split(", ")
    assert schema["$defs"]["OpticalSpec"]["properties"]["backend"]["enum"] == BACKENDS.split(", ")


def test_reading_settings_needs_no_heavy_module():
    code = "import sys, araflow.core.spec; print(*{'numpy', 'cv2', 'av', 'prefect', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nout: b\noptical: {bound: 5, bound: 6}\n")
    with pytest.raises(SpecError, match="'bound' is given twice"):
        load(path)
