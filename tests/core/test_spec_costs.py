"""Settings that cost much are refused in a line, at once: aliases, depth, length, keys, and values of no meaning."""

from pathlib import Path

import pytest

from araflow.core import spec_file
from araflow.core.errors import SpecError
from araflow.core.spec import BuildSpec

pytestmark = pytest.mark.timeout(10)


def laugh(levels: int, begin: str = "[x,x,x,x,x,x,x,x,x,x]", again: str = "[{}]", joint: str = ",") -> str:
    """Each level is ten times the one below it."""
    lines = [f"a0: &a0 {begin}"]
    lines += [f"a{i}: &a{i} {again.format(joint.join([f'*a{i - 1}'] * 10))}" for i in range(1, levels)]
    return "\n".join([*lines, f"dataset: {{classes: *a{levels - 1}}}\n"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laugh(9), "more than 20,000 keys and values"),
        (laugh(200), "more than 20,000 keys and values"),
        (laugh(9, "{k: 1}", "{{<<: [{}]}}"), "more than 20,000 keys and values"),
        (laugh(4, f"[{'x' * 60_000}]"), "more than 20,000 keys and values"),
        ("a: &a [1, *a]\n", "an alias that contains itself"),
        ("a: &a {b: {c: *a}}\n", "an alias that contains itself"),
        ("a: " + "[" * 900 + "]" * 900, "nested more than 32 deep"),
        ("a: " + "[" * 5000 + "]" * 5000, "nest"),  # PyYAML from 6.0.4 on has a limit of its own, 1000
        ("".join(f"{' ' * n}a:\n" for n in range(900)), "nested more than 32 deep"),
        ("- " * 5000, "nested more than 32 deep"),
        ("name: x\nout: y\ndataset:\n" + "".join(f"  k{i}: 1\n" for i in range(60_000)), "more than 20,000 keys"),
        (f"name: {'x' * 100_000}\n", "a value of more than 65,536 characters"),
        (f"name: x # {'x' * (1 << 20)}\n", "larger than the 1,048,576 bytes"),
        ("name: 2001-99-99\n", "not what it looks like: month must be in 1..12"),
        ("name: !!timestamp x\n", "not what it looks like"),
        ("name: !!bool maybe\n", "not what it looks like"),
        ("name: !!int one\n", "not what it looks like"),
        ("name: !!float one\n", "not what it looks like"),
        (f"name: {'9' * 5000}\n", "not what it looks like"),
        (f"name: 0x{'f' * 5000}\n", "more than 64 bits"),
        (f"name: 1{':59' * 5000}\n", "more than 64 bits"),
        ("name: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("? [a]\n: b\n", "a list or a group as a key"),
        ("? {a: b}\n: b\n", "a list or a group as a key"),
        ("a: *b\n", "undefined alias"),
        ("a: 1\na: 2\n", "'a' is given twice (line 2, column 1)"),
        ("a: &x {b: 1, b: 2}\n", "'b' is given twice"),
        ("a: \x00\n", "not readable as YAML"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("3\n", "holds no settings"),
    ],
)
def test_it_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        spec_file.read(file)
    said = str(caught.value)
    assert message in said
    assert "\n" not in said
    assert len(said) < 500


def test_an_alias_is_taken_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("a: &a [1, {b: 2}]\nb: [*a, *a]\n")
    assert spec_file.read(file)["b"] == [[1, {"b": 2}]] * 2


@pytest.mark.parametrize(
    "text", ["dataset.classes=" + "[" * 5000, "run.workers=2001-99-99", f"run.workers={'9' * 5000}"]
)
def test_an_override_is_bounded_likewise(text: str) -> None:
    with pytest.raises(SpecError, match="the value is not YAML") as caught:
        spec_file.override({}, [text], BuildSpec)
    assert len(str(caught.value)) < 700


def test_thousands_of_unknown_keys_are_counted_and_a_few_are_shown() -> None:
    tree = {"name": "x", "out": "y", "dataset": {f"nam{number}": 1 for number in range(19_000)}}
    with pytest.raises(SpecError) as caught:
        spec_file.parse(tree)
    first, *lines = str(caught.value).split("\n")
    assert (first, len(lines), lines[-1].strip()) == ("spec:", 21, "and 18,980 more")
    assert all("unknown key" in line and "did you mean name?" in line for line in lines[1:-1])


@pytest.mark.parametrize(
    "tree",
    [
        {"dataset": {"k" * 60_000: 1}},
        {"dataset": {"name": "n" * 60_000}},
        {"optical": {"backend": ["x" * 60_000] * 50}},
        {"split": {"protocol": "a: b: " + "[" * 60_000}},
        {"split": {"protocol": 10**18}},
        {"run": {"workers": {"x": ["y" * 1000] * 1000}}},
    ],
)
def test_what_was_found_is_cut_and_the_rest_is_counted(tree: dict[str, object]) -> None:
    with pytest.raises(SpecError) as caught:
        spec_file.parse({"name": "x", "out": "y"} | tree)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("name", ["n" * 60_000, "x" * 300 + ".yaml", "a\0b", "/dev/null", "."])
def test_a_name_that_no_file_can_have_is_a_line(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_file.load(name)
    assert len(str(caught.value)) < 600
