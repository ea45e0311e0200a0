"""What people see is text."""

import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from araflow.core.screen import as_json, as_markdown, as_one, shown, visible

COMMANDS = ["\x00", "\a", "\b", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\x9d", "\u2028", "\u2029"]
UNSEEN = ["\u061c", "\u200b", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\u00ad", "\u3164"]
BROKEN = ["\ud800", "\udc80", "\udcff"]
TEXT = st.text(st.characters(), max_size=20)  # lone surrogates, too


@pytest.mark.parametrize("sign", [*COMMANDS, *UNSEEN, *BROKEN])
def test_what_is_no_sign_is_written_out(sign):
    assert visible(f"a{sign}b") == f"a{sign.encode('unicode_escape').decode()}b"
    assert visible(f"a{sign}b").isascii()


@pytest.mark.parametrize(
    "name", ["", "[red]x[/red]", ":smile:", "a\\nb", "ride bike", "歩く", "كلمة", "می‌خواهم", "क्‍ष", "👩‍👧", "❤️", "é"]
)
def test_signs_stay(name):
    assert visible(name) == shown(name) == name


@given(TEXT)
@example("a\u200db")
@example("\u200c")
def test_nothing_commands_a_terminal(text):
    seen = visible(text)
    assert not {unicodedata.category(sign) for sign in seen} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(seen) & set(UNSEEN)
    assert not re.search("[\0-\x7f][\u200c\u200d\ufe0f]", seen)
    seen.encode()
    assert visible(seen) == seen


def test_a_message_keeps_its_lines_and_shows_no_secret():
    message = "b\x1b[1m:\n  http://u:S3CRET@h/\x1b]0;x\x07?S3CRET: no"
    assert shown(message) == "b\\x1b[1m:\n  http://…@h/\\x1b]0;x\\x07?…: no"


def test_a_line_break_in_a_name_begins_no_message():
    assert as_one("error: a\nerror: done\n  more\n\n") == "error: a\n  error: done\n  more\n\n"


@given(TEXT)
def test_json_is_exact_and_commands_no_terminal(text):
    line = as_json({"key": text})
    assert json.loads(line)["key"] == text or "://" in text
    assert line.isprintable() and line.isascii()


def test_json_has_no_secrets_in_whatever_letters():
    about = {"key": ["http://ü:ß3CRET@host/x?ä=ö3CRET", "dataset.source=http://u:3CRET@host/"], "n": 1}
    assert json.loads(as_json(about)) == {"key": ["http://…@host/x?…", "dataset.source=http://…@host/"], "n": 1}


@pytest.mark.parametrize("name", ["www.example.org", "https://x.org", "me@example.org", ":smile:", "# x", "$x$", "<b>"])
def test_bare_text_is_no_markup(name):
    page = MarkdownIt("gfm-like", {"linkify": False}).renderInline(as_markdown(name))
    assert re.sub(r"<[^>]*>", "", page).replace("&lt;", "<").replace("&gt;", ">") == name
    assert "<" not in page.replace("&lt;", "")
    raw = as_markdown(name)
    assert not re.search(
        r"https?://|www\.\w|\w@\w|(?<!\\):\w+:", raw
    )  # what GitHub and browsers make a link or a picture of
