"""The notebooks run from their first cell to their last, and are committed with what that gave."""

import ast
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ted.pipeline.metrics.identity import identity_accuracy
from ted.pipeline.notebooks import collection

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("xarray")

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = [path.name for path in sorted(FOLDER.glob("*.ipynb"))]


def cells(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return found


def code(name: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]


def cosine_decibels(*timesteps: int) -> NDArray[np.float64]:
    """Signal-to-noise ratios of the bundled models: a cosine schedule (Nichol and Dhariwal 2021) without its rest of
    signal at the end (Lin et al. 2024).
    """
    at = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    root = np.sqrt(np.cumprod(1 - np.minimum(1 - at[1:] / at[:-1], 0.999)))
    share = (((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2)[list(timesteps)]
    return np.asarray(10 * np.log10(share / (1 - share)))


def run(name: str, source: str, names: dict[str, Any], number: int) -> object:
    """Run a cell in the variables of those before it; return what its last expression gives, as a kernel shows it."""
    tree = ast.parse(source, filename=f"{name}, code cell {number}")
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"{name}, code cell {number}", "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), f"{name}, code cell {number}", "eval"), names)
    assert repr(value)
    for form in ("_repr_html_", "_repr_png_"):
        if hasattr(value, form):
            getattr(value, form)()
    return value


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_whole_and_hold_small_outputs(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert len(text) < 900_000
    assert not re.search(r"/(home|root|work|Users)/", text)
    book = json.loads(text)
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in book["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", ())]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    for cell in book["cells"]:
        assert not any(line.lstrip().startswith(("%", "!")) for line in cell["source"])  # run as plain Python below
    assert book["cells"][0]["source"][0].startswith("# ")
    assert code(name)[0].endswith("\nMINE = None")


def test_notebooks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of those about a cache, the first makes a small one; the others are pointed at it, as at one's own.

    Its video and grids are smaller than readers', which takes half of the time.
    """
    monkeypatch.setattr(collection, "_SCENE", replace(collection._SCENE, frames=8))
    monkeypatch.setattr(collection, "_SIZES", {name: size // 2 for name, size in collection._SIZES.items()})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    matplotlib.use("Agg")
    from matplotlib import pyplot

    mine, homes = None, []
    shown: dict[str, list[object]] = {}
    try:
        for name in NAMES:
            names: dict[str, Any] = {"__name__": "__main__"}
            first, *others = code(name)
            run(name, first, names, 1)
            names["MINE"] = mine
            shown[name] = [run(name, source, names, number) for number, source in enumerate(others, 2)]
            homes.append(names["home"])
            if name.startswith("0"):
                masks = {key: names[key].masks for key in ("plain", "fused")}
                true = names["clip"].masks
                found = {key: identity_accuracy(true[1:], value[1:]) for key, value in masks.items()}
                assert found["fused"] > 0.8 > found["plain"]
                continue
            root = names["collection"].cache.root
            mine = {"cache": str(root), "source": str(root.parent / "data"), "folder": root.parent}
            if name.startswith("2"):
                assert len(pyplot.get_fignums()) == 5
                for number in pyplot.get_fignums():
                    pyplot.figure(number).canvas.draw()
                drawn = pyplot.figure(1).axes[0].get_legend_handles_labels()[1]
                assert {"demo-video", "demo-video, untrained network", "demo-video, temporal layers off"} < {*drawn}
                assert {"rgb", "position"} < {*drawn}
                timesteps, ratios = pyplot.figure(1).axes
                over_timestep, over_noise = timesteps.lines[0], ratios.lines[0]
                assert list(over_timestep.get_xdata()) == [300, 500, 700]
                assert list(over_noise.get_ydata()) == list(over_timestep.get_ydata())
                np.testing.assert_allclose(over_noise.get_xdata(), cosine_decibels(300, 500, 700), atol=0.01)
    finally:
        pyplot.close("all")
        for home in homes:
            home.cleanup()
    tour = shown["1-tour-of-a-cache.ipynb"]
    assert any("damaged" in str(value) for value in tour)
    printed = capsys.readouterr().out
    assert "fits several units" in printed
    assert "is not what was written" in printed
