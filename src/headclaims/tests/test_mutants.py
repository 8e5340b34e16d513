"""The matrix of counterfeits: the expected one as data, what counts against it, and who kills whom, by hand."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from headclaims.audit.settings import MUTATIONS
from headclaims.checkpoint import load
from headclaims.checkpoint.interface import Head
from headclaims.checkpoint.planted.counterfeits.registry import COUNTERFEITS, names
from headclaims.checkpoint.planted.counterfeits.uneven_kin import partners
from headclaims.checkpoint.planted.vocabulary import successions, vocabulary
from headclaims.checkpoint.planted.weights import SPACES, PlantedWeights
from headclaims.circuit.qk_circuit import QKCircuit
from headclaims.tests.claims_run import SET, catalogue, run_claims
from headclaims.tests.word_lists import load_words
from headclaims.trials import counterfeits as mutants
from headclaims.trials.counterfeits import Expected, casualties, killers, main, options, survivors, table, unexpected

DATA = """
[[ties]]
claims = ["inertia", "skew-is-weaker"]
reason = "made up"

[first]
falls = ["category-blocks", "inertia"]
lapses = ["skew-is-weaker"]

[second]
free = ["category-blocks"]
"""


def read(path: Path = SET / "counterfeits.toml") -> Expected:
    """What is expected of counterfeits, of the claims of the set that ships."""
    return Expected.read(path, list(catalogue()))


@pytest.fixture
def expected(tmp_path: Path) -> Expected:
    (tmp_path / "data.toml").write_text(DATA)
    return read(tmp_path / "data.toml")


def found(**changes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Outcomes of three claims for each counterfeit, all standing but those named."""
    three = ("category-blocks", "inertia", "skew-is-weaker")
    return {name: dict.fromkeys(three, "stands") | change for name, change in changes.items()}


def test_whatever_is_not_named_stands(expected: Expected) -> None:
    row = expected.cells["first"]
    assert (row["category-blocks"], row["skew-is-weaker"], row["dark-diagonal"]) == ("falls", "lapses", "stands")
    assert len(row) == 36
    assert expected.share_free == 1 / 72
    assert expected.tied("inertia") == {"inertia", "skew-is-weaker"}
    assert expected.tied("category-blocks") == {"category-blocks"}


@pytest.mark.parametrize("named", ['["category-blocks", "inertia"]', '["made-up"]'])
def test_a_claim_named_twice_or_not_there(tmp_path: Path, named: str) -> None:
    (tmp_path / "data.toml").write_text(DATA + f"lapses = {named}\nfalls = ['inertia']\n")
    with pytest.raises(ValueError, match=r"data\.toml: second names a claim twice, or one that there isn't"):
        read(tmp_path / "data.toml")


def test_cells_against_expectation(expected: Expected) -> None:
    outcomes = {name: dict(row) for name, row in expected.cells.items()}
    outcomes["second"]["category-blocks"] = "falls"
    assert unexpected(expected, outcomes) == []
    outcomes["first"]["inertia"] = "lapses"
    outcomes["second"]["dark-diagonal"] = "falls"
    assert unexpected(expected, outcomes) == [
        "first: inertia lapses, expected falls",
        "second: dark-diagonal falls, expected stands",
    ]
    marked = table(expected, outcomes)
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:4]] for line in marked.splitlines()[3:]}
    assert cells["inertia"] == ["o!x", "·"]
    assert cells["category-blocks"] == ["x", "(x)"]
    assert cells["dark-diagonal"] == ["·", "x!·"]


def test_casualties_and_killers(expected: Expected) -> None:
    """Ties are no casualties; a claim that lapses is one, and is not killed by it."""
    outcomes = found(
        first={"category-blocks": "falls", "inertia": "falls", "skew-is-weaker": "lapses"},
        second={"category-blocks": "falls"},
    )
    assert casualties(expected, outcomes["first"], "category-blocks") == 2
    assert casualties(expected, outcomes["first"], "inertia") == 1
    assert killers(expected, outcomes, "category-blocks") == {"second": 0, "first": 2}
    assert killers(expected, outcomes, "skew-is-weaker") == {}
    assert survivors(expected, outcomes, ["category-blocks", "inertia", "skew-is-weaker"]) == ["skew-is-weaker"]


def test_more_than_five_other_casualties_kill_nothing(expected: Expected) -> None:
    row = dict.fromkeys(expected.cells["first"], "stands")
    fallen = [claim for claim in row if claim not in ("inertia", "skew-is-weaker")][:6]
    five = {"first": row | dict.fromkeys(fallen, "falls")}
    assert survivors(expected, five, fallen) == []
    six = {"first": five["first"] | {"inertia": "lapses"}}
    assert survivors(expected, six, fallen) == fallen


def test_the_expected_matrix_promises() -> None:
    """Of every counterfeit and every mutation, and at most a third is left open; algebra never falls."""
    real = read()
    assert set(real.cells) == {"planted", *names(), *MUTATIONS}
    assert set(real.cells["planted"].values()) == {"stands"}
    assert real.share_free <= 1 / 3
    for row in real.cells.values():
        for claim in ("skew-adds-no-self-attention", "inertia", "embedding-essential"):
            assert row[claim] != "falls"
    # What is promised must kill every empirical claim, if what is left open stands.
    empirical = [c for c in real.cells["planted"] if any(row[c] == "falls" for row in real.cells.values())]
    promised = {
        n: {c: "stands" if cell == "free" else cell for c, cell in row.items()} for n, row in real.cells.items()
    }
    assert len(empirical) == 31
    assert survivors(real, promised, empirical) == []


def test_every_counterfeit_says_what_it_changes() -> None:
    for name, weights in COUNTERFEITS.items():
        assert len((weights.__doc__ or "").split()) > 15, name


def test_options_of_a_counterfeit() -> None:
    assert options("positional")[:2] == ["--checkpoint", "planted:positional"]
    assert options("planted")[:2] == ["--checkpoint", "planted"]
    assert options("swap-head")[:4] == ["--checkpoint", "planted", "--mutate", "swap-head"]


def test_a_counterfeit_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SET, ["made-up"]) == 2
    assert capsys.readouterr().err.startswith("headclaims: made-up: no counterfeit; wanted some of planted, ")


def test_the_list_is_printed(tmp_path: Path) -> None:
    run = run_claims("--checkpoint", "planted:list", reports=tmp_path)
    assert run.status == 0
    assert [line.split()[0] for line in run.stdout.splitlines()] == [f"planted:{name}" for name in names()]


def test_a_matrix_against_expectation_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Audits stand in for themselves: nothing falls, which `hubs` must not be like."""
    record = {"claims": [{"id": c, "verdict": "supported", "flags": []} for c in read().cells["planted"]]}
    monkeypatch.setattr(mutants, "in_workers", lambda _, jobs, __: [record] * len(jobs))
    assert main(SET, ["planted"]) == 0
    assert main(SET, ["planted", "hubs"]) == 1
    assert "headclaims: hubs: top-attended-are-kin stands, expected falls" in capsys.readouterr().err


# What some counterfeits are, by their weights alone


def dense(name: str) -> tuple[np.ndarray, np.ndarray]:
    """W_sym's non-zero eigenvalues and W_skew's singular values of L1H5, dense."""
    checkpoint = load(name)
    circuit = QKCircuit.of(checkpoint.qk_weights(1), Head(1, 5).index)
    W_QK = circuit.W_Q.double().numpy() @ circuit.W_K.double().numpy().T
    values = np.linalg.eigvalsh((W_QK + W_QK.T) / 2)
    leading = values[np.argsort(-np.abs(values))]
    return leading, np.linalg.svd((W_QK - W_QK.T) / 2, compute_uv=False)


def test_the_spectra_that_were_derived() -> None:
    """39 and 25 with padding; a plus on the identity leaves one negative of 64; an idle skew of 0.25 beside 0.234."""
    leading, _ = dense("planted:positive-padding")
    assert (leading[:64] < 0).sum() == 25
    leading, _ = dense("planted:self-attending")
    assert (leading[:64] < 0).sum() == 1
    leading, skew = dense("planted:skew-idle")
    assert (leading[:64] < 0).sum() == 35
    assert skew[0] == pytest.approx(0.5, rel=1e-3)
    assert leading[0] == pytest.approx(1.125 * 8 * 6 / (768 * 0.3), rel=1e-3)


def test_clusters_that_were_dealt_anew() -> None:
    vocab = vocabulary()
    dealt = made("no-categories").clusters()
    of_word = {form.word: cluster for form, cluster in zip(vocab.forms, dealt, strict=True)}
    assert all(of_word[form.word] == cluster for form, cluster in zip(vocab.forms, dealt, strict=True))
    own = np.array([form.cluster for form in vocab.forms])
    assert (dealt == own).mean() == pytest.approx(1 / SPACES["C"], abs=0.03)


def made(name: str) -> PlantedWeights:
    """A counterfeit's weights, seed 0."""
    return COUNTERFEITS[name](vocabulary(), np.random.default_rng(0))


def by_word(values: np.ndarray) -> dict[str, np.ndarray]:
    """What a word has as written with a leading space."""
    return {form.text: value for form, value in zip(vocabulary().forms, values, strict=True)}


def test_classes_coarser_than_categories() -> None:
    """Pairs join two categories of one list; parts of speech are few; a letter's case and a length are the form's."""
    coarse = by_word(made("coarse").clusters())
    for name in ("write-up", "held-out"):
        of_category = {c: int(coarse[" " + words[0]]) for c, words in load_words(name).categories.items()}
        sizes = [list(of_category.values()).count(cluster) for cluster in of_category.values()]
        assert sizes.count(2) >= len(sizes) - 1
        assert max(sizes) == 2
    speech = by_word(made("parts-of-speech").clusters())
    assert speech[" dog"] == speech[" rain"] == speech[" Monday"] == speech[" Italy"]
    assert len({int(speech[word]) for word in (" dog", " red", " 1989", " walk", " you")}) == 5
    case = by_word(made("letter-case").clusters())
    assert [case[word] for word in (" red", " Red", " Monday", " 1989", " 24")] == [0, 1, 1, 2, 2]
    length = by_word(made("token-length").clusters())
    assert [length[word] for word in (" red", "red", " 1989", " Monday")] == [3, 3, 4, 6]


def test_partners_are_opposite_and_no_successors() -> None:
    second = partners()
    codes = by_word(made("word-pairs").identity())
    for word, partner in second.items():
        assert codes[" " + word] @ codes[" " + partner] == pytest.approx(-1, abs=1e-6)
        assert codes[" " + word] @ codes[word] < 1  # a variant's noise is its own
        assert codes[" " + word] @ codes[word] > 0.9
    listed = [word for name in ("write-up", "held-out") for word in load_words(name).words]
    assert set(listed) == set(second) | set(second.values())
    assert second["Wednesday"] == "Monday"
    for order in successions():
        for one, following in pairwise(order):
            assert second.get(following) != one
            assert second.get(one) != following


@pytest.mark.parametrize("name", ["recency-in-kin", "early-kin"])
def test_waves_of_positions_leave_bos_alone(name: str) -> None:
    """x̂ of BOS is √768 (√0.96 b + √0.04 p₀): no key weight along a wave is left of it."""
    weights = made(name)
    axes, size = weights.wave(0.05)  # type: ignore[attr-defined]
    (first,) = weights.positions(1)
    bos = 768**0.5 * (weights.bos_row()[0] + first) / 4
    assert np.abs(bos @ weights.without_bos(axes, size)).max() < 1e-9  # type: ignore[attr-defined]
    (place,) = weights.positions(2)[1:]
    word = 768**0.5 * place / 4
    assert np.linalg.norm(word @ axes) == pytest.approx(size)


def test_mlp_only_writes_identities_as_they_are() -> None:
    """gelu(x) − gelu(−x) = x."""
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    gelu = torch.nn.functional.gelu
    assert torch.allclose(gelu(x, approximate="tanh") - gelu(-x, approximate="tanh"), x, atol=1e-12)
