"""Text from files that is used as a name or as code: what can do harm is refused, or written so that it cannot."""

import ast

import pytest

from secateur.errors import DataError, SecateurError, printable
from secateur.untrusted import folder_name, literal


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "../../evil", "/x", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[2J", "a\x7f"),
        *("x" * 256, "\u00fc" * 128, "\udcff"),
    ],
)
def test_what_is_no_name_of_one_folder_is_refused(text):
    with pytest.raises(DataError, match="^label: expected a valid folder name, got .*; rename it$"):
        folder_name(text, "label")


@pytest.mark.parametrize("text", ["cat", "golden retriever", "...", ".hidden", "~", "$HOME", "*", "\u732b", "x" * 255])
def test_every_other_name_is_taken_as_it_is(text):
    assert folder_name(text, "label") == text


@pytest.mark.parametrize("text", ['a"b', '"); import os; ("', "a\\", "a\nb", "{x}", "\u202egnp", "\u732b", "a'b"])
def test_a_literal_is_one_string_that_reads_back_as_the_text(text):
    assert ast.literal_eval(literal(text)) == text
    assert literal(text).isprintable()


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "a\r\nb", "\u202ecod.exe", "\x9b2J", "\u2028", "\x08\x08"])
def test_an_error_holds_nothing_that_steers_a_terminal(text):
    told = str(SecateurError(f"label: got {text}"))
    assert told.isprintable()
    assert told == f"label: got {printable(text)}"
