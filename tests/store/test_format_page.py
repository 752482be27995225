"""The normative page names every key that is written."""

import json
from pathlib import Path

from ted.store import Unit

PAGE = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text()


def test_every_key_on_disk_is_documented(unit: Unit) -> None:
    spec = unit.spec.to_json()
    marker = json.loads((unit.folder / "features/ted/complete.json").read_text())
    keys = {*spec, *spec["request"], *marker}
    assert not [key for key in keys if f"`{key}`" not in PAGE]


def test_every_file_on_disk_is_documented(unit: Unit) -> None:
    names = {path.name for path in unit.folder.rglob("*") if path.is_file() and "c" not in path.parts}
    assert names == {"zarr.json", "complete.json", "run.json"}
    assert all(name in PAGE for name in names)
