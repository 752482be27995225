"""Links between the pages lead somewhere, and the commands that they show exist."""

import pkgutil
import re
from pathlib import Path

import click
import pytest

from ted.extract.backbones import BACKBONES
from ted.pipeline.choices.presets import PRESETS
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


def test_pages_that_the_code_names_exist() -> None:
    for folder in ("store", "extract", "propagate", "pipeline", "training", "benchmarks", "notebooks", "tests"):
        for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.ipynb"), *(ROOT / folder).rglob("*.md")]:
            for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
                assert (ROOT / page).is_file(), f"{path.relative_to(ROOT)} names {page}"


def test_the_table_of_presets_is_the_presets() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    table = page.partition("## Presets")[2].partition("## Weights")[0]
    shown = {}
    for row in re.findall(r"^\| (`.*) \|$", table, re.MULTILINE):
        names, *cells = (cell.strip() for cell in row.split("|"))
        shown |= {key: [cell.strip("`") for cell in cells] for key in re.findall(r"[\w-]+", names)}
    assert shown == {
        name: [
            preset.video_feature or "",
            preset.image_feature or "",
            *map(str, (preset.alpha, preset.temperature, preset.radius, preset.top_k)),
        ]
        for name, preset in PRESETS.items()
    }


def test_the_table_of_weights_names_every_backbone() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text().partition("## Weights")[2]
    first = " ".join(re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE))
    for name, info in BACKBONES.items():
        assert f"`{name}`" in first
        assert info.published is None or info.published.bundled or info.published.name in page


@every_page
def test_files_that_pages_name_exist(page: Path) -> None:
    rooms = "store|extract|propagate|pipeline|training|benchmarks|notebooks|tests"
    for name in re.findall(rf"(?:`|python )((?:{rooms})/[\w/.-]+)", page.read_text()):
        assert (ROOT / name).exists(), name


@every_page
def test_names_that_pages_give_exist(page: Path) -> None:
    for name in re.findall(r"`(ted\.(?:store|extract|propagate|pipeline)(?:\.\w+)*)`", page.read_text()):
        pkgutil.resolve_name(name)
