"""False alarms: the random checkpoints, the count of what is found on them, and its limit."""

import pytest
import torch
import transformers
from scipy import stats

from headclaims.checkpoint.planted.random_weights import random_folder
from headclaims.errors import BadInput
from headclaims.fleet.cluster import in_workers
from headclaims.fleet.workers import audit
from headclaims.report.readme import put_between
from headclaims.tests.claims_run import SET
from headclaims.trials.false_alarms import MARKS, Job, Row, most_allowed, options, run, table, tally


def entry(claim: str, verdict: str, *flags: str) -> dict[str, object]:
    return {"id": claim, "verdict": verdict, "flags": list(flags)}


def test_what_counts_as_found() -> None:
    records = [
        {"claims": [entry("a", "supported", "distinctive"), entry("b", "not assessable")]},
        {"claims": [entry("a", "supported", "distinctive", "conditional"), entry("b", "supported", "not distinctive")]},
        {"claims": [entry("a", "not supported", "distinctive"), entry("b", "supported", "by construction")]},
        {"claims": [entry("a", "undecided", "distinctive"), entry("b", "supported", "distinctive")]},
    ]
    assert tally(records) == [Row("a", 4, 2, 0, 1), Row("b", 3, 3, 1, 1)]


def test_the_most_allowed_is_the_binomial_s() -> None:
    assert most_allowed(60) == 7
    assert stats.binom.cdf(7, 60, 0.05) >= 0.99 > stats.binom.cdf(6, 60, 0.05)
    assert most_allowed(200) == 18


def test_half_of_each_kind() -> None:
    """Of eight seeds in a row, each pair of head and words twice: with a clustered embedding and without."""
    chosen = [options(seed) for seed in range(8)]
    assert sum("--head" in some for some in chosen) == 4
    assert sum("held-out" in some for some in chosen) == 4
    kinds = {(seed % 2, "--head" in some, "held-out" in some) for seed, some in enumerate(chosen)}
    assert len(kinds) == 8


def test_a_table_takes_the_place_of_the_last_one() -> None:
    text = f"before {MARKS[0]} old {MARKS[1]} after"
    found = put_between(text, MARKS, table([Row("a", 4, 2, 1, 0)], 60))
    assert found.startswith(f"before {MARKS[0]}\n60 random checkpoints; more than 7 found")
    assert found.endswith(f"{MARKS[1]} after")
    assert "old" not in found
    assert [cell.strip() for cell in found.splitlines()[-2].strip("|").split("|")] == ["a", "4", "2", "1", "0"]


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
    found = in_workers(run, [Job(SET, seed) for seed in range(2)], "random checkpoints")
    verdicts = [{c["id"]: (c["verdict"], c["flags"]) for c in found[n]["claims"]} for n in range(2)]
    assert verdicts[0] != verdicts[1]
    assert any("distinctive" in flags for _, flags in verdicts[0].values())
    assert {c["id"]: (c["verdict"], c["flags"]) for c in run(Job(SET, 1))["claims"]} == verdicts[1]
    folder = str(random_folder(0))
    alone = audit(SET, ["--checkpoint", folder, *options(0), "--verdicts-only"])
    assert {c["id"]: c["verdict"] for c in alone["claims"]} == {name: v for name, (v, _) in verdicts[0].items()}
    assert not any("distinctive" in claim["flags"] or "conditional" in claim["flags"] for claim in alone["claims"])
    assert (alone["settings"]["verdicts_only"], found[0]["settings"]["verdicts_only"]) == (True, False)
