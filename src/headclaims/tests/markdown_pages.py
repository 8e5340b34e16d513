"""The repository's Markdown, read as GitHub reads it: blocks of code, sentences, links and anchors."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from headclaims.tests.claims_run import ROOT

DIRECTIVE = re.compile(r"<!-- (.+?) -->")
SENTENCE_END = re.compile(r"(?<=[.!?])[*_)”\"]*\s+")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text and line, and the directives in the comments right above it."""

    language: str
    text: str
    line: int
    directives: dict[str, str] = field(default_factory=dict)


def cells(row: str) -> list[str]:
    """Return the cells of a table's line."""
    return [cell.strip() for cell in row.strip("|").split("|")]


@cache
def pages() -> tuple[str, ...]:
    """Return the Markdown files under version control, or new and not ignored, by their paths from the root."""
    line = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return tuple(sorted(path for path in listed if path and (ROOT / path).is_file()))


@cache
def tokens(page: str) -> tuple[Token, ...]:
    """Return a page's tokens: CommonMark with tables."""
    return tuple(MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8")))


def blocks(page: str) -> list[Block]:
    """Return a page's fenced blocks in order.

    Comments right above a block direct how it is run: `<!-- long; write: path -->`, one or several.
    """
    found, directives = [], dict[str, str]()
    for token in tokens(page):
        if token.type == "html_block":
            for comment in DIRECTIVE.findall(token.content):
                for part in comment.split(";"):
                    key, _, value = part.strip().partition(": ")
                    directives[key] = value
            continue
        if token.type == "fence":
            found.append(Block(token.info, token.content, (token.map or [0])[0] + 1, directives))
        directives = {}
    return found


def sentences(page: str) -> list[str]:
    """Return the sentences of a page's paragraphs, list items, headings and table cells."""
    texts = [_text(token) for token in tokens(page) if token.type == "inline"]
    return [sentence for text in texts for sentence in SENTENCE_END.split(text) if sentence]


def _text(token: Token) -> str:
    children = token.children or []
    return "".join(
        " " if child.type in ("softbreak", "hardbreak") else child.content
        for child in children
        if child.type != "image"
    )


def anchors(page: str) -> list[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    given: list[str] = []
    for opening, inline in zip(tokens(page), tokens(page)[1:], strict=False):
        if opening.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", _text(inline).strip().lower()).replace(" ", "-")
            twins = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in given)
            given.append(f"{slug}-{twins}" if twins else slug)
    return given


def links(page: str) -> Iterator[str]:
    """Yield the targets of a page's links and images."""
    for token in tokens(page):
        for child in token.children or []:
            if child.type == "link_open":
                yield str(child.attrs["href"])
            elif child.type == "image":
                yield str(child.attrs["src"])
