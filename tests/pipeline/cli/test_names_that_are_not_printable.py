"""Names with control characters never reach the terminal raw."""

import logging
import shutil
from pathlib import Path

import numpy as np

from ..conftest import Cli

EVIL = "one\x07two"


def test_notes_warnings_tables_and_labels_are_escaped(cli: Cli, davis_source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(davis_source / "JPEGImages/480p/one", tmp_path / EVIL))
    mask = davis_source / "Annotations/480p/one/00000.png"
    cache = ("--cache", tmp_path / "cache")
    np.save(tmp_path / f"{EVIL}.npy", np.ones((4, 5, 8, 8), np.float32))
    imported = cli("import", folder, *cache, "--arrays", tmp_path, "--name", "mine", "--frame-size", 64)
    assert imported.code == 0
    feature = ("--feature", "mine:0:features=1", "--radius", 1)
    propagated = cli("propagate", folder, "--mask", mask, *cache, *feature, "--out", tmp_path / "r")
    assert propagated.code == 0
    failed = cli(
        "propagate", folder, "--mask", mask, *cache, "--feature", "other:0:features=1", "--out", tmp_path / "s"
    )
    assert failed.code == 1
    axes = ("--image-feature", "mine:0:features", "--alpha", 0, "--affinities-only")
    swept = cli("sweep", folder, "--mask", mask, *cache, *axes)
    assert swept.code == 0
    planned = cli("sweep", folder, "--mask", mask, *cache, *axes, "--dry-run")
    assert logging.lastResort is not None
    record = logging.LogRecord("ted", logging.WARNING, "", 0, "%s is odd", (EVIL,), None)
    assert logging.lastResort.format(record) == "one\\x07two is odd"
    for result in (imported, propagated, failed, swept, planned):
        assert "\x07" not in result.out + result.err
        assert "one\\x07two" in result.out + result.err
