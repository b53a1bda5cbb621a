"""The house: imports point down, the data plane stays light, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("interlock", "control_plane", "loadtest", "router", "serving", "compiler")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HEAVY = (
    "sklearn",
    "skl2onnx",
    "onnx",
    "scipy",
    "pandas",
    "shap",
    "optuna",
    "pyarrow",
    "control_plane",
)
MAX_LINES = 400


def test_import_contracts_are_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["router.serve", "router.fastlane", "serving.engine"])
def test_data_plane_is_imported_without_anything_heavy(module):
    program = (
        f"import sys\nimport interlock.commands.roles\nimport {module}\n"
        f"print(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_compiler_imports_nothing_heavy_until_it_trains():
    program = (
        "import sys, compiler.schema, compiler.package, compiler.rules.pipeline\n"
        f"print(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_not_too_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_package_files_hold_only_a_docstring():
    guilty = []
    for path in FILES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text("utf-8")).body
            if len(body) > 1 or not (body and isinstance(body[0], ast.Expr)):
                guilty.append(str(path.relative_to(ROOT)))
    assert guilty == []


def test_every_module_says_what_it_is():
    missing = [
        str(path.relative_to(ROOT))
        for path in FILES
        if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert missing == []


def test_tests_have_no_packages():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_file_speaks_of_a_place_on_somebodys_machine():
    """Paths of one machine in code or tests work only there."""
    places = tuple("/" + name + "/" for name in ("work", "opt", "root", "home"))
    guilty = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in (*FILES, *TESTS, ROOT / "README.md", ROOT / "pyproject.toml")
        for place in places
        if f"{place}" in path.read_text("utf-8") and path != Path(__file__)
    ]
    assert guilty == []
