"""One token inside a text: tokenizers that put a space in front, or take one away, or do neither."""

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from headclaims.checkpoint.inside import TokensInside

PIECES = ["<unk>", "▁", "▁red", "red", "▁dog", "a", "▁a", "\n", ",", "g", "▁gree", "n"]
IDS = {piece: n for n, piece in enumerate(PIECES)}


def pieces(prepend: str) -> TokensInside:
    """A SentencePiece tokenizer, which puts a space before texts always, before the first word, or never."""
    unigram = Tokenizer(models.Unigram([(piece, -1.0 - (len(piece) < 3)) for piece in PIECES], unk_id=0))
    if prepend == "normalizer":  # Llama 2: every text, one that begins with a space too
        unigram.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    unigram.decoder = decoders.Metaspace()
    return TokensInside(transformers.PreTrainedTokenizerFast(tokenizer_object=unigram, unk_token="<unk>"))


@pytest.mark.parametrize("prepend", ["normalizer", "always", "first", "never"])
def test_a_word_is_one_token_if_it_is_inside_a_text(prepend: str) -> None:
    inside = pieces(prepend)
    assert inside.ids(" red") == [IDS["▁red"]]
    assert inside.ids(" dog") == [IDS["▁dog"]]
    assert inside.ids(" green") == [IDS["▁gree"], IDS["n"]]


@pytest.mark.parametrize("prepend", ["normalizer", "first", "never"])
def test_a_word_without_a_space_is_another_token(prepend: str) -> None:
    assert pieces(prepend).ids("red") == [IDS["red"]]


def test_a_tokenizer_that_takes_the_space_away_keeps_it_inside() -> None:
    """Stripped alone, ` red` would be the token of `red`."""
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "red": 2, " red": 3}, unk_token="<unk>"))
    words.normalizer = normalizers.Strip()
    words.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_next")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert fast.encode(" red", add_special_tokens=False) == [2]
    assert TokensInside(fast).ids(" red") == [3]
