"""The commands with an affinity kernel of another package: two heads with separate queries and keys."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr

from ted.pipeline.datasets.sources import Source, open_sources
from ted.pipeline.datasets.video import Video
from ted.pipeline.pictures import arrow_pictures, similarity_pictures
from ted.pipeline.pictures.arrow_pictures import draw_origins
from ted.pipeline.pictures.columns import enlarge_frame
from ted.pipeline.pictures.heatmap import overlay_heatmap
from ted.pipeline.pictures.palette import display_palette
from ted.propagate import DenseKernel, Fusion, Origins, kernels
from ted.store import FeatureChoice, open_cache

from ..conftest import Cli
from ..report_inputs import check_page, exact
from ..sheets import holds, read

IMAGE = FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]")
HEAD_WEIGHTS, GAIN, RADIUS, TOP_K, TEMPERATURE = (0.25, 0.75), 3.0, 3, 5, 0.2
KERNEL = ("--kernel", "heads", "--kernel-option", f"gain={GAIN}")
NUMBERS = ("--alpha", 0, "--radius", RADIUS, "--top-k", TOP_K, "--temperature", TEMPERATURE)
IDENTITY = {
    "name": "heads",
    "revision": 1,
    "parameters": {"gain": GAIN, "head_weights": list(HEAD_WEIGHTS), "shared": False},
}
LEAST_SIDE = 160

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Heads(DenseKernel):
    """Weighted dot products of two heads; a normalised feature's channels are (query or key, head, channel)."""

    name: ClassVar[str] = "heads"

    gain: float = field(default=1.0, metadata={"help": "Factor of the similarity."})
    head_weights: tuple[float, ...] = HEAD_WEIGHTS
    shared: bool = False

    def component_count(self, parts: int) -> int:
        return 2

    def prepare(self, parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        (part,) = parts
        normalised = part / part.norm(dim=-1, keepdim=True)
        queries, keys = normalised.unflatten(-1, (2, 2, -1)).permute(2, 3, 0, 1, 4)
        return queries, queries if self.shared else keys

    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        return queries @ keys.mT

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        return self.gain * (self.head_weights[0] * scores[0] + self.head_weights[1] * scores[1])


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the kernel by its entry point alone, and draw small pictures."""
    point = EntryPoint(name="heads", value=f"{__name__}:Heads", group="ted.kernels")

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == "ted.kernels" and name in (None, point.name) else []

    monkeypatch.setattr(kernels, "entry_points", entry_points)
    for module in (arrow_pictures, similarity_pictures):
        monkeypatch.setattr(module, "_LEAST_SIDE", LEAST_SIDE)


# A reference in NumPy.


def features_of(cache: Path) -> Array:
    unit = open_cache(cache).find("davis", "one", IMAGE)
    values = np.asarray(unit.features[:], dtype=np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def all_similarities(features: Array, frame: int, others: Sequence[int]) -> Array:
    """Return the similarity of each pixel of a frame with each of others': (pixel, other, pixel of the other)."""
    count, _, _, channels = features.shape
    heads = features.reshape(count, -1, 2, 2, channels // 4)
    return GAIN * sum(
        weight * np.einsum("qc,fkc->qfk", heads[frame, :, 0, head], heads[list(others), :, 1, head])
        for head, weight in enumerate(HEAD_WEIGHTS)
    )


def best_sources(features: Array, frame: int, *, temperature: float = TEMPERATURE) -> tuple[npt.NDArray[Any], Array]:
    """Return each pixel's best sources in the frames before, flat in (frame, y, x), and their weights: (pixel, k)."""
    height, width = features.shape[1:3]
    y, x = np.divmod(np.arange(height * width), width)
    near = np.maximum(np.abs(y[:, None] - y), np.abs(x[:, None] - x)) <= RADIUS
    similar = np.where(near[:, None], all_similarities(features, frame, range(frame)), -np.inf).reshape(len(y), -1)
    sources = np.argsort(-similar, axis=1, kind="stable")[:, :TOP_K]
    weights = np.exp(np.take_along_axis(similar, sources, axis=1) / temperature)
    return sources, weights / weights.sum(1, keepdims=True)


def video_one(root: Path) -> Video:
    return open_sources([Source(path=root)])[0]


def soft_labels(folder: Path) -> Array:
    return np.asarray(zarr.open_array(folder / "one" / "soft.zarr", mode="r")[:], dtype=np.float64)


# The commands.


def test_labels_and_cached_affinities(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TED_PROPAGATE_AFFINITIES")

    def propagated(name: str, *options: object) -> tuple[Any, Array]:
        common = ("propagate", davis_source, "--videos", "one", "--cache", cache, "--save-soft", "--json")
        done = cli(*common, *NUMBERS, *options, "--out", tmp_path / name)
        assert done.code == 0, done.err
        (row,) = json.loads(done.out)["videos"]
        return row["affinities"], soft_labels(tmp_path / name)

    source, found = propagated("first", *KERNEL, "--affinities", "keep")
    assert source == "features, kept"
    (unit,) = open_cache(cache).affinities()
    assert unit.spec.search["kernel"] == IDENTITY
    assert json.loads((tmp_path / "first" / "one" / "ted.json").read_text())["settings"]["kernel"] == IDENTITY
    features = features_of(cache)
    for temperature, labels in ((TEMPERATURE, found), (0.05, propagated("other", *KERNEL, "--temperature", 0.05)[1])):
        expected = [labels[0].reshape(len(labels[0]), -1)]
        for frame in range(1, len(features)):
            sources, weights = best_sources(features, frame, temperature=temperature)
            expected.append((np.concatenate(expected, axis=1)[:, sources] * weights).sum(-1))
        np.testing.assert_allclose(labels.reshape(len(labels), len(labels[0]), -1), expected, atol=1e-5)
    assert propagated("again", *KERNEL, "--temperature", 0.07)[0] == "kept"
    for name, options in (
        ("cosine", ()),
        ("gain", ("--kernel", "heads")),
        ("shared", (*KERNEL, "--kernel-option", "shared=true")),
        ("unrestricted", (*KERNEL, "--unrestricted-first")),
    ):
        source, labels = propagated(name, *options)
        assert source == "features, kept"  # of its own: those in the cache do not serve it
        assert np.abs(labels - found).max() > 0.01
    assert cli("evaluate", davis_source, "--videos", "one", "--results", tmp_path / "first").code == 0
    folders = [tmp_path / name for name in ("first", "shared", "unrestricted")]
    assert cli("report", *folders, "--out", tmp_path / "report.html").code == 0
    text = check_page((tmp_path / "report.html").read_text()).text
    for shared, rule in (("False", ""), ("True", ""), ("False", ", unrestricted first True")):
        assert f"kernel heads (gain 3.0, head_weights [0.25, 0.75], shared {shared}){rule}\n" in text


def test_arrows_lead_to_the_sources_of_the_kernel(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    def sheet(name: str, *options: object) -> npt.NDArray[np.uint8]:
        common = ("show", "arrows", davis_source, "--videos", "one", "--cache", cache, *NUMBERS, "--frame", 3)
        pixels = ("--point", "64,40", "--point", "10,80", "--point", "100,20", "--onto", "previous")
        done = cli(*common, *pixels, *options, "--out", tmp_path / name)
        assert done.code == 0, done.err
        return read(tmp_path / name / "one-arrows.png")

    features, video = features_of(cache), video_one(davis_source)
    height, width = features.shape[1:3]
    assert (96 % height, 128 % width) == (0, 0)
    cells = np.array([(40, 64), (80, 10), (20, 100)]) * (height, width) // (96, 128)
    sources, weights = (found[cells[:, 0] * width + cells[:, 1]] for found in best_sources(features, 3))
    frames, cell = np.divmod(sources, height * width)
    origins = Origins(
        frame=3,
        context=(0, 1, 2),
        cells=cells,
        grid=(height, width),
        frames=frames,
        source_cells=np.stack(np.divmod(cell, width), axis=-1),
        weights=weights.astype(np.float32),
    )
    expected = draw_origins(
        enlarge_frame(video.frames.read(2), LEAST_SIDE), origins, display_palette()[[1, 2, 3]], within=(0, 1, 2)
    )
    assert holds(sheet("heads", *KERNEL), expected)
    for name, options in (("cosine", ()), ("shared", (*KERNEL, "--kernel-option", "shared=true"))):
        assert not holds(sheet(name, *options), expected)


def test_similarity_is_that_of_the_kernel(cli: Cli, davis_source: Path, cache: Path, tmp_path: Path) -> None:
    def sheet(name: str, *options: object) -> npt.NDArray[np.uint8]:
        common = ("show", "similarity", davis_source, "--videos", "one", "--cache", cache, "--alpha", 0)
        done = cli(*common, "--point", "2:64,40", "--frames", "0,3", *options, "--out", tmp_path / name)
        assert done.code == 0, done.err
        return read(tmp_path / name / "one-similarity.png")

    def differences(drawn: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8]) -> float:
        """Return the share of pixels that differ from a picture where its upper rows, without marks, fit best."""
        _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(drawn, picture[:30], cv2.TM_SQDIFF))
        part = drawn[y : y + picture.shape[0], x : x + picture.shape[1]].astype(int)
        return float((np.abs(part - picture).max(-1) > 3).mean())

    features, video, frames = features_of(cache), video_one(davis_source), (0, 2, 3)
    height, width = features.shape[1:3]
    pixel = 40 * height // 96 * width + 64 * width // 128
    maps = all_similarities(features, 2, frames)[pixel].reshape(-1, height, width)
    low, high = np.percentile(maps, (1.0, 99.9)).tolist()
    found = {
        "heads": sheet("heads", *KERNEL),
        "cosine": sheet("cosine"),
        "shared": sheet("shared", *KERNEL, "--kernel-option", "shared=true"),
    }
    for frame, values in zip(frames, maps, strict=True):
        picture = overlay_heatmap(enlarge_frame(video.frames.read(frame), LEAST_SIDE), values, low, high)
        shares = {name: differences(drawn, picture) for name, drawn in found.items()}
        assert shares["heads"] < 0.06  # a cross and a ring
        assert min(shares["cosine"], shares["shared"]) > 0.2
    wrong = cli("show", "similarity", davis_source, "--cache", cache, "--point", "0:1,1", "--kernel-option", "gain=2")
    assert wrong.code == 2
    assert "'cosine' has no parameter 'gain'" in wrong.err


def test_reports_of_sweeps_have_columns_and_charts_of_the_kernel(
    cli: Cli, davis_source: Path, cache: Path, tmp_path: Path
) -> None:
    sweep, others = tmp_path / "sweep", tmp_path / "others"
    common = ("sweep", davis_source, "--videos", "one", "--cache", cache, *NUMBERS, "--no-plots")
    axes = ("--kernel", "cosine,heads", "--kernel-option", "gain=1,8", "--kernel-option", "shared=false,true")
    done = cli(*common, *axes, "--window", "square,circle", "--out", sweep)
    assert done.code == 0, done.err
    rules = ("--unrestricted-first", "true,false", "--context-fill", "true,false")
    assert cli(*common, *rules, "--context", 2, "--out", others).code == 0
    arguments = ("report", others, sweep, "--out", tmp_path / "report.html")
    assert cli(*arguments).code == 0
    page = check_page((tmp_path / "report.html").read_text())
    for folder, columns in (
        (sweep, ["window", "kernel", "kernel.gain", "kernel.head_weights", "kernel.shared"]),
        (others, ["unrestricted_first", "context_fill"]),
    ):
        with (folder / "settings.csv").open(newline="") as file:
            ranked = list(csv.DictReader(file))
        (table,) = (rows for name, rows in page.tables.items() if name.startswith(f"Settings of {folder.name}"))
        titles, *lines = [[text.strip() for text, _ in row] for row in table]
        for column in columns:
            cells = [line[titles.index(label(column))] for line in lines]
            assert cells == [row[column] or "–" for row in ranked]
            assert len(set(cells)) > 1
        assert [values[0] for values in exact(table)] == [row["jf"] for row in ranked]
        for column in columns:
            expected = slice_through_the_best(ranked, column, columns)
            if len(expected) > 1:
                ((name, (titles, *rows)),) = (
                    (name, [[text.strip() for text, _ in row] for row in rows])
                    for name, rows in page.tables.items()
                    if name.endswith(f" over {label(column)}")
                )
                values = exact(page.tables[name])
                index = titles.index("J&F" if name.startswith("Scores") else folder.name) - 1
                assert {row[0]: value[index] for row, value in zip(rows, values, strict=True)} == expected


def label(column: str) -> str:
    return column.replace("_", " ").replace(".", " ")


def slice_through_the_best(
    ranked: Sequence[dict[str, str]], column: str, columns: Sequence[str]
) -> dict[str, str | None]:
    """Return J&F by the values of a column; all others are at their best, and of the kernel."""
    own = [row for row in ranked if row[column]]
    best = {name: next((row[name] for row in own if row[name]), "") for name in columns}
    found: dict[str, str | None] = {}
    for value in sorted({row[column] for row in own}):
        wanted = best | {column: value}
        if wanted.get("kernel") == "cosine":
            wanted |= {name: "" for name in columns if name.startswith("kernel.")}
        matching = (row["jf"] for row in own if all(row[name] == text for name, text in wanted.items()))
        found[value.removesuffix(".0")] = next(matching, None)
    return found
