"""Counterfeits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headclaims.checkpoint.planted import kept_folder, save_folder
from headclaims.checkpoint.planted_vocabulary import vocabulary
from headclaims.checkpoint.random_weights import random_config, random_weights


def random_folder(seed: int, clustered: bool = False) -> Path:
    """The folder of a random checkpoint (`random_weights`)."""

    def build(folder: Path) -> None:
        vocab = vocabulary()
        weights = random_weights(vocab, np.random.default_rng(seed), clustered)
        save_folder(folder, random_config(len(vocab.forms) + 2), weights, vocab)

    return kept_folder("random-clusters" if clustered else "random", seed, build)
