"""Features that the extraction of a video writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.frames import FrameSize, SelectedFrames, VideoFrames, to_pixels
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from ted.extract.plan import plan_video
from ted.extract.worker import extract_video
from ted.store import Unit
from ted.store.errors import ConfigError, FrameError

from .clips import write_clip
from .conftest import random_frames
from .pictures import picture
from .videos import ADM_TAP, SETTINGS, SVD_TAP, features, new_cache, plan, relative


def test_image_features_are_the_mean_over_draws_of_single_forwards(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(3)
    (found,) = features(new_cache(tmp_path), adm, source, ensemble=3)
    for frame in range(3):
        x0 = torch.from_numpy(to_pixels(source.frames[frame], (64, 64)))[None, None]
        draws = []
        for draw in range(3):
            noise = draw_noise(NoiseKey(seed=5, video="v", start=frame, draw=draw), x0.shape[1:])[None]
            noisy = adm.schedule.perturb(x0, noise, 51)
            draws.append(adm.features(noisy, 51, {}, [ADM_TAP], stop_early=False)[ADM_TAP][0, 0])
        expected = torch.stack(draws).mean(0).permute(1, 2, 0).numpy()
        assert relative(found[frame], expected) < 1e-3  # float16 rounding alone is 3e-4
        assert relative(draws[0].permute(1, 2, 0).numpy(), expected) > 1e-2


def test_video_features_come_from_the_first_clip_that_covers_a_frame(tmp_path: Path, svd: Backbone) -> None:
    length = svd.clip_length
    source = random_frames(length + 3)
    (found,) = features(new_cache(tmp_path), svd, source, timesteps=(300,), taps=(SVD_TAP,))
    x0 = svd.encode(torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames])))
    pixels = torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames]))
    for start, kept in ((0, range(length)), (3, range(length - 3, length))):
        clip = x0[start : start + length]

        def draw(shape: Any, start: int = start) -> torch.Tensor:
            return draw_noise(NoiseKey(seed=5, video="v", start=start, purpose="conditioning"), shape)

        noise = draw_noise(NoiseKey(seed=5, video="v", start=start), clip.shape)
        noisy = svd.schedule.perturb(clip[None], noise[None], 300)
        with torch.inference_mode():
            condition = svd.condition(pixels[start : start + length], pixels[start : start + 1], draw)
        whole = svd.features(noisy, 300, condition, [SVD_TAP], stop_early=False)[SVD_TAP][0]
        for position in kept:
            expected = whole[position].permute(1, 2, 0).numpy()
            assert relative(found[start + position], expected) < 1e-3


def test_each_frame_is_decoded_once(tmp_path: Path, svd: Backbone) -> None:
    source = random_frames(2 * svd.clip_length + 5)
    features(new_cache(tmp_path), svd, source, timesteps=(300, 600), taps=(SVD_TAP, "up_blocks[1]"), ensemble=2)
    assert source.reads == list(range(len(source)))


def test_image_features_of_a_frame_do_not_depend_on_the_others(tmp_path: Path, adm: Backbone) -> None:
    source, other = random_frames(4), random_frames(4, seed=1)
    other.frames[2] = source.frames[2]
    (one,) = features(new_cache(tmp_path, "a"), adm, source)
    (two,) = features(new_cache(tmp_path, "b"), adm, other)
    np.testing.assert_array_equal(one[2], two[2])
    assert relative(one[1], two[1]) > 0.01


def test_video_features_of_a_frame_depend_on_the_others_of_its_clip(tmp_path: Path, svd: Backbone) -> None:
    source, other = random_frames(svd.clip_length), random_frames(svd.clip_length)
    other.frames[-1] = 255 - other.frames[-1]
    (one,) = features(new_cache(tmp_path, "a"), svd, source, taps=(SVD_TAP,))
    (two,) = features(new_cache(tmp_path, "b"), svd, other, taps=(SVD_TAP,))
    assert relative(one[1], two[1]) > 1e-2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_videos(tmp_path: Path, svd: Backbone, count: int) -> None:
    (found,) = features(new_cache(tmp_path), svd, random_frames(count), taps=(SVD_TAP,))
    assert found.shape[0] == count


def test_changed_frames_settings_and_video_name_change_the_request(adm: Backbone) -> None:
    source = random_frames(2)
    base = plan(adm, source).specs[51, ADM_TAP]
    assert plan(adm, random_frames(2)).specs[51, ADM_TAP] == base
    digests = {base.request.digest()}
    for changed in (
        plan(adm, random_frames(2, seed=1)),
        plan(adm, source, seed=6),
        plan(adm, source, ensemble=2),
        plan(adm, source, frame_size=FrameSize(short_side=96)),
    ):
        digests.add(changed.specs[51, ADM_TAP].request.digest())
    assert len(digests) == 5
    assert plan(adm, source, batch_size=1).specs[51, ADM_TAP] == base
    assert base.request.clip_overlap == 0


def test_the_run_record_says_how(tmp_path: Path, adm: Backbone) -> None:
    source, cache = random_frames(2), new_cache(tmp_path)
    planned = plan(adm, source)
    extract_video(cache, adm, source, planned)
    record = json.loads((planned.specs[51, ADM_TAP].folder(cache.root) / "features/ted/run.json").read_text())
    assert record["versions"]["torch"] == torch.__version__
    assert record["device"] == "cpu"
    assert record["batch_size"] == 2


def test_the_run_record_of_a_video_file_has_the_times_of_its_frames(tmp_path: Path, adm: Backbone) -> None:
    times = [0, 3, 4]
    clip = write_clip(tmp_path / "a.mov", [picture(64, 64, seed=i) for i in range(3)], times=times)
    source, cache = SelectedFrames(VideoFrames(clip), every=2), new_cache(tmp_path)
    planned = plan_video(
        adm, source, dataset="d", video="v", timesteps=(51,), taps=(ADM_TAP,), settings=SETTINGS
    )  # fmt: skip
    extract_video(cache, adm, source, planned)
    assert Unit(planned.specs[51, ADM_TAP].folder(cache.root)).run_record["frame_times"] == [0.0, 0.4]


def test_wrong_taps_timesteps_and_empty_videos(adm: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"up_blocks\[99\].*it has: .*output_blocks\[7\]"):
        plan(adm, random_frames(2), taps=("up_blocks[99]",))
    with pytest.raises(ConfigError, match="0 to 999"):
        plan(adm, random_frames(2), timesteps=(1000,))
    with pytest.raises(FrameError, match="no frames"):
        plan(adm, random_frames(0))


def test_the_report_says_how_long_each_stage_took(tmp_path: Path, adm: Backbone) -> None:
    source = random_frames(4)
    report = extract_video(new_cache(tmp_path), adm, source, plan(adm, source))
    assert set(report.stages) == {"read", "resize", "noise", "encode", "passes", "write"}
    assert set(report.waited) == {"frames", "disk"}
    assert 0 < report.stages["passes"] < report.seconds
