"""The pages: their Python runs, their commands, options and links exist, and the index leads to each of them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import araflow
from araflow.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """Return the words of each ``araflow`` command in a page's shell blocks, up to a pipe."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    lines += [found for line in lines for found in re.findall(r"\$\((araflow .*?)\)", line)]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("araflow ")]
    return [[*line, "|"][: [*line, "|"].index("|")] for line in words]


def anchors(page: Path) -> set[str]:
    """Return GitHub's names of a page's headings."""
    titles = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    for words in commands(page):
        command: click.Command = main
        rest = words[1:]
        while isinstance(command, click.Group) and (rest or not command.invoke_without_command):
            own = {name for each in command.params for name in each.opts}
            rest = rest[1:] if rest and rest[0] in own else rest
            assert rest and rest[0] in command.commands, words
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= options, (words, used - options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    linked = {link.partition("#")[0] for link in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))}
    assert {page.name for page in DOCS.glob("*.md")} - linked == {"README.md"}


def test_howto_python_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'araflow[train]'")
    shutil.copytree(ROOT / "tests" / "guards" / "output", tmp_path / "data" / "hmdb5")
    walk = tmp_path / "data" / "hmdb5" / "clips" / "walk"
    for number, name in enumerate(("first", "second")):
        shutil.copy(walk / "walk_one" / "rgb" / f"{number:04d}.png", walk / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    written = []
    for code in blocks(DOCS / "howto.md", "python"):
        exec(compile(code, "howto.md", "exec"), {"__name__": "howto"})
        written.append(capsys.readouterr().out)
    windows, counts, flow = written
    assert re.fullmatch(r"(\(1, 3, 8, \d+, \d+\) \[[01]\]\n){2}", windows), "two training clips, batches of one"
    assert "'label': 'walk', 'outcome': 'done', 'frames_sum': 7" in counts
    assert re.fullmatch(r"\(\d+, \d+, 2\) True\n", flow)


def test_the_settings_of_published_weights_are_settings():
    (words,) = [line for line in commands(DOCS / "howto.md") if line[1] == "train-eval"]
    shown = CliRunner().invoke(main, [*words[1:], "--cfg"])
    assert shown.exit_code == 0, shown.output
    network = yaml.safe_load(shown.stdout)["network"]
    assert (network["rgb"]["frames"], network["rgb"]["width"], network["rgb"]["mean"][0]) == (16, 112, 0.43216)


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (araflow.__version__, "Apache-2.0")


def test_the_reference_is_that_of_the_docstrings(tmp_path):
    """And is found stale where a docstring has changed: in a copy, whose word is another."""
    command = [sys.executable, "docs/reference.py", "--check"]
    assert not subprocess.run(command, cwd=ROOT, check=False).returncode
    for name in ("araflow", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    source = tmp_path / "araflow" / "recognition" / "data" / "frames.py"
    source.write_text(source.read_text(encoding="utf-8").replace("one by one", "each in turn"), encoding="utf-8")
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (1, "docs/reference.md is stale: make schema\n")
