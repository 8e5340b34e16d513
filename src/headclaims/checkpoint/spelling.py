"""Tokens as text, where a file has them as tokenizers spell them: `Ġred` or `▁red` for ` red`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

BYTE_SPACE, PIECE_SPACE = "Ġ", "▁"


def plain_text(prompts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return tokens as text with spaces, whichever way a file spells them.

    Byte-level BPE (GPT-2, Llama 3) writes a space as `Ġ` and other bytes as other letters, SentencePiece (Llama 2,
    Gemma) a space as `▁`. A file is taken to be spelled so where some tokens begin with that mark and none with a
    space.
    """
    tokens = [token for prompt in prompts for token in prompt]
    plain = any(token.startswith(" ") for token in tokens)
    if not plain and any(token.startswith(BYTE_SPACE) for token in tokens):
        return [[_from_bytes(token) for token in prompt] for prompt in prompts]
    if not plain and any(token.startswith(PIECE_SPACE) for token in tokens):
        return [[token.replace(PIECE_SPACE, " ") for token in prompt] for prompt in prompts]
    return [list(prompt) for prompt in prompts]


@cache
def _byte_of_letter() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for.

    Printable bytes stand for themselves; the others are numbered from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _from_bytes(token: str) -> str:
    """Return a byte-level token as text; one with letters that stand for no byte, such as a special one, as it is."""
    byte_of = _byte_of_letter()
    if not all(letter in byte_of for letter in token):
        return token
    return bytes(byte_of[letter] for letter in token).decode("utf-8", errors="replace")
