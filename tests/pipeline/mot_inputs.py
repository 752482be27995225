"""Small roots of datasets of tracking: boxes, masks and joints that move over noise."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ted.pipeline.formats.geometry import mask_to_rle

SIZE = (48, 64)

Ids = NDArray[np.int32]


def write_images(folder: Path, count: int, *, first: int = 1, digits: int = 6, boxes: Sequence[Ids] = ()) -> Path:
    """Grey noise with a bright patch wherever a mask, if there is one, shows an instance."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        if boxes:
            for at in np.unique(boxes[number])[1:]:
                pixels[boxes[number] == at] = np.array([[200, 40, 90], [60, 220, 30], [50, 90, 250]])[at % 3]
        Image.fromarray(pixels).save(folder / f"{number + first:0{digits}d}.png")
    return folder


def moving(count: int = 5) -> list[Ids]:
    """Instances of MOTS: 2001 moves right, 2002 enters in the third frame and moves down, 10000 is to be ignored."""
    frames = []
    for frame in range(count):
        ids = np.zeros(SIZE, np.int32)
        ids[8:24, 4 + 4 * frame : 20 + 4 * frame] = 2001
        if frame >= 2:
            ids[24 + 2 * (frame - 2) : 36 + 2 * (frame - 2), 36:52] = 2002
        ids[:4, 48:] = 10000
        frames.append(ids)
    return frames


def rows_of(frames: Sequence[Ids]) -> list[str]:
    """Lines of MOTChallenge of the boxes around instances, and one reflection (class 12) that does not count."""
    lines = []
    for number, ids in enumerate(frames, 1):
        for at in (2001, 2002):
            rows, columns = np.nonzero(ids == at)
            if len(rows):
                box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
                lines.append(f"{number},{at - 2000}," + ",".join(map(str, box)) + ",1,1,1")
        lines.append(f"{number},9,2,30,10,10,0,12,0.5")
    return lines


def write_mot(root: Path, name: str = "MOT17-02", *, frames: Sequence[Ids] = (), truth: str | None = None) -> Path:
    """A sequence with boxes in ``train`` of a root."""
    frames = frames or moving()
    folder = root / "train" / name
    write_images(folder / "img1", len(frames), boxes=frames)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname={name}\nimDir=img1\nseqLength={len(frames)}\nimExt=.png\n")
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("\n".join(rows_of(frames)) + "\n" if truth is None else truth)
    return root


def mots_lines(frames: Sequence[Ids], first: int = 1) -> str:
    lines = []
    for number, ids in enumerate(frames, first):
        for at in np.unique(ids)[1:].tolist():
            rle = mask_to_rle(ids == at)["counts"]
            lines.append(f"{number} {at} {at // 1000} {SIZE[0]} {SIZE[1]} {rle}\n")
    return "".join(lines)


def write_mots(root: Path, name: str = "0002") -> Path:
    """A root of MOTS with instances as PNGs; frames from 0, as in KITTI MOTS."""
    frames = moving()
    write_images(root / "training" / "image_02" / name, len(frames), first=0, boxes=frames)
    (root / "instances" / name).mkdir(parents=True)
    for number, ids in enumerate(frames):
        Image.fromarray(ids.astype(np.uint16)).save(root / "instances" / name / f"{number:06d}.png")
    return root


def write_lasot(root: Path, boxes: Sequence[str], *, absent: Sequence[int] = (), name: str = "cat-1") -> Path:
    """A sequence of a class; `absent` are numbers of frames, from 1, in which the object is out of view."""
    folder = root / name.partition("-")[0] / name
    write_images(folder / "img", len(boxes), digits=8)
    (folder / "groundtruth.txt").write_text("".join(f"{line}\n" for line in boxes))
    flags = [int(frame in absent) for frame in range(1, len(boxes) + 1)]
    (folder / "out_of_view.txt").write_text(",".join(map(str, flags)))
    (folder / "full_occlusion.txt").write_text(",".join("0" for _ in flags))
    (folder / "nlp.txt").write_text("a grey cat  that\njumps\n")
    return root


def write_posetrack(root: Path, name: str, count: int, people: Sequence[dict[str, object]]) -> Path:
    """A sequence; each person is a dict of image (its number), track_id and keypoints."""
    write_images(root / "images" / "val" / name, count, first=0)
    images = [
        {"id": 100 + at, "file_name": f"images/val/{name}/{at:06d}.png", "is_labeled": True, "frame_id": 100 + at}
        for at in range(count)
    ]
    annotations = [{"image_id": 100 + int(str(one.pop("image"))), "category_id": 1, **one} for one in map(dict, people)]
    path = root / "posetrack_data" / "val" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}]}))
    return root
