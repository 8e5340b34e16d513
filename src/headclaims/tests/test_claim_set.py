"""A claim set read from its folder: what it says, and the line that refuses what is missing or of another form."""

from pathlib import Path

import pytest

from headclaims.audit.heads import HEAD_SCORES, category_scores, head_score
from headclaims.audit.prepare import Defaults
from headclaims.checkpoint.interface import Head
from headclaims.claim.claim_set import ClaimSet, Limit, Reported, Statement
from headclaims.errors import BadInput
from headclaims.statistics.verdict import Threshold
from headclaims.tests.small_sets import FINDINGS, NAMED, TESTS, THRESHOLDS, small_set, write_set

HOMOLOGOUS = """
[write_up.homologous]
claims = ["first", "second"]
needed = ["first"]
rule = "does both"
"""


def refusal(folder: Path) -> str:
    """The line that refuses a folder."""
    with pytest.raises(BadInput) as refused:
        ClaimSet.read(folder)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


def test_what_a_folder_says(tmp_path: Path) -> None:
    made = small_set(tmp_path / "mine")
    assert made.name == "mine"
    assert made.folder == (tmp_path / "mine").resolve()
    assert list(made.claims) == ["first", "second"]
    assert made.claims["first"] == Statement(
        "The first holds",
        "Group",
        "gap > 0",
        "section 1",
        {"gap": Reported(1.5, 0.25, "rounded"), "share": Reported(0.5, 0.125, "")},
        {"red": [" blue", " green"]},
    )
    assert made.claims["second"] == Statement("The second holds", "Claims", "", "", {}, {})
    assert made.limits == {
        "first": {"gap": Limit(">", 0.0), "share": Limit("≤", 0.5)},
        "second": {"size": Limit("|·| ≤", 0.125)},
    }
    assert (made.write_up.title, made.write_up.head, made.write_up.fingerprint) == ("Made up", "L1H2", "abc")
    assert (made.write_up.authors, made.write_up.year, made.write_up.version) == ("", None, 1)
    assert made.write_up.homologous is None


def test_what_a_set_leaves_out_is_gpt2_and_the_lowest_category_score(tmp_path: Path) -> None:
    assert small_set(tmp_path).defaults == Defaults("gpt2", "L1H2", {"lowest": "category score"})


def test_what_a_set_decides(tmp_path: Path) -> None:
    more = 'title = "Made up"\nmodel = "owner/other"\nauto = { highest = "category score" }\nyear = 2026\nversion = 3'
    made = ClaimSet.read(write_set(tmp_path, FINDINGS.replace('title = "Made up"', more)))
    assert made.defaults == Defaults("owner/other", "L1H2", {"highest": "category score"})
    assert (made.write_up.year, made.write_up.version) == (2026, 3)


def test_thresholds_are_those_of_the_file(tmp_path: Path) -> None:
    made = small_set(tmp_path)
    assert made.threshold("first", "gap") == Threshold(">", 0.0)
    assert made.threshold("second", "size") == Threshold("|·| ≤", 0.125)


def test_a_statistic_without_threshold_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    made = small_set(tmp_path)
    with pytest.raises(BadInput) as refused:
        made.threshold("first", "size")
    assert str(refused.value) == (
        f"{tmp_path.resolve()}/thresholds.toml: no threshold of 'size' in [first], which has gap, share"
    )


@pytest.mark.parametrize(
    ("label", "fingerprint", "discovered"),
    [("L1H2", "abc", True), ("L1H2", "abd", False), ("L1H2", None, False), ("L2H1", "abc", False)],
)
def test_numbers_were_reported_for_one_head_of_one_checkpoint(
    tmp_path: Path, label: str, fingerprint: str | None, discovered: bool
) -> None:
    head = Head.parse(label)
    assert head is not None
    assert small_set(tmp_path).discovered_on(head, fingerprint) is discovered


def test_a_set_without_fingerprint_reports_on_no_checkpoint(tmp_path: Path) -> None:
    made = ClaimSet.read(write_set(tmp_path, FINDINGS.replace('fingerprint = "abc"\n', "")))
    assert not made.discovered_on(Head(1, 2), None)
    assert not made.discovered_on(Head(1, 2), "abc")


def test_the_rule_of_homologous_heads(tmp_path: Path) -> None:
    rule = ClaimSet.read(write_set(tmp_path, FINDINGS + HOMOLOGOUS)).write_up.homologous
    assert rule is not None
    assert (rule.claims, rule.needed, rule.rule) == (["first", "second"], ["first"], "does both")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('["first", "second"]', '["first", "third"]', "homologous names 'third'; wanted claims of the set"),
        ('needed = ["first"]', 'needed = ["third"]', "homologous names 'third'; wanted claims of the set"),
        ('["first", "second"]', '["second"]', "homologous needs 'first', which is not among its claims"),
    ],
)
def test_a_rule_of_homologous_heads_that_no_head_could_meet(tmp_path: Path, before: str, after: str, said: str) -> None:
    folder = write_set(tmp_path, FINDINGS + HOMOLOGOUS.replace(before, after))
    assert refusal(folder) == f"{tmp_path.resolve()}/findings.toml: {said}"


SENTENCE = """
[[write_up.sentences]]
says = "Both hold"
claims = ["first", "second"]
"""


def test_sentences_of_the_write_up(tmp_path: Path) -> None:
    assert small_set(tmp_path / "none").write_up.sentences == []
    (sentence,) = ClaimSet.read(write_set(tmp_path / "one", FINDINGS + SENTENCE)).write_up.sentences
    assert (sentence.says, sentence.claims) == ("Both hold", ["first", "second"])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"second"]', '"third"]', "the sentence 'Both hold' names 'third'; wanted claims of the set"),
        ('["first", "second"]', "[]", "a sentence that says 'Both hold'; wanted words, and one claim or more"),
        ('"Both hold"', '" "', "a sentence that says ' '; wanted words, and one claim or more"),
        ('says = "Both hold"', "", "write_up.sentences.0.says: Field required"),
    ],
)
def test_a_sentence_that_rests_on_nothing(tmp_path: Path, before: str, after: str, said: str) -> None:
    folder = write_set(tmp_path, FINDINGS + SENTENCE.replace(before, after))
    assert refusal(folder) == f"{tmp_path.resolve()}/findings.toml: {said}"


def test_the_digest_is_of_what_was_claimed_and_wanted(tmp_path: Path) -> None:
    first = small_set(tmp_path / "a").digest
    assert len(first) == 64
    assert set(first) <= set("0123456789abcdef")
    assert small_set(tmp_path / "elsewhere").digest == first
    assert ClaimSet.read(write_set(tmp_path / "b", tests=TESTS + "\n# more\n")).digest == first
    others = {
        ClaimSet.read(write_set(tmp_path / "c", findings=FINDINGS.replace("1.5", "1.6"))).digest,
        ClaimSet.read(write_set(tmp_path / "d", thresholds=THRESHOLDS.replace("0.125", "0.25"))).digest,
        ClaimSet.read(write_set(tmp_path / "e", findings=FINDINGS + "# moved\n")).digest,
        ClaimSet.read(write_set(tmp_path / "f", thresholds="# moved\n" + THRESHOLDS)).digest,
    }
    assert len(others | {first}) == 5


def test_an_editor_s_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    folder = write_set(tmp_path, mark + FINDINGS.encode(), mark + THRESHOLDS.encode(), mark + TESTS.encode())
    assert ClaimSet.read(folder).claims == small_set(tmp_path / "without").claims


@pytest.mark.parametrize("name", ["findings", "thresholds"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    folder = write_set(tmp_path / "mine")
    (folder / f"{name}.toml").unlink()
    assert refusal(folder) == f"{folder}/{name}.toml: No such file or directory; wanted a file of a claim set"
    (folder / f"{name}.toml").mkdir()
    assert refusal(folder) == f"{folder}/{name}.toml: Is a directory; wanted a file of a claim set"


@pytest.mark.parametrize("name", ["findings", "thresholds"])
@pytest.mark.parametrize(
    "text", [b"[write_up\n", b"a = 1\na = 2\n", b"title = '\xff\xfe'\n", b"\0", b"a = " + b"[" * 100_000]
)
def test_a_file_that_is_not_toml(tmp_path: Path, name: str, text: bytes) -> None:
    folder = write_set(tmp_path, **{name: text})
    assert refusal(folder).startswith(f"{folder}/{name}.toml: not a TOML file: ")


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("[write_up]", "[writeup]", "write_up"),
        ('title = "Made up"', "", "write_up.title"),
        ('title = "Made up"', "title = 5", "write_up.title"),
        ('title = "Made up"', 'title = "Made up"\ncolour = "red"', "write_up.colour"),
        ('title = "Made up"', 'title = "Made up"\nyear = "2026"', "write_up.year"),
        ('title = "Made up"', 'title = "Made up"\nyear = 2026.5', "write_up.year"),
        ('title = "Made up"', 'title = "Made up"\nversion = true', "write_up.version"),
        ('title = "Made up"', 'title = "Made up"\nauto = "lowest"', "write_up.auto"),
        ('title = "Made up"', 'title = "Made up"\nauto = { least = "category score" }', "write_up.auto.least"),
        ('title = "Made up"', 'title = "Made up"\nhomologous = ["first"]', "write_up.homologous"),
        ('head = "L1H2"', "", "write_up.head"),
        ('statement = "The second holds"', "", "claims.second.statement"),
        ('statement = "The second holds"', "statement = []", "claims.second.statement"),
        ("[claims.second]", "[claims.second]\nthreshold = 5", "claims.second.threshold"),
        ("tolerance = 0.125", "kind = 'none'", "claims.first.reported.share.tolerance"),
        ("value = 0.5", 'value = "0.5"', "claims.first.reported.share.value"),
        ("value = 0.5", "value = nan", "claims.first.reported.share.value"),
        ("value = 0.5", "value = 0.5, sd = 1", "claims.first.reported.share.sd"),
        ('[" blue", " green"]', '" blue"', "claims.first.published.red"),
        ('[" blue", " green"]', "[1]", "claims.first.published.red.0"),
    ],
)
def test_findings_of_another_form(tmp_path: Path, before: str, after: str, where: str) -> None:
    assert before in FINDINGS
    folder = write_set(tmp_path, FINDINGS.replace(before, after))
    assert refusal(folder).startswith(f"{folder}/findings.toml: {where}")


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ('relation = ">"', 'relation = "≠"', "first.gap.relation"),
        ('relation = ">", ', "", "first.gap.relation"),
        (", value = 0 ", "", "first.gap.value"),
        ("value = 0 ", 'value = "0" ', "first.gap.value"),
        ("value = 0 ", "value = true ", "first.gap.value"),
        ("value = 0 ", "value = nan ", "first.gap.value"),
        ("value = 0 ", "value = inf ", "first.gap.value"),
        ("value = 0 ", "value = 0, kind = 'x' ", "first.gap.kind"),
        ('gap = { relation = ">", value = 0 }', "gap = 0", "first.gap"),
        ("[first]", "title = 'no table'\n[first]", "title"),
    ],
)
def test_thresholds_of_another_form(tmp_path: Path, before: str, after: str, where: str) -> None:
    assert before in THRESHOLDS
    folder = write_set(tmp_path, thresholds=THRESHOLDS.replace(before, after))
    assert refusal(folder).startswith(f"{folder}/thresholds.toml: {where}: ")


@pytest.mark.parametrize("rest", ["", "[second]\n"])
def test_a_claim_without_threshold(tmp_path: Path, rest: str) -> None:
    folder = write_set(tmp_path, thresholds=THRESHOLDS.partition("[second]")[0] + rest)
    assert refusal(folder) == f"{folder}/thresholds.toml: no threshold of claim 'second'; wanted a table [second]"


def test_thresholds_of_no_claim(tmp_path: Path) -> None:
    folder = write_set(tmp_path, thresholds=THRESHOLDS + '[third]\na = { relation = ">", value = 0 }\n')
    assert refusal(folder) == f"{folder}/thresholds.toml: [third] is no claim of findings.toml"


@pytest.mark.parametrize("auto", ['{ lowest = "beauty" }', "{}", '{ lowest = "category score", highest = "beauty" }'])
def test_a_score_to_look_for_that_nobody_registered(tmp_path: Path, auto: str) -> None:
    folder = write_set(tmp_path, FINDINGS.replace("[claims.first]", f"auto = {auto}\n[claims.first]"))
    assert refusal(folder).startswith(f"{folder}/findings.toml: auto ")
    assert refusal(folder).endswith("wanted lowest or highest of one of category score, prefix matching")


def test_a_score_that_an_author_registered_can_be_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HEAD_SCORES, "beauty", raising=False)  # so that it is taken out again
    head_score("beauty")(category_scores)
    folder = write_set(tmp_path, FINDINGS.replace("[claims.first]", 'auto = { highest = "beauty" }\n[claims.first]'))
    assert ClaimSet.read(folder).defaults.auto == {"highest": "beauty"}


@pytest.mark.parametrize("head", ["auto", "all", "L1", "L1H2,L1H3", "1.5", ""])
def test_a_default_head_is_one_head(tmp_path: Path, head: str) -> None:
    folder = write_set(tmp_path, FINDINGS.replace("L1H2", head))
    assert refusal(folder) == f"{folder}/findings.toml: head {head!r}; wanted one head, as L1H5"


def test_a_set_without_tests(tmp_path: Path) -> None:
    folder = write_set(tmp_path, tests=None)
    line = f"{folder}: a claim set without tests; wanted one marked @pytest.mark.claim(…)"
    assert refusal(folder) == line
    (folder / "test_it.py").write_text("def test_first(claim, audit): ...\n")
    assert refusal(folder) == line


@pytest.mark.parametrize(
    "tests",
    [
        TESTS.replace('"first"', '"fist"'),
        TESTS + '\npytestmark = [pytest.mark.slow, pytest.mark.claim("fist")]\n',
        TESTS + '\nclass TestIt:\n    @pytest.mark.claim("fist")\n    def test_it(self): ...\n',
        TESTS + '\nfrom pytest import mark\n@mark.claim("fist")\ndef test_it(): ...\n',
    ],
    ids=["test", "module", "class", "mark"],
)
def test_a_mark_of_a_claim_that_there_is_not(tmp_path: Path, tests: str) -> None:
    folder = write_set(tmp_path, tests=tests)
    assert refusal(folder) == f"{folder}/test_it.py: claim 'fist' is not in {folder}/findings.toml"


def test_marks_are_read_in_folders_below(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    write_set(folder / "below", None, None, TESTS.replace('"first"', '"fist"'))
    assert refusal(folder) == f"{folder}/below/test_it.py: claim 'fist' is not in {folder}/findings.toml"


@pytest.mark.parametrize("name", [".venv", "venv", "build", "node_modules", "__pycache__"])
def test_what_pytest_passes_over_is_passed_over(tmp_path: Path, name: str) -> None:
    folder = write_set(tmp_path)
    write_set(folder / name / "below", None, None, TESTS.replace('"first"', '"fist"'))
    assert list(ClaimSet.read(folder).claims) == ["first", "second"]


@pytest.mark.parametrize("text", [b"def (", b"\xff\xfe", b"\0"])
def test_a_test_file_that_python_cannot_read_is_for_pytest_to_name(tmp_path: Path, text: bytes) -> None:
    folder = write_set(tmp_path)
    (folder / "test_odd.py").write_bytes(text)
    assert list(ClaimSet.read(folder).claims) == ["first", "second"]


def test_the_words_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = write_set(tmp_path, FINDINGS.replace("[claims.first]", 'words = "mine"\n[claims.first]'))
    (folder / "words").mkdir()
    for name in ("also", "mine"):
        (folder / "words" / f"{name}.toml").write_text(f'[categories]\n{name} = ["red", "blue", "green"]\n')
    (folder / "groups.toml").write_text('[categories]\ndays = ["Monday"]\n')
    lists = ClaimSet.read(folder).word_lists
    assert lists.default == "mine"
    assert set(lists.lists) == {"also", "mine"}
    assert lists.groups is not None
    assert lists.groups.categories == {"days": ("Monday",)}


PLANTED = 'title = "Made up"\nplanted = { construction = "induction", head = "L1H4" }'


def test_a_set_names_its_planted_checkpoint_and_further_heads(tmp_path: Path) -> None:
    made = ClaimSet.read(write_set(tmp_path, FINDINGS.replace('title = "Made up"', f"{PLANTED}\n{NAMED[18:]}")))
    assert (made.defaults.construction, made.defaults.planted_head) == ("induction", "L1H4")
    assert made.write_up.named_heads == {"other-head": "another"}
    assert small_set(tmp_path / "other").defaults.construction == "categories"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            PLANTED.replace("induction", "made-up"),
            "planted construction 'made-up'; wanted one of categories, induction",
        ),
        (PLANTED.replace("L1H4", "four"), "head 'four'; wanted one head, as L1H5"),
        (NAMED.replace("other-head", "seq-len"), "named_heads 'seq-len'; wanted a new option's name, as other-head"),
        (NAMED.replace("other-head", "Other_head"), "named_heads 'Other_head'; wanted a new option's name"),
    ],
)
def test_what_can_t_be_planted_or_named(tmp_path: Path, changed: str, line: str) -> None:
    folder = write_set(tmp_path, FINDINGS.replace('title = "Made up"', changed))
    assert line in refusal(folder)
