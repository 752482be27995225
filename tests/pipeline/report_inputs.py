"""Folders of results and of sweeps as the commands write them, without what makes them; and a reader of pages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ted.pipeline.choices.config_file import save_config
from ted.pipeline.metrics.jf import Statistics
from ted.pipeline.runs.sweeping.results import SweepResult, VideoResult
from ted.pipeline.runs.sweeping.space import SweepSpace
from ted.pipeline.runs.sweeping.tables import write_outputs
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.scores import MASKS, MaskScore, ObjectScore, write_tables
from ted.store import FeatureChoice, FeatureRequest, UnitSpec, open_cache, safe_name

VIDEO_FEATURE = FeatureChoice(backbone="i2vgen-xl", timestep=300, tap="up_blocks[2]")
IMAGE_FEATURE = FeatureChoice(backbone="adm", timestep=51, tap="output_blocks[7]")
POSITION = FeatureChoice(backbone="position", timestep=0, tap="stride8")


def make_space(**changes: Any) -> SweepSpace:
    values: dict[str, Any] = {
        "video_features": (VIDEO_FEATURE,),
        "image_features": (IMAGE_FEATURE,),
        "alphas": (0.0, 0.4, 1.0),
        "temperatures": (0.1,),
        "top_ks": (10,),
        "radii": (15,),
        "contexts": (28,),
    }
    video, image, alphas, *others = (values | changes).values()
    names = ("temperature", "top_k", "radius", "context")
    return SweepSpace.pair(video, image, alphas, dict(zip(names, others, strict=True)))


def random_statistics(rng: np.random.Generator, *, decay: float | None = None) -> Statistics:
    mean, recall, random_decay = map(float, rng.random(3))
    return Statistics(mean=mean, recall=recall, decay=random_decay - 0.5 if decay is None else decay)


def random_result(
    videos: Sequence[str],
    space: SweepSpace,
    *,
    seed: int = 0,
    contours: bool = True,
    decay: float | None = None,
    alpha_bars: Mapping[str, float] | None = None,
) -> SweepResult:
    """Make up scores of two objects a video, under every setting; noise levels are those of the features named."""
    rng = np.random.default_rng(seed)
    settings = space.settings()
    made = []
    for video in videos:
        scores = {
            setting: MaskScore(
                objects=tuple(
                    ObjectScore(
                        object_id=number,
                        frames=9,
                        j=random_statistics(rng, decay=decay),
                        f=random_statistics(rng, decay=decay) if contours else None,
                    )
                    for number in (1, 2)
                )
            )
            for setting in settings
        }
        units = {str(choice): notation(video, choice) for setting in settings for choice, _ in setting.parts}
        levels = alpha_bars or {}
        made.append(VideoResult(dataset="davis", video=video, units=units, scores=scores, alpha_bars=levels))
    return SweepResult(metric_spec=MASKS, settings=settings, videos=made)


def write_sweep(folder: Path, result: SweepResult, *, cache: Path | None = None) -> Path:
    options = {"cache": cache, "alpha": [0.0, 0.4, 1.0], "metrics": "jf"}
    write_outputs(result, folder, options=options, timing={"wall": 12.5, "labels": 3.25}, plots=False)
    return folder


def make_spec(video: str, choice: FeatureChoice, **changes: Any) -> UnitSpec:
    values: dict[str, Any] = {"weights": "sha256:ab", "frame_size": (64, 96), "conditioning": {"fps": 16}}
    request = FeatureRequest(video=video, frames=f"sha of {video}", backbone=choice.backbone, **(values | changes))
    return UnitSpec(
        dataset="davis",
        request=request,
        timestep=choice.timestep,
        tap=choice.tap,
        frame_names=("0", "1"),
        source_size=(128, 192),
    )


def notation(video: str, choice: FeatureChoice, **changes: Any) -> str:
    digest = make_spec(video, choice, **changes).digest()[:8]
    return f"{choice.backbone}@{digest}:{choice.timestep}:{choice.tap}"


def write_units(
    cache: Path, videos: Sequence[str], choice: FeatureChoice, *, alpha_bar: float | None = None, **changes: Any
) -> None:
    for video in videos:
        spec = replace(make_spec(video, choice, **changes), alpha_bar=alpha_bar)
        with open_cache(cache, create=True).writer(spec) as writer:
            for frame in range(2):
                writer.write(frame, np.ones((2, 3, 4), np.float16))
            writer.commit()
            run = {"device": "cpu", "seconds": 4.0, "frames_computed": 2, "started": "2030-01-01T00:00:00+00:00"}
            writer.finish(run)


def write_results(
    folder: Path,
    videos: Sequence[str],
    choice: FeatureChoice = IMAGE_FEATURE,
    *,
    seed: int = 0,
    cache: Path | None = None,
    decay: float | None = None,
    **changes: Any,
) -> Path:
    """Make up results of two objects a video: what `ted propagate` records, and the tables of `ted evaluate`."""
    rng = np.random.default_rng(seed)
    settings = {"temperature": 0.1, "top_k": 10, "radius": 15, "context": 28, "renormalize": True}
    scores = {}
    for video in videos:
        place = folder / safe_name(video)
        place.mkdir(parents=True)
        label = make_spec(video, choice, **changes).label
        record = {"features": [{"unit": label, "content_hash": "00", "weight": 1.0}], "settings": settings}
        (place / "ted.json").write_text(json.dumps(record))
        objects = tuple(
            ObjectScore(
                object_id=number,
                frames=9,
                j=random_statistics(rng, decay=decay),
                f=random_statistics(rng, decay=decay),
            )
            for number in (1, 2)
        )
        scores[video] = MaskScore(objects=objects)
    write_tables(scores, folder, "val")
    save_config(folder / "propagate.toml", "propagate", {"cache": cache, **settings, "feature": [f"{choice}=1.0"]})
    return folder


def write_masks(folder: Path, masks: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
    for name, ids in masks.items():
        write_mask(folder / f"{name}.png", ids)


class PageReader(HTMLParser):
    """Reads a page, and holds it against what every page must be.

    Attributes
    ----------
    elements
        (tag, attributes) in order.
    tables
        By the caption: the rows, each a list of (text, exact value of a number), the latter empty for a number that is
        none, and None for a text.
    text
        All text outside of styles.
    """

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.text = ""
        self._open: list[str] = []
        self._caption = ""
        self._rows: list[list[tuple[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"repeated attributes of <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append(("", None))
        elif tag == "data":
            text, _ = self._rows[-1][-1]
            self._rows[-1][-1] = text, dict(attrs)["value"]
        elif tag == "span" and dict(attrs).get("class") == "unseen":
            self._rows[-1][-1] = "", ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag
        if tag == "table":
            assert self._caption not in self.tables, f"two tables of one caption: {self._caption}"
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif self._open[-1:] and {"td", "th"} & set(self._open):
            text, value = self._rows[-1][-1]
            self._rows[-1][-1] = text + data, value


def check_page(html: str) -> PageReader:
    """Check what holds for every page: ids, names of pictures and tables, nothing from elsewhere, nothing that runs."""
    page = PageReader(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href", "action", "srcset", "style", "data", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, name, value)
            if value.startswith("#") and len(value) > 1:
                assert value[1:] in ids
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    for word in ("url(", "@import", "http:", "https:", "//"):
        assert word not in html.split("</style>")[0]
    assert all(page.tables), "a table without a caption"
    levels = [int(tag[1]) for tag, _ in page.elements if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for tag in ("main", "header", "footer", "nav"):
        assert [name for name, _ in page.elements].count(tag) == 1
    return page


def exact(rows: Sequence[Sequence[tuple[str, str | None]]]) -> list[list[str | None]]:
    """Return the exact values of a table's numbers, row by row without the header; None for one that is none."""
    return [[value or None for _, value in row if value is not None] for row in rows[1:]]
