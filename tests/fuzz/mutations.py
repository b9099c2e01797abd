"""Damages texts: words of a command line, values of YAML, cells of CSV, values of JSON, single characters."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (
    *(
        "0",
        "-0.0",
        "1",
        "-1",
        "2",
        "0.5",
        "-1e308",
        "1e308",
        "1e-308",
        "5e-324",
        "1e999",
        "1e30",
        "-1e15",
        "nan",
        "inf",
    ),
    *("1000000007", "999999999", "100000000000", "2147483648", "9223372036854775808", "9" * 400, "9" * 5000),
)
PLAIN = ("1", "2", "3", "4", "8", "16", "32", "64", "128", "1000", "0.1", "0.9", "1e-3", "true", "false", "auto")
"""Values that many keys accept."""

TEXTS = (
    "",
    " ",
    "x",
    "../x",
    "a/b",
    "名前",
    "é\u2028x",
    "'",
    '"',
    "<!--<script>",
    "=1+2",
    "%s%n",
    "x" * 3000,
    "\x1b[31m",
)
YAML_VALUES = (
    *(
        "null",
        "~",
        "true",
        "off",
        "[]",
        "{}",
        "[[[]]]",
        "[1, [2, {a: b}]]",
        "{a: {b: {c: 1}}}",
        ".nan",
        ".inf",
        "-.inf",
    ),
    *(
        "!!bool x",
        "!!int x",
        "!!float x",
        "!!int ''",
        "!!timestamp x",
        "!!binary x",
        "!!set {a, b}",
        "!!null x",
        "!x y",
    ),
    *("2024-01-01", "2024-99-99", "12:30:45", "0x" + "f" * 5000, "0b2", "1_000", "0o17", "*missing", "&a [*a]", "&b 3"),
    *(
        '"\\ud800"',
        '"\\0"',
        '"\\x85"',
        "|\n  x\n  y",
        "? x",
        "<<: {a: 1}",
        "- x",
        "[" * 2000,
        "@x",
        "`x",
        "%x",
        "!!str 3",
    ),
    "[&x0 [1, 1, 1, 1, 1, 1, 1, 1], "
    + ", ".join(f"&x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))
    + "]",
)
JSON_VALUES = (
    *("null", "true", "false", "[]", "{}", "[[[]]]", "NaN", "Infinity", "-Infinity", '"\\ud800"', '"x"', '"\\u0000"'),
    *('[1, {"a": [null]}]', '{"a": {"b": 1}}', "[" * 3000 + "]" * 3000, '[{"steps": 0, "trace": 1}]', "[{}]", "[null]"),
    *('[{"batch_observations": 0, "grad_sq_norm": 1}, {"batch_observations": -1, "grad_sq_norm": "x"}]', '"adaptive"'),
)
SEPARATORS = (",", ":", "\n", "\r", "\t", "\x00", "\ufeff", "[", "]", "{", "}", "-", "#", "'", '"', "\\", "é", "9", " ")


def number_or_text(draw: random.Random) -> str:
    """Returns a number or a text that is likely to surprise, or one that may well be valid."""
    return draw.choice(draw.choice((NUMBERS, NUMBERS, PLAIN, PLAIN, TEXTS)))


def damaged_characters(draw: random.Random, text: str) -> str:
    """Flips, deletes or duplicates a stretch of characters, or inserts one."""
    place = draw.randrange(len(text) + 1)
    length = draw.choice((1, 1, 1, 5, 40))
    stretch = text[place : place + length]
    new = draw.choice(
        ("", stretch * 2, stretch * 9, draw.choice(SEPARATORS), "".join(chr(ord(c) ^ 1) for c in stretch))
    )
    return text[:place] + new + text[place + length :]


def damaged_lines(draw: random.Random, text: str) -> str:
    """Deletes, duplicates or swaps lines, or cuts the text off."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    how = draw.randrange(4)
    if how == 0:
        del lines[one]
    elif how == 1:
        lines.insert(other, lines[one])
    elif how == 2:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        return text[: draw.randrange(len(text) + 1)]
    return "".join(lines)


def damaged_values(draw: random.Random, text: str, pattern: str, values: Sequence[str]) -> str:
    """Replaces the text of a group of one match of `pattern` by one of `values`, or by a number or a text."""
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = draw.choice(found)
    new = draw.choice(values) if values and draw.random() < 0.5 else number_or_text(draw)
    return text[: match.start(1)] + new + text[match.end(1) :]


def damaged(draw: random.Random, text: str, pattern: str, values: Sequence[str] = ()) -> str:
    """Damages a text once to three times, values most often."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        chance = draw.random()
        if chance < 0.7:
            text = damaged_values(draw, text, pattern, values)
        elif chance < 0.85:
            text = damaged_characters(draw, text)
        else:
            text = damaged_lines(draw, text)
    return text


def damaged_words(draw: random.Random, words: Sequence[str]) -> list[str]:
    """Damages the words of a command line once to three times."""
    words = list(words)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(words) + 1)
        how = draw.randrange(5)
        if how == 0 and place < len(words):
            del words[place]
        elif how == 1 and place < len(words):
            words.insert(draw.randrange(len(words) + 1), words[place])
        elif how == 2 and place < len(words):
            words[place] = damaged_characters(draw, words[place])
        elif how == 3 and place < len(words) and not words[place].startswith("--"):
            words[place] = number_or_text(draw)
        else:
            words.insert(place, draw.choice((number_or_text(draw), "--", "--json", "--help", "-", "-x", "\udcff")))
    return [word.replace("\x00", "") for word in words]  # no program can be given a zero byte
