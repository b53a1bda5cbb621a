"""The page of estimators lists exactly the allow-list."""

import re
from pathlib import Path

import compiler
from compiler.models.supported import SUPPORTED

PAGE = Path(next(iter(compiler.__path__))) / "MODELS.md"


def test_page_lists_every_estimator_and_no_other():
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(entry.word, entry.task, entry.class_name) for entry in SUPPORTED]


def test_page_names_every_file_that_exists():
    folder = PAGE.parent / "models"
    for name in re.findall(r"`(\w+\.py)`", PAGE.read_text()):
        assert (folder / name).exists(), name


def test_readme_names_every_estimator_and_no_other():
    text = PAGE.with_name("README.md").read_text(encoding="utf-8").split("\n## Models\n")[1]
    words = {word for line in text.splitlines() if line.startswith("| ")
             for word in re.findall(r"`(\w+)`", line)}  # fmt: skip
    assert words == {entry.word for entry in SUPPORTED}
