"""Report folders by hand: a claim of every verdict, figures of every kind, and hostile text among them."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from headclaims.record.entries import ClaimEntry, NullEntry, VariantEntry, counts
from headclaims.report.claim_figures import ClaimFigures, NullValues, Part
from headclaims.report.figures.attention_pattern import Pattern
from headclaims.report.figures.blocks import Blocks
from headclaims.report.figures.effects import Effect, Effects
from headclaims.report.figures.form import Form
from headclaims.report.figures.head_scores import HeadScores
from headclaims.report.figures.scatter_plane import ScatterPlane
from headclaims.report.figures.similarity_curve import Similarity
from headclaims.report.figures.spectrum import Spectrum
from headclaims.report.figures.steered_attention import SteeredAttention
from headclaims.report.figures.steered_blocks import SteeredBlocks
from headclaims.report.figures.token_map import TokenGraph
from headclaims.report.figures_file import figures_json
from headclaims.statistics.verdict import Flag, Verdict

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=1>"
ROOT = Path(__file__).parents[3]


def claim(claim_id: str, verdict: Verdict | None = Verdict.SUPPORTED, **parts: Any) -> ClaimEntry:
    """A claim of one of three groups."""
    group = {"communities-are-semantic": "Vocabulary map"}.get(claim_id, "Behaviour")
    return ClaimEntry(claim_id, group, "It holds", "Somewhere", **{"verdict": verdict} | parts)


def claims() -> list[ClaimEntry]:
    """One of each verdict."""
    return [
        claim(
            "category-score-lowest",
            flags=[Flag.DISTINCTIVE],
            measured={"gap": 1.5, "score": 0.5},
            interval=[1.0, 2.0],
            reported={"gap": 0.6},
            nulls=[NullEntry("other heads", 35, 0.0278, 0.0278, 3, 0.5), NullEntry("Gaussian heads", None, None)],
            variants=[VariantEntry("E zero", 0.5, True), VariantEntry(HOSTILE, -0.5, False)],
        ),
        claim("fails", Verdict.NOT_SUPPORTED, measured={"ratio": 0.5}, interval=[0.25, 0.75]),
        claim("open", Verdict.UNDECIDED, measured={"ratio": 1.0}, interval=[-1.0, 3.0], reason="about 99 prompts"),
        claim("lacking", Verdict.NOT_ASSESSABLE, reason=f"the evidence lacks {HOSTILE}"),
        claim("communities-are-semantic", measured={"ami": 0.5}),
    ]


def record(entries: Sequence[ClaimEntry], complete: bool = True, **checkpoint: Any) -> dict[str, Any]:
    """A record of schema 2."""
    return {
        "schema": 2,
        "complete": complete,
        "suite": {"name": "headclaims", "version": "0.1.0", "commit": None},
        "claim_set": {"name": "my_claims", "version": 1, "sha256": "0" * 64},
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 12.5,
        "checkpoint": {
            "spec": f"some/{HOSTILE}",
            "kind": "folder",
            "name": HOSTILE,
            "revision": None,
            "fingerprint": "abc",
            "identity": "0123456789abcdef",
            "capabilities": ["tokens"],
            "n_layers": 2,
            "n_heads": 3,
            "d_model": 8,
            "d_head": 4,
            "d_vocab": None,
        }
        | checkpoint,
        "target": {"layer": 1, "head": 2, "label": "L1H2", "chosen_by": "option"},
        "evidence_of": "replication",
        "counts": counts(entries),
        "settings": {"checkpoint": None, "seed": 0, "verdicts_only": False, "mutate": None},
        "environment": {"python": "3.11", "threads": 2},
        "claims": [asdict(entry) for entry in entries],
    }


def token_graph(n: int = 12, k: int = 4, groups: int = 3) -> TokenGraph:
    """Tokens that attend within their community but for one edge each; the first of each is the most attended."""
    community = [i % groups for i in range(n)]
    edges = []
    for i in range(n):
        own = [j for j in range(n) if j % groups == i % groups and j != i]
        edges += [(i, j) for j in (own * k)[: k - 1]] + [(i, (i + 1) % n)]
    tokens = [f" w{i}" for i in range(n)]
    tokens[1] = HOSTILE
    scores = np.round(np.linspace(9, 1, len(edges)), 4).tolist()
    return TokenGraph(tokens, edges, scores, community, {0: "firsts", 2: "seconds"})


def forms() -> dict[str, Form]:
    """Forms of the first write-up but for the map, with the target L1H2 of two layers of three heads."""
    heads = [(layer, head) for layer in range(2) for head in range(3)]
    labels = [f"L{layer}H{head}" for layer, head in heads]
    tokens = [" red", HOSTILE, " <b>dog</b>", " cat"]
    scores = np.arange(16.0).reshape(4, 4).tolist()
    return {
        "head_scores": HeadScores(heads, [3.0, 2.0, 1.5, 2.5, 2.2, 0.5], 2.75),
        "pattern": Pattern(["BOS", HOSTILE, "blue"], [[1.0], [0.5, 0.5], [0.25, 0.5, 0.25]], [[0], [0], [1]]),
        "effects": Effects([Effect("mean", 0.05, (0.0, 0.1)), Effect("zero", 0.5, None)]),
        "blocks": Blocks(tokens, [0, 0, 1, 1], scores),
        "spectrum": Spectrum([-2.0, -1.0, -0.5, -0.1, 0.2, 0.4, 1.5, 3.0], 4, labels, [1, 2, 2, 3, 0, 2]),
        "scatter": ScatterPlane(labels, [0.1, 0.2, -0.9, 0.0, 0.3, -0.8], [0.0, 0.1, 0.95, 0.2, -0.1, 0.9]),
        "similarity": Similarity(
            [0.1, 0.3, 0.5], [-1.0, 2.0, 0.5], [-1.1, 1.9, 0.4], [-0.9, 2.1, 0.6], [99, 60, 50], [None, 1.0, 2.0]
        ),
        "steered_blocks": SteeredBlocks(tokens, [0, 0, 1, 1], [1.0, -1.0], [scores, scores], [1.0, 3.0], [2.0, 2.0]),
        "steered_attention": SteeredAttention([1.0, -1.0], [0.1, 0.6], [0.2, 0.1], [0.7, 0.4]),
    }


def figures() -> dict[str, ClaimFigures]:
    """What the claims above draw."""
    first = ClaimFigures(
        f"As defined by {HOSTILE}",
        [Part("gap", 1.5, "> 0", (1.0, 2.0)), Part("share", 0.25, "≤ 0.5", None)],
        "smaller gap",
        1.25,
        "high",
        [NullValues("other heads", [0.5, None, 1.0, 1.25, 2.0], 3, 4)],
    )
    for name, form in forms().items():
        first.draw(name, lambda form=form: form)  # type: ignore[misc]
    return {"category-score-lowest": first, "communities-are-semantic": mapped(token_graph())}


def mapped(graph: TokenGraph) -> ClaimFigures:
    """What a claim about a token map draws."""
    claim = ClaimFigures("As defined")
    claim.draw("token_map", lambda: graph)
    return claim


def suite_records(reports: Path) -> None:
    """Put the records of the suite itself into a folder of reports."""
    for path in ("trials/matrix.json", "trials/power.json", "benchmarks/trend.json"):
        (reports / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "reports" / path, reports / path)


def write_folder(
    folder: Path, entries: Sequence[ClaimEntry] | None = None, complete: bool = True, with_figures: bool = True
) -> Path:
    """A report folder with a record and its figures."""
    content = record(claims() if entries is None else entries, complete)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claims.json").write_text(json.dumps(content), encoding="utf-8")
    if with_figures:
        of = {name: asdict(one) for name, one in figures().items()}
        (folder / "figures.json").write_text(figures_json(content, of), encoding="utf-8")
    return folder


def edited(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "claims.json") -> None:
    """Change a file of a folder."""
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
