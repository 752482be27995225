"""Messages of the lower packages name no command: errors carry hints, and the command line words them."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ted.pipeline.choices.hints import explain, hint_text
from ted.store.errors import ClaimedError, CorruptUnitError, Hint, TedError

ROOT = Path(__file__).parents[3]

# Commands of other programs, of Dask and Hugging Face, are named where they help.
_OTHERS = ("curl ", "dask scheduler", "Start workers with --resources", "--include")
_COMMAND = re.compile(r"`ted |'ted |(?<!\w)--[a-z]")


def _strings(package: str) -> Iterator[tuple[Path, ast.expr, str]]:
    """Yield all string constants of a package but docstrings."""
    for path in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield path, node, node.value


def _actions(package: str) -> set[str]:
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Hint":
                action = node.args[0]
                # An action that ends with the kind of an artifact; kinds of other packages have no text.
                found.add(ast.literal_eval(action) if isinstance(action, ast.Constant) else "learn-token")
    return found


@pytest.mark.parametrize("package", ["store", "extract", "propagate"])
def test_messages_name_no_command_and_no_option(package: str) -> None:
    found = [
        f"{path.name}:{node.lineno} {text!r}"
        for path, node, text in _strings(package)
        if _COMMAND.search(text) and not any(command in text for command in _OTHERS)
    ]
    assert found == []


@pytest.mark.parametrize("package", ["store", "extract", "propagate"])
def test_every_action_has_a_text(package: str) -> None:
    assert {action for action in _actions(package) if not hint_text(Hint(action, {"kind": "token"}))} == set()


def test_the_store_has_hints() -> None:
    assert {"repair", "resume", "extract"} <= _actions("store")


def test_a_hint_becomes_the_command_to_type() -> None:
    damaged = CorruptUnitError("x is damaged", hint=Hint("repair", {"maker": "extraction"}))
    assert str(damaged) == "x is damaged"
    assert explain(damaged) == (
        "x is damaged; run `ted cache verify --repair`, then the same `ted extract` again: "
        "it redoes only what is damaged"
    )
    several = TedError("there are:\n  a\n  b", hint=Hint("prefer"))
    assert explain(several).splitlines()[3].startswith("say which with --prefer")


def test_errors_without_a_known_action_are_their_message() -> None:
    assert explain(TedError("broken")) == "broken"
    assert explain(TedError("broken", hint=Hint("ask-the-plug-in"))) == "broken"


def test_hints_survive_pickling() -> None:
    error = ClaimedError("busy", host="h", pid=3, hint=Hint("resume", {"maker": "search"}))
    again = pickle.loads(pickle.dumps(error))
    assert (again.hint, again.host, again.pid, str(again)) == (error.hint, "h", 3, "busy")
