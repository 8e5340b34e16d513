"""False alarms: the random checkpoints, the strata, the count of what comes out of them, and its limit."""

from pathlib import Path

import pytest
import torch
import transformers
from scipy import stats

from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.claim.claim_set import ClaimSet
from headclaims.errors import BadInput
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.record.entries import ClaimEntry
from headclaims.report.readme import put_between
from headclaims.tests.claims_run import SET
from headclaims.tests.markdown_pages import cells
from headclaims.trials import false_alarms
from headclaims.trials.false_alarms import (
    Count,
    Job,
    Outcome,
    draw,
    found_at_all,
    most_allowed,
    outcome,
    run,
    strata,
    table,
    tally,
    too_often,
)
from headclaims.trials.folder import README, readme_marks

STRATA = strata(ClaimSet.read(SET))
MARKS = readme_marks("false alarms", None)


def entry(verdict: str, *flags: str, p: tuple[float, ...] = (0.05, 0.01)) -> ClaimEntry:
    """A record's entry of a claim with nulls of nineteen others that gave these p."""
    nulls = [{"population": f"null {i}", "n": 19, "p": value} for i, value in enumerate(p)]
    content = {"id": "a", "group": "g", "statement": "s", "source": "s", "verdict": verdict, "flags": list(flags)}
    return ClaimEntry.from_json({**content, "nulls": nulls, "variants": []})


@pytest.mark.parametrize(
    ("verdict", "flags", "p", "alone", "found"),
    [
        ("supported", ("distinctive",), (0.05, 0.01), True, True),
        ("supported", ("not distinctive",), (0.05, 0.01), True, False),  # adjusted it is above 0.05
        ("supported", ("not distinctive",), (0.06, 0.01), False, False),  # every null counts
        ("supported", ("distinctive", "conditional"), (0.05,), False, False),
        ("supported", ("distinctive", "no interval"), (0.05,), False, False),
        ("supported", ("null missing",), (0.05,), False, False),
        ("supported", ("by construction",), (), False, False),
        ("supported", (), (), False, False),
        ("undecided", ("distinctive",), (0.05,), False, False),
    ],
)
def test_what_counts_alone_and_as_found(
    verdict: str, flags: tuple[str, ...], p: tuple[float, ...], alone: bool, found: bool
) -> None:
    told = outcome(entry(verdict, *flags, p=p))
    assert (told.assessed, told.supported, told.alone, told.found) == (True, verdict == "supported", alone, found)
    assert told.nulls == {f"null {i}": value for i, value in enumerate(p)}


def test_the_most_allowed_is_the_binomial_s() -> None:
    assert most_allowed(100) == 11
    assert stats.binom.cdf(11, 100, 0.05) >= 0.99 > stats.binom.cdf(10, 100, 0.05)


def test_strata_are_all_kinds_once() -> None:
    assert len(set(STRATA)) == len({stratum.name for stratum in STRATA}) == 8
    for stratum in STRATA:
        options = stratum.options(3)
        assert ("auto" in options) == stratum.auto
        assert options[options.index("--words") + 1] == stratum.words
        prompts = int(options[options.index("--prompts") + 1])
        assert prompts >= (40 if stratum.auto else 10)


def test_a_set_without_word_lists_has_fewer_strata_and_its_planted_head() -> None:
    """Induction heads: no list multiplies them, and a head of two layers is named instead of GPT-2 small's."""
    few = strata(ClaimSet.read(SET.parent / "induction_heads"))
    assert [stratum.name for stratum in few] == ["plain, named", "plain, auto", "clustered, named", "clustered, auto"]
    assert few[0].options(3) == ["--seed", "3", "--seq-len", "32", "--head", "L1H4", "--prompts", "16"]
    assert "--words" not in few[1].options(3)
    assert "--head" not in STRATA[0].options(3)
    assert readme_marks("false alarms", "induction_heads")[0] == "<!-- false alarms of induction_heads -->"


def made(alone: int, found: int, n: int) -> list[list[Outcome]]:
    """Audits of two claims, of which `a` comes out so many times."""
    rest = Outcome("b", True, False, False, False, {"other heads": 0.5})
    return [
        [Outcome("a", True, True, i < alone, i < found, {"other heads": 0.05 if i < alone else 0.9}), rest]
        for i in range(n)
    ]


def test_each_stratum_is_held_to_its_own_bound(tmp_path: Path) -> None:
    """Twelve of 100 in one stratum are too many, however few there are in the others."""
    results = {stratum.name: made(0, 0, 100) for stratum in STRATA}
    results[STRATA[5].name] = made(12, 3, 100)
    counts = tally(results)
    assert counts["a"][STRATA[5].name] == Count(100, 100, 12, 3)
    assert counts["b"][STRATA[5].name] == Count(100, 0, 0, 0)
    (line,) = too_often(counts, 100)
    assert line == f"a ({STRATA[5].name}): 12 of 100 alone, 5 % allows 11"
    assert found_at_all(results)[STRATA[5].name] == {"share": 0.03, "mean": 0.03}
    assert cells(table(counts, 100).splitlines()[4]) == ["a", "800", "800", "12", "12", "3", "3"]
    draw(results, tmp_path / "p.svg")
    assert "other heads" in (tmp_path / "p.svg").read_text(encoding="utf-8")


def test_a_table_takes_the_place_of_the_last_one() -> None:
    text = f"before {MARKS[0]} old {MARKS[1]} after"
    counts = tally({STRATA[0].name: made(1, 0, 4)})
    replaced = put_between(text, MARKS, table(counts, 4))
    assert replaced.startswith(f"before {MARKS[0]}\n1 strata of 4 random checkpoints; in one stratum more than 2 would")
    assert replaced.endswith(f"{MARKS[1]} after")
    assert "old" not in replaced


@pytest.mark.parametrize("clustered", [False, True])
def test_random_heads_attend_to_some_tokens(clustered: bool) -> None:
    """Scores spread by 1.5 nats; words of a cluster are alike, at a cosine of 0.7, only where that was asked."""
    folder = random_folder(3, clustered)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokens = torch.randint(2, 900, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pattern = model(tokens, output_attentions=True).attentions[1][:, :, -1]
    # By Jensen: the log of the largest of 64 shares, for scores that spread by one to three nats.
    assert -3 < float(pattern.amax(dim=-1).log().mean()) < -1
    E = torch.nn.functional.normalize(model.transformer.wte.weight.detach(), dim=1)
    ids = transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    kin = float(E[ids[" apple"]] @ E[ids[" banana"]])
    assert kin == pytest.approx(0.7 if clustered else 0.0, abs=0.2)


def test_an_audit_without_a_record_says_why() -> None:
    with pytest.raises(BadInput, match=r"^/nowhere: no such file"):
        audit(SET, ["--checkpoint", "/nowhere"])


@pytest.mark.slow
def test_audits_in_processes_are_those_alone() -> None:
    """Nor do they depend on what they share with audits of the same checkpoint before them."""
    jobs = [Job(SET, STRATA[:1], 0), Job(SET, STRATA[4:7], 1)]
    (first,), three = in_workers(run, jobs, "random checkpoints")
    assert first != three[0]
    assert run(Job(SET, STRATA[6:7], 1)) == three[2:]
    assert any(one.nulls for one in first)


@pytest.mark.slow
def test_a_twentieth_of_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports" / "trials").mkdir(parents=True)
    (tmp_path / README).write_text(f"{MARKS[0]}\n{MARKS[1]}\n", encoding="utf-8")
    assert most_allowed(5) == stats.binom.ppf(0.99, 5, 0.05) == 2
    assert false_alarms.main(SET, 5) == 0
    names = {path.name for path in (tmp_path / "reports" / "trials").iterdir()}
    assert names == {"README.md", "false-alarms.json", "false-alarms.md", "false-alarms.svg"}


@pytest.mark.slow
@pytest.mark.long
def test_a_part_of_the_study_of_induction_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures go into a folder of its name, and into a README that has no place for them nowhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / README).parent.mkdir(parents=True)
    (tmp_path / README).write_text("no place\n", encoding="utf-8")
    assert false_alarms.main(SET.parent / "induction_heads", 3) == 0
    names = {path.name for path in (tmp_path / "reports" / "trials" / "induction_heads").iterdir()}
    assert names == {"false-alarms.json", "false-alarms.md", "false-alarms.svg"}
    assert (tmp_path / README).read_text(encoding="utf-8") == "no place\n"
