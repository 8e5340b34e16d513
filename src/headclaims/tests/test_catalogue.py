"""The claims' ids are one set: the marks in claims/, findings.toml, thresholds.toml and a record."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from headclaims.tests.claims_run import SET, catalogue, run_claims
from headclaims.tests.evidence_files import recorded_graph

TESTS = sorted(SET.rglob("test_*.py"))


def claims_in(file: Path) -> list[ast.FunctionDef]:
    """The test functions of a file, those of classes among them."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]


def marked_ids(test: ast.FunctionDef) -> list[str]:
    """The ids in a test's marks `@pytest.mark.claim("id")`."""
    calls = [mark for mark in test.decorator_list if isinstance(mark, ast.Call)]
    return [
        ast.literal_eval(argument)
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.claim"
        for argument in call.args
    ]


def data(name: str) -> dict[str, object]:
    return tomllib.loads((SET / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", TESTS, ids=lambda path: path.name)
def test_every_test_is_about_one_claim(file: Path) -> None:
    tests = claims_in(file)
    assert tests
    for test in tests:
        (claim_id,) = marked_ids(test)
        # So that `-k` and the output of pytest speak of claims.
        assert test.name == "test_" + claim_id.replace("-", "_")


def test_the_marks_are_the_catalogue() -> None:
    ids = Counter(claim_id for file in TESTS for test in claims_in(file) for claim_id in marked_ids(test))
    assert set(ids.values()) == {1}
    assert set(ids) == set(catalogue()) == set(data("thresholds.toml"))


def test_a_record_has_the_ids_of_the_catalogue_in_its_order(tmp_path: Path) -> None:
    recorded_graph().write(tmp_path / "graph.safetensors")
    run = run_claims("--checkpoint", tmp_path / "graph.safetensors", reports=tmp_path / "reports")
    assert [claim["id"] for claim in run.record["claims"]] == list(catalogue())


def test_what_findings_say_of_each_claim() -> None:
    for claim_id, entry in catalogue().items():
        stated = {"group", "statement", "definition", "source"}
        assert stated <= set(entry) <= stated | {"reported", "published", "by_construction", "needs", "nulls"}, claim_id
        for word, listed in entry.get("published", {}).items():
            assert len(listed) == 10, word
            assert all(isinstance(token, str) and token.strip() == token for token in listed), word
        for name, reported in entry.get("reported", {}).items():
            assert set(reported) == {"value", "tolerance", "kind"}, (claim_id, name)
            assert reported["tolerance"] >= 0
            assert reported["kind"]


def test_what_thresholds_say_of_each_claim() -> None:
    for claim_id, statistics in data("thresholds.toml").items():
        assert isinstance(statistics, dict)
        assert statistics, claim_id
        for stated in statistics.values():
            assert set(stated) == {"relation", "value"}, claim_id
            assert stated["relation"] in (">", "≥", "<", "≤", "|·| ≤")


def test_a_definition_names_the_thresholds() -> None:
    """Whoever reads the definition on a page reads the thresholds that decide."""
    for claim_id, statistics in data("thresholds.toml").items():
        assert isinstance(statistics, dict)
        said = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", catalogue()[claim_id]["definition"])]
        said += [n / 100 for n in said] + [0.5] * ("d_head/2" in catalogue()[claim_id]["definition"])
        for name, stated in statistics.items():
            assert stated["value"] in said, (claim_id, name)
