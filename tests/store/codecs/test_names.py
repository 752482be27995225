import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from ted.store import FLOAT16, parse_codec
from ted.store.artifacts.features import FEATURES
from ted.store.artifacts.registry import kind_at, layout_at
from ted.store.codecs import BitRound, Pca
from ted.store.errors import ConfigError
from ted.store.layout import safe_name
from ted.store.request import FLOAT16_LAYOUT, UnitSpec, feature_layout

NAMES = ("float16", "int8", "bitround7", "pca64", "pca64-1a2b3c4d", "float16-for-int8", "float16-for-pca64-1a2b3c4d")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_back_and_are_file_names(name: str) -> None:
    assert parse_codec(name).name == str(parse_codec(name)) == name == safe_name(name)


def test_the_notation_of_the_command_line() -> None:
    assert parse_codec("bitround:7") == BitRound(bits=7)
    assert parse_codec("pca:64") == Pca(size=64)
    assert parse_codec("float16") == FLOAT16


@pytest.mark.parametrize(
    "text",
    ["", "float32", "int8:3", "bitround", "bitround:0", "bitround:11", "pca:0", "pca:064", "pca", "pca:-1", "pca64-XYZ",
     "float16-for-", "float16-for-nonsense", "float16-for-float16-for-int8", "INT8", "int8\n"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no codec|bitround keeps 1 to 10 bits"):
        parse_codec(text)


def test_forms_are_ordered_by_what_they_lose() -> None:
    order = [
        "float16",
        "bitround10",
        "bitround6",
        "int8",
        "bitround5",
        "bitround1",
        "pca128",
        "pca64",
        "pca64-00000000",
    ]
    forms = [parse_codec(name) for name in order]
    assert all(one.loss < other.loss for one, other in itertools.pairwise(forms))


def test_staging_is_laid_out_like_float16_and_is_told_apart() -> None:
    staging = parse_codec("pca:8").staging()
    assert staging.name == "float16-for-pca8"
    assert staging.is_staging
    assert not FLOAT16.is_staging
    assert feature_layout(staging) == feature_layout(FLOAT16) == FLOAT16_LAYOUT


def test_the_kind_of_a_unit_follows_its_form(spec: UnitSpec, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = spec.folder(tmp_path_factory.mktemp("cache"))
    assert kind_at(folder) is FEATURES
    for name in NAMES:
        assert layout_at(folder.with_name(name)) == feature_layout(parse_codec(name))
    assert layout_at(folder.with_name("of-next-year")) == FLOAT16_LAYOUT  # its records are in the same place
    assert feature_layout(parse_codec("int8")).chunk_keys(3) == ("features/c/3/0/0/0", "scale/c/3/0/0")
    assert feature_layout(parse_codec("pca:2")).shared == {
        "features/zarr.json",
        "components/zarr.json",
        "components/c/0/0",
    }


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_damaged_file_of_a_basis_is_an_error_that_names_it(suffix: str, tmp_path: Path) -> None:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 4)))[0].T.astype(np.float32)
    path = tmp_path / f"basis{suffix}"
    if suffix == ".npy":
        np.save(path, basis)
    else:
        np.savez_compressed(path, components=basis)
    whole, rng, messages = path.read_bytes(), random.Random(0), list[str]()
    assert parse_codec(f"pca:{path}").name.startswith("pca4-")
    for _ in range(600):
        damaged = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 6)) if damaged else ():
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            parse_codec(f"pca:{path}")
        except ConfigError as error:
            messages.append(str(error))
    assert len(messages) > 300
    assert all(str(path) in message for message in messages)
