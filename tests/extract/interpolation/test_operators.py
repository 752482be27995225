"""The operators of interpolation, against numbers computed by hand and oracle networks."""

import pytest
import torch

from ted.extract.interpolation.operators import (
    OPERATORS,
    Operator,
    Pair,
    Reconstruction,
    make_operator,
    roll_out,
    timestep_of,
)
from ted.extract.noising.schedules import NoiseSchedule
from ted.store.errors import ConfigError

SCHEDULE = NoiseSchedule(alphas_cumprod=torch.linspace(0.999, 0.004, 1000, dtype=torch.float64))
# Latents of one number: z^t = 2, z^(t+1) = 10, and noise 4.
PAIR, NOISE = Pair(torch.tensor([2.0]), torch.tensor([10.0])), torch.tensor([4.0])


def operator(name: str, steps: int = 4, prediction: str = "v_prediction") -> Operator:
    return make_operator(name, steps, SCHEDULE, prediction, 999)  # type: ignore[arg-type]


def test_steps_by_hand() -> None:
    # At k = 3 of 4, z_k is 3/4 * 2 + 1/4 * 10 = 4; the prediction is off by 1 each time.
    for name in ("offset", "blend", "to-next", "from-previous"):
        assert operator(name).sample(3, PAIR, NOISE).item() == 4
    expected = {
        "offset": (8.0, 4 + 9 / 4),
        "blend": (10.0, 2 / 4 * 2 + 2 / 4 * 11),
        "to-next": (10.0, 11 + 2 / 3 * (4 - 11)),
        "from-previous": (2.0, 3 + (2 / 4) / (1 / 4) * (4 - 3)),
    }
    for name, (target, advanced) in expected.items():
        used = operator(name)
        assert used.target(PAIR).item() == target
        found = used.advance(3, torch.tensor([4.0]), torch.tensor([target + 1]), PAIR)
        assert found.item() == pytest.approx(advanced)


def test_reconstruction_by_hand() -> None:
    used = Reconstruction(steps=2, alpha_bars=(1.0, 0.64, 0.36), prediction="epsilon")
    latents = used.sample(2, PAIR, NOISE)
    assert latents.item() == pytest.approx(0.6 * 10 + 0.8 * 4)
    assert used.target(PAIR).item() == 10
    assert used.read(2, latents, NOISE).item() == pytest.approx(10)
    by_v = Reconstruction(steps=2, alpha_bars=(1.0, 0.64, 0.36), prediction="v_prediction")
    assert by_v.read(2, latents, 0.6 * NOISE - 0.8 * PAIR.following).item() == pytest.approx(10)
    # Predicting 9 leaves the noise (9.2 - 0.6 * 9) / 0.8 = 4.75.
    advanced = used.advance(2, latents, torch.tensor([9.0]), PAIR)
    assert advanced.item() == pytest.approx(0.8 * 9 + 0.6 * 4.75)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", OPERATORS)
def test_an_oracle_ends_at_the_next_frame(name: str, prediction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    previous, noise, following = torch.randn(3, 4, 5, 6, generator=generator)
    pair = Pair(previous, following)
    used = operator(name, 50, prediction)

    def oracle(step: int, latents: torch.Tensor) -> torch.Tensor:
        true = used.target(pair).double()
        if not isinstance(used, Reconstruction):
            return true
        abar = used.alpha_bars[step]
        eps = (latents - abar**0.5 * true) / (1 - abar) ** 0.5
        return eps if prediction == "epsilon" else abar**0.5 * eps - (1 - abar) ** 0.5 * true

    latents, errors = roll_out(used, oracle, pair, noise)
    assert (latents - following).abs().max() < 1e-6
    assert len(errors) == 50
    assert errors[-1] < 1e-12 < errors[0]
    assert errors == sorted(errors, reverse=True)


def test_timesteps_fall_evenly_from_the_last() -> None:
    assert [timestep_of(step, 4, 999) for step in (4, 3, 2, 1)] == [999, 749, 499, 249]
    assert [timestep_of(step, 50, 9) for step in (50, 1)] == [9, 0]
    levels = operator("reconstruction").alpha_bars  # type: ignore[attr-defined]
    assert levels[0] == 1
    assert levels[4] == pytest.approx(float(SCHEDULE.alphas_cumprod[999]))


def test_unknown_operators_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are: offset, blend, to-next, from-previous, reconstruction"):
        operator("nearest")
