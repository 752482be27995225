"""``ted extract --store-as``: features in a smaller form, from extraction on."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ted.extract.backbones.base import Backbone
from ted.pipeline.cli import ted
from ted.pipeline.cli.run import run
from ted.store import Unit, open_cache, parse_codec
from ted.store.errors import CacheError
from tests.pipeline.conftest import Cli, Result

FEATURES = ("--feature", "adm:51,300:output_blocks[7]")
Run = Callable[..., Result]


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def extract(cli: Cli, davis_source: Path, weights: tuple[str, ...]) -> Run:
    def call(cache: Path, *options: object) -> Result:
        return cli("extract", davis_source, "--cache", cache, "--frame-size", 64, *weights, *FEATURES, *options)

    return call


@pytest.fixture(scope="module")
def whole(
    davis_source: Path, weights: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Caches that were extracted at once, by ``--store-as``: to be read, or as a copy."""

    @functools.cache
    def make(*options: str) -> Path:
        cache = tmp_path_factory.mktemp("whole") / "cache"
        with pytest.raises(SystemExit) as stopped:
            run(
                *(ted, "ted"),
                ["extract", str(davis_source), f"--cache={cache}", "--frame-size=64", *weights, *FEATURES, *options],
            )
        assert not stopped.value.code
        return cache

    def get(*options: str, copy: Path | None = None) -> Path:
        return make(*options) if copy is None else Path(shutil.copytree(make(*options), copy))

    return get


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The passes of the UNet that were run, by size."""
    sizes: list[int] = []
    really = Backbone.features

    def features(self: Backbone, noisy: Any, *arguments: Any, **named: Any) -> Any:
        sizes.append(len(noisy))
        return really(self, noisy, *arguments, **named)

    monkeypatch.setattr(Backbone, "features", features)
    return sizes


@pytest.mark.parametrize("notation", ["int8", "pca:8", "bitround:6"])
def test_the_cache_holds_the_form_alone_and_its_error(
    extract: Run, cli: Cli, whole: Callable[..., Path], tmp_path: Path, notation: str
) -> None:
    cache = tmp_path / "cache"
    done = extract(cache, "--store-as", notation, "--json")
    assert done.code == 0
    form = parse_codec(notation).name
    written = json.loads(done.out)["written"]
    assert len(written) == 4
    assert all(label.endswith(f" {form}") for label in written)
    assert {entry.spec.form for entry in open_cache(cache).entries()} == {form}
    for unit in open_cache(cache).units():
        error = unit.run_record["error"]
        assert error["mask"] == "first mask"
        assert error["mask_agreement"] > 0.5
        assert 0 < error["cosine_mean"] < 0.5
    # The same bytes as by converting what was extracted; the descriptions name the units that were converted.
    other = whole(copy=tmp_path / "other")
    assert cli("cache", "convert", "--cache", other, "--to", notation, "--remove-source").code == 0
    chunks, others = ({key: data for key, data in tree(root).items() if "/c/" in key} for root in (cache, other))
    assert chunks
    assert chunks == others


def test_a_second_run_finds_it_complete(
    extract: Run, whole: Callable[..., Path], tmp_path: Path, passes: list[int]
) -> None:
    cache = whole("--store-as", "int8", copy=tmp_path / "cache")
    before = tree(cache)
    passes.clear()
    again = extract(cache, "--store-as", "int8", "--json")
    assert (again.code, passes) == (0, [])
    assert [len(json.loads(again.out)[key]) for key in ("written", "skipped")] == [0, 4]
    assert tree(cache) == before


def test_what_is_there_in_float16_is_converted_and_stays(
    extract: Run, whole: Callable[..., Path], tmp_path: Path, passes: list[int]
) -> None:
    cache = whole(copy=tmp_path / "cache")
    passes.clear()
    assert extract(cache, "--store-as", "int8").code == 0
    assert passes == []
    assert sorted(entry.spec.form for entry in open_cache(cache).entries()) == ["float16"] * 4 + ["int8"] * 4


@pytest.mark.parametrize("step", ["convert_unit", "remove_source"])
def test_what_waits_to_be_converted_is_taken_up(
    extract: Run,
    whole: Callable[..., Path],
    tmp_path: Path,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise CacheError("killed here")

    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(f"ted.pipeline.runs.extracting.conversion.{step}", killed)
        failed = extract(cache, "--store-as", "int8")
    assert failed.code == 1
    assert "killed here" in failed.err
    forms = {entry.spec.form for entry in open_cache(cache).entries()}
    assert forms == {"float16-for-int8"} | ({"int8"} if step == "remove_source" else set())
    computed = len(passes)
    assert extract(cache, "--store-as", "int8").code == 0
    assert len(passes) == computed
    assert tree(cache) == tree(whole("--store-as", "int8"))


def test_an_interrupted_extraction_resumes_in_the_staging_form(extract: Run, tmp_path: Path, passes: list[int]) -> None:
    whole, cache = tmp_path / "whole", tmp_path / "cache"
    assert extract(whole, "--store-as", "pca:8").code == 0
    total = len(passes)
    assert extract(cache, "--store-as", "pca:8", "--videos", "one").code == 0
    part = len(passes) - total
    assert extract(cache, "--store-as", "pca:8").code == 0
    assert len(passes) == 2 * total
    assert 0 < part < total
    assert tree(cache) == tree(whole)


def test_overwriting_makes_everything_anew(
    extract: Run, whole: Callable[..., Path], tmp_path: Path, passes: list[int]
) -> None:
    cache = whole("--store-as", "int8", copy=tmp_path / "cache")
    before = tree(cache)
    passes.clear()
    assert extract(cache, "--store-as", "int8", "--overwrite").code == 0
    assert sum(passes) >= 2 * (4 + 5)  # each frame at both timesteps
    assert tree(cache) == before


@pytest.mark.parametrize("notation", ["int8", "pca:8"])
def test_a_dry_run_knows_the_size(extract: Run, whole: Callable[..., Path], tmp_path: Path, notation: str) -> None:
    planned = json.loads(extract(tmp_path / "cache", "--store-as", notation, "--dry-run", "--json").out)["units"]
    promised = {row["label"]: row["bytes"] for row in planned}
    units = open_cache(whole("--store-as", notation)).units()
    assert len(units) == 4
    for unit in units:
        chunks = {key: record for key, record in unit.marker.files.items() if "/c/" in key}
        per_frame = sum(
            record.bytes - 4  # the CRC
            for key, record in chunks.items()
            if key.split("/")[0] in ("features", "scale")
        )
        assert promised[unit.spec.label] == per_frame


def test_a_form_that_features_cannot_have_ends_the_run(extract: Run, tmp_path: Path) -> None:
    wrong = extract(tmp_path / "cache", "--store-as", "pca:4000")
    assert wrong.code == 2
    assert "pca" in wrong.err
    assert extract(tmp_path / "cache", "--store-as", "jpeg").code == 2


def test_a_given_basis(extract: Run, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert extract(cache, "--videos", "one").code == 0
    (unit, *_) = open_cache(cache).units()
    channels = unit.shape[-1]
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((channels, 8)))
    np.save(tmp_path / "basis.npy", basis.T.astype(np.float32))
    done = extract(cache, "--videos", "one", "--store-as", f"pca:{tmp_path / 'basis.npy'}")
    assert done.code == 0
    made = [unit for unit in open_cache(cache).units() if unit.spec.form.startswith("pca8-")]
    assert len(made) == 2
    original = {unit.spec.timestep: unit for unit in open_cache(cache).units() if unit.spec.form == "float16"}
    for unit in made:
        expected = original[unit.spec.timestep].features.compute().astype(np.float64) @ basis
        np.testing.assert_allclose(unit.features.compute(), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
        assert isinstance(unit, Unit)
