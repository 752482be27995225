"""``ted cache convert``, and what the other commands do with units of several forms."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ted.store import FeatureChoice, open_cache

from ..conftest import Cli
from ..inputs import SMALL

ADM = FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]")


def forms(cache: Path) -> list[str]:
    return sorted(entry.spec.form for entry in open_cache(cache).entries() if entry.state == "complete")


def test_convert_all_units_and_remove_their_sources(cli: Cli, cache: Path) -> None:
    done = cli("cache", "convert", "--cache", cache, "--to", "int8")
    assert done.code == 0
    assert done.out.startswith("4 units as int8, 0 failed: ")
    assert "of the mask pixels (blocks) stay the same" in done.err
    assert forms(cache) == ["float16"] * 4 + ["int8"] * 4
    again = json.loads(cli("cache", "convert", "--cache", cache, "--to", "int8", "--remove-source", "--json").out)
    assert all(row["skipped"] and row["source_removed"] for row in again["units"])
    assert all(0 < row["bytes"] < row["source_bytes"] for row in again["units"])
    assert all(row["measured"]["mask_agreement"] > 0.97 for row in again["units"])
    assert forms(cache) == ["int8"] * 4
    assert cli("cache", "verify", "--cache", cache).out.startswith("4 units: 4 ok")
    nothing_left = cli("cache", "convert", "--cache", cache, "--to", "int8", "--remove-source")
    assert nothing_left.code == 0
    assert nothing_left.out.startswith("0 units as int8, 0 failed")


def test_forms_are_listed_described_and_removed_by_name(cli: Cli, cache: Path) -> None:
    chosen = ("--video", "one", "--backbone", "adm")
    assert cli("cache", "convert", "--cache", cache, "--to", "pca:4", *chosen).code == 0
    lines = cli("cache", "ls", "--cache", cache, *chosen).out.splitlines()
    assert [line.split()[5] for line in lines[:2]] == ["float16", "pca4"]
    (record,) = json.loads(cli("cache", "info", "--cache", cache, "--form", "pca:4", "--json").out)
    assert record["form"] == "pca4"
    assert record["shape"][-1] == 4
    assert record["run"]["error"]["frames"] == 4
    assert cli("cache", "verify", "--cache", cache, "--form", "pca4").out.startswith("1 unit: 1 ok")
    removed = cli("cache", "rm", "--cache", cache, "--form", "float16", *chosen, "--yes")
    assert removed.out.startswith("1 unit removed")
    assert forms(cache) == ["float16"] * 3 + ["pca4"]
    assert cli("cache", "rm", "--cache", cache, "--form", "vq", "--yes").code == 2
    assert cli("cache", "rm", "--cache", cache, "--form", "int8", "--affinities", "--yes").code == 2


def test_what_cannot_be_converted_is_told(cli: Cli, cache: Path, tmp_path: Path) -> None:
    for notation, code, message in (
        ("float16", 2, "extract again"),
        ("vq", 2, "there is no codec"),
        ("pca:nowhere.npz", 2, "nowhere.npz"),
        ("pca:4096", 1, "more components than the features have channels"),
    ):
        refused = cli("cache", "convert", "--cache", cache, "--to", notation)
        assert refused.code == code
        assert message in refused.err
    absent = cli("cache", "convert", "--cache", cache, "--to", "int8", "--video", "three")
    assert absent.code == 1
    assert "no complete float16 features" in absent.err
    assert forms(cache) == ["float16"] * 4


def test_a_damaged_source_fails_alone(cli: Cli, cache: Path) -> None:
    unit = open_cache(cache).find("davis", "one", ADM)
    chunk = unit.folder / "features/c/2/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    done = cli("cache", "convert", "--cache", cache, "--to", "bitround:6", "--remove-source")
    assert done.code == 1
    assert "3 units as bitround6, 1 failed" in done.out
    assert "checksum differs" in done.err
    assert unit.folder.is_dir()


@pytest.mark.parametrize(("form", "least"), [("int8", 0.99), ("bitround:7", 0.99), ("pca:12", 0.8)])
def test_propagate_from_a_smaller_form(
    cli: Cli, cache: Path, davis_source: Path, tmp_path: Path, form: str, least: float
) -> None:
    def masks(out: str, *options: str) -> list[np.ndarray]:  # type: ignore[type-arg]
        where = ("--cache", cache, "--out", tmp_path / out, *SMALL, "--videos", "one")
        assert cli("propagate", davis_source, *where, *options).code == 0
        return [np.asarray(Image.open(path)) for path in sorted((tmp_path / out / "one").glob("*.png"))]

    before = masks("float16")
    assert cli("cache", "convert", "--cache", cache, "--to", form, "--video", "one").code == 0
    record = json.loads((tmp_path / "float16/one/ted.json").read_text())
    assert cli("propagate", davis_source, "--cache", cache, "--out", tmp_path / "float16", *SMALL).code == 0
    assert json.loads((tmp_path / "float16/one/ted.json").read_text()) == record  # still float16's
    preferred = masks("preferred", "--prefer", f"form={form}")
    assert cli("cache", "rm", "--cache", cache, "--form", "float16", "--video", "one", "--yes").code == 0
    left = masks("left")
    agreement = np.mean([np.mean(one == other) for one, other in zip(before, left, strict=True)])
    assert least <= agreement
    assert all(np.array_equal(one, other) for one, other in zip(preferred, left, strict=True))
    used = json.loads((tmp_path / "left/one/ted.json").read_text())["features"]
    assert all(feature["unit"].endswith(form.replace(":", "")) for feature in used)


def test_prefer_refuses_an_unknown_form(cli: Cli, cache: Path, davis_source: Path) -> None:
    refused = cli("propagate", davis_source, "--cache", cache, "--prefer", "form=vq")
    assert refused.code == 2
    assert "there is no codec 'vq'" in refused.err


def test_convert_is_light_and_says_what_it_takes(cli: Cli) -> None:
    text = cli("cache", "convert", "-h").out
    assert "bitround:N" in text
