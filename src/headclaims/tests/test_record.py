"""The record of an audit: its form and its numbers."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headclaims
from headclaims.files import as_json
from headclaims.record.entries import ClaimEntry, NullEntry, VariantEntry, counts
from headclaims.record.record import commit, record, record_folder
from headclaims.statistics.nulls import Null
from headclaims.statistics.resampling import Interval
from headclaims.statistics.verdict import Flag, Measurement, Threshold, VariantResult, Verdict, judge
from headclaims.tests.record_schema import departures

CHECKPOINT = {
    "spec": "somewhere/file.safetensors",
    "kind": "recorded-attention",
    "name": "file",
    "revision": None,
    "fingerprint": None,
    "identity": "0123456789abcdef" * 4,
    "prompts_begin_with": None,
    "capabilities": ["tokens", "attention"],
    "n_layers": 12,
    "n_heads": 12,
    "d_model": 768,
    "d_head": 64,
    "d_vocab": 50257,
    "files": None,
}
TARGET = {"layer": 1, "head": 5, "label": "L1H5", "chosen_by": "default", "chosen_on": None}
SETTINGS = {
    "checkpoint": "somewhere/file.safetensors",
    "revision": None,
    "head": "L1H5",
    "words": "write-up",
    "prompts": 32,
    "seq_len": 64,
    "seed": 0,
    "device": "cpu",
    "dtype": "float32",
    "report_dir": "reports",
    "no_cache": False,
    "verdicts_only": False,
    "mutate": None,
    "page": False,
}
CLAIM_SET = {"name": "my_claims", "version": 1, "sha256": "0" * 64}


def entry(claim_id: str = "a-claim", **parts: Any) -> ClaimEntry:
    """An entry, with a verdict unless one is given."""
    return ClaimEntry(claim_id, "Group", "It holds", "Section 1", **{"verdict": Verdict.SUPPORTED} | parts)


def full_entry() -> ClaimEntry:
    """An entry with something in every field."""
    measurement = Measurement(
        "gap",
        1.5,
        Threshold(">", 0.0),
        resampled=True,
        interval=Interval(1.0, 2.0, "prompts"),
        n_prompts=32,
        nulls=[Null("other heads", np.zeros(48)), Null("Gaussian heads", None, missing="no weights")],
        variants=[VariantResult("offset 1", 0.25, True), VariantResult("offset 4", -0.5, False)],
    )
    made = entry("full", verdict=None, reported={"gap": 1.4})
    made.conclude(measurement, judge(measurement), {"score": 0.5})
    made.seconds = 0.125
    return made


def record_of(*claims: ClaimEntry, complete: bool = True, evidence_of: str = "replication") -> dict[str, Any]:
    """A record of these claims."""
    return record(
        complete=complete,
        started="2025-01-01T00:00:00+00:00",
        seconds=1.23456,
        checkpoint=CHECKPOINT,
        target=TARGET,
        claim_set=CLAIM_SET,
        settings=SETTINGS,
        claims=claims,
        evidence_of=evidence_of,
    )


def test_what_was_measured_is_entered() -> None:
    made = full_entry()
    assert made.verdict is Verdict.SUPPORTED
    assert set(made.flags) == {Flag.NULL_MISSING, Flag.CONDITIONAL}
    assert list(made.measured.items()) == [("gap", 1.5), ("score", 0.5)]
    assert made.statistic == ("gap", 1.5)
    assert made.interval == [1.0, 2.0]
    assert made.half_width == 0.5
    assert made.wanted == {"gap": "> 0"}
    assert made.reported == {"gap": 1.4}
    assert made.nulls == [NullEntry("other heads", 48, 1 / 49, 1 / 49), NullEntry("Gaussian heads", None, None)]
    assert made.variants == [VariantEntry("offset 1", 0.25, True), VariantEntry("offset 4", -0.5, False)]
    assert made.reason is not None
    assert "offset 4" in made.reason
    assert "no weights" in made.reason
    assert not made.found


def test_a_claim_that_was_not_measured_has_no_statistic() -> None:
    assert entry(verdict=None).statistic is None
    assert entry(verdict=None).interval is None
    assert not entry(verdict=None).found


def test_n_and_p_are_null_together() -> None:
    # One head alone has no others: a population of none is too small, not missing.
    measurement = Measurement(
        "gap", 1.0, Threshold(">", 0.0), nulls=[Null("other heads", np.zeros(0)), Null("x", None)]
    )
    made = entry(verdict=None)
    made.conclude(measurement, judge(measurement), {})
    assert [(null.n is None) == (null.p is None) for null in made.nulls] == [True, True]


def test_an_entry_comes_back_from_its_json() -> None:
    for original in (full_entry(), entry("bare", verdict=None), entry("not", verdict=Verdict.NOT_ASSESSABLE)):
        again = ClaimEntry.from_json(json.loads(json.dumps(asdict(original))))
        assert again == original
        assert asdict(again) == asdict(original)
        assert again.found == original.found
        assert again.verdict is None or isinstance(again.verdict, Verdict)
        assert all(isinstance(flag, Flag) for flag in again.flags)


def test_the_record_has_the_form_of_the_design() -> None:
    errored = entry("errored", verdict=None, reason="error: out of luck")
    skipped = entry("skipped", verdict=Verdict.NOT_ASSESSABLE, reason="no weights")
    content = record_of(full_entry(), errored, skipped)
    read = json.loads(as_json(content))
    assert departures(read) == []
    assert list(read) == [
        *("schema", "complete", "suite", "claim_set", "started", "seconds", "checkpoint", "target", "evidence_of"),
        *("counts", "scorecard", "settings", "environment", "claims"),
    ]
    assert list(read["claims"][0]) == [
        *("id", "group", "statement", "source", "verdict", "flags", "measured", "interval", "reported", "nulls"),
        *("variants", "reason", "seconds", "p_adjusted", "p_adjusted_least", "wanted", "half_width"),
    ]
    assert read["schema"] == 2
    assert read["complete"] is True
    assert read["claim_set"] == CLAIM_SET
    assert read["suite"]["version"] == headclaims.__version__
    assert read["seconds"] == 1.235
    assert read["counts"] == counts([full_entry(), errored, skipped])
    assert [claim["verdict"] for claim in read["claims"]] == ["supported", None, "not assessable"]
    assert set(read["claims"][0]["flags"]) == {"null missing", "conditional"}
    assert read["environment"]["device"] == "cpu"
    assert read["environment"]["numpy"] == np.__version__
    assert read["environment"]["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert record_of(complete=False)["complete"] is False


def test_a_finding_on_the_write_up_s_head_is_a_discovery_and_elsewhere_a_replication() -> None:
    assert record_of(evidence_of="discovery")["evidence_of"] == "discovery"
    assert record_of()["evidence_of"] == "replication"


def test_a_folder_is_named_by_checkpoint_identity_set_and_head() -> None:
    folder = record_folder("gpt2", "0123456789abcdef", "my_claims", "L1H5")
    assert folder == Path("gpt2-01234567/my_claims/L1H5")


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder, whoever and wherever it runs."""
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | identity | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_that_holds_the_suite(tmp_path: Path) -> None:
    module = tmp_path / "src" / "module.py"
    assert commit(module) is None
    module.parent.mkdir()
    module.touch()
    assert commit(module) is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    assert commit(module) is None
    git(tmp_path, "commit", "--quiet", "--message", "first")
    assert commit(module) == git(tmp_path, "rev-parse", "HEAD")


def test_the_commit_of_a_repository_that_the_suite_is_merely_installed_in_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").touch()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "mine")
    module = tmp_path / ".venv" / "module.py"
    module.parent.mkdir()
    module.touch()
    assert commit(module) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["measured", "interval", "nulls"])
def test_what_is_no_number_is_refused(number: float, where: str) -> None:
    parts: dict[str, Any] = {
        "measured": {"gap": number},
        "interval": [0.0, number],
        "nulls": [NullEntry("x", 99, number)],
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(record_of(entry(**{where: parts[where]})))


def test_counts_are_of_empirical_claims_and_apart_of_identities() -> None:
    algebra = [Flag.BY_CONSTRUCTION]
    claims = [
        entry("found", flags=[Flag.DISTINCTIVE]),
        entry("without interval", flags=[Flag.DISTINCTIVE, Flag.NO_INTERVAL]),
        entry("conditional", flags=[Flag.CONDITIONAL, Flag.DISTINCTIVE]),
        entry("of some heads", flags=[Flag.DISTINCTIVE, Flag.PART_OF_THE_MODEL]),
        entry("common", flags=[Flag.NOT_DISTINCTIVE]),
        entry("not", verdict=Verdict.NOT_SUPPORTED, flags=[Flag.DISTINCTIVE]),
        entry("perhaps", verdict=Verdict.UNDECIDED, flags=[Flag.DISTINCTIVE]),
        entry("skipped", verdict=Verdict.NOT_ASSESSABLE),
        entry("errored", verdict=None),
        entry("holds", flags=algebra),
        entry("holds, too", flags=algebra),
        entry("does not", verdict=Verdict.NOT_SUPPORTED, flags=algebra),
        entry("not told", verdict=Verdict.NOT_ASSESSABLE, flags=algebra),
    ]
    assert counts(claims) == {
        "empirical": 9,
        "assessed": 7,
        "supported": 5,
        "found": 1,
        "identities": 3,
        "identities_hold": 2,
    }
    assert set(counts([]).values()) == {0}
