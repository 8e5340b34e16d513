"""The counterfeits by name, and their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headclaims.checkpoint.planted.counterfeits.ablation import AttentionZeroFed, EmbeddingOnly, MlpOnly, Positional
from headclaims.checkpoint.planted.counterfeits.behaviour import (
    BosDrowned,
    CopyTolerant,
    NoBosFallback,
    NoCategories,
    Outdone,
    SelfAttending,
    SelfByPosition,
    Successor,
    TwoHeads,
    WrongHead,
)
from headclaims.checkpoint.planted.counterfeits.coarser_classes import (
    Coarse,
    LetterCase,
    NotMe,
    OneCategory,
    PartsOfSpeech,
    TokenLength,
)
from headclaims.checkpoint.planted.counterfeits.spectrum import PositivePadding
from headclaims.checkpoint.planted.counterfeits.steering import Entangled, Oversteered, Repelling
from headclaims.checkpoint.planted.counterfeits.symmetric_skew import SkewDriven, SkewIdle, SkewScored
from headclaims.checkpoint.planted.counterfeits.uneven_kin import EarlyKin, FrequentKin, RecencyInKin, WordPairs
from headclaims.checkpoint.planted.counterfeits.vocabulary_map import (
    BrightGroups,
    CaseBlind,
    CommonHubs,
    Hubs,
    ListedOnly,
    ManyLoose,
    Merged,
)
from headclaims.checkpoint.planted.folder import kept_folder, save
from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.checkpoint.planted.vocabulary import vocabulary
from headclaims.checkpoint.planted.weights import PlantedWeights

COUNTERFEITS: dict[str, type[PlantedWeights]] = {
    "self-attending": SelfAttending,
    "positional": Positional,
    "attention-0-fed": AttentionZeroFed,
    "embedding-only": EmbeddingOnly,
    "mlp-only": MlpOnly,
    "wrong-head": WrongHead,
    "two-heads": TwoHeads,
    "outdone": Outdone,
    "no-categories": NoCategories,
    "successor": Successor,
    "self-by-position": SelfByPosition,
    "copy-tolerant": CopyTolerant,
    "skew-driven": SkewDriven,
    "skew-idle": SkewIdle,
    "skew-scored": SkewScored,
    "no-bos-fallback": NoBosFallback,
    "bos-drowned": BosDrowned,
    "case-blind": CaseBlind,
    "entangled": Entangled,
    "oversteered": Oversteered,
    "positive-padding": PositivePadding,
    "merged": Merged,
    "bright-groups": BrightGroups,
    "listed-only": ListedOnly,
    "many-loose": ManyLoose,
    "hubs": Hubs,
    "common-hubs": CommonHubs,
    "coarse": Coarse,
    "parts-of-speech": PartsOfSpeech,
    "letter-case": LetterCase,
    "token-length": TokenLength,
    "not-me": NotMe,
    "one-category": OneCategory,
    "word-pairs": WordPairs,
    "repelling": Repelling,
    "frequent-kin": FrequentKin,
    "recency-in-kin": RecencyInKin,
    "early-kin": EarlyKin,
}


def names() -> Sequence[str]:
    """Return the names that can follow `planted:`."""
    return (*COUNTERFEITS, "random")


def counterfeit_folder(name: str, seed: int = 0) -> Path:
    """Return the folder of a counterfeit in the cache, built where it is missing; raises KeyError for another name."""
    if name == "random":
        return random_folder(seed)
    made = COUNTERFEITS[name]
    return kept_folder(f"planted-{name}", seed, lambda to: save(to, made(vocabulary(), np.random.default_rng(seed))))
