"""API of the notebooks: recipes, ablations, and shares of pixels that are nearest to their own object."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import ClassVar

import numpy as np
import pytest
import torch

from ted.extract.frame_size import FrameSize
from ted.extract.settings import ExtractionSettings
from ted.pipeline.choices.features import parse_job
from ted.pipeline.datasets.davis import davis_video
from ted.pipeline.notebooks import Collection, ablate, find_recipes, open_collection, own_object_shares
from ted.pipeline.notebooks.recipes import Recipe
from ted.pipeline.runs.extracting.request import ExtractionRequest, Share
from ted.pipeline.runs.extracting.running import Extracted, extract
from ted.pipeline.runs.propagating.propagation import propagate_video
from ted.pipeline.runs.result_folders import result_folder
from ted.pipeline.synthetic.writing import write_davis
from ted.pipeline.tasks.masks.truth import score_sequence
from ted.propagate import DenseKernel, Fusion, Kernel, PropagationSettings
from ted.store import Cache, FeatureRequest, UnitSpec
from ted.store.errors import ConfigError, LabelError

SETTINGS = PropagationSettings(temperature=0.1, top_k=4, radius=3)


def boxes(root: Path, name: str, frames: int, step: int) -> None:
    """Write a video of two noisy boxes, one above the other, that move in opposite directions."""
    rng = np.random.default_rng(frames)
    pixels = rng.integers(0, 120, (frames, 64, 64, 3), dtype=np.uint8)
    masks = np.zeros((frames, 64, 64), dtype=np.uint8)
    for index in range(frames):
        for number, (top, left) in enumerate(((8, 4 + step * index), (40, 40 - step * index)), start=1):
            masks[index, top : top + 16, left : left + 16] = number
            pixels[index, top : top + 16, left : left + 16, number] += 100
    write_davis(root, name, pixels, masks)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Return two videos with colours and positions in the cache, and a third without features."""
    folder = tmp_path_factory.mktemp("collection")
    for name, frames, step in (("long", 6, 5), ("short", 4, 2), ("unknown", 3, 1)):
        boxes(folder / "data", name, frames, step)
    request = ExtractionRequest(
        cache=folder / "cache",
        shares=tuple(
            Share(job=parse_job(feature), video=davis_video(folder / "data", name))
            for feature in ("rgb:0:stride4,stride8", "position:0:stride4")
            for name in ("long", "short")
        ),
        weights={},
        settings=ExtractionSettings(frame_size=FrameSize(short_side=64)),
    )
    results = extract(request, torch.device("cpu"), progress=lambda title, frames: lambda done: None, say=print)
    assert all(isinstance(result, Extracted) for result in results)
    return open_collection(folder / "cache", folder / "data", folder=folder)


def recipe(collection: Collection, title: str) -> Recipe:
    (found,) = (item for item in find_recipes(collection) if item.title == title)
    return found


def test_a_collection_has_the_videos_that_the_cache_knows(collection: Collection) -> None:
    assert [video.name for video in collection.videos] == ["long", "short"]
    source = collection.folder / "data"
    one = open_collection(collection.cache.root, source, videos=["short"], folder=collection.folder)
    assert [video.name for video in one.videos] == ["short"]
    with pytest.raises(ConfigError, match="has no features of the videos"):
        open_collection(collection.cache.root, source, videos=["unknown"], folder=collection.folder)


def test_ablations_give_the_scores_of_a_propagation_and_an_evaluation(collection: Collection, tmp_path: Path) -> None:
    position = recipe(collection, "position").feature(0, "stride4")
    colours = [recipe(collection, "rgb").feature(0, tap) for tap in ("stride4", "stride8")]
    scores = ablate(collection, video=[position], image=colours, alphas=(0.3, 1.0), settings=SETTINGS)
    assert {(item.image, item.alpha) for item in scores} == {*((colour, 0.3) for colour in colours), (None, 1.0)}
    for number, item in enumerate(scores):
        parts = ((item.video, item.alpha), (item.image, 1 - item.alpha))
        expected: list[float] = []
        for video in collection.videos:
            out = tmp_path / f"{number}"
            choices = [(feature.choice(video), weight) for feature, weight in parts if feature is not None]
            propagate_video(
                collection.cache,
                video,
                choices,
                SETTINGS,
                out,
                device=torch.device("cpu"),
                overwrite=True,
                affinities="off",
            )
            objects = score_sequence(video.name, video.annotations(), result_folder(out, video)).objects
            expected += [(score.j.mean + score.f.mean) / 2 for score in objects]
        assert len(expected) == 4
        np.testing.assert_allclose(item.objects, expected, rtol=0, atol=1e-12)
        assert item.jf == pytest.approx(fmean(expected))
    assert len({item.jf for item in scores}) == 3  # features must matter for this test
    with pytest.raises(ConfigError, match="alphas"):
        ablate(collection, video=[position], image=colours, settings=SETTINGS)
    (again,) = ablate(collection, image=colours[:1], settings=SETTINGS)
    assert (again.video, again.alpha) == (None, 0.0)


class Distance(DenseKernel):
    """Negative squared distances of the parts' features together."""

    name: ClassVar[str] = "distance"

    def component_count(self, parts: int) -> int:
        return 1

    def prepare(self, parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return (torch.cat(list(parts), -1)[None],) * 2

    def score(self, queries: torch.Tensor, keys: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        return -(queries[:, :, None] - keys[:, None]).square().sum(-1)

    def similarity(self, scores: torch.Tensor, fusion: Fusion) -> torch.Tensor:
        return scores[0]


@pytest.mark.parametrize("kernel", [None, Distance()])
def test_own_object_shares_equal_those_of_all_pairs(collection: Collection, kernel: Kernel | None) -> None:
    for video in collection.videos:
        units = [
            collection.cache.find(
                video.dataset, video.name, recipe(collection, title).feature(0, "stride4").choice(video)
            )
            for title in ("rgb", "position")
        ]
        found = own_object_shares(video, [(units[0], 0.5), (units[1], 0.5)], pixels=10_000, kernel=kernel)
        values = [unit.features.compute().astype(np.float64) for unit in units]
        # With equal weights, the mean of the cosines is the cosine of the concatenated normalized features.
        lengths = [np.linalg.norm(some, axis=-1, keepdims=True) if kernel is None else 1 for some in values]
        both = np.concatenate([some / length for some, length in zip(values, lengths, strict=True)], axis=-1)
        masks = np.zeros(both.shape[:3], dtype=int)
        step = {"long": 5, "short": 2}[video.name]
        for index in range(len(masks)):
            for number, (top, left) in enumerate(((8, 4 + step * index), (40, 40 - step * index)), start=1):
                # A cell has the label of the pixel in its middle.
                inside = (np.arange(16) * 4 + 2 >= left) & (np.arange(16) * 4 + 2 < left + 16)
                masks[index, top // 4 : top // 4 + 4, inside] = number
        queries, owners = both[0][masks[0] > 0], masks[0][masks[0] > 0]
        expected = []
        for frame, objects in zip(both, masks, strict=True):
            keys = frame[objects > 0]
            similarity = queries @ keys.T if kernel is None else -((queries[:, None] - keys) ** 2).sum(-1)
            expected.append((objects[objects > 0][similarity.argmax(1)] == owners).mean())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        assert found[0] == 1


def test_own_object_shares_need_two_objects(collection: Collection) -> None:
    video = collection.videos[0]
    unit = collection.cache.find("davis", "long", recipe(collection, "rgb").feature(0, "stride4").choice(video))
    first, *others = video.frame_masks.items()
    known = own_object_shares(replace(video, frame_masks=dict([first, others[1]])), [(unit, 1.0)])
    assert np.isnan(known).tolist() == [False, True, False, True, True, True]
    with pytest.raises(LabelError, match="no mask with two objects"):
        own_object_shares(replace(video, frame_masks={}), [(unit, 1.0)])


def test_recipes_are_told_apart(collection: Collection, tmp_path: Path) -> None:
    """Only requests of which all videos have units are recipes, and their titles differ."""
    cache = Cache(tmp_path / "cache")
    request = FeatureRequest(video="", frames="f", backbone="net", weights="sha256:1", frame_size=(8, 8), clip_length=4)
    made = {
        "trained": request,
        "four draws": replace(request, ensemble=4),
        "untrained": replace(request, weights="random:3:sha256:2"),
        "alone": replace(request, conditioning={"temporal_layers": "off"}),
        "image": replace(request, clip_length=1, backbone="other"),
    }
    for name in ("long", "short"):
        for key, one in made.items():
            if (name, key) == ("short", "four draws"):
                continue
            for timestep, tap in ((9, "up"), (5, "mid"), (5, "up"))[: 2 if (name, key) == ("short", "alone") else 3]:
                spec = UnitSpec(
                    dataset="davis",
                    request=replace(one, video=name),
                    timestep=timestep,
                    tap=tap,
                    frame_names=("0",),
                    source_size=(8, 8),
                )
                with cache.writer(spec) as writer:
                    writer.write(0, np.ones((2, 2, 3), dtype=np.float16))
                    writer.commit()
                    writer.finish({})
    recipes = find_recipes(replace(collection, cache=cache))
    assert [(item.title, item.kind, item.controls) for item in recipes] == [
        ("net, ensemble 1", "video", ()),
        ("other", "image", ()),
        ("net, temporal layers off", "video", ("temporal layers off",)),
        ("net, untrained network", "video", ("untrained network",)),
    ]
    assert [item.timestep_taps for item in recipes] == [
        ((5, "mid"), (5, "up"), (9, "up")),
        ((5, "mid"), (5, "up"), (9, "up")),
        ((5, "mid"), (9, "up")),
        ((5, "mid"), (5, "up"), (9, "up")),
    ]
    assert (recipes[0].timesteps, recipes[0].taps) == ((5, 9), ("mid", "up"))
    for video in collection.videos:
        unit = cache.find(video.dataset, video.name, recipes[3].feature(5, "up").choice(video))
        assert unit.request == replace(made["untrained"], video=video.name)
    with pytest.raises(
        ConfigError, match="not all videos have 5:up of net, temporal layers off; they have 5:mid, 9:up"
    ):
        recipes[2].feature(5, "up")
