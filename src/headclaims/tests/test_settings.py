"""The settings of an audit: what each may be, the line that refuses it, and its names everywhere it can be given."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headclaims.audit.settings import Settings, as_arguments, description, is_switch, kind_of, metavar, option, wanted
from headclaims.errors import BadInput
from headclaims.tests.claims_run import run_claims

DEFAULTS = {
    "checkpoint": None,
    "revision": None,
    "head": None,
    "words": None,
    "prompts": 32,
    "seq_len": 64,
    "seed": 0,
    "device": "cpu",
    "dtype": "stored",
    "report_dir": "reports",
    "page": False,
    "no_cache": False,
    "verdicts_only": False,
    "mutate": None,
}
OTHERS = {
    "checkpoint": "owner/model",
    "revision": "step512",
    "head": "L1H5,L0H11",
    "words": "~/my words.toml",
    "prompts": 8,
    "seq_len": 3,
    "seed": 999_999_999,
    "device": "cuda:1",
    "dtype": "bfloat16",
    "report_dir": "out/α β",
    "page": True,
    "no_cache": True,
    "verdicts_only": True,
    "mutate": "swap-head",
}
"""Of each setting a value that is not its default."""
SWITCHES, NUMBERS = {"page", "no_cache", "verdicts_only"}, {"prompts", "seq_len", "seed"}
MUTATIONS = "transpose-qk, flip-negative, shuffle-embedding, swap-head, permute-heads"
REFUSED = [
    ("checkpoint", 5, "--checkpoint 5: wanted text"),
    ("revision", 5, "--revision 5: wanted text"),
    ("words", ["write-up"], "--words ['write-up']: wanted text"),
    ("device", 0, "--device 0: wanted text"),
    ("report_dir", Path("reports"), "--report-dir reports: wanted text"),
    *(
        ("head", head, f"--head {head}: wanted L<layer>H<head>, as L1H5, auto or all")
        for head in ("L1", "l1h5", "L1H5 ", "L1H5,", "L1H5,auto", "L-1H5", "L1H1234567", "L٣H5", "", "ALL", 5)
    ),
    *(
        ("prompts", prompts, f"--prompts {prompts}: wanted a whole number, 1 or more")
        for prompts in (0, -1, 1.0, True, "0", "-1", "1.5", "1e3", " 5", "٣", "", "many", "1" * 10)
    ),
    ("seq_len", 2, "--seq-len 2: wanted a whole number, 3 or more"),
    ("seq_len", "2", "--seq-len 2: wanted a whole number, 3 or more"),
    ("seed", -1, "--seed -1: wanted a whole number, 0 or more"),
    ("seed", "x", "--seed x: wanted a whole number, 0 or more"),
    ("dtype", "int8", "--dtype int8: wanted one of stored, float32, bfloat16, float16"),
    ("mutate", "transpose", f"--mutate transpose: wanted one of {MUTATIONS}"),
    ("page", "yes", "--page yes: wanted true or false"),
    ("no_cache", 1, "--no-cache 1: wanted true or false"),
    ("verdicts_only", "", "--verdicts-only : wanted true or false"),
]


def refusal(values: Mapping[str, Any]) -> str:
    """The line that refuses some values."""
    with pytest.raises(BadInput) as refused:
        Settings.of(values)
    return str(refused.value)


def test_the_defaults() -> None:
    assert Settings.of({}).model_dump() == DEFAULTS
    assert Settings.of(dict.fromkeys(DEFAULTS)).model_dump() == DEFAULTS


def test_each_setting_is_taken_as_it_is_given() -> None:
    assert set(OTHERS) == set(DEFAULTS)
    assert Settings.of(OTHERS).model_dump() == OTHERS


@pytest.mark.parametrize(("name", "value", "line"), REFUSED, ids=[f"{name}={value!r}" for name, value, _ in REFUSED])
def test_a_value_that_cannot_be_is_refused_in_one_line(name: str, value: Any, line: str) -> None:
    assert refusal({name: value}) == line


def test_every_setting_refuses_something() -> None:
    assert {name for name, _, _ in REFUSED} == set(DEFAULTS)


def test_whole_numbers_may_be_text() -> None:
    settings = Settings.of({"prompts": "8", "seq_len": "3", "seed": "007"})
    assert (settings.prompts, settings.seq_len, settings.seed) == (8, 3, 7)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    assert refusal({"chekpoint": "planted"}) == (
        f"chekpoint: no setting of an audit; wanted some of {', '.join(DEFAULTS)}"
    )


def test_settings_that_do_not_agree_are_refused() -> None:
    line = "--revision main: no --checkpoint; wanted the hub id it is a revision of"
    assert refusal({"revision": "main"}) == line
    for head in ("auto", "all"):
        line = f"--mutate swap-head: with --head {head} there is no head to change; wanted one named"
        assert refusal({"mutate": "swap-head", "head": head}) == line
    assert Settings.of({"mutate": "swap-head"}).head is None


@pytest.mark.parametrize(
    ("head", "searched"), [("auto", True), ("all", True), ("L1H5", False), ("L1H5,L2H0", False), (None, False)]
)
def test_a_head_is_named_or_looked_for(head: str | None, searched: bool) -> None:
    assert Settings.of({"head": head}).searched is searched


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What a command line says, by the names of settings."""
    given: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        dashed, equals, value = argument.partition("=")
        assert dashed.startswith("--")
        name = dashed.removeprefix("--").replace("-", "_")
        given[name] = True if name in SWITCHES else value if equals else next(rest)
    return given


@pytest.mark.parametrize("values", [DEFAULTS, OTHERS, {"seed": 3, "page": True}, {"report_dir": "-out=1"}])
def test_arguments_say_what_settings_say(values: Mapping[str, Any]) -> None:
    settings = Settings.of(values)
    assert Settings.of(parsed(as_arguments(settings.model_dump()))) == settings


def test_arguments_leave_out_what_is_off_or_not_given() -> None:
    assert as_arguments({"checkpoint": None, "page": False, "seq_len": 32, "no_cache": True, "head": "L1H5"}) == [
        *("--seq-len", "32"),
        "--no-cache",
        *("--head", "L1H5"),
    ]


def test_a_value_with_a_dash_in_front_is_no_option() -> None:
    assert as_arguments({"report_dir": "-out"}) == ["--report-dir=-out"]


def test_switches_numbers_and_texts() -> None:
    assert {name for name in DEFAULTS if is_switch(name)} == SWITCHES
    for name in DEFAULTS:
        assert kind_of(name) is (bool if name in SWITCHES else int if name in NUMBERS else str)
        assert (metavar(name) is None) == (name in SWITCHES)
    assert wanted("seq_len") == "a whole number, 3 or more"
    assert wanted("words") == "text"


def test_a_description_ends_with_the_default_where_it_is_a_value() -> None:
    assert description("seq_len") == "tokens a prompt, BOS among them; default: 64"
    assert description("dtype").endswith("; default: stored")
    assert description("seed").endswith("; default: 0")
    assert description("page").count("default") == 0
    assert description("revision").count("default") == 1


def words_of(text: str) -> str:
    """A text as one line, however it was wrapped."""
    return " ".join(text.split())


def test_every_setting_has_an_option_a_help_and_an_ini_key_under_pytest(tmp_path: Path) -> None:
    run = run_claims("--help", reports=tmp_path / "reports")
    assert run.status == 0
    said = words_of(run.output)
    for name in DEFAULTS:
        dashed = name.replace("_", "-")
        assert re.search(rf" --{dashed}[ =]", said), name
        assert words_of(description(name)) in said
        kind = "bool" if name in SWITCHES else "int" if name in NUMBERS else "string"
        assert f"headclaims_{name} ({kind}): as --{dashed} " in said
    assert not (tmp_path / "reports").exists()


def test_every_setting_is_an_option_of_the_command_audit() -> None:
    line = [sys.executable, "-m", "headclaims.cli", "audit", "--help"]
    environment = os.environ | {"COLUMNS": "500"}
    said = words_of(subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout)
    for name in set(DEFAULTS) - {"checkpoint"}:
        assert re.search(rf" {option(name)} [^]]*{re.escape(words_of(description(name)))}", said), name
    assert "--checkpoint CHECKPOINT" not in said


def test_a_home_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.of({"report_dir": "~/audits"}).report_folder == tmp_path / "audits"
    assert Settings.of({"report_dir": "~no-such-user-here/a"}).report_folder == Path("~no-such-user-here/a")
    assert Settings.of({"report_dir": "a/~"}).report_folder == Path("a/~")


def test_a_folder_that_can_be_made_is_not_refused_and_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    Settings.of({"report_dir": str(folder)}).check_report_dir()
    assert not folder.parent.exists()


@pytest.mark.parametrize("below", ["", "/deeper/still"])
def test_a_file_in_place_of_the_folder_is_refused_in_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput) as refused:
        Settings.of({"report_dir": f"{tmp_path}/file{below}"}).check_report_dir()
    assert str(refused.value) == (
        f"--report-dir {tmp_path}/file{below}: {tmp_path}/file is no folder; wanted one to write into"
    )


def test_a_link_to_nothing_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"is no folder; wanted one to write into$"):
        Settings.of({"report_dir": str(tmp_path / "link" / "reports")}).check_report_dir()


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allowed(path: Path, mode: int) -> bool:
        return not (path == tmp_path and mode == os.W_OK)

    monkeypatch.setattr(os, "access", allowed)  # whoever runs the tests may be allowed to write anywhere
    with pytest.raises(BadInput) as refused:
        Settings.of({"report_dir": str(tmp_path / "reports")}).check_report_dir()
    assert str(refused.value) == f"--report-dir {tmp_path / 'reports'}: {tmp_path} cannot be written"
