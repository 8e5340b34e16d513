"""A claim set in somebody else's repository: three files, and everything the engine gives."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headclaims.tests.evidence_files import recorded_attention
from headclaims.tests.guest_repository import CONFIGURATION, Done, run_in, write_guest
from headclaims.tests.record_schema import departures

PLUGINS = (
    *("pytest-html", "pytest-metadata", "pytest-playwright", "pytest-base-url", "python-slugify", "text-unidecode"),
    *("pytest-asyncio", "pytest-randomly", "pytest-cov", "coverage"),
)
SHIPPED = Path(__file__).parents[3] / "claims" / "self_hating_head"
PLAN = """report_dir = "swept"
[[rule]]
set = "my_claims"
checkpoint = "recorded.safetensors"
words = "words.toml"
seed = [0, 1]
"""
UNRELATED = """
import sys, pytest
class Look:
    def pytest_sessionfinish(self):
        print("loaded:", sorted({"torch", "numpy", "scipy", "pydantic", "transformers"} & set(sys.modules)))
sys.exit(pytest.main(["tests", "-q", "--disable-plugin-autoload", "-p", "headclaims.plugin"], plugins=[Look()]))
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """The repository, with a recording to audit: the engine's own words, one prompt in two seen by kin."""
    folder = write_guest(tmp_path / "guest")
    recorded_attention().write(folder / "recorded.safetensors")
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("claims.json"))]


def audited(guest: Path, *options: str, env: dict[str, str] | None = None) -> Done:
    return run_in(
        guest, "pytest", "my_claims", "--checkpoint", "recorded.safetensors", "--words", "words.toml", *options, env=env
    )


@pytest.fixture(autouse=True)
def _words(guest: Path) -> None:
    """The words of the recording, for a set that brings none."""
    shutil.copy(SHIPPED / "words" / "write-up.toml", guest / "words.toml")


def test_its_claims_run_and_are_recorded(guest: Path) -> None:
    """Its own fixture, its own id that another set has too, its own configuration, warnings as errors in it."""
    done = audited(guest, "--page")
    assert done.status == 0, done.said
    (record,) = records(guest / "reports")
    assert departures(record) == []
    assert record["claim_set"]["name"] == "my_claims"
    assert {claim["id"]: claim["verdict"] for claim in record["claims"]} == dict.fromkeys(
        ["attends-to-previous", "inertia"], "supported"
    )
    previous = record["claims"][0]
    assert previous["interval"][0] <= previous["measured"]["share"] <= previous["interval"][1]
    assert [null["population"] for null in previous["nulls"]] == ["other heads"]
    (page,) = (guest / "reports").rglob("index.html")
    text = page.read_text(encoding="utf-8")
    for title in ("A line", "Another", "Some bars", "A map"):
        assert title in text
    assert "left out" not in text


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_say_what_one_does(guest: Path) -> None:
    """Less what times alone."""
    one, two = audited(guest, "--report-dir", "one"), audited(guest, "--report-dir", "two", "-n", "2")
    assert one.status == two.status == 0, two.said
    (first,), (second,) = records(guest / "one"), records(guest / "two")
    kept = ("verdict", "flags", "measured", "interval", "nulls", "variants")
    assert [{k: c[k] for k in kept} for c in first["claims"]] == [{k: c[k] for k in kept} for c in second["claims"]]


def test_it_may_lie_behind_a_link(guest: Path) -> None:
    (guest / "linked").symlink_to(guest / "my_claims")
    done = run_in(guest, "pytest", "linked", "--checkpoint", "recorded.safetensors", "--words", "words.toml")
    assert done.status == 0, done.said
    assert [record["claim_set"]["name"] for record in records(guest / "reports")] == ["my_claims"]


def test_a_sweep_over_it(guest: Path) -> None:
    (guest / "plan.toml").write_text(PLAN, encoding="utf-8")
    done = run_in(guest, "headclaims", "sweep", "plan.toml", "--workers", "1")
    assert done.status == 0, done.said
    assert [record["complete"] for record in records(guest / "swept")] == [True, True]


@pytest.mark.slow
@pytest.mark.long
def test_settings_in_its_ini_file(guest: Path) -> None:
    """A key before the default, an option before the key; a key that can't be is one line."""
    keys = CONFIGURATION + 'headclaims_seed = "7"\nheadclaims_report_dir = "elsewhere"\n'
    (guest / "pyproject.toml").write_text(keys, encoding="utf-8")
    assert audited(guest).status == 0
    assert [record["settings"]["seed"] for record in records(guest / "elsewhere")] == [7]
    assert audited(guest, "--seed", "8").status == 0
    assert [record["settings"]["seed"] for record in records(guest / "elsewhere")] == [8]
    # Its other tests, where the plugin sleeps, are not warned of keys that nobody declares.
    own = run_in(guest, "pytest", "tests", "-q")
    assert own.status == 0, own.said
    (guest / "pyproject.toml").write_text(CONFIGURATION + 'headclaims_seed = "many"\n', encoding="utf-8")
    refused = audited(guest)
    assert refused.status == 2
    assert refused.said.lstrip().startswith("headclaims: headclaims_seed")


def test_an_unrelated_run_loads_nothing(guest: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNRELATED], cwd=guest, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loaded: []" in done.stdout


def test_an_option_that_a_conftest_took(guest: Path) -> None:
    """It stays the guest's, and a line says by which key ours is set."""
    taken = "\ndef pytest_addoption(parser):\n    parser.addoption('--seed', default='theirs')\n"
    conftest = guest / "my_claims" / "conftest.py"
    conftest.write_text(conftest.read_text(encoding="utf-8") + taken, encoding="utf-8")
    done = audited(guest, "-o", "headclaims_seed=5")
    assert done.status == 0, done.said
    assert "headclaims: --seed is another plugin's; set headclaims_seed in the ini file, or by -o" in done.said
    assert [record["settings"]["seed"] for record in records(guest / "reports")] == [5]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        (
            "test_more.py",
            'import pytest\n\n@pytest.mark.claim("unheard")\ndef test_x(claim): pass\n',
            "claim 'unheard' is not in",
        ),
        (
            "thresholds.toml",
            '[inertia]\nmass = { relation = "≥", value = 0.0 }\n',
            "no threshold of claim 'attends-to-previous'",
        ),
        ("findings.toml", "[write_up\n", "not a TOML file"),
    ],
    ids=["unknown-id", "no-threshold", "no-toml"],
)
def test_a_set_that_is_wrong_is_one_line(guest: Path, name: str, text: str, wanted: str) -> None:
    (guest / "my_claims" / name).write_text(text, encoding="utf-8")
    done = audited(guest)
    lines = [line for line in done.said.splitlines() if line.strip()]
    assert done.status == 2, done.said
    assert len(lines) == 1
    assert lines[0].startswith("headclaims: ")
    assert wanted in lines[0]


def test_a_set_without_tests_is_one_line(guest: Path) -> None:
    for path in (guest / "my_claims").glob("test_*.py"):
        path.unlink()
    done = audited(guest)
    assert done.status == 2
    assert "a claim set without tests" in done.said


def test_a_statistic_without_threshold_ends_the_run(guest: Path) -> None:
    limits = '[attends-to-previous]\nother = { relation = "<", value = 0.5 }\n'
    limits += '[inertia]\nmass = { relation = "≥", value = 0.0 }\n'
    (guest / "my_claims" / "thresholds.toml").write_text(limits, encoding="utf-8")
    done = audited(guest)
    assert done.status == 2, done.said
    assert "no threshold of 'share' in [attends-to-previous], which has other" in done.said


@pytest.fixture
def both(guest: Path) -> Path:
    """A folder of two sets, the guest's and the one that ships, and a repository without configuration."""
    shutil.copytree(SHIPPED, guest / "claims" / "self_hating_head", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move(guest / "my_claims", guest / "claims" / "my_claims")
    (guest / "pyproject.toml").unlink()
    return guest


@pytest.mark.slow
@pytest.mark.long
def test_two_sets_are_one_session(both: Path) -> None:
    """Two footers, two records; the same in two processes."""
    options = ("--checkpoint", "recorded.safetensors", "--words", "words.toml")
    done = run_in(both, "pytest", "claims", *options)
    # The recorded head gives itself nothing at all.
    assert done.status == 1, done.said
    assert re.findall(r"^([\w-]+) +not supported", done.said, re.MULTILINE) == ["self-above-unrelated"]
    assert done.said.count("test session starts") == 1
    for name in ("my_claims", "self_hating_head"):
        assert f"claims of {name}: L1H5" in done.said
    found = {record["claim_set"]["name"]: record for record in records(both / "reports")}
    assert {name: len(record["claims"]) for name, record in found.items()} == {"my_claims": 2, "self_hating_head": 36}
    assert all(record["complete"] for record in found.values())
    again = run_in(both, "pytest", "claims", *options, "-n", "2", "--report-dir", "two")
    assert again.status == 1, again.said
    for record in records(both / "two"):
        other = found[record["claim_set"]["name"]]
        assert [claim["measured"] for claim in record["claims"]] == [claim["measured"] for claim in other["claims"]]


@pytest.mark.slow
@pytest.mark.long
def test_several_heads_are_one_session(both: Path) -> None:
    options = ("--checkpoint", "recorded.safetensors", "--words", "words.toml")
    some = run_in(both, "pytest", "claims", *options, "--head", "L1H5,L1H6")
    assert some.said.count("test session starts") == 1
    labels = sorted((record["claim_set"]["name"], record["target"]["label"]) for record in records(both / "reports"))
    assert labels == [(name, label) for name in ("my_claims", "self_hating_head") for label in ("L1H5", "L1H6")]
    every = run_in(both, "pytest", "claims", *options, "--head", "all", "--report-dir", "every")
    assert every.said.count("test session starts") == 1
    assert "homologous heads: L1H5" in every.said
    heads = {record["target"]["label"] for record in records(both / "every")}
    assert len(records(both / "every")) == 2 * len(heads) > 2


@pytest.mark.slow
@pytest.mark.long
def test_beside_strangers_plugins(guest: Path, tmp_path: Path) -> None:
    """pytest-html, -playwright, -asyncio, -randomly and -cov installed: --html and --device are theirs."""
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(tmp_path / "plugins"),
        *PLUGINS,
    ]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        pytest.skip("the package index does not answer")
    loop_scope = (
        'asyncio_default_fixture_loop_scope = "function"\n'  # or pytest-asyncio warns, an error in this repository
    )
    (guest / "pyproject.toml").write_text(CONFIGURATION + loop_scope, encoding="utf-8")
    done = audited(
        guest, "--html", "theirs.html", "--cov", "tests", "--page", env={"PYTHONPATH": str(tmp_path / "plugins")}
    )
    assert done.status == 0, done.said
    assert "headclaims: --device is another plugin's" in done.said
    assert (guest / "theirs.html").is_file()
    (record,) = records(guest / "reports")
    assert record["complete"]
    assert list((guest / "reports").rglob("index.html"))
