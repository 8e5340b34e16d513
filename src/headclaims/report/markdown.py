"""`claims.md`: a record to read, or to paste into an issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tabulate import tabulate

from headclaims.record.entries import ClaimEntry
from headclaims.report.cells import (
    markdown_cells,
    markdown_code,
    markdown_text,
    measured,
    number,
    p_values,
    reported,
    resolution,
)
from headclaims.report.footer import FOUND, headline
from headclaims.statistics.verdict import Verdict

COLUMNS = ("claim", "reported", "measured [95 %]", "null p", "verdict", "flags")


def rows(claims: Sequence[ClaimEntry]) -> list[list[str]]:
    """Return a row a claim under `COLUMNS`."""
    return [[c.id, reported(c), measured(c), p_values(c), c.verdict or "error", ", ".join(c.flags)] for c in claims]


def markdown(record: Mapping[str, Any], claims: Sequence[ClaimEntry], prompts: str, why: str | None) -> str:
    """Return `claims.md`: the scorecard, what was audited, a row a claim, and folded away what was measured.

    `prompts` says how many prompts there are of which length; `why` how the checkpoint was chosen where none was named.
    Text of the checkpoint is escaped.
    """
    checkpoint, target, suite = record["checkpoint"], record["target"], record["suite"]
    head = [
        f"# Claims about {target['label']} of {markdown_text(checkpoint['name'])}",
        "",
        *_scorecard(record.get("scorecard") or []),
        f"**{headline(record['counts'], record['evidence_of'])}.**",
        "",
        f"{FOUND[0].upper()}{FOUND[1:]}.",
        "",
    ]
    if not record["complete"]:
        head += ["**Incomplete: the run was cut short, covered some claims only, or a claim ended in an error.**", ""]
    settings = record["settings"]
    revision = checkpoint["revision"]
    chosen_on = f", on {markdown_text(target['chosen_on'])}" if target["chosen_on"] else ""
    head += [
        f"- checkpoint: {markdown_code(checkpoint['spec'])} ({checkpoint['kind']}), revision "
        f"{markdown_text(revision) if revision else '–'}, fingerprint `{checkpoint['fingerprint'] or '–'}`",
        f"- evidence: {', '.join(checkpoint['capabilities'])}",
        f"- target head: {target['label']}, chosen by {target['chosen_by']}{chosen_on}",
        f"- prompts: {prompts}, words {markdown_text(settings['words'])}, seed {settings['seed']}",
        f"- suite: headclaims {suite['version']}, commit `{suite['commit'] or '–'}`, {record['started']}",
    ]
    files = checkpoint.get("files") or []
    head += [f"- {markdown_code(one['file'])}: {markdown_text(_source(one))}" for one in files]
    head += [f"- {markdown_text(why)}"] if why else []
    table = tabulate(_grouped(claims), headers=COLUMNS, tablefmt="github", disable_numparse=True)
    fold = ["<details><summary>What each claim says, and what was measured</summary>", ""]
    return "\n".join([*head, "", table, "", *fold, *(line for c in claims for line in _section(c)), "</details>", ""])


def _grouped(claims: Sequence[ClaimEntry]) -> list[list[str]]:
    """Return the cells of all claims, a row with the name before each group where there are several."""
    groups = [(name, list(some)) for name, some in groupby(claims, lambda claim: claim.group)]
    cells = []
    for name, some in groups:
        cells += [[f"**{markdown_cells([[name]])[0][0]}**", *[""] * (len(COLUMNS) - 1)]] if len(groups) > 1 else []
        cells += markdown_cells(rows(some))
    return cells


def _scorecard(sentences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of the write-up's sentences and their answers; no line where the set lists none."""
    if not sentences:
        return []
    cells = markdown_cells([[one["says"], one["answer"]] for one in sentences])
    return [tabulate(cells, ["the write-up says", "the evidence"], tablefmt="github", disable_numparse=True), ""]


def _source(file: Mapping[str, Any]) -> str:
    """Return what a file of a bundle gives, and why it is left out where it is."""
    left_out = file["left_out"] and f"left out: {file['left_out']}"
    return "; ".join(text for text in (file["gives"], left_out) if text)


def _section(claim: ClaimEntry) -> list[str]:
    lines = [f"## {claim.id}", "", f"{claim.statement} ({claim.source})", ""]
    if claim.verdict is Verdict.NOT_ASSESSABLE or claim.verdict is None:
        reason = claim.reason if claim.verdict is None else f"{claim.verdict}: {claim.reason}"
        return [*lines, f"- {markdown_text(reason or '')}", ""]
    wanted = {name: f", wanted {threshold}" for name, threshold in claim.wanted.items()}
    lines += [f"- {name}: {value!r}{wanted.get(name, '')}" for name, value in claim.measured.items()]
    for null in claim.nulls:
        p = "missing" if null.p is None else f"p = {null.p:.4g}"
        least = "" if null.p_least is None else f" (least possible {null.p_least:.4g})"
        layer = "" if null.p_layer is None else f"; of its layer (n = {null.n_layer}): p = {null.p_layer:.4g}"
        lines.append(f"- null {null.population} (n = {null.n or 0}): {p}{least}{layer}")
    lines += [] if claim.p_adjusted is None else [f"- adjusted p = {claim.p_adjusted:.4g}"]
    lines += [f"- resolution: {resolved}"] if (resolved := resolution(claim)) else []
    for variant in claim.variants:
        lines.append(
            f"- variant {variant.name}: {number(variant.measured)}, {'holds' if variant.holds else 'does not hold'}"
        )
    lines += [f"- {markdown_text(claim.reason)}"] if claim.reason else []
    return [*lines, ""]
