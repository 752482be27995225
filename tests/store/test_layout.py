import itertools
import os
from pathlib import Path

import pytest

from ted.store.errors import ConfigError
from ted.store.kinds import AFFINITIES, FEATURES
from ted.store.layout import safe_name, tap_name, unit_folder

HOSTILE = [
    "..", ".", "../../etc/passwd", "/etc", "a/b", "a\\b", " ", "a b", "a%20b", "-rf", ".hidden", "x" * 500, "x" * 501,
    "*", "[0]", "ü", "u\u0308", "a\nb", "a\x00b", "~", "con:", "%2E%2E", "\udcff",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_becomes_a_plain_file_name_inside_its_folder(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert Path(tmp_path, safe).resolve().parent == tmp_path.resolve()
    assert safe.isascii()
    assert not set(safe) & set("/\\*?[]$ '\"\n\x00")
    assert len(os.fsencode(safe)) <= 120
    (tmp_path / safe).mkdir()


def test_different_names_stay_different() -> None:
    for one, other in itertools.combinations(HOSTILE, 2):
        assert safe_name(one) != safe_name(other)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("dogs-jump", "00000", "v1.2_x"):
        assert safe_name(name) == name


def test_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty name"):
        safe_name("")


def test_unit_folder_is_as_the_format_says() -> None:
    folder = unit_folder(
        Path("cache"), dataset="davis", video="camel", backbone="i2vgen-xl", digest="0123456789abcdef", timestep=300,
        tap="up_blocks[2]", form="float16",
    )  # fmt: skip
    assert folder == Path("cache/davis/camel.zarr/i2vgen-xl@01234567/t300/up_blocks.2/float16")
    assert tap_name("output_blocks[7]") == "output_blocks.7"


def test_chunk_keys_can_be_read_back() -> None:
    assert FEATURES.chunk_keys(12) == ("features/c/12/0/0/0",)
    assert AFFINITIES.chunk_keys(3) == ("sources/c/3/0/0", "cosines/c/3/0/0/0", "bounds/c/3/0/0")
    for kind in (FEATURES, AFFINITIES):
        assert [kind.chunk_frame(key) for key in kind.chunk_keys(12)] == [12] * len(kind.arrays)
    assert FEATURES.chunk_frame("features/zarr.json") is None
    assert FEATURES.chunk_frame("features/c/12/0/0/0.partial") is None
    assert FEATURES.chunk_frame("sources/c/3/0/0") is None
