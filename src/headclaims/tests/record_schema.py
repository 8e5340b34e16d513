"""The form of `claims.json`, schema 2, written down from the design and not from the code."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Maybe:
    """The value may be null."""

    of: Any


@dataclass(frozen=True)
class ByName:
    """An object with names of any kind, all values of one."""

    of: Any


@dataclass(frozen=True)
class OneOf:
    """One of these values."""

    values: tuple[Any, ...]


NUMBER = (int, float)
CAPABILITIES = OneOf(("tokens", "attention", "interventions", "scores", "qk", "ov", "embedding", "graph"))
KINDS = (
    "hub",
    "folder",
    "gguf",
    "planted",
    "trained",
    "partial-weights",
    "recorded-attention",
    "recorded-graph",
    "bundle",
)
VERDICTS = ("supported", "not supported", "undecided", "not assessable")
FLAGS = (
    "by construction",
    "distinctive",
    "not distinctive",
    "null too small",
    "null missing",
    "conditional",
    "no interval",
    "part of the model",
)
OUTCOMES = (
    "found",
    "true",
    "by construction",
    "not rare",
    "as far as told",
    "conditional",
    "not run",
    "not assessable",
    "undecided",
    "not supported",
    "error",
)
RECORD: dict[str, Any] = {
    "schema": OneOf((2,)),
    "complete": bool,
    "suite": {"name": OneOf(("headclaims",)), "version": str, "commit": Maybe(str)},
    "claim_set": {"name": str, "version": int, "sha256": str},
    "started": str,
    "seconds": NUMBER,
    "checkpoint": {
        "spec": str,
        "kind": OneOf(KINDS),
        "name": str,
        "revision": Maybe(str),
        "fingerprint": Maybe(str),
        "identity": str,
        "prompts_begin_with": Maybe(OneOf(("BOS", "EOS"))),
        "capabilities": [CAPABILITIES],
        "n_layers": int,
        "n_heads": int,
        "d_model": Maybe(int),
        "d_head": Maybe(int),
        "d_vocab": Maybe(int),
        "files": Maybe([{"file": str, "sha256": Maybe(str), "gives": Maybe(str), "left_out": Maybe(str)}]),
    },
    "target": {
        "layer": int,
        "head": int,
        "label": str,
        "chosen_by": OneOf(("option", "default", "auto")),
        "chosen_on": Maybe(str),
    },
    "evidence_of": OneOf(("discovery", "replication")),
    "counts": {
        "empirical": int,
        "assessed": int,
        "supported": int,
        "found": int,
        "identities": int,
        "identities_hold": int,
    },
    "scorecard": [{"says": str, "claims": [str], "outcome": OneOf(OUTCOMES), "answer": str}],
    "settings": {
        "checkpoint": Maybe(str),
        "revision": Maybe(str),
        "head": str,
        "words": str,
        "prompts": int,
        "seq_len": int,
        "seed": int,
        "device": str,
        "dtype": str,
        "report_dir": str,
        "no_cache": bool,
        "verdicts_only": bool,
        "mutate": Maybe(str),
        "page": bool,
    },
    "environment": {
        "python": str,
        "torch": str,
        "transformer_lens": str,
        "numpy": str,
        "platform": str,
        "cpu": str,
        "threads": int,
        "device": str,
    },
    "claims": [
        {
            "id": str,
            "group": str,
            "statement": str,
            "source": str,
            "verdict": Maybe(OneOf(VERDICTS)),
            "flags": [OneOf(FLAGS)],
            "measured": ByName(NUMBER),
            "interval": Maybe([NUMBER]),
            "reported": Maybe(ByName(NUMBER)),
            "nulls": [
                {
                    "population": str,
                    "n": Maybe(int),
                    "p": Maybe(NUMBER),
                    "p_least": Maybe(NUMBER),
                    "n_layer": Maybe(int),
                    "p_layer": Maybe(NUMBER),
                }
            ],
            "variants": [{"name": str, "measured": NUMBER, "holds": bool}],
            "reason": Maybe(str),
            "seconds": NUMBER,
            "p_adjusted": Maybe(NUMBER),
            "p_adjusted_least": Maybe(NUMBER),
            "wanted": ByName(str),
            "half_width": Maybe(NUMBER),
        }
    ],
}


def departures(value: Any, wanted: Any = None, where: str = "record") -> list[str]:
    """Where a record departs from the schema, a line each; no key may be missing and none may be more."""
    wanted = RECORD if wanted is None else wanted
    match wanted:
        case Maybe():
            return [] if value is None else departures(value, wanted.of, where)
        case OneOf():
            return [] if value in wanted.values else [f"{where}: {value!r}; wanted one of {wanted.values}"]
        case ByName():
            if not isinstance(value, dict):
                return [f"{where}: {value!r}; wanted an object"]
            return [line for name, one in value.items() for line in departures(one, wanted.of, f"{where}.{name}")]
        case dict():
            if not isinstance(value, dict) or set(value) != set(wanted):
                return [f"{where}: {value!r}; wanted the keys {sorted(wanted)}"]
            return [line for key in wanted for line in departures(value[key], wanted[key], f"{where}.{key}")]
        case list():
            if not isinstance(value, list):
                return [f"{where}: {value!r}; wanted a list"]
            return [line for i, one in enumerate(value) for line in departures(one, wanted[0], f"{where}[{i}]")]
    right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
    return [] if right else [f"{where}: {value!r}; wanted {wanted}"]
