"""Parses a report's page: well-formedness, references, headings, figures, text."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

FIVE_MEGABYTES = 5_000_000
VOID = {"meta", "link", "br", "input", "hr", "img"}


class Page(HTMLParser):
    """Collects a page's references, text, headings and embedded figures. Every tag must close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.downloads: dict[str, list[list[str]]] = {}
        self.levels: list[int] = []
        self.charts: list[dict[str, Any]] = []
        self.data: dict[str, Any] = {}
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self._type = ""
        self._id = ""
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.references += [named[name] for name in ("src", "href") if name in named]
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if named.get("role") == "img":
            self.labels.append(named.get("aria-label", ""))
        if "download" in named:
            content = base64.b64decode(named["href"].removeprefix("data:text/csv;base64,")).decode()
            self.downloads[named["download"]] = list(csv.reader(io.StringIO(content)))
        if "id" in named:
            self.ids.append(named["id"])
        self._type = named.get("type", "script") if tag in ("script", "style") else ""
        self._id = named.get("id", "")
        if tag == "th":
            assert named.get("scope") in ("row", "col")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._type = ""
        assert self._open.pop() == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        if self._type == "application/json":
            content = json.loads(data)
            if isinstance(content, dict):
                self.charts.append(content)
            self.data[self._id] = content
        elif not self._type:
            self.text += data.replace("\u00a0", " ")


def read_page(path: Path) -> Page:
    """Parses a file and checks what must hold for every page."""
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < FIVE_MEGABYTES
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", text)
    page = Page(text)
    assert all(ref.startswith(("data:", "#")) for ref in page.references), page.references
    anchors = {ref[1:] for ref in page.references if ref.startswith("#")}
    assert anchors <= set(page.ids), anchors - set(page.ids)
    assert len(page.ids) == len(set(page.ids)), [name for name in page.ids if page.ids.count(name) > 1]
    assert page.levels[0] == 1 and page.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    assert {"header", "main", "footer"} <= set(page.tags)
    drawn = len(page.charts) + ("planner-data" in page.data)
    assert len(page.labels) == drawn and all(page.labels)
    assert len(page.downloads) == len(page.charts)
    for word in ("None", "nan", "NaN", "inf ", "1 runs", "1 goals", "1 games"):
        assert not re.search(rf"(?<![\d,.a-zA-Z]){word}", page.text), word
    return page
