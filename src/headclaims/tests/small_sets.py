"""A small claim set by hand, and changes of its files."""

from pathlib import Path

from headclaims.claim.claim_set import ClaimSet

FINDINGS = """\
[write_up]
title = "Made up"
head = "L1H2"
fingerprint = "abc"

[claims.first]
statement = "The first holds"
group = "Group"
definition = "gap > 0"
source = "section 1"
reported.gap = { value = 1.5, tolerance = 0.25, kind = "rounded" }
reported.share = { value = 0.5, tolerance = 0.125 }
published.red = [" blue", " green"]

[claims.second]
statement = "The second holds"
"""
NAMED = 'title = "Made up"\nnamed_heads = { other-head = "another" }'
"""The title, and a head that an auditor may name."""
THRESHOLDS = """\
[first]
gap = { relation = ">", value = 0 }
share = { relation = "≤", value = 0.5 }

[second]
size = { relation = "|·| ≤", value = 0.125 }
"""
TESTS = '''\
"""Claims."""
import pytest

@pytest.mark.claim("first")
def test_first(claim, audit):
    claim.check("gap", 1.0)
'''


def write_set(
    folder: Path,
    findings: str | bytes | None = FINDINGS,
    thresholds: str | bytes | None = THRESHOLDS,
    tests: str | bytes | None = TESTS,
) -> Path:
    """Write a set's files into a folder, None leaving one out, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("findings.toml", findings), ("thresholds.toml", thresholds), ("test_it.py", tests)):
        if content is not None:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def small_set(folder: Path) -> ClaimSet:
    """Write the set as it is above and read it."""
    return ClaimSet.read(write_set(folder))
