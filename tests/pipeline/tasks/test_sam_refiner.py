"""Refinement by SAM: prompts, selection, fallbacks and feedback by hand, and the commands against the library."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from ted.extract.small_models import make_small
from ted.pipeline.datasets.masks_io import read_mask
from ted.pipeline.tasks.masks.sam import (
    SamOptions,
    SamRefiner,
    best_mask,
    compose,
    enclosing_box,
    interior_points,
)
from ted.store import FeatureChoice, open_cache
from ted.store.errors import ConfigError

from ..cli.test_own_places import EXACT, bring
from ..conftest import Cli
from ..inputs import frames_folder
from ..point_inputs import GRID, SIZE, moving_square
from ..runs.test_reading_out import maps_of_masks, open_video, store_maps

TAPS = ("embedding", "high_resolution[0]", "high_resolution[1]")
COUNT = 7


def rectangle(x: int, y: int, width: int, height: int, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y : y + height, x : x + width] = True
    return mask


# By hand


def test_the_box_encloses_the_mask_by_a_margin_within_the_frame() -> None:
    assert enclosing_box(rectangle(10, 8, 20, 10), 0.05) == (9.0, 7.5, 30.0, 17.5)
    assert enclosing_box(rectangle(0, 30, 60, 10), 0.1) == (0.0, 29.0, 59.0, 39.0)


def test_points_are_the_most_confident_interior_pixels() -> None:
    mask = rectangle(10, 8, 21, 11)
    even = torch.ones(10, 15)
    assert interior_points(mask, even, 1)[0][1] == 13  # equal confidences: on the middle row, which lies deepest
    sure = even / 2
    sure[2, 6] = (
        1.0  # the cell of pixels 24 to 27, 8 to 11; its centre is (25.5, 9.5), and row 10 the first interior one
    )
    first, second = interior_points(mask, sure, 2)
    assert first == (25, 10)
    apart = (first[0] - second[0]) ** 2 + (first[1] - second[1]) ** 2
    assert apart >= 21 * 11 / 9
    assert interior_points(rectangle(10, 8, 30, 4), even, 3) == []  # no pixel is more than two from the edge
    assert len(interior_points(rectangle(10, 8, 5, 5), even, 3)) == 1  # all others are too near to the first


def test_the_mask_with_the_highest_overlap_is_taken_from_the_threshold_on() -> None:
    mask = rectangle(10, 10, 10, 10)
    shifted = [np.where(rectangle(10 + step, 10, 10, 10), 2.0, -1.0).astype(np.float32) for step in (5, 2, 8)]
    logits = np.stack(shifted)  # their IoUs are 50/150, 80/120 and 20/180
    assert best_mask(logits, mask, 80 / 120) is not None
    np.testing.assert_array_equal(best_mask(logits, mask, 0.6), shifted[1])
    assert best_mask(logits, mask, 0.67) is None


def test_overlaps_are_resolved_by_logits_and_kept_objects_keep_their_pixels() -> None:
    value = np.array([[1, 1, 2, 2, 3, 0]], np.uint8)
    logits = {1: np.array([[5, 5, 5, 1, 5, -1]], np.float32), 2: np.array([[-1, 6, 4, 4, 9, 1]], np.float32)}
    np.testing.assert_array_equal(compose(value, logits), [[1, 2, 1, 2, 3, 2]])
    np.testing.assert_array_equal(compose(value, {}), value)


class FakeSam:
    """Decodes, for any prompt, the mask that is listed by the box's left and top edge; remembers the prompts."""

    weights_id = "sha256:fake"

    def __init__(self, decoded: Mapping[tuple[float, float], np.ndarray]) -> None:
        self.decoded = decoded
        self.asked: list[tuple[tuple[float, ...], Sequence[Any]]] = []

    def masks(
        self, embeddings: Any, size: tuple[int, int], *, box: tuple[float, ...], points: Sequence[Any]
    ) -> torch.Tensor:
        self.asked.append((box, points))
        return torch.from_numpy(np.where(self.decoded[box[0], box[1]], 1.0, -1.0)[None].astype(np.float32))


def refiner(sam: FakeSam, value: np.ndarray, **options: Any) -> SamRefiner:
    video: Any = SimpleNamespace(read_annotated_masks=lambda: {0: value})
    return SamRefiner(sam, {}, video, SamOptions(margin=0, **options))  # type: ignore[arg-type]


def label_of(value: np.ndarray, count: int) -> torch.Tensor:
    """A soft label on cells of 4x4 pixels: the mask's, with a tenth of all other channels mixed in."""
    cells = value[2::4, 2::4]
    one_hot = torch.from_numpy(np.stack([cells == number for number in range(count + 1)]).astype(np.float32))
    return 0.9 * one_hot + 0.1 / (count + 1)


def test_prompts_fallbacks_counts_and_feedback() -> None:
    value = np.zeros((40, 60), np.uint8)
    value[4:28, 4:28] = 1  # refined; the second object lies in its box
    value[12:20, 12:20] = 2  # rejected
    value[32:34, 4:40] = 3  # thin: prompted by the box alone, refined
    value[36:38, 50:53] = 4  # 6 pixels: too small
    better = rectangle(4, 4, 24, 28)
    sam = FakeSam({(4, 4): better, (12, 12): rectangle(40, 0, 8, 8), (4, 32): value == 3})
    refine = refiner(sam, value, points=2, feedback=True)
    label = label_of(value, 4)

    def unread() -> np.ndarray:
        raise AssertionError("pixels are not read")

    found = refine.refine(1, unread, value, label)
    expected = np.where(better & ((value == 0) | (value == 1)), 1, value)
    expected[(value == 1) & ~better] = 0
    np.testing.assert_array_equal(found, expected)
    assert dict(refine.counts) == {"refined": 2, "rejected": 1, "too small": 1, "box alone": 1}
    (first, points), (second, other), (third, none) = sam.asked
    assert (first, second, third) == ((4, 4, 27, 27), (12, 12, 19, 19), (4, 32, 39, 33))
    assert [inside for *_, inside in points] == [True, True, False]
    assert all(value[int(y), int(x)] == (1 if inside else 2) for x, y, inside in points)
    assert points[2][:2] == other[0][:2]
    assert [inside for *_, inside in other] == [True, True]  # no point of the first object lies in the second one's box
    assert none == []

    assert refine.feedback is not None
    back = refine.feedback(label)
    cells = found[2::4, 2::4]
    one = torch.from_numpy((cells == 1).astype(np.float32))
    torch.testing.assert_close(back[1], one)
    torch.testing.assert_close(back.sum(0), torch.ones(10, 15))
    # Elsewhere the others share in proportion; the third object, too thin for a cell's centre, keeps its soft label.
    others = label[[0, 2, 3, 4]]
    torch.testing.assert_close(back[[0, 2, 3, 4]][:, cells != 1], (others / others.sum(0))[:, cells != 1])


def test_options_and_other_tasks() -> None:
    with pytest.raises(ConfigError, match=r"iou from 0 to 1.*not iou=2"):
        SamOptions(iou=2)
    refine = refiner(FakeSam({}), rectangle(0, 0, 8, 8).astype(np.uint8))
    assert refine.feedback is None
    with pytest.raises(ConfigError, match="refines masks of objects; leave it out"):
        refine.refine(1, lambda: np.zeros((1, 1, 3), np.uint8), np.zeros((3, 4)), torch.zeros(3, 4, 4))
    assert refine.identity["weights"] == "sha256:fake"
    assert refine.identity != refiner(FakeSam({}), rectangle(0, 0, 8, 8).astype(np.uint8), iou=0.7).identity


# By the commands


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small("sam", tmp_path_factory.mktemp("weights") / "sam")


@pytest.fixture
def clip(tmp_path: Path, cli: Cli, model: Path) -> Path:
    """Frames with a square that moves, features that know it again, and SAM's embeddings."""
    folder = frames_folder(tmp_path / "clip", moving_square(COUNT)[0])
    bring(cli, folder, tmp_path, "clip")
    mask = np.zeros(SIZE, np.uint8)
    mask[8:40, 8:40] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    wanted = ("--feature", f"sam:0:{','.join(TAPS)}", "--weights", model, "--cache", tmp_path / "cache")
    done = cli("extract", folder, "--mask", tmp_path / "mask.png", *wanted)
    assert (done.code, f"--refine sam:weights={model}" in done.out + done.err) == (0, True), done.err
    return folder


def test_refined_results_are_the_librarys_masks_and_no_encoder_runs(
    cli: Cli, clip: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = transformers.Sam2Model.from_pretrained(model).eval()

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the image encoder ran")

    monkeypatch.setattr(transformers.Sam2VisionModel, "forward", refuse)
    mask = ("--mask", tmp_path / "mask.png", "--cache", tmp_path / "cache")

    said = ""

    def propagate(name: str, refine: str, *more: object) -> tuple[dict[str, Any], dict[str, Any], list[np.ndarray]]:
        nonlocal said
        options = () if refine == "none" else ("--refine", f"sam:weights={model},{refine}")
        done = cli("propagate", clip, *mask, *EXACT, "--json", "--out", tmp_path / name, *options, *more)
        assert done.code == 0, done.err
        said = done.err
        record = json.loads((tmp_path / name / "clip/ted.json").read_text())
        masks = [read_mask(tmp_path / name / "clip" / f"{frame}.png") for frame in range(COUNT)]
        return json.loads(done.out)["videos"][0], record, masks

    _, plain, before = propagate("plain", "none")
    row, record, after = propagate("refined", "iou=0,points=1")
    assert row["refined"] == {"refined": COUNT - 1, "rejected": 0, "too small": 0, "box alone": 0}
    assert "objects in frames, by sam: 6 refined, 0 rejected, 0 too small, 0 box alone" in said
    refined = record.pop("refiner")
    assert plain | {"files": 0} == record | {"files": 0}
    assert (refined["name"], refined["iou"], refined["points"], refined["feedback"]) == ("sam", 0.0, 1, False)
    cache = open_cache(tmp_path / "cache")
    units = {tap: cache.find("folder", "clip", FeatureChoice(backbone="sam", timestep=0, tap=tap)) for tap in TAPS}
    assert refined["weights"] == units["embedding"].request.weights
    assert refined["embeddings"] == {tap: unit.content_hash for tap, unit in units.items()}
    np.testing.assert_array_equal(after[0], before[0])
    for frame in range(1, COUNT):
        # The square by hand: 32 pixels from (8 + 4 frame); its deepest pixel, of all equally confident ones.
        start = 8 + 4 * frame
        ys, xs = np.nonzero(before[frame])
        assert (xs.min(), ys.min(), xs.max(), min(ys.max(), start + 31)) == (start, start, start + 31, ys.max())
        levels = [
            torch.from_numpy(units[tap].features[frame].compute().astype(np.float32)).permute(2, 0, 1)[None]
            for tap in (*TAPS[1:], TAPS[0])
        ]
        low = start - 0.05 * 32
        box = (low, low, min(start + 31 + 0.05 * 32, SIZE[1] - 1), min(ys.max() + 0.05 * (np.ptp(ys) + 1), SIZE[0] - 1))
        ((x, y),) = interior_points(before[frame] == 1, torch.ones(GRID), 1)
        scale = torch.tensor([64 / SIZE[1], 64 / SIZE[0]])
        with torch.no_grad():
            low_resolution = library(
                image_embeddings=levels,
                input_boxes=torch.tensor([[box]]) * scale.repeat(2),
                input_points=torch.tensor([[[[float(x), float(y)]]]]) * scale,
                input_labels=torch.tensor([[[1]]]),
            ).pred_masks[0]
        logits = torch.nn.functional.interpolate(low_resolution, SIZE, mode="bilinear")[0].numpy()
        overlaps = [(one & two).sum() / (one | two).sum() for one, two in ((m > 0, before[frame] == 1) for m in logits)]
        assert (after[frame] == (logits[int(np.argmax(overlaps))] > 0)).mean() > 0.998

    assert 'refine = "sam:weights=' in (tmp_path / "refined" / "propagate.toml").read_text()

    # Feedback: other labels, the same candidates; cached ones give the same results, and other temperatures.
    _, _, fed = propagate("fed", "iou=0,points=1,feedback=true", "--affinities", "keep")
    assert not all((a == b).all() for a, b in zip(fed, after, strict=True))
    again, _, read = propagate("read", "iou=0,points=1,feedback=true", "--affinities", "read")
    assert again["affinities"] == "kept"
    assert all((a == b).all() for a, b in zip(fed, read, strict=True))
    row, _, _ = propagate("warmer", "iou=0.1,feedback=true", "--affinities", "read", "--temperature", 0.3)
    assert sum(row["refined"][name] for name in ("refined", "rejected", "too small")) <= COUNT - 1


def test_readouts_are_refined_but_not_fed_back(cli: Cli, davis_source: Path, model: Path, tmp_path: Path) -> None:
    source, cache = (davis_source, "--videos", "one"), tmp_path / "cache"
    video = open_video(davis_source)
    store_maps(cache, video, maps_of_masks(video))
    wanted = ("--feature", f"sam:0:{','.join(TAPS)}", "--weights", model, "--limit", 9, "--cache", cache)
    assert cli("extract", *source, *wanted).code == 0
    run = ("readout", *source, "--cache", cache, "--out", tmp_path / "out", "--json", "--refine")
    refused = cli(*run, f"sam:weights={model},feedback=true")
    assert (refused.code, "feedback is for `ted propagate`" in refused.err) == (2, True)
    done = cli(*run, f"sam:weights={model},iou=0")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["videos"]
    assert row["refined"]["refined"] > 0
    assert json.loads((tmp_path / "out/one/ted.json").read_text())["refiner"]["name"] == "sam"


def test_wrong_weights(cli: Cli, clip: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ("propagate", clip, "--mask", tmp_path / "mask.png", "--cache", tmp_path / "cache", *EXACT, "--out")
    other, dino = make_small("sam", tmp_path / "other", seed=1), make_small("dinov2", tmp_path / "dino")
    for refine, message in (
        (f"sam:weights={other}", "these embeddings are of other weights (sha256:"),
        (f"sam:weights={dino}", "holds a model of type dinov2; backbone 'sam' needs one of the types sam,"),
        ("sam:iuo=1", "refiner 'sam' has no option 'iuo=1'; its options are weights, iou, points"),
    ):
        refused = cli(*run, tmp_path / "out", "--refine", refine)
        assert refused.code in (1, 2)
        assert message in refused.err
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refused = cli(*run, tmp_path / "out", "--preset", "drift-sam")  # its refiner is sam with the published weights
    assert (refused.code, "hf download facebook/sam2.1-hiera-tiny" in refused.err) == (1, True)
    removed = cli("cache", "rm", "--cache", tmp_path / "cache", "--feature", f"sam:0:{TAPS[0]}", "--yes")
    assert removed.code == 0, removed.err
    refused = cli(*run, tmp_path / "out", "--refine", f"sam:weights={model}")
    assert "the refiner reads them: ted extract SOURCE --feature 'sam:0:high_resolution[0],high_" in refused.err
