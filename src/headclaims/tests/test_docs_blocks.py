"""Every command and every block of Python in README.md and docs/, run in the order of its page in a scratch folder.

Comments above a block say how (none: as it stands, to status 0):

- `write: PATH`, `append: PATH`: the block is that file's content;
- `stand-in: A, B`: what this machine lacks, each replaced by what `STAND_INS` says;
- `status: N`: the command's exit status; of an audit of a stand-in it may be 0 or 1;
- `output`: these lines are among what the command above printed;
- `from: RECORD`: a footer, which `test_pages.py` compares with its record;
- `long`: left to `make test`; `not run: WHY`: Python is compiled alone.

Of a workflow in YAML the steps that run headclaims are run.
"""

import ast
import json
import shlex
import shutil
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from headclaims.checkpoint.planted.folder import planted_folder
from headclaims.fleet.plan import Plan
from headclaims.tests.claims_run import ROOT, _server, environment
from headclaims.tests.evidence_files import partial_weights, recorded_attention
from headclaims.tests.markdown_pages import Block, blocks, pages

PAGES = [page for page in pages() if page == "README.md" or Path(page).parts[0] == "docs"]
LANGUAGES = {"bash", "python", "toml", "text", "yaml"}
MODEL, EVIDENCE, RECORDING, REPORT = "a model's folder", "a folder of evidence", "a recording", "a report folder"
STAND_INS = {
    # The hub can't be reached: commands that run a model get the planted one's folder, audits small evidence.
    "gpt2": (MODEL, EVIDENCE),
    "EleutherAI/pythia-160m": (MODEL, EVIDENCE),
    # A file or folder of the reader's.
    "./my-model": (MODEL, EVIDENCE),
    "recording.safetensors": (RECORDING,),
    "recordings/before.safetensors": (RECORDING,),
    "recordings/after.safetensors": (RECORDING,),
    # What an audit before has left, by the name that it has on the planted checkpoint.
    "reports/planted-65da8398/self_hating_head/L1H5": (REPORT,),
}
OF_THE_HUB = ("--revision",)
QUICK = ("-k", "attends_within_category", "--prompts", "2")
ACTIVATE = [".", ".venv/bin/activate"]


class Reader:
    """Somebody who follows a page, block after block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        (folder / "claims").symlink_to(ROOT / "claims")

    def follow(self, block: Block) -> None:
        """Do what a block says; raises AssertionError where that isn't what it was to be."""
        told = block.directives
        for key in ("write", "append"):
            if key in told:
                self.write(told[key], block.text, append=key == "append")
        names = [name for name in told.get("stand-in", "").split(", ") if name]
        if "output" in told:
            for line in block.text.splitlines():
                assert " ".join(line.split()) in " ".join(self.printed.split()), self.printed
        elif "not run" in told or told.keys() & {"write", "append", "from"}:
            self.place(names)
            if block.language == "python":
                ast.parse(block.text)
        elif block.language == "python":
            self.write("block.py", self.with_stand_ins(block.text, names, MODEL))
            self.run("python", ["block.py"], names, {0})
        elif block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                self.command(shlex.split(line, comments=True), names, told.get("status"))
        elif block.language == "yaml":
            steps = [step for job in yaml.safe_load(block.text)["jobs"].values() for step in job["steps"]]
            commands = [words for step in steps if (words := shlex.split(step.get("run", "")))[:1] == ["headclaims"]]
            assert commands, f"line {block.line}: a workflow that runs nothing of ours"
            for words in commands:
                self.command(words, names, told.get("status"))

    def write(self, name: str, text: str, append: bool = False) -> None:
        """Write a file of the page's, in a new paragraph where something is there to append to."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((path.read_text(encoding="utf-8") + "\n" if append else "") + text, encoding="utf-8")
        if path.suffix == ".toml" and "rule" in tomllib.loads(path.read_text(encoding="utf-8")):
            assert Plan.read(path).jobs

    def command(self, words: Sequence[str], names: Sequence[str], status: str | None) -> None:
        """Run a line of the shell."""
        if not words or words == ACTIVATE:
            return
        program, arguments = words[0].removeprefix(".venv/bin/"), list(words[1:])
        if program == "make":  # what it runs are the tests and audits themselves
            subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
            return
        assert program in ("headclaims", "pytest"), f"{program}: no command that a page may give"
        audits = program == "pytest" or arguments[0] == "audit"
        arguments = [self.with_stand_ins(word, names, EVIDENCE if audits else MODEL) for word in arguments]
        stands_in = audits and any(EVIDENCE in STAND_INS[name] for name in names)
        if stands_in:
            arguments = without(arguments, OF_THE_HUB) + ([] if "-k" in arguments else list(QUICK))
        if "-n" in arguments:
            arguments += ["-n", "0"]
        allowed = {int(status)} if status else {0, 1} if audits and "planted" not in arguments else {0}
        self.run(program, arguments, names, allowed)

    def with_stand_ins(self, text: str, names: Sequence[str], kind: str) -> str:
        """Return text with the names of what is lacking replaced, but for those of files, which are put there."""
        for name in names:
            if kind in STAND_INS[name]:
                quoted = f'"{name}"'
                text = str(self.stand_in(kind)) if text == name else text.replace(quoted, f'"{self.stand_in(kind)}"')
        return text

    def stand_in(self, kind: str) -> Path:
        """Return a folder that stands in for a model of the hub."""
        if kind == MODEL:
            return planted_folder()
        folder = self.folder / "stand-in"
        if not folder.exists():
            folder.mkdir()
            recorded_attention(prompts=4).write(folder / "attention.safetensors")
            partial_weights().write(folder / "weights.safetensors")
        return folder

    def place(self, names: Sequence[str]) -> None:
        """Put files that a page takes for granted where it has them."""
        for name in names:
            path = self.folder / name
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if RECORDING in STAND_INS[name]:
                recorded_attention(prompts=4).write(path)
            elif REPORT in STAND_INS[name]:
                shutil.copytree(ROOT / "reports" / "examples" / "planted", path)

    def run(self, program: str, arguments: Sequence[str], names: Sequence[str], statuses: set[int]) -> None:
        """Run a program in the reader's folder, by the process that has the libraries loaded."""
        self.place(names)
        variables = environment(self.folder, {"COLUMNS": "80"})
        with tempfile.TemporaryDirectory() as printed, socket.socket(socket.AF_UNIX) as server:
            server.connect(_server())
            job = {"program": program, "arguments": arguments, "cwd": str(self.folder), "folder": printed}
            with server.makefile("rw", encoding="utf-8") as line:
                line.write(f"{json.dumps(job | {'env': variables})}\n")
                line.flush()
                status = int(line.readline())
            self.printed, errors = (Path(printed, name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        assert status in statuses, f"{shlex.join([program, *arguments])}: {status}\n{self.printed}{errors}"


def without(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Leave out options with their values."""
    return [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if word not in options and before not in options
    ]


def followed(page: str, folder: Path, long: bool) -> None:
    """Follow a page in a folder."""
    reader = Reader(folder)
    for block in blocks(page):
        if long or "long" not in block.directives:
            reader.follow(block)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_a_page_can_be_followed(page: str, tmp_path: Path) -> None:
    followed(page, tmp_path, long=False)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if any("long" in block.directives for block in blocks(page))])
def test_a_page_can_be_followed_to_the_letter(page: str, tmp_path: Path) -> None:
    followed(page, tmp_path, long=True)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    """So that none is passed over: a language, and where it is lacking what it needs a stand-in or a reason."""
    known = {"write", "append", "stand-in", "status", "output", "from", "long", "not run"}
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page}:{block.line}"
        assert block.directives.keys() <= known, f"{page}:{block.line}"
        assert block.language != "toml" or block.directives.keys() & {"write", "append"}, f"{page}:{block.line}"
        for name in filter(None, block.directives.get("stand-in", "").split(", ")):
            assert name in STAND_INS, f"{page}:{block.line}"
            assert name in block.text, f"{page}:{block.line}"


def test_the_test_can_fail(tmp_path: Path) -> None:
    """An option that there isn't, a line that isn't printed, Python that raises."""
    reader = Reader(tmp_path)
    with pytest.raises(AssertionError, match="unrecognized arguments: --latest"):
        reader.follow(Block("bash", "headclaims catalogue self_hating_head --latest\n", 1))
    with pytest.raises(AssertionError):
        reader.follow(Block("text", "no such line\n", 1, {"output": ""}))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        reader.follow(Block("python", "1 / 0\n", 1))
    with pytest.raises(AssertionError, match="rm: no command"):
        reader.follow(Block("bash", "rm -rf build\n", 1))
    assert (tmp_path / "block.py").is_file()
