"""What people see: names that come from elsewhere command no terminal, forge no line, and are no markup.

Names of files, rows of manifests, headers of servers, labels of checkpoints: all of it is data. Whatever shows it goes
through here, and so does every message, in which addresses lose what may be secret.
"""

from __future__ import annotations

import json
import re
import unicodedata

import click

from araflow.core.addresses import masked_all, masked_in

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what commands a terminal, turns the direction of a line, breaks it, or is not seen."""
_BLANK = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Of other categories, and not seen either (Unicode's Default_Ignorable_Code_Point, and the blank of Braille)."""
_SEEN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Of category Cf, and seen: signs of Arabic, Syriac and Kaithi."""
_JOINS = frozenset("\u200c\u200d\ufe0e\ufe0f")
"""Belong to words of Persian and of India, and to pictures of people, where a character beyond ASCII stands before."""
_MARKS = re.compile(
    r"[\\`*\[\]<>|~&$#]|(?<![^\W_])_|_(?![^\W_])"
    r"|:(?=//|[\w+-]+:)|(?<=\w)@(?=\w)|(?<=www)\.(?=\w)",
    re.IGNORECASE,
)
"""What Markdown may take for more than itself; of underscores those that are not within a word. Then what makes a link
or a picture of bare text: addresses, :names:, mail."""


def visible(text: str) -> str:
    r"""Return text on one line, with what is no sign to be seen written out, such as ``\n`` and ``\u202e``."""
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text
    shown: list[str] = []
    before = ""
    for character in text:
        hidden = unicodedata.category(character) in _UNSEEN or _BLANK.match(character) is not None
        if hidden and character not in _SEEN and not (character in _JOINS and not before.isascii()):
            shown.append(character.encode("unicode_escape").decode())
        else:
            shown.append(character)
        before = character
    return "".join(shown)


def shown(text: str) -> str:
    """Return a message of one or more lines as people may see it: ``visible``, and addresses without secrets."""
    return "\n".join(map(visible, masked_in(text).split("\n")))


def as_one(text: str) -> str:
    """Return a message as ``shown``, its further lines indented: a name with a line break in it begins no line."""
    first, *others = shown(text).split("\n")
    return "\n".join([first, *(line if line.startswith("  ") or not line else f"  {line}" for line in others)])


def as_markdown(text: str) -> str:
    """Return text as Markdown that shows it as it is, on one line, also within a table."""
    return _MARKS.sub(r"\\\g<0>", visible(masked_in(text)))


def echo(message: str = "", *, err: bool = False) -> None:
    """Print lines for people; tables print themselves.

    Args:
        message: The lines.
        err: On standard error.
    """
    click.echo(shown(message), err=err)  # noqa: TID251


def echo_json(content: object, indent: int | None = 2) -> None:
    """Print a value for machines, exactly as it is; JSON has escapes of its own for what commands a terminal.

    Args:
        content: What JSON can say.
        indent: ``None`` for one line.
    """
    click.echo(as_json(content, indent))  # noqa: TID251


def as_json(content: object, indent: int | None = None) -> str:
    """Return a value as JSON in ASCII, addresses in it without secrets."""
    text = json.dumps(content, indent=indent, default=str)
    if ":/" in text:  # before what is not ASCII is escaped, since that would end an address
        text = masked_in(json.dumps(masked_all(content), indent=indent, default=str))
    return text.replace("\x7f", "\\u007f")  # which json leaves as it is
