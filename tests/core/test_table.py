"""Tables, as a terminal, a pipe and a Markdown page show them."""

import html
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from araflow.core.screen import as_markdown, visible
from araflow.core.table import Column, Table, figures, names

ROWS = [{"class": "walk", "listed": 1200, "failed": 0}, {"class": "run", "listed": 7, "failed": 0}]
TOTAL = {"class": "all", "listed": 1207, "failed": 0}
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)


def printed(table: Table, *, terminal: bool, width: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system="standard")
    table.print(console)
    return console.file.getvalue()


def unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_numbers_stand_to_the_right_and_columns_without_content_are_left_out():
    assert Table.of(ROWS, TOTAL, "data/[x]").text() == (
        "data/[x]\n"  #
        "class  listed\n"
        "walk    1,200\n"
        "run         7\n"
        "all     1,207\n"
    )


def test_a_column_is_of_numbers_though_its_first_cell_is_empty():
    text = Table.of([{"key": "a", "frames": None}, {"key": "b", "frames": 12}, {"key": "c", "frames": 3}]).text()
    assert text.splitlines()[1:] == ["a", "b        12", "c         3"]


def test_a_total_is_bold_and_a_row_that_is_called_all_is_not():
    rows = [{"class": "all", "listed": 1}, {"class": "run", "listed": 2}]
    *_, named, _, total = printed(Table.of(rows, {"class": "all", "listed": 3}), terminal=True).splitlines()
    assert "\x1b[1m" not in named
    assert total.startswith("\x1b[1mall")
    assert Table.of(rows, {"class": "all", "listed": 3}).markdown().splitlines()[2:] == [
        "| all | 1 |",
        "| run | 2 |",
        "| **all** | **3** |",
    ]
    assert "**" not in Table.of(rows).markdown()


def test_no_rows_are_a_title_alone():
    assert Table.of([]).text() == ""
    assert Table.of([], title="here").text() == "here\n"
    assert unstyled(printed(Table.of([], title="here"), terminal=True)) == "here\n"
    assert Table(names("a", "b"), ()).text() == "a  b\n"


def test_a_page_aligns_as_a_terminal_does():
    table = Table((*names("class"), *figures("videos")), [("run", "7")], title="per class")
    assert table.markdown() == "| class | videos |\n| --- | ---: |\n| run | 7 |\n"


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_wrapped_or_cut(width: int, terminal: bool):
    path = "/data/a folder/" + "0123456789" * 12
    table = Table.of([{"path": path, "bytes": 1}, {"path": "b", "bytes": 12345}], title=f"{path}/out")
    lines = unstyled(printed(table, terminal=terminal, width=width)).splitlines()
    assert lines[0] == f"{path}/out"
    assert lines[2].startswith(f"{path}  ")
    assert len(lines) == 4
    assert not any(line.endswith(" ") for line in lines)


def test_wide_characters_take_two_places():
    assert Table.of([{"class": "走る", "listed": 1}, {"class": "walk", "listed": 1}]).text().splitlines()[1:] == [
        "走る        1",
        "walk        1",
    ]


def test_cells_are_coloured_by_what_they_say():
    table = Table(
        (*names("name"), Column("there", styles={"yes": "green", "no": "yellow"})), [("a", "yes"), ("b", "no")]
    )
    shown = printed(table, terminal=True)
    assert "\x1b[32myes" in shown
    assert "\x1b[33mno" in shown
    assert "\x1b" not in printed(table, terminal=False)


@pytest.mark.parametrize("name", ["[b]bold[/b]", "Title [dQw4w9WgXcQ]", ":smile:", "walk[/b]", "{x}", "%s", "a  b"])
def test_a_name_is_no_markup(name: str):
    for terminal in (False, True):
        table = Table((*names(name), Column("style", styles={name: "green"})), [(name, name)], (name, name), name)
        assert unstyled(printed(table, terminal=terminal)).count(name) == 6


@given(st.lists(st.tuples(NAMES, NAMES), max_size=4), NAMES)
def test_a_row_is_a_line_and_commands_no_terminal(rows: list[tuple[str, str]], title: str):
    table = Table(names("one", "two"), rows, title=title)
    for terminal in (False, True):
        shown = unstyled(printed(table, terminal=terminal))
        assert len(shown.splitlines()) == len(rows) + 1 + bool(title)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert len(table.markdown().splitlines()) == len(rows) + 2


@given(NAMES | st.text("ab _*`~<>[]()!&|\\\\;#$:", max_size=8))
@example("-_hbPLsZvvo_")
@example("a\\\\|b")
def test_a_reader_of_markdown_finds_the_name(name: str):
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    assert html.unescape(page.renderInline(as_markdown(name))).strip() == visible(name).strip()
    table = Table((*names("name"), *figures("n")), [(name, "1")], title="t").markdown()
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page.render(table), re.S)
    assert [html.unescape(cell).strip() for cell in cells] == [visible(name).strip(), "1"]


def test_what_is_not_visible_is_written_out():
    assert visible("a\nb\x1b[31m\u2028\udcff") == r"a\nb\x1b[31m\u2028\udcff"
    assert visible("Zoë 走る a\u00a0b") == "Zoë 走る a\u00a0b"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("run|x", r"run\|x"),
        ("a\\|b", r"a\\\|b"),
        ("`rm`", r"\`rm\`"),
        ("*a* _b_ ride_bike", r"\*a\* \_b\_ ride_bike"),
        ("[a](http://b)", r"\[a\](http\://b)"),
        ("<img src=x>", r"\<img src=x\>"),
        ("a &amp; b", r"a \&amp; b"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_a_page_shows_names_as_they_are(name: str, page: str):
    assert as_markdown(name) == page
    assert Table(names(name), [(name,)]).markdown().splitlines() == [f"| {page} |", "| --- |", f"| {page} |"]
