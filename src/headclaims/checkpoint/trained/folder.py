"""Trained checkpoints in the cache: `trained:SERIES@STEP`."""

from __future__ import annotations

from pathlib import Path

from headclaims.checkpoint.planted import folder as planted
from headclaims.checkpoint.planted.folder import kept_folder, save_folder
from headclaims.checkpoint.trained import induction
from headclaims.errors import BadCheckpoint

SERIES = {"induction": induction}
WANTED = "wanted trained:<series>@<step>, as trained:induction@1000"


def parse(spec: str) -> tuple[str, int]:
    """Return the series and the step that a spec names; raises BadCheckpoint, in one line, for any other."""
    name, _, step = spec.partition(":")[2].partition("@")
    if name not in SERIES:
        raise BadCheckpoint(f"{spec}: no trained series {name!r}; {WANTED}; series: {', '.join(SERIES)}")
    steps = SERIES[name].STEPS
    if not step.isdecimal() or int(step) not in steps:
        kept = ", ".join(map(str, steps))
        raise BadCheckpoint(f"{spec}: no step {step!r} of {name}; {WANTED}; steps: {kept}")
    return name, int(step)


def trained_folder(name: str, step: int, seed: int = 0) -> Path:
    """Return the folder of a step of a series in the cache; where it is missing the whole series is trained."""
    made = SERIES[name]

    def build(folder: Path) -> None:
        vocab = made.words()
        for at, weights in made.series(seed):
            save_folder(folder / f"step-{at}", made.config(vocab), weights, vocab)

    vocabulary = Path(planted.__file__).parent
    sources = (Path(__file__).parent, vocabulary / "vocabulary.py", vocabulary / "vocabulary.toml")
    return kept_folder(f"trained-{name}", seed, build, sources) / f"step-{step}"
