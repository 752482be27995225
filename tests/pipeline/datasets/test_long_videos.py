"""Long Videos, many frames with a mask here and there, and DAVIS-2016, one object of value 255."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
from PIL import Image

from ted.pipeline.datasets.sources import Source, open_source
from ted.pipeline.tasks.masks.png import write_mask
from ted.pipeline.tasks.masks.task import MaskTask
from ted.pipeline.tasks.mot import MotsTask

from ..conftest import Cli
from ..roots import SIZE, boxes, write_frames

FRAMES, STEP = 600, 100


def test_many_frames_are_read_one_by_one_and_sparse_masks_score_their_frames(tmp_path: Path) -> None:
    write_frames(tmp_path / "shown", ["a", "b"])
    root, names = tmp_path / "long_video", [f"{frame:05d}" for frame in range(FRAMES)]
    folder = root / "JPEGImages" / "blueboy"
    folder.mkdir(parents=True)
    for frame, name in enumerate(names):
        (folder / f"{name}.jpg").symlink_to(tmp_path / "shown" / ("b.jpg" if frame % 2 else "a.jpg"))
    masks = {name: boxes(o1=frame % 2, o2=20 + frame // 40) for frame, name in enumerate(names) if not frame % STEP}
    for name, ids in masks.items():
        write_mask(root / "Annotations" / "blueboy" / f"{name}.png", ids)
    (video,) = open_source(Source(path=root))
    assert (video.name, len(video.frames), list(video.annotations())) == ("blueboy", FRAMES, list(masks))
    tracemalloc.start()
    try:
        for frame in range(FRAMES):
            assert video.frames.read(frame).shape == (*SIZE, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150 * SIZE[0] * SIZE[1] * 3  # a quarter of the bytes of the 600 frames
    run = MaskTask().start(video)
    assert [frames for frames, _ in run.targets] == [(0,)]
    # A result of a frame without a mask is not even read.
    results = tmp_path / "results" / "blueboy"
    results.mkdir(parents=True)
    (results / f"{names[50]}.png").write_bytes(b"no picture")
    for name, ids in masks.items():
        write_mask(results / f"{name}.png", np.where(ids == 2, 0, ids) if name == names[STEP] else ids)
    first, second = MaskTask().score_video(video, results).objects
    assert first.j_frames == (1, 1, 1, 1)  # without the first and the last mask, as DAVIS' evaluation
    assert second.j_frames == (0, 1, 1, 1)
    mot = MotsTask().score_video(video, results)
    assert (mot.frames, mot.counts.metrics()["fn"], mot.counts.metrics()["mota"]) == (6, 1, 11 / 12)


def test_davis_2016_from_lists_to_scores(cli: Cli, tmp_path: Path) -> None:
    root, names = tmp_path / "DAVIS-2016", [f"{frame:05d}" for frame in range(5)]
    write_frames(root / "JPEGImages/480p/bear", names)
    (root / "Annotations/480p/bear").mkdir(parents=True)
    (root / "ImageSets/480p").mkdir(parents=True)
    lines = [f"/JPEGImages/480p/bear/{name}.jpg /Annotations/480p/bear/{name}.png" for name in names]
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines))
    for folder, value in (("ours", 1), ("other", 255)):
        for frame, name in enumerate(names):
            ids = boxes(o1=4 * frame)
            Image.fromarray(255 * ids).save(root / "Annotations/480p/bear" / f"{name}.png")
            found = np.where(np.arange(SIZE[1]) < 4 * frame + 5, 0, ids)  # half of the object
            write_mask(tmp_path / folder / "bear" / f"{name}.png", value * found.astype(np.uint8))
    (video,) = open_source(Source(path=root))
    run = MaskTask().start(video)
    assert [np.unique(mask).tolist() for mask in run.target.masks.values()] == [[0, 1]]
    for folder in ("ours", "other"):
        scores = json.loads(cli("evaluate", root, "--results", tmp_path / folder, "--json").out)
        (sequence,) = scores["sequences"]
        assert (sequence["frames"], scores["means"]["J-Mean"]) == (names[1:-1], 0.5)
        mot = json.loads(cli("evaluate", root, "--results", tmp_path / folder, "--metric", "mot", "--json").out)
        assert (mot["mean"]["MOTSA"], mot["mean"]["sMOTSA"], mot["mean"]["FN"]) == (1, 0.5, 0)
