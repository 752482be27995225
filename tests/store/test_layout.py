import itertools
import os
from pathlib import Path

import pytest

from ted.store import AffinitySpec
from ted.store.errors import ConfigError
from ted.store.layout import printable, safe_name, tap_name, unit_path
from ted.store.request import FLOAT16_LAYOUT

from .unit_inputs import make_affinities, make_spec

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


def test_the_folder_of_a_unit_is_as_the_format_says() -> None:
    spec = make_spec()
    assert spec.folder(Path("cache")) == Path(f"cache/davis/swan.zarr/adm@{spec.digest()[:8]}/t51/up_blocks.2/float16")
    affinities = make_affinities()
    folder = Path(f"cache/davis/swan.zarr/affinities/{affinities.digest()[:8]}")
    assert affinities.folder(Path("cache")) == folder
    assert tap_name("output_blocks[7]") == "output_blocks.7"


@pytest.mark.parametrize("part", ["", ".", "..", "../victim", "a/b", "/etc", "a\x00b"])
def test_no_part_of_a_folder_leads_elsewhere(part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside of its place"):
        unit_path(tmp_path, "davis", "swan", part, "float16")


def test_what_is_not_printable_is_escaped() -> None:
    assert printable("a\x1b[31mb\n\u202e\udcff\x7f") == r"a\x1b[31mb\n\u202e\udcff\x7f"
    assert printable("one\ntwo\r", keep="\n") == "one\ntwo\\r"
    assert printable("Käfer 狗 (1)") == "Käfer 狗 (1)"


def test_chunk_keys_can_be_read_back() -> None:
    assert FLOAT16_LAYOUT.chunk_keys(12) == ("features/c/12/0/0/0",)
    assert AffinitySpec.layout.chunk_keys(3) == ("sources/c/3/0/0", "cosines/c/3/0/0/0", "bounds/c/3/0/0")
    for kind in (FLOAT16_LAYOUT, AffinitySpec.layout):
        assert [kind.chunk_frame(key) for key in kind.chunk_keys(12)] == [12] * len(kind.arrays)
    assert FLOAT16_LAYOUT.chunk_frame("features/zarr.json") is None
    assert FLOAT16_LAYOUT.chunk_frame("features/c/12/0/0/0.partial") is None
    assert FLOAT16_LAYOUT.chunk_frame("sources/c/3/0/0") is None
