"""The scorecard: each sentence of a write-up, and what the evidence says of it in one plain sentence.

A sentence rests on some claims of the set. Its answer is that of the claim that fares worst: one that is not supported
makes the sentence not supported, whatever the others say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from headclaims.record.entries import ClaimEntry, NullEntry, Outcome, SentenceEntry
from headclaims.report.cells import number
from headclaims.statistics.verdict import SIGNIFICANT, Flag, Verdict

MOST_NAMED = 2
LIMITS = {
    Flag.NO_INTERVAL: "too few prompts for an interval",
    Flag.NULL_TOO_SMALL: "too few others to compare with",
    Flag.NULL_MISSING: "a comparison is missing",
    Flag.PART_OF_THE_MODEL: "only some heads of the model were seen",
}
"""What evidence lacks where a claim is supported and cannot be found."""
NO_NULLS = "nulls were not asked"
NOT_ADJUSTED = "p is not adjusted for the other claims"
NO_RIVAL = "true; it rules out another reading, and is compared with nothing"
OUTCOME_SIGNS: dict[Outcome, str] = {
    Outcome.FOUND: "✓",
    Outcome.TRUE: "✓",
    Outcome.BY_CONSTRUCTION: "=",
    Outcome.NOT_RARE: "≈",
    Outcome.CONDITIONAL: "≈",
    Outcome.LIMITED: "✓",
    Outcome.NOT_SUPPORTED: "✗",
    Outcome.UNDECIDED: "?",
    Outcome.NOT_ASSESSABLE: "–",
    Outcome.NOT_RUN: "–",
    Outcome.ERROR: "!",
}
"""One character an outcome, beside words that say the same."""


def scorecard(
    sentences: Iterable[tuple[str, Sequence[str]]], claims: Sequence[ClaimEntry], verdicts_only: bool = False
) -> list[SentenceEntry]:
    """Return an entry a sentence, given as what it says and the ids of its claims.

    `claims` are those of the record, settled; `verdicts_only` says that neither nulls nor variants were asked.
    """
    by_id = {claim.id: claim for claim in claims}
    entries = []
    for says, ids in sentences:
        outcome, answer = _answer([by_id[name] for name in ids if name in by_id], verdicts_only)
        missing = [name for name in ids if name not in by_id]
        if missing and outcome is not Outcome.NOT_RUN:
            answer += f"; not asked in this run: {', '.join(missing)}"
        entries.append(SentenceEntry(says, list(ids), outcome, answer))
    return entries


def headword(answer: str) -> str:
    """Return what an answer says in a few words, before it goes on to say why or of which claims."""
    return re.split("[:;]", answer, maxsplit=1)[0]


def _answer(claims: Sequence[ClaimEntry], verdicts_only: bool) -> tuple[Outcome, str]:
    if not claims:
        return Outcome.NOT_RUN, "not asked in this run"
    by_verdict: dict[Verdict | None, list[ClaimEntry]] = {}
    for claim in claims:
        by_verdict.setdefault(claim.verdict, []).append(claim)
    bad: dict[Outcome, str] = {}
    if None in by_verdict:
        bad[Outcome.ERROR] = f"no answer: {_names(by_verdict[None])} ended in an error"
    if Verdict.NOT_SUPPORTED in by_verdict:
        bad[Outcome.NOT_SUPPORTED] = f"not supported: {_names(by_verdict[Verdict.NOT_SUPPORTED])}"
    if Verdict.UNDECIDED in by_verdict:
        bad[Outcome.UNDECIDED] = f"undecided: {_undecided(by_verdict[Verdict.UNDECIDED])}"
    if bad:
        return next(iter(bad)), "; ".join(bad.values())
    unknown = by_verdict.get(Verdict.NOT_ASSESSABLE, [])
    if len(unknown) == len(claims):
        return Outcome.NOT_ASSESSABLE, f"can't be told here: {_reasons(unknown)}"
    return _supported(by_verdict[Verdict.SUPPORTED], unknown, verdicts_only)


def _supported(claims: Sequence[ClaimEntry], unknown: Sequence[ClaimEntry], verdicts_only: bool) -> tuple[Outcome, str]:
    """Return the answer where every claim is supported as far as it can be assessed."""
    conditional = [claim for claim in claims if Flag.CONDITIONAL in claim.flags]
    rare_not = [claim for claim in claims if Flag.NOT_DISTINCTIVE in claim.flags]
    by_construction = [claim for claim in claims if Flag.BY_CONSTRUCTION in claim.flags]
    limits = _limits(claims, verdicts_only)
    if unknown:
        lacking = ", ".join(dict.fromkeys((claim.reason or "").split(": ")[0] for claim in unknown))
        limits.append(f"{len(unknown)} of {len(unknown) + len(claims)} claims can't be told ({lacking})")
    is_one = len(claims) == 1 and not unknown
    has_found = any(claim.found for claim in claims)
    clauses: dict[Outcome, str] = {}
    if conditional:
        clauses[Outcome.CONDITIONAL] = (
            f"not under every variant: {'; '.join(_variants(c, is_one) for c in conditional)}"
        )
    if limits:
        clauses[Outcome.LIMITED] = f"as far as it can be told here: {', '.join(limits)}"
    if rare_not:
        clauses[Outcome.NOT_RARE] = _not_rare(rare_not, is_one, in_part=has_found)
    if clauses:
        joined = "; ".join(clauses.values())
        return next(iter(clauses)), f"true{' ' if Outcome.LIMITED is next(iter(clauses)) else ', '}{joined}"
    if len(by_construction) == len(claims):
        return Outcome.BY_CONSTRUCTION, "true by construction: algebra, of any head"
    if not has_found:
        return Outcome.TRUE, NO_RIVAL
    apart = f"; by construction: {_names(by_construction)}" if by_construction else ""
    return Outcome.FOUND, f"found{apart}"


def _limits(claims: Sequence[ClaimEntry], verdicts_only: bool) -> list[str]:
    empirical = [claim for claim in claims if Flag.BY_CONSTRUCTION not in claim.flags]
    flags = {flag for claim in empirical for flag in claim.flags}
    if verdicts_only:
        # Each null is missing then, and none of them for want of evidence.
        flags.discard(Flag.NULL_MISSING)
    limits = [text for flag, text in LIMITS.items() if flag in flags]
    open_still = [claim for claim in empirical if claim.p is not None and Flag.NOT_DISTINCTIVE not in claim.flags]
    limits += [NOT_ADJUSTED] if any(claim.p_adjusted is None for claim in open_still) else []
    return [*limits, NO_NULLS] if verdicts_only and empirical else limits


def _not_rare(claims: Sequence[ClaimEntry], is_one: bool, in_part: bool) -> str:
    """Say how many others do as well, of the two commonest claims; that p is too large once adjusted, where it is."""
    common = [claim for claim in claims if (claim.p or 0) > SIGNIFICANT]
    what = "not rare" if common else "not shown to be rare"
    commonest = sorted(claims, key=lambda claim: -(claim.p or 0))
    each = [_share(claim) if is_one else f"{claim.id}, {_share(claim)}" for claim in commonest[:MOST_NAMED]]
    each += [f"and {len(claims) - MOST_NAMED} more"] if len(claims) > MOST_NAMED else []
    return f"and {'in part ' if in_part else ''}{what}: {'; '.join(each)}"


def _share(claim: ClaimEntry) -> str:
    """Say how many of a null's members and the target do as well: p (n + 1) of n + 1, for the null with the largest p.

    The p of a head that was chosen among many is of no such share, and is given itself.
    """
    deciding = [null for null in claim.nulls if null.decides]
    null = max(deciding, key=lambda one: one.p or 0.0)
    p, n = null.p or 0.0, (null.n or 0) + 1
    share = p * n
    shown = f"{round(share)} of {n:,} {_members(null)}" if abs(share - round(share)) < 1e-6 else f"p {number(p)}"
    if p <= SIGNIFICANT and claim.p_adjusted is not None:
        shown += f", p {claim.p_adjusted:.2g} once adjusted for the other claims"
    return shown


def _members(null: NullEntry) -> str:
    return "heads" if null.population == "other heads" else f"draws of {null.population}"


def _variants(claim: ClaimEntry, is_one: bool) -> str:
    failing = ", ".join(variant.name for variant in claim.variants if not variant.holds)
    return failing if is_one else f"{claim.id} ({failing})"


def _undecided(claims: Sequence[ClaimEntry]) -> str:
    said = []
    for claim in claims:
        why = (claim.reason or "").split("; ")[0]
        said.append(f"{claim.id} ({why})" if why else claim.id)
    return ", ".join(said)


def _reasons(claims: Sequence[ClaimEntry]) -> str:
    """Return the reasons of claims, each once, at most two."""
    reasons = list(dict.fromkeys(claim.reason or "no reason given" for claim in claims))
    more = len(reasons) - MOST_NAMED
    return "; ".join([*reasons[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def _names(claims: Sequence[ClaimEntry]) -> str:
    return ", ".join(claim.id for claim in claims)
