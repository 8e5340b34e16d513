"""Audits in a process that stays: what they record is what `pytest claims/` does in one of its own."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from headclaims.claim.new_set import write_new_set
from headclaims.errors import BadInput
from headclaims.fleet.workers import audit, audit_files
from headclaims.tests.claims_run import SET, catalogue, comparable, complaint, read_record, run_claims
from headclaims.tests.evidence_files import (
    D_HEAD,
    HEADS,
    kin_attention,
    partial_weights,
    recorded_attention,
    recorded_graph,
    signed_head,
)
from headclaims.tests.record_schema import departures


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind; in every second prompt of the first L1H5 hardly sees kin."""
    folder = tmp_path_factory.mktemp("evidence")
    recorded_attention(rule=lambda number, prompt: kin_attention(prompt, 0.9 if number % 2 else 0.05)).write(
        folder / "recorded.safetensors"
    )
    partial_weights(heads={(1, 5): signed_head(D_HEAD)}).write(folder / "partial.safetensors")
    recorded_graph().write(folder / "graph.safetensors")
    return folder


@pytest.mark.parametrize("kind", ["recorded", "partial", "graph"])
def test_a_record_is_that_of_a_run(evidence: Path, tmp_path: Path, kind: str) -> None:
    options = ["--checkpoint", str(evidence / f"{kind}.safetensors"), "--seed", "3"]
    run = run_claims(*options, reports=tmp_path / "reports")
    found = audit(SET, [*options, "--report-dir", str(tmp_path / "reports")])
    assert departures(found) == []
    assert comparable(found) == comparable(run.record)
    assert {claim["verdict"] for claim in found["claims"]} >= {"not assessable"}


@pytest.mark.slow
@pytest.mark.long
def test_a_record_of_a_model_is_that_of_a_run(tmp_path: Path) -> None:
    options = ["--checkpoint", "planted", "--verdicts-only", "--no-cache"]
    run = run_claims(*options, reports=tmp_path / "reports")
    found = audit(SET, [*options, "--report-dir", str(tmp_path / "reports")])
    assert comparable(found) == comparable(run.record)


def test_some_claims_alone(evidence: Path) -> None:
    found = audit(SET, ["--checkpoint", str(evidence / "partial.safetensors")], ["inertia", "skew-is-weaker"])
    assert sorted(claim["id"] for claim in found["claims"]) == ["inertia", "skew-is-weaker"]
    assert found["complete"] is False


def test_files_are_those_that_a_run_leaves(evidence: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", str(evidence / "recorded.safetensors")]
    run = run_claims(*options, reports=tmp_path / "reports")
    files = audit_files([SET], [*options, "--report-dir", str(tmp_path / "elsewhere")])
    digest = hashlib.sha256((evidence / "recorded.safetensors").read_bytes()).hexdigest()
    folder = f"recorded-{digest[:8]}/self_hating_head/L1H5"
    assert list(files) == [f"{folder}/claims.json", f"{folder}/claims.md"]
    assert run.folder == run.reports / folder
    left = (run.folder / "claims.md").read_text(encoding="utf-8").splitlines()
    made = files[f"{folder}/claims.md"].splitlines()
    assert [line for line in made if "- suite" not in line] == [line for line in left if "- suite" not in line]
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def new_set(tmp_path: Path) -> Path:
    """The claim set that `headclaims new` writes."""
    write_new_set(tmp_path / "new_set")
    return tmp_path / "new_set"


def test_several_sets_have_a_record_each(evidence: Path, new_set: Path) -> None:
    files = audit_files([SET, new_set], ["--checkpoint", str(evidence / "recorded.safetensors")])
    records = {Path(name).parts[1]: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    assert {name: len(record["claims"]) for name, record in records.items()} == {"self_hating_head": 36, "new_set": 1}


def test_a_claim_that_ends_in_an_error_is_one(evidence: Path, new_set: Path) -> None:
    """A record in which a claim has no verdict would be counted as if it said something."""
    test = new_set / "test_behaviour.py"
    test.write_text(test.read_text(encoding="utf-8").replace("    category = ", "    1 / 0\n    category = "))
    with pytest.raises(RuntimeError, match=r"attends-to-its-category: .*division by zero"):
        audit(new_set, ["--checkpoint", str(evidence / "recorded.safetensors")])


def test_the_configuration_around_a_set_changes_nothing(evidence: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", str(evidence / "recorded.safetensors")]
    elsewhere = tmp_path / "repository" / SET.name
    shutil.copytree(SET, elsewhere)
    (elsewhere.parent / "pytest.ini").write_text(
        "[pytest]\naddopts = --exitfirst --nonsense\nfilterwarnings = error\nrequired_plugins = nonsense\n"
    )
    assert comparable(audit(elsewhere, options)) == comparable(audit(SET, options))


def test_an_audit_prints_nothing(evidence: Path, capfd: pytest.CaptureFixture[str]) -> None:
    audit_files([SET], ["--checkpoint", str(evidence / "partial.safetensors")])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "options",
    [
        ["--checkpoint", "/nowhere"],
        ["--head", "H5"],
        ["--prompts", "many"],
        ["--words", "nonsense"],
        ["--head", "L9H9", "--checkpoint", "recorded"],
    ],
)
def test_bad_input_is_the_line_of_a_run(evidence: Path, tmp_path: Path, options: list[str]) -> None:
    options = [str(evidence / "recorded.safetensors") if option == "recorded" else option for option in options]
    with pytest.raises(BadInput) as raised:
        audit(SET, options)
    assert str(raised.value) == complaint(run_claims(*options, reports=tmp_path / "reports"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sed", "3"], "unrecognized arguments: --sed 3"),
        (["--seed"], "argument --seed: expected one argument"),
        (["-k", "nonsense"], "36 deselected"),
    ],
)
def test_a_run_without_a_record_says_what_pytest_did(evidence: Path, options: list[str], says: str) -> None:
    with pytest.raises(RuntimeError, match=f"no record: .*{says}"):
        audit(SET, ["--checkpoint", str(evidence / "recorded.safetensors"), *options])


def test_every_head_has_a_record(evidence: Path, tmp_path: Path) -> None:
    """Only L1H5 attends to kin: it is homologous, the others, of uniform draws, are not."""
    options = ["--checkpoint", str(evidence / "recorded.safetensors"), "--head", "all"]
    run = run_claims(*options, reports=tmp_path / "reports")
    folders = {path.parent.name: path.parent for path in run.reports.rglob("claims.json")}
    assert sorted(folders) == sorted(f"L{layer}H{head}" for layer in range(3) for head in range(HEADS))
    assert {folder.parent.name for folder in folders.values()} == {"self_hating_head"}
    for label in ("L0H0", "L1H5"):
        record = read_record(folders[label] / "claims.json")
        assert departures(record) == []
        assert record["target"]["label"] == label
        assert record["complete"]
        assert [claim["id"] for claim in record["claims"]] == list(catalogue())
    assert run.status == 1
    assert "no homologous head: none attends to kin, not to itself, and to BOS without kin" in run.stdout
    # Half of the prompts see kin at 0.9: over ten prompts the interval decides.
    recorded_attention().write(tmp_path / "clear.safetensors")
    clear = run_claims("--checkpoint", tmp_path / "clear.safetensors", "--head", "all", reports=tmp_path / "clear")
    assert clear.status == 0
    assert "homologous heads: L1H5\n" in clear.stdout
    assert len([line for line in clear.stdout.splitlines() if line.startswith(("L0H", "L1H", "L2H"))]) == 3 * HEADS


def test_every_head_of_a_graph_is_refused(evidence: Path, tmp_path: Path) -> None:
    run = run_claims("--checkpoint", evidence / "graph.safetensors", "--head", "all", reports=tmp_path / "reports")
    assert run.status == 2
    assert "tells of one head alone" in complaint(run)
