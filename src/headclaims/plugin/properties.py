"""What `--junitxml` shows of a claim, and of an audit: properties with names that a CI system can show as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from _pytest.junitxml import xml_key

from headclaims.record.entries import ClaimEntry, counts
from headclaims.record.settle import settle
from headclaims.report.cells import ends, number, p_values, reported
from headclaims.report.footer import headline

if TYPE_CHECKING:
    from headclaims.plugin.ledger import Ledgers


def claim_properties(entry: ClaimEntry) -> list[tuple[str, str]]:
    """Return the verdict of a claim and what it rests on, as texts by name; nothing for what it has not.

    Whether a claim is distinctive, and found, is settled at the end of a run: see `audit_properties`.
    """
    properties = {
        "claim": entry.id,
        "verdict": str(entry.verdict or "error"),
        "flags": ", ".join(entry.flags),
        "statistic": "" if entry.statistic is None else f"{entry.statistic[0]} {number(entry.statistic[1])}",
        "interval": "" if entry.interval is None else ends(entry.interval),
        "reported": reported(entry) if entry.reported else "",
        "null p": p_values(entry) if entry.nulls else "",
        "reason": entry.reason or "",
    }
    return [(name, text) for name, text in properties.items() if text]


def audit_properties(key: str, claims: Sequence[ClaimEntry], evidence_of: str) -> list[tuple[str, str]]:
    """Return an audit's headline and the ids of what it found, named after the audit; `claims` are settled."""
    ids = ", ".join(claim.id for claim in claims if claim.found)
    return [(f"headclaims {key}", headline(counts(claims), evidence_of)), (f"headclaims {key} found", ids or "none")]


class SuiteProperties:
    """Enters what came of each audit of a session as properties of the whole suite, before the XML is written."""

    def __init__(self, ledgers: Ledgers, config: pytest.Config) -> None:
        self.ledgers, self.config = ledgers, config

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Settle what is found, and say it."""
        xml = self.config.stash.get(xml_key, None)
        if xml is None:
            return
        for key, ledger in self.ledgers.of.items():
            if ledger.entries:
                settle(ledger.claims, ledger.covers_the_set)
                for name, text in audit_properties(key, ledger.claims, ledger.evidence_of):
                    xml.add_global_property(name, text)
