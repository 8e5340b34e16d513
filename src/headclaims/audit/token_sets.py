"""The sets of tokens that claims about a head's map are about, as far as a tokenizer has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headclaims.cache import Cache
from headclaims.checkpoint.interface import Checkpoint
from headclaims.errors import NotAssessable
from headclaims.measures.communities import labels
from headclaims.measures.token_sets import CommonWords, Groups, TokenSets
from headclaims.measures.top_attended import probes
from headclaims.prompts.words import WordList, WordLists, common_words, group_tokens


@dataclass(frozen=True)
class Sets:
    """Token sets; where one is missing, why."""

    tokens: TokenSets
    missing: dict[str, str]

    def require(self, name: str) -> None:
        """Raise NotAssessable, with the reason, where a set is missing."""
        if name in self.missing:
            raise NotAssessable(self.missing[name])

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, lists: WordLists, word_list: WordList, words: WordList, cache: Cache | None = None
    ) -> Sets:
        """Return group tokens, the run's words, common words, and the probes of all lists, of a whole model."""
        single_token, spec, vocabulary = checkpoint.single_token, checkpoint.spec, checkpoint.vocabulary
        makers: dict[str, Callable[[], Any]] = {
            "groups": lambda: Groups.of(group_tokens(lists.groups, single_token, spec), single_token),
            "common": lambda: CommonWords.of(
                common_words(single_token, vocabulary, spec, cache=cache), single_token, vocabulary
            ),
            "probes": lambda: probes([*lists.every, word_list], single_token, vocabulary),
        }
        sets: dict[str, Any] = dict.fromkeys(makers)
        missing = {}
        for name, make in makers.items():
            try:
                sets[name] = make()
            except NotAssessable as error:
                missing[name] = str(error)
        if sets["common"] is not None:
            try:
                sets["labels"] = labels(checkpoint.texts(sets["common"].tokens), lists.every)
            except NotAssessable as error:
                missing["labels"] = str(error)
        if sets["common"] is None or not any(len(tokens) for tokens in sets["common"].variants):
            no_variants = "no common word has a case or space variant under this tokenizer"
            missing["variants"] = missing.get("common", no_variants)
        return cls(TokenSets(Groups.of(words, single_token), **sets), missing)
