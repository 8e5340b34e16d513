"""Where trials leave what they found: in the checkout that they are run in."""

from pathlib import Path

TRIALS, README = Path("reports/trials"), Path("README.md")
