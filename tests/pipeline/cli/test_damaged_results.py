"""Results whose files have changed: `ted propagate` makes them again, and `ted evaluate` refuses them."""

from pathlib import Path

from ..conftest import Cli

SMALL = ("--radius", 2, "--top-k", 5)


def test_swapped_masks_are_noticed(cli: Cli, davis_source: Path, extracted: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    propagate = ("propagate", davis_source, "--videos", "one", "--cache", extracted, "--out", out, *SMALL)
    evaluate = ("evaluate", davis_source, "--videos", "one", "--results", out)
    assert cli(*propagate).code == 0
    assert cli(*evaluate).code == 0
    first, second = (out / "one" / f"{number:05d}.png" for number in (1, 2))
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    refused = cli(*evaluate)
    assert refused.code == 1
    assert "files differ from the result's record ted.json (00001.png)" in refused.err
    assert cli(*propagate).code == 0
    assert first.read_bytes() == whole
    assert cli(*evaluate).code == 0
    assert "there before" in cli(*propagate).err
    first.write_bytes(second.read_bytes())
    (out / "one" / "ted.json").unlink()  # changed on purpose
    assert cli(*evaluate).code == 0
