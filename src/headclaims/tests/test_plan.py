"""Plans of audits: what they multiply out to, and what is no plan."""

from pathlib import Path

import pytest

from headclaims.claim.new_set import write_new_set
from headclaims.cli import main
from headclaims.errors import BadInput
from headclaims.fleet.plan import MISTRAL, PYTHIA, Plan
from headclaims.tests.small_sets import FINDINGS, NAMED, write_set


def plan(tmp_path: Path, text: str) -> Plan:
    """The plan of a text."""
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return Plan.read(path)


def test_a_list_is_as_it_stands(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        """
        report_dir = "elsewhere"
        [settings]
        prompts = 16
        verdicts_only = true
        [[audit]]
        checkpoint = "planted"
        head = "L1H5"
        [[audit]]
        checkpoint = "gpt2"
        prompts = 8
        seq_len = 32
        verdicts_only = false
        """,
    )
    assert found.name == "plan"
    assert found.report_dir == Path("elsewhere")
    assert [job.options for job in found.jobs] == [
        ["--prompts", "16", "--verdicts-only", "--checkpoint", "planted", "--head", "L1H5"],
        ["--prompts", "8", "--checkpoint", "gpt2", "--seq-len", "32"],
    ]


def test_a_rule_is_multiplied_out(tmp_path: Path) -> None:
    found = plan(
        tmp_path,
        """
        [[rule]]
        checkpoint = ["a", "b"]
        revision = "main"
        head = ["auto", "L0H1", "all"]
        words = ["write-up", "held-out"]
        seed = [0, 1]
        """,
    )
    assert found.report_dir == Path("reports/plan")
    assert len(found.jobs) == 2 * 3 * 2 * 2
    told = {tuple(sorted(job.about.items())) for job in found.jobs}
    assert len(told) == 24
    assert {job.about["revision"] for job in found.jobs} == {"main"}
    names = [job.name for job in found.jobs]
    assert len(set(names)) == 24
    assert all(name.replace("-", "").isalnum() for name in names)


def test_claim_sets_are_those_that_ship_or_the_one_named(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_new_set(own)
    text = f"""
        [[audit]]
        checkpoint = "a"
        [[rule]]
        checkpoint = "a"
        set = ["self_hating_head", "{own}"]
        """
    shipped, named, of_own = plan(tmp_path, text).jobs
    assert "self_hating_head" in [folder.name for folder in shipped.claim_sets]
    assert [folder.name for folder in named.claim_sets] == ["self_hating_head"]
    assert of_own.claim_sets == [own]
    assert [job.options for job in (shipped, named, of_own)] == [["--checkpoint", "a"]] * 3
    assert len({job.name for job in (shipped, named, of_own)}) == 3


def test_an_audit_that_is_listed_twice_is_run_once(tmp_path: Path) -> None:
    text = """
        [[audit]]
        checkpoint = "a"
        seed = 1
        [[rule]]
        checkpoint = "a"
        seed = [0, 1, 1]
        """
    assert [job.about["seed"] for job in plan(tmp_path, text).jobs] == [1, 0]


def test_a_name_stays_whatever_else_the_plan_holds(tmp_path: Path) -> None:
    (alone,) = plan(tmp_path, '[[audit]]\ncheckpoint = "a"\nseed = 1').jobs
    among = plan(tmp_path, '[[rule]]\nseed = [0, 1]\ncheckpoint = ["b", "a"]').jobs
    assert alone.name in {job.name for job in among}


def test_steps_of_published_runs(tmp_path: Path) -> None:
    """Pythia: 154 checkpoints, step 0 and 143,000 among them. The five of stanford-crfm: over six hundred each."""
    assert len(PYTHIA) == 154
    assert PYTHIA[:4] == [0, 1, 2, 4]
    assert PYTHIA[10:13] == [512, 1000, 2000]
    assert PYTHIA[-1] == 143_000
    assert len(MISTRAL) == len(set(MISTRAL)) > 600
    assert MISTRAL[-1] == 400_000
    assert {10, 50, 100, 550, 950, 3900, 9900, 99_000, 225_000} <= set(MISTRAL)
    for checkpoint, n, revision in (
        ("EleutherAI/pythia-70m-deduped", 154, "step143000"),
        ("stanford-crfm/celebrimbor-gpt2-medium-x81", len(MISTRAL), "checkpoint-400000"),
    ):
        found = plan(tmp_path, f'[[rule]]\ncheckpoint = "{checkpoint}"\nstep = "published"').jobs
        assert len(found) == n
        assert found[-1].options == ["--checkpoint", checkpoint, "--revision", revision]
    (one,) = plan(tmp_path, '[[audit]]\ncheckpoint = "EleutherAI/pythia-70m"\nstep = 512').jobs
    assert one.options == ["--checkpoint", "EleutherAI/pythia-70m", "--revision", "step512"]


def test_steps_in_a_path(tmp_path: Path) -> None:
    found = plan(tmp_path, '[[rule]]\ncheckpoint = "runs/{step}/model"\nstep = [0, 100]').jobs
    assert [job.options for job in found] == [["--checkpoint", f"runs/{step}/model"] for step in (0, 100)]
    assert [job.about["step"] for job in found] == [0, 100]


def test_heads_that_a_set_lets_an_auditor_name_are_keys(tmp_path: Path) -> None:
    """Of a set that ships, and of one in a folder."""
    write_set(tmp_path / "mine", FINDINGS.replace('title = "Made up"', NAMED))
    found = plan(
        tmp_path,
        f"""
        [[rule]]
        set = "induction_heads"
        checkpoint = "a"
        previous_token_head = ["L0H1", "L0H2"]
        [[audit]]
        set = "{tmp_path}/mine"
        checkpoint = "a"
        seed = 3
        other_head = "L2H0"
        """,
    )
    assert [job.options for job in found.jobs] == [
        ["--checkpoint", "a", "--seed", "3", "--other-head=L2H0"],
        ["--checkpoint", "a", "--previous-token-head=L0H1"],
        ["--checkpoint", "a", "--previous-token-head=L0H2"],
    ]
    assert len({job.name for job in found.jobs}) == 3
    for text, says in (
        ('[[audit]]\ncheckpoint = "a"\nother_head = "L2H0"', "unknown key 'other_head'"),
        ('[[audit]]\ncheckpoint = "a"\nprevious_token_head = 4', "previous_token_head 4; wanted str"),
    ):
        with pytest.raises(BadInput, match=says):
            plan(tmp_path, text)


BAD = {
    "not a TOML file": "[[audit]",
    "no audit": "",
    "unknown key 'audits'": "audits = 3",
    "unknown key 'sed'": '[[audit]]\ncheckpoint = "a"\nsed = 3',
    "no checkpoint": "[[audit]]\nseed = 3",
    "seed 'x'": '[[audit]]\ncheckpoint = "a"\nseed = "x"',
    "seed [0, 1]": '[[audit]]\ncheckpoint = "a"\nseed = [0, 1]',
    "seed [0, '1']": '[[rule]]\ncheckpoint = "a"\nseed = [0, "1"]',
    "seed []": '[[rule]]\ncheckpoint = "a"\nseed = []',
    "seed True": '[[audit]]\ncheckpoint = "a"\nseed = true',
    "wanted tables [[audit]]": 'audit = "a"',
    "wanted a table": "audit = [3]",
    "report_dir 3": 'report_dir = 3\n[[audit]]\ncheckpoint = "a"',
    "set 3": '[[audit]]\ncheckpoint = "a"\nset = 3',
    "nonsense: no claim set; wanted": '[[audit]]\ncheckpoint = "a"\nset = "nonsense"',
    "step and revision": '[[audit]]\ncheckpoint = "a"\nstep = 3\nrevision = "main"',
    "published steps of gpt2": '[[rule]]\ncheckpoint = "gpt2"\nstep = "published"',
    "wanted a training run": '[[audit]]\ncheckpoint = "gpt2"\nstep = 3',
    "has no step 513; the nearest published is 512": '[[audit]]\ncheckpoint = "EleutherAI/pythia-70m"\nstep = 513',
    "more than 100,000": '[[rule]]\ncheckpoint = "a"\nseed = '
    + str(list(range(317)))
    + "\nprompts = "
    + str(list(range(317))),
}


@pytest.mark.parametrize("says", BAD)
def test_what_is_no_plan_is_one_line(tmp_path: Path, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as raised:
        plan(tmp_path, BAD[says])
    assert says in str(raised.value)
    assert main(["sweep", str(tmp_path / "plan.toml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"headclaims: {tmp_path / 'plan.toml'}: ")


def test_a_plan_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file or directory; wanted a plan"):
        Plan.read(tmp_path / "nothing.toml")
    (tmp_path / "plan.toml").write_bytes(b"\xff\x00")
    with pytest.raises(BadInput, match="wanted a plan"):
        Plan.read(tmp_path / "plan.toml")
