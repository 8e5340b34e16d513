"""Whole runs of models of the hub, against a hub on this machine that behaves, and against one that does not."""

from pathlib import Path

import pytest

from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.tests.claims_run import SET, ClaimsRun, comparable, complaint, run_claims
from headclaims.tests.loopback_hub import LoopbackHub, Misbehaviour

REPO = "made-up/random"
MAIN, OLDER = "a" * 40, "b" * 40
# From the start of the process to its end; waiting takes twelve seconds of them, imports four on a busy machine.
WHOLE_PROCESS = 40.0


@pytest.fixture(scope="module")
def revisions() -> dict[str, tuple[str, Path]]:
    """`main` is a random checkpoint with clusters, `v1` the same drawn from another seed."""
    return {"main": (MAIN, random_folder(0, clustered=True)), "v1": (OLDER, random_folder(1, clustered=True))}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Hugging Face folder of a machine: empty, then with what the tests' runs put there."""
    return tmp_path_factory.mktemp("home")


def online(hub: LoopbackHub, home: Path) -> dict[str, str]:
    """The environment of a run that may ask that hub, and waits for a second, not for ten, for a file to go on."""
    return {"HF_HOME": str(home), "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}


def offline(home: Path) -> dict[str, str]:
    """The environment of a run that may ask none."""
    return {"HF_HOME": str(home)}


def audited(run: ClaimsRun) -> object:
    """What a run found, whichever name the checkpoint had."""
    record = comparable(run.record, "checkpoint", "revision")
    named = ("spec", "kind", "name", "revision")
    record["checkpoint"] = {key: value for key, value in record["checkpoint"].items() if key not in named}
    record["target"] = {key: value for key, value in record["target"].items() if key != "chosen_by"}
    return record


@pytest.fixture(scope="module")
def local(revisions: dict[str, tuple[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> ClaimsRun:
    """The same checkpoint from its folder: an audit of every claim, some of which fail on it."""
    run = run_claims("--checkpoint", revisions["main"][1], reports=tmp_path_factory.mktemp("local") / "reports")
    assert run.status == 1
    assert run.record["complete"] is True
    return run


@pytest.fixture(scope="module")
def downloaded(
    revisions: dict[str, tuple[str, Path]], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> ClaimsRun:
    """A run of a model that the machine has never seen."""
    with LoopbackHub(revisions, repo_id=REPO) as hub:
        reports = tmp_path_factory.mktemp("downloaded") / "reports"
        run = run_claims("--checkpoint", REPO, reports=reports, env=online(hub, home))
        weights = f"GET /{REPO}/resolve/{MAIN}/model.safetensors"
        assert hub.requests.count(weights) == 1
    return run


def test_a_model_of_the_hub(downloaded: ClaimsRun, local: ClaimsRun) -> None:
    assert downloaded.status == 1, downloaded.output
    checkpoint = downloaded.record["checkpoint"]
    assert (checkpoint["kind"], checkpoint["spec"], checkpoint["revision"]) == ("hub", REPO, MAIN)
    assert checkpoint["name"] == "made-up--random"
    assert downloaded.folder.parts[-3:] == (f"made-up--random-{checkpoint['identity'][:8]}", SET.name, "L1H5")
    assert downloaded.record["complete"] is True
    assert downloaded.record["settings"]["revision"] is None
    assert audited(downloaded) == audited(local)
    assert downloaded.stderr == ""
    assert f"auditing {REPO}, L1H5" in downloaded.first_line


@pytest.mark.slow
@pytest.mark.long
def test_a_second_run_offline(downloaded: ClaimsRun, home: Path, tmp_path: Path) -> None:
    run = run_claims("--checkpoint", REPO, reports=tmp_path / "reports", env=offline(home))
    assert run.status == 1, run.output
    assert comparable(run.record) == comparable(downloaded.record)


@pytest.mark.slow
@pytest.mark.long
def test_a_revision(downloaded: ClaimsRun, revisions: dict[str, tuple[str, Path]], home: Path, tmp_path: Path) -> None:
    with LoopbackHub(revisions, repo_id=REPO) as hub:
        run = run_claims("--checkpoint", REPO, "--revision", "v1", reports=tmp_path / "reports", env=online(hub, home))
    assert run.status == 1, run.output
    assert run.record["checkpoint"]["revision"] == OLDER
    assert run.record["settings"]["revision"] == "v1"
    identities = [one.record["checkpoint"]["identity"] for one in (run, downloaded)]
    assert identities[0] != identities[1]
    assert run.folder.parts[-3] == f"made-up--random@v1-{identities[0][:8]}"
    assert run.record["checkpoint"]["fingerprint"] != downloaded.record["checkpoint"]["fingerprint"]


@pytest.mark.slow
@pytest.mark.long
def test_parallel_workers_of_a_model_of_the_hub(
    downloaded: ClaimsRun, revisions: dict[str, tuple[str, Path]], tmp_path: Path
) -> None:
    with LoopbackHub(revisions, repo_id=REPO) as hub:
        run = run_claims(
            "--checkpoint", REPO, "-n", "2", reports=tmp_path / "reports", env=online(hub, tmp_path / "hf")
        )
        assert hub.requests.count(f"GET /{REPO}/resolve/{MAIN}/model.safetensors") == 1
    assert comparable(run.record) == comparable(downloaded.record)


@pytest.mark.parametrize(
    ("misbehave", "says"),
    [
        pytest.param("hang", "silent", marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param("stall-in-file", "silent", marks=[pytest.mark.slow, pytest.mark.long]),
        ("break-off", "broke off"),
        ("refuse", "cannot be reached"),
    ],
)
def test_a_hub_that_misbehaves(
    revisions: dict[str, tuple[str, Path]],
    tmp_path: Path,
    misbehave: Misbehaviour,
    says: str,
) -> None:
    with LoopbackHub(revisions, misbehave, REPO) as hub:
        run = run_claims("--checkpoint", REPO, reports=tmp_path / "reports", env=online(hub, tmp_path / "hf"))
    assert run.status == 2
    line = complaint(run)
    assert says in line
    assert REPO in line
    assert hub.endpoint in line
    assert run.seconds < WHOLE_PROCESS
    assert not run.reports.exists()
    assert not [path for path in (tmp_path / "hf").rglob("*") if "refs" in path.parts or path.suffix == ".incomplete"]
    after = run_claims("--checkpoint", REPO, reports=tmp_path / "reports", env=offline(tmp_path / "hf"))
    assert after.status == 2
    assert "not in the local cache" in complaint(after)


@pytest.mark.parametrize(("options", "says"), [(("--revision", "v9"), "'v9'"), ((), "no model")])
def test_what_the_hub_does_not_have(
    revisions: dict[str, tuple[str, Path]], tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    with LoopbackHub(revisions, repo_id=REPO if options else "made-up/other") as hub:
        run = run_claims("--checkpoint", REPO, *options, reports=tmp_path / "reports", env=online(hub, tmp_path / "hf"))
    assert run.status == 2
    assert says in complaint(run)
    assert REPO in complaint(run)


@pytest.mark.slow
@pytest.mark.long
def test_the_default_is_gpt2_where_the_hub_has_it(
    local: ClaimsRun, revisions: dict[str, tuple[str, Path]], tmp_path: Path
) -> None:
    with LoopbackHub(revisions, repo_id="gpt2") as hub:
        run = run_claims(reports=tmp_path / "reports", env=online(hub, tmp_path / "hf"))
    assert run.status == 1, run.output
    assert run.first_line.endswith("auditing gpt2, L1H5 (no --checkpoint given; the hub has gpt2)")
    assert "no --checkpoint given; the hub has gpt2" in run.markdown
    checkpoint = run.record["checkpoint"]
    assert (checkpoint["spec"], checkpoint["kind"], checkpoint["name"]) == ("gpt2", "hub", "gpt2")
    assert run.record["settings"]["checkpoint"] is None
    assert audited(run) == audited(local)
    # It has GPT-2's name, not its weights: the numbers reported for those do not apply.
    assert all(claim["reported"] is None for claim in run.record["claims"])
    again = run_claims("-k", "inertia", reports=tmp_path / "again" / "reports", env=offline(tmp_path / "hf"))
    assert again.first_line.endswith("auditing gpt2, L1H5 (no --checkpoint given; gpt2 is in the local cache)")
    assert again.record["checkpoint"] == checkpoint


@pytest.mark.slow
@pytest.mark.long
def test_the_default_where_the_hub_never_answers(revisions: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    with LoopbackHub(revisions, "hang", "gpt2") as hub:
        run = run_claims("-k", "inertia", reports=tmp_path / "reports", env=online(hub, tmp_path / "hf"))
    assert run.status == 0, run.output
    assert "auditing planted, L1H5 (no --checkpoint given;" in run.first_line
    assert run.record["checkpoint"]["kind"] == "planted"
