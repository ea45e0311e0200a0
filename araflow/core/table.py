"""One way to show a table: a value, which a terminal and a Markdown page render.

Names are text: a class may be called ``[b]`` or ``a|b`` and is shown so. Nothing is wrapped or cut, so that a path, a
key or a command can be copied whole; a terminal that is narrower than a row breaks its line, which copies as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from araflow.core.screen import as_markdown, visible

if TYPE_CHECKING:
    from rich.console import Console

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and how its cells are shown.

    Attributes:
        name: The heading.
        right: Aligned to the right, as figures are.
        styles: Rich's style of cells by their text, for terminals.
    """

    name: str
    right: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)


def names(*headings: str) -> tuple[Column, ...]:
    """Return columns of text, aligned to the left."""
    return tuple(Column(heading) for heading in headings)


def figures(*headings: str) -> tuple[Column, ...]:
    """Return columns of numbers, aligned to the right."""
    return tuple(Column(heading, right=True) for heading in headings)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        columns: From left to right.
        rows: Each with a cell per column.
        total: The row that sums the others up, where there is one; shown last.
        title: What it shows; Markdown leaves it to the page.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None
    title: str = ""

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, object]], total: Mapping[str, object] | None = None, title: str = ""
    ) -> Table:
        """Return a table of rows that name their cells; whole numbers to the right, columns without content left out.

        Args:
            rows: All with the same names, in the order of the columns.
            total: Their sum, with these names too.
            title: What it shows.
        """
        every = [*rows, *([] if total is None else [total])]
        headings = [name for name in (every[0] if every else ()) if any(row[name] for row in every)]
        columns = tuple(Column(name, _are_numbers(row[name] for row in every)) for name in headings)
        cells = [tuple(_cell(row[name]) for name in headings) for row in every]
        return cls(columns, cells[: len(rows)], None if total is None else cells[-1], title)

    def text(self) -> str:
        """Return it as lines of plain text, each as long as it is."""
        lines = [_GAP.join(cells).rstrip() for cells, _ in self._lines()]
        return "".join(f"{line}\n" for line in ([visible(self.title)] if self.title else []) + lines)

    def markdown(self) -> str:
        """Return it as a GitHub-flavoured Markdown table, without its title."""
        lines = [[as_markdown(column.name) for column in self.columns]]
        lines.append(["---:" if column.right else "---" for column in self.columns])
        lines += [[as_markdown(cell) for cell in row] for row in self.rows]
        lines += [] if self.total is None else [[cell and f"**{as_markdown(cell)}**" for cell in self.total]]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def print(self, console: Console | None = None) -> None:
        """Print it, in bold and colours where that is a terminal.

        Args:
            console: Where; ``None``: standard output.
        """
        from rich.console import Console
        from rich.text import Text

        console = Console() if console is None else console
        if not console.is_terminal:
            console.file.write(self.text())
            return
        if self.title:
            console.print(Text(visible(self.title), "italic"), soft_wrap=True)
        for cells, row_style in self._lines():
            styled = (
                Text(cell, row_style or column.styles.get(cell.strip(), ""))
                for column, cell in zip(self.columns, cells, strict=True)
            )
            line = Text(_GAP).join(styled)
            line.rstrip()
            console.print(line, soft_wrap=True)

    def _lines(self) -> Iterator[tuple[list[str], str]]:
        """Yield the cells of each line, padded, and the line's style."""
        from rich.cells import cell_len

        if not self.columns:
            return
        lines = [([visible(column.name) for column in self.columns], "bold")]
        lines += [([visible(cell) for cell in row], "") for row in self.rows]
        lines += [] if self.total is None else [([visible(cell) for cell in self.total], "bold")]

        def long(cell: str) -> int:
            return len(cell) if cell.isascii() else cell_len(cell)

        widths = [max(map(long, cells)) for cells in zip(*(cells for cells, _ in lines), strict=True)]
        for cells, style in lines:
            gaps = [" " * (width - long(cell)) for width, cell in zip(widths, cells, strict=True)]
            triples = zip(self.columns, gaps, cells, strict=True)
            yield [gap + cell if column.right else cell + gap for column, gap, cell in triples], style


def _are_numbers(values: Iterable[object]) -> bool:
    found = {type(value) for value in values if value not in (None, "")}
    return found == {int}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if type(value) is int else str(value)
