"""Small roots of JHMDB and pickles of TAP-Vid: a square that moves by a cell a frame, and four places on it."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from ted.pipeline.datasets.jhmdb import JointVideo
from ted.pipeline.datasets.video import Video
from ted.pipeline.pictures.marks import Marks
from ted.pipeline.tasks.joints.frames import joint_marks, true_joints
from ted.pipeline.tasks.joints.results import JointResult
from ted.pipeline.tasks.points.frames import result_points, true_points
from ted.pipeline.tasks.points.results import TrackResult

SIZE, GRID, CELL = (64, 96), (16, 24), 4
_START, _SIDE = 2, 8  # of the square, in cells


def moving_square(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Frames (frame, height, width, 3), and four joints well inside of the square: (2, joint, frame), from 0."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 60, (count, *SIZE, 3)).astype(np.uint8)
    texture = rng.integers(120, 255, (_SIDE * CELL, _SIDE * CELL, 3)).astype(np.uint8)
    joints = np.empty((2, 4, count))
    for frame in range(count):
        start = (_START + frame) * CELL
        frames[frame, start : start + len(texture), start : start + len(texture)] = texture
        joints[:, :, frame] = start + np.array([[9, 20, 10, 19], [8, 11, 21, 20]])
    return frames, joints


def square_features(count: int, seed: int = 0, cover_from: int | None = None) -> NDArray[np.float32]:
    """Features (frame, y, x, channel) that know every cell again; from a frame on, the lower right quarter is covered.

    The cover hides the last of the four places alone.
    """
    rng = np.random.default_rng(seed)
    channels = 96
    still, square, cover = (
        rng.standard_normal((*shape, channels)) for shape in (GRID, (_SIDE, _SIDE), (_SIDE // 2,) * 2)
    )
    for number, layer in enumerate((still, square, cover)):
        layer[..., number] += 10  # what comes into sight, and was never seen, is most like its own layer
    frames = np.repeat(still[None], count, axis=0)
    for frame in range(count):
        start = _START + frame
        frames[frame, start : start + _SIDE, start : start + _SIDE] = square
        if cover_from is not None and frame >= cover_from:
            end = start + _SIDE
            frames[frame, end - len(cover) : end, end - len(cover) : end] = cover
    return frames.astype(np.float32)


def write_jhmdb(root: Path, clips: dict[str, int], kind: str = "jump") -> Path:
    """Write a root of one class: clips with as many frames, and one of the training part."""
    for seed, (clip, count) in enumerate(clips.items()):
        frames, joints = moving_square(count, seed)
        folder = root / "Rename_Images" / kind / clip
        folder.mkdir(parents=True)
        for index, frame in enumerate(frames, 1):
            assert cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])
        write_joints(root, clip, joints, kind)
    (root / "splits").mkdir()
    lines = [f"{clip}.avi 2" for clip in clips]
    (root / "splits" / f"{kind}_test_split1.txt").write_text("\n".join(["trained_on.avi 1", *lines, "neither.avi 0\n"]))
    return root


def write_joints(root: Path, clip: str, joints: NDArray[np.float64], kind: str = "jump") -> Path:
    path = root / "joint_positions" / kind / clip / "joint_positions.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"pos_img": joints + 1, "scale": np.ones((1, joints.shape[2]))})
    return path


def tapvid_clip(count: int, seed: int = 0, encoded: bool = False) -> dict[str, Any]:
    """A video of TAP-Vid: the four places as parts of the frame; the second hidden at first, the third never seen."""
    frames, joints = moving_square(count, seed)
    points = (joints.transpose(1, 2, 0) + 0.5) / (SIZE[1], SIZE[0])
    occluded = np.zeros((4, count), dtype=bool)
    occluded[1, :2] = True
    occluded[2] = True
    video: Any = frames
    if encoded:
        video = [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in frames]
    return {"video": video, "points": points.astype(np.float32), "occluded": occluded}


def write_pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def result_marks(folder: Path) -> Marks:
    """Return the joints or points in a folder of results as they are drawn."""
    if not JointResult.exists(folder):
        return result_points(TrackResult.read(folder))
    result = JointResult.read(folder)
    return joint_marks(result.frames, result.joints, result.points.transpose(1, 0, 2))


def true_marks(video: Video, frames: tuple[str, ...]) -> Marks | None:
    """Return the true joints or points of a video as they are drawn."""
    return true_joints(video, frames) if isinstance(video, JointVideo) else true_points(video, frames)
