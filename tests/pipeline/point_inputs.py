"""Small roots of JHMDB and pickles of TAP-Vid: a bright square that moves, its corners, and points on it."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

SIZE = (48, 64)


def moving_square(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Frames (frame, height, width, 3) and the corners of the square, (2, joint, frame), pixels counted from 0."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 60, (count, *SIZE, 3)).astype(np.uint8)
    texture = rng.integers(120, 255, (16, 20, 3)).astype(np.uint8)
    corners = np.empty((2, 4, count))
    for frame in range(count):
        top, left = 8 + frame, 10 + 3 * frame
        frames[frame, top : top + 16, left : left + 20] = texture
        corners[:, :, frame] = [[left, left + 19, left, left + 19], [top, top, top + 15, top + 15]]
    return frames, corners


def write_jhmdb(root: Path, clips: dict[str, int], kind: str = "jump") -> Path:
    """Write a root of one class: clips with as many frames, and one of the training part."""
    for seed, (clip, count) in enumerate(clips.items()):
        frames, corners = moving_square(count, seed)
        folder = root / "Rename_Images" / kind / clip
        folder.mkdir(parents=True)
        for index, frame in enumerate(frames, 1):
            assert cv2.imwrite(str(folder / f"{index:05d}.png"), frame[..., ::-1])
        write_joints(root, clip, corners, kind)
    (root / "splits").mkdir()
    lines = [f"{clip}.avi 2" for clip in clips]
    (root / "splits" / f"{kind}_test_split1.txt").write_text("\n".join(["trained_on.avi 1", *lines, "neither.avi 0\n"]))
    return root


def write_joints(root: Path, clip: str, corners: NDArray[np.float64], kind: str = "jump") -> Path:
    path = root / "joint_positions" / kind / clip / "joint_positions.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"pos_img": corners + 1, "scale": np.ones((1, corners.shape[2]))})
    return path


def tapvid_clip(count: int, seed: int = 0, encoded: bool = False) -> dict[str, Any]:
    """A video of TAP-Vid: the square's corners, as parts of the frame; one hidden at first, one never seen."""
    frames, corners = moving_square(count, seed)
    points = (corners.transpose(1, 2, 0) + 0.5) / (SIZE[1], SIZE[0])
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
