"""Rules of the house that no tool of others checks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for half in ("edge", "cloud", "shared") for path in (ROOT / half).rglob("*.py"))
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
PERSONAL = {
    "nickname",
    "member",
    "token",
    "text",
    "texts",
    "secret",
    "password",
    "key",
    "code",
    "email",
    "frame",
    "name",
}
BANNED_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)", re.IGNORECASE)


def log_calls(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"log", "logger", "_log"}
    ]


def fields_of(call: ast.Call) -> set[str]:
    keywords = {keyword.arg for keyword in call.keywords if keyword.arg}
    extras = [keyword.value for keyword in call.keywords if keyword.arg == "extra"]
    named = {
        key.value
        for extra in extras
        if isinstance(extra, ast.Dict)
        for key in extra.keys
        if isinstance(key, ast.Constant)
    }
    return {str(name) for name in keywords | named}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_why_it_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_log_line_carries_a_person_or_a_secret(path: Path) -> None:
    for call in log_calls(ast.parse(path.read_text(encoding="utf-8"))):
        assert not fields_of(call) & PERSONAL, (path, call.lineno)


def test_no_place_is_named_for_having_no_better_name() -> None:
    assert [str(path.relative_to(ROOT)) for path in SOURCES if BANNED_NAMES.search(path.stem)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "edge/db/migrations").glob("*.sql")), ids=lambda path: path.name)
def test_a_migration_opens_with_why_and_what_it_costs(path: Path) -> None:
    head = path.read_text(encoding="utf-8").splitlines()[:3]
    assert head[0].startswith("-- Why:")
    assert any("Cost" in line for line in head)


def test_the_readme_names_every_command_and_every_setting() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    config = (ROOT / "edge/config.py").read_text(encoding="utf-8")
    settings = next(
        node for node in ast.walk(ast.parse(config)) if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    names = [
        node.target.id
        for node in settings.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    assert [name for name in names if f"`{name}`" not in readme] == []
    for command in ("make run", "make test", "make bench", "make proof", "doorstep-edge", "doorstep-cloud verify"):
        assert command in readme
