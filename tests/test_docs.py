"""Links between the pages lead somewhere, and the commands that they show exist."""

import re
from pathlib import Path

import click
import pytest

from tests.console import console_lines, parse_command

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), f"{target}#{anchor}"


@every_page
def test_commands_exist_with_these_options(page: Path) -> None:
    for line in console_lines(page.read_text()):
        for command in line.split(" && "):
            if command.startswith("ted "):
                try:
                    # An ellipsis stands for the rest of a command, or for the value of the option before it.
                    parse_command(re.sub(r"( --[\w-]+)? (…|\.\.\.)", "", command))
                except click.ClickException as error:
                    pytest.fail(f"{command}\n{error.format_message()}")
