"""Random draws by a backbone's schedule, and no noise."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ted.extract.backbones.base import Backbone
from ted.extract.frames import to_pixels
from ted.extract.noising import parse_noising
from ted.extract.noising.closed_form import NoNoise, RandomDraws
from ted.extract.noising.keyed_noise import NoiseKey, draw_noise
from tests.extract.conftest import features_of, load_clips, make_plan, random_frames

TAP = "output_blocks[7]"


def test_random_draws_are_keyed_noise_through_the_schedule(adm: Backbone) -> None:
    source = random_frames(2)
    plan = make_plan(adm, source, (64, 64), [51, 300], [TAP], ensemble=3, seed=4)
    clip = load_clips(adm, source, plan, [1])[1]
    clean = torch.from_numpy(to_pixels(source.frames[1], (64, 64)))[None]
    for timestep in (51, 300):
        for draw in range(3):
            noise = draw_noise(NoiseKey(seed=4, video="v", start=1, draw=draw), clean.shape)
            assert torch.equal(clip.noisy(timestep, draw), adm.schedule.perturb(clean, noise, timestep))


def test_the_default_keeps_its_request(adm: Backbone) -> None:
    plain, named = (make_plan(adm, random_frames(1), (64, 64), [51], [TAP], noising=n) for n in (None, RandomDraws()))
    assert plain.specs == named.specs
    assert plain.request.noise == "sha256-philox-float32-1"


def test_a_derived_noising_is_told_apart(adm: Backbone) -> None:
    @dataclass(frozen=True)
    class Flow(RandomDraws):
        name = "flow"
        power: float = 1.0

    assert Flow(power=2.0).identity == "flow:power=2.0 sha256-philox-float32-1"
    assert len({noising.identity for noising in (RandomDraws(), Flow(), Flow(power=2.0))}) == 3


def test_without_noise_the_network_sees_clean_clips(adm: Backbone) -> None:
    source = random_frames(2)
    found = features_of(adm, source, (64, 64), [51], [TAP], draws=4, seed=9, noising=parse_noising("none"))[51, TAP]
    clean = torch.from_numpy(np.stack([to_pixels(frame, (64, 64)) for frame in source.frames]))[:, None]
    expected = torch.cat([adm.features(one[None], 51, {}, [TAP])[TAP][0] for one in clean])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    plan = make_plan(adm, source, (64, 64), [51], [TAP], ensemble=4, seed=9, noising=NoNoise())
    request = plan.request
    assert (request.noise, request.ensemble, request.seed) == ("none", 1, 0)
    assert plan.specs[51, TAP].alpha_bar is None


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timesteps_outside_of_training(adm: Backbone, timestep: int) -> None:
    with pytest.raises(Exception, match=f"timestep {timestep} for backbone 'adm'; it takes 0 to 999"):
        make_plan(adm, random_frames(1), (64, 64), [timestep], [TAP])
