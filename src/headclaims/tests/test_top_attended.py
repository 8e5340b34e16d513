"""Whom category words attend to, on a vocabulary of sixteen tokens, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from headclaims.errors import NotAssessable
from headclaims.measures.top_attended import Probes, form, probes, published_overlap, top_attended, top_edges
from headclaims.prompts.words import WordList
from headclaims.vocabulary.token_scores import TokenScores

VOCABULARY = (
    *(" red", "Red", " RED", " blue", "green", " green", " 24", "57", " 8", " 1989", "2024", " 19890"),
    *(" dog", " cat", " cow", "Dog"),
)
IDS = {token: i for i, token in enumerate(VOCABULARY)}
COLOURS = WordList("colours", {"colours": ("red", "blue", "green", "mauve"), "few": ("dog", "bee")})
ANIMALS = WordList("animals", {"animals": ("dog", "cat", "cow")})


def single_token(text: str) -> int | None:
    return IDS.get(text)


def scores_with(tops: Sequence[Sequence[str]], asking: Sequence[int], vocabulary: Sequence[str]) -> TokenScores:
    """Scores of which these tokens are the highest, best first, ten a probe, for as many keys as the vocabulary has."""
    wanted = torch.zeros(len(tops), len(vocabulary))
    for i, top in enumerate(tops):
        assert len(set(top)) == 10
        for rank, token in enumerate(top):
            wanted[i, vocabulary.index(token)] = 20.0 - rank
    own = torch.tensor([wanted[i, token] for i, token in enumerate(asking)])
    return TokenScores(wanted, torch.eye(len(vocabulary)), own)


def test_a_form_has_neither_case_nor_space() -> None:
    assert [form(token) for token in (" Red", "RED", "red", " red")] == ["red"] * 4
    assert form(" reds") != "red"


def test_probes_are_the_words_that_count_of_all_lists() -> None:
    """`mauve` is no token, `few` has one word that is, and so `dog` asks as an animal alone."""
    asking = probes([COLOURS, ANIMALS], single_token, VOCABULARY)
    assert [VOCABULARY[token] for token in asking.tokens] == [" red", " blue", " green", " dog", " cat", " cow"]
    assert asking.category.tolist() == [0, 0, 0, 1, 1, 1]
    members = [[VOCABULARY[token] for token in np.flatnonzero(row)] for row in asking.member]
    assert members[0] == [" red", "Red", " RED", " blue", "green", " green"]
    assert members[1] == [" dog", " cat", " cow", "Dog"]
    same = [[VOCABULARY[i] for i in range(16) if asking.form_of[i] == asking.form_of[token]] for token in (0, 4, 12)]
    assert same == [[" red", "Red", " RED"], ["green", " green"], [" dog", "Dog"]]


def test_numbers_of_so_many_digits_are_members_where_the_list_says_so() -> None:
    """In any form, for categories with digits alone, whatever their name; words of the list count as they are."""
    vocabulary = (*VOCABULARY, " 42", " 69", "٤٢", " 1999", " 1972")
    ids = {token: i for i, token in enumerate(vocabulary)}
    words = WordList(
        "digits", {"numbers": ("24", "42", "69"), "years": ("1989", "1999", "1972")}, digits={"numbers": 2, "years": 4}
    )
    asking = probes([words], ids.get, vocabulary)
    members = [{vocabulary[token] for token in np.flatnonzero(row)} for row in asking.member]
    assert members == [{" 24", "57", " 42", " 69"}, {" 1989", "2024", " 1999", " 1972"}]
    other = WordList("digits", {"numbers": ("24", "42", "69"), "sums": ("1989", "1999", "1972")}, digits={"sums": 4})
    numbers, sums = (
        {vocabulary[token] for token in np.flatnonzero(row)} for row in probes([other], ids.get, vocabulary).member
    )
    assert numbers == {" 24", " 42", " 69"}
    assert sums == {" 1989", "2024", " 1999", " 1972"}


def test_categories_of_one_name_are_one_and_words_ask_once() -> None:
    more = WordList("more", {"colours": ("red", "green", "24", "blue")})
    asking = probes([COLOURS, ANIMALS, more], single_token, VOCABULARY)
    assert [VOCABULARY[token] for token in asking.tokens] == [
        *(" red", " blue", " green", " 24"),
        *(" dog", " cat", " cow"),
    ]
    assert asking.category.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert asking.member[0].sum() == 7


def test_a_list_of_which_nothing_counts_adds_nothing() -> None:
    nothing = WordList("nothing", {"metals": ("iron", "tin", "zinc"), "few": ("dog", "cat")})
    with_it = probes([nothing, COLOURS, ANIMALS], single_token, VOCABULARY)
    assert with_it.tokens.tolist() == probes([COLOURS, ANIMALS], single_token, VOCABULARY).tokens.tolist()
    assert with_it.member.shape == (2, 16)


@pytest.mark.parametrize(("lists", "n"), [([COLOURS], 1), ([WordList("none", {"metals": ("tin",)})], 0), ([], 0)])
def test_fewer_than_two_categories_are_not_assessable(lists: list[WordList], n: int) -> None:
    with pytest.raises(NotAssessable, match=f"{n} categories .* wanted 2"):
        probes(lists, single_token, VOCABULARY)


def test_the_ten_highest_by_hand() -> None:
    """Kin in any form; itself, and its variants, are no kin; what is below the ten counts for nothing."""
    asking = probes([COLOURS, ANIMALS], single_token, VOCABULARY)
    others = [" 24", "57", " 8", " 1989", "2024", " 19890"]
    tops = [
        ["Red", " RED", "green", " green", *others],  # red: two variants, and two forms of green
        ["green", "Red", " RED", " red", *others],  # blue: four kin
        [" green", "Dog", " dog", " cat", *others],  # green: itself, and no kin
        [" red", " blue", "Red", " green", *others],  # dog: none
        ["Dog", " dog", " cow", " red", *others],  # cat: three kin
        [" cow", "Dog", " cat", " red", *others],  # cow: itself, two kin
    ]
    found = top_attended(asking, scores_with(tops, asking.tokens.tolist(), VOCABULARY))
    assert found.kin.tolist() == [2, 4, 0, 0, 3, 2]
    assert found.itself.tolist() == [True, False, True, False, False, True]
    assert found.mean_kin.value == pytest.approx(11 / 6)
    assert found.share_itself.value == pytest.approx(3 / 6)
    # Two categories of three probes: without either the other's mean is left, and t(1) = 12.7062.
    # A number can't be below 0, nor a share above 1.
    reach = 12.7062 * (1 / 3) / 2
    for mean, ends in ((found.mean_kin, (0, 11 / 6 + reach)), (found.share_itself, (0, 1))):
        interval = mean.interval()
        assert interval is not None
        assert interval.unit == "categories"
        assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-5)


def test_a_probes_own_score_counts_in_place_of_its_product() -> None:
    asking = probes([COLOURS, ANIMALS], single_token, VOCABULARY)
    queries = torch.zeros(6, 16)
    queries[:, :3] = 1.0  # red, Red and RED first, the rest tied: 3…9 by their order
    scores = TokenScores(queries, torch.eye(16), torch.tensor([-1.0, 0, 0, 0, 0, 0]))
    found = top_attended(asking, scores)
    assert found.kin[:2].tolist() == [3, 5]


def test_edges_of_a_graph_count_as_shares_of_ten() -> None:
    """By hand: of red's three edges one is kin; blue has its own form alone; dog has none; cat two of four."""
    asking = probes([COLOURS, ANIMALS], single_token, VOCABULARY)
    at = {
        text: VOCABULARY.index(text) for text in (" red", " blue", " green", " dog", " cat", " cow", "Red", " 24", "57")
    }
    edges = [(" red", " green"), (" red", "Red"), (" red", " 24"), (" blue", " blue")]
    edges += [(" cat", " dog"), (" cat", " cow"), (" cat", "57"), (" cat", " red"), (" 24", "57")]
    found = top_edges(asking, np.array([(at[a], at[b]) for a, b in edges]))
    assert found.kin == pytest.approx([10 / 3, 0, 5])
    assert found.itself.tolist() == [True, True, False]
    assert found.category.tolist() == [0, 0, 1]
    assert found.mean_kin.value == pytest.approx(25 / 9)
    with pytest.raises(NotAssessable, match="2 have edges, of fewer than two categories"):
        top_edges(asking, np.array([(at[a], at[b]) for a, b in edges[:4]]))


def test_published_lists_are_multisets_without_spaces_and_with_case() -> None:
    vocabulary = (" red", "Green", " Green", "green", " green", "GREEN", "Blue", "blue", "White", *"abcdef")
    ids = {token: i for i, token in enumerate(vocabulary)}
    top = ["Green", "GREEN", " Green", "green", "blue", " red", "a", "b", "c", "d"]
    asked: list[list[int]] = []

    def scores_of(tokens: Tensor) -> TokenScores:
        asked.append(tokens.tolist())
        return scores_with([top], tokens.tolist(), vocabulary)

    published = {
        "red": ["Green", "_Green", "Green", "green", "_green", "Blue", "_blue", "GREEN", "white", "e"],
        "mauve": ["Green"],  # no token
    }
    # Green twice of three, green once of two, GREEN, blue; not Blue, for its case, nor white and e.
    assert published_overlap(published, ids.get, vocabulary, scores_of) == {"red": 5, "mauve": 0}
    assert asked == [[0]]


def test_a_drawn_key_stands_for_those_that_were_not_drawn() -> None:
    """Of 40,010 tokens half of those that are no members are keys, each of which stands for two."""
    n = 40_010
    member = np.zeros((2, n), dtype=bool)
    member[0, :5], member[1, 5:10] = True, True
    asking = Probes(np.array([0, 5]), np.array([0, 1]), member, np.arange(n))
    keys = torch.cat([torch.arange(10), torch.arange(10, n, 2)])
    assert asking.standing_for(None).tolist() == [1.0] * n
    assert asking.standing_for(keys).tolist() == [1.0] * 10 + [2.0] * 20_000
    queries, factors = torch.eye(2), torch.zeros(len(keys), 2)
    # With 0: four others, then kin with 8 and 9 tokens above it, another, and kin with 12 above it.
    factors[[10, 11, 12, 13, 1, 2, 14, 3], 0] = torch.arange(20.0, 12.0, -1)
    # With 5: five others, which stand for ten; then itself, and kin.
    factors[[10, 11, 12, 13, 14, 5, 6], 1] = torch.arange(20.0, 13.0, -1)
    found = top_attended(asking, TokenScores(queries, factors), keys)
    assert found.kin.tolist() == [2, 0]
    assert found.itself.tolist() == [False, False]
    factors[10, 1] = 0.0
    found = top_attended(asking, TokenScores(queries, factors), keys)
    assert found.kin.tolist() == [2, 1]
    assert found.itself.tolist() == [False, True]


@pytest.mark.parametrize("above", [0.0, 2.5])
def test_among_drawn_keys_kin_are_as_many_as_in_the_whole_vocabulary(above: float) -> None:
    """Of a head that knows nothing of categories, and of one that scores kin higher, one count is near the other."""
    n, factor, generator = 50_000, 32, np.random.default_rng(0)
    member = np.zeros((5, n), dtype=bool)
    member[np.repeat(np.arange(5), 40), generator.permutation(n)[:200]] = True
    category = np.repeat(np.arange(5), 30)
    tokens = np.concatenate([np.flatnonzero(of)[:30] for of in member])
    asking = Probes(tokens, category, member, np.arange(n))
    drawn = generator.standard_normal((n, factor))
    queries = np.concatenate([generator.standard_normal((150, factor)) / factor**0.5, above * np.eye(5)[category]], 1)
    factors = np.concatenate([drawn, member.T], axis=1)
    best = np.argsort(-queries @ factors.T, axis=1)[:, :10]
    expected = (member[category[:, None], best] & (best != tokens[:, None])).sum(axis=1).mean()
    keys = asking.rivals(0)
    assert keys is not None
    among = TokenScores(torch.from_numpy(queries).float(), torch.from_numpy(factors).float()[keys])
    assert top_attended(asking, among, keys).mean_kin.value == pytest.approx(expected, rel=0.1, abs=0.02)
