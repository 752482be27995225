"""Archives of arrays that results are stored in."""

from pathlib import Path

import numpy as np
import pytest

from ted.pipeline.tasks.archives import read_archive
from ted.store.errors import LabelError


def test_damaged_archives_say_so(tmp_path: Path) -> None:
    """Wherever the damage is: in the directory of the archive, a header, or compressed data."""
    path = tmp_path / "tracks.npz"
    expected = np.arange(300.0).reshape(3, 100)
    np.savez_compressed(path, tracks=expected)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", b"no archive", whole[:40], whole[:-10], b"\x93NUMPY\x01\x00"]
    for at in range(0, len(whole), 7):
        damaged.append(whole[:at] + rng.bytes(4) + whole[at + 4 :])
    refused = []
    for data in damaged:
        path.write_bytes(data)
        try:
            found = read_archive(path, ["tracks"])["tracks"]
        except LabelError as error:
            refused.append(str(error))
        else:  # in a part that has no meaning, such as a date
            np.testing.assert_array_equal(found, expected)
    assert len(refused) > len(damaged) // 2
    assert all("tracks.npz is damaged" in message for message in refused)
    with path.open("wb") as file:
        np.save(file, expected)  # an array, not an archive
    with pytest.raises(LabelError, match="is damaged"):
        read_archive(path, ["tracks"])
