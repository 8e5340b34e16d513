"""What a session says at its end: each audit's verdicts and where its record is, and what came of many heads."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from headclaims.claim.claim_set import ClaimSet
from headclaims.record.entries import ClaimEntry, counts
from headclaims.report.footer import FOUND, WIDE, WIDTH, footer, headline
from headclaims.statistics.verdict import Verdict

if TYPE_CHECKING:
    from headclaims.plugin.ledger import Ledger

MOST_FOOTERS = 3
COUNTED = ("assessed", "supported", "found")
COLOURS: dict[Verdict | None, dict[str, bool]] = {
    Verdict.SUPPORTED: {"green": True},
    Verdict.NOT_SUPPORTED: {"red": True},
    Verdict.UNDECIDED: {"yellow": True},
    Verdict.NOT_ASSESSABLE: {},
    None: {"red": True},
}


def summarise(terminal: Any, claim_set: ClaimSet, ledgers: Sequence[Ledger]) -> None:
    """Print the verdicts of a few audits of a set claim by claim, of many a line a head."""
    terminal.ensure_newline()
    if len(ledgers) > MOST_FOOTERS:
        terminal.section(f"claims of {claim_set.name}")
        for line in heads_table(claim_set, ledgers).splitlines():
            terminal.write_line(line)
        terminal.write_line(f"records in {ledgers[0].audit.settings.report_dir}")
    else:
        for ledger in ledgers:
            _print_audit(terminal, ledger)
    if len(ledgers) > 1 and claim_set.write_up.homologous is not None:
        terminal.write_line(conclusion(claim_set, ledgers))


def _print_audit(terminal: Any, ledger: Ledger) -> None:
    claims = ledger.claims
    terminal.section(f"claims of {ledger.claim_set.name}: {ledger.audit.target.label}")
    width = shutil.get_terminal_size().columns
    for line in footer(claims, width):
        # Pytest's own writer: no colour where the output is no terminal, or NO_COLOR is set.
        terminal.write(line.text, bold=line.is_heading, **(COLOURS[line.claim.verdict] if line.claim else {}))
        terminal.write_line(line.rest)
    empirical = sum(not statement.by_construction for statement in ledger.claim_set.claims.values())
    terminal.write_line(headline(counts(claims), ledger.evidence_of, empirical), bold=True)
    for text in textwrap.wrap(FOUND, min(max(width, WIDTH), WIDE)):
        terminal.write_line(text)
    terminal.write_line(ledger.error or f"record in {ledger.folder}")


def is_homologous(claim_set: ClaimSet, claims: Sequence[ClaimEntry]) -> bool:
    """Return whether a head does what the write-up's does, by the set's own rule."""
    rule = claim_set.write_up.homologous
    if rule is None:
        return False
    verdicts = {claim.id: claim.verdict for claim in claims if claim.id in rule.claims}
    assessed = {name for name, verdict in verdicts.items() if verdict not in (None, Verdict.NOT_ASSESSABLE)}
    return set(rule.needed) <= assessed and all(verdicts[name] is Verdict.SUPPORTED for name in assessed)


def conclusion(claim_set: ClaimSet, ledgers: Sequence[Ledger]) -> str:
    """Return which heads are homologous, or that none is: that is a result, too."""
    rule = claim_set.write_up.homologous
    assert rule is not None
    labels = [ledger.audit.target.label for ledger in ledgers if is_homologous(claim_set, ledger.claims)]
    return f"homologous heads: {', '.join(labels)}" if labels else f"no homologous head: none {rule.rule}"


def heads_table(claim_set: ClaimSet, ledgers: Sequence[Ledger]) -> str:
    """Return a line a head: empirical claims assessed, supported and found, and the verdicts that the rule is of."""
    rule = claim_set.write_up.homologous
    shown = rule.claims if rule is not None else []
    rows = []
    for ledger in ledgers:
        verdicts = {claim.id: claim.verdict or "error" for claim in ledger.claims}
        numbers = counts(ledger.claims)
        counted = [numbers[name] for name in COUNTED]
        rows.append([ledger.audit.target.label, *counted, *(verdicts.get(name, "–") for name in shown)])
    return tabulate(rows, ["head", *COUNTED, *shown], disable_numparse=True)
