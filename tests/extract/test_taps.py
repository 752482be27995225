from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from ted.extract.backbones.adm import AdmBackbone, load
from ted.extract.small_models import make_small
from ted.extract.taps import choose_taps, read_taps
from ted.store.errors import ConfigError

TAPS = ["down_blocks[1]", "mid_block", "output_blocks[4]", "output_blocks[7]", "up_blocks[2]"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> AdmBackbone:
    weights = make_small("adm", tmp_path_factory.mktemp("weights"))
    return load(weights, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(2, 1, 3, 32, 64, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def calls(backbone: AdmBackbone) -> Iterator[Counter[str]]:
    """Number of calls of each module of the UNet."""
    counter: Counter[str] = Counter()

    def count(name: str) -> Any:
        return lambda *_: counter.update([name])

    handles = [module.register_forward_pre_hook(count(name)) for name, module in backbone.network.named_modules()]
    yield counter
    for handle in handles:
        handle.remove()


def hooks_left(unet: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in unet.modules())


def full_pass(backbone: AdmBackbone, noisy: torch.Tensor) -> dict[str, torch.Tensor]:
    """Read all taps by separate hooks that copy outputs at once, in a full pass."""
    copies: dict[str, torch.Tensor] = {}

    def copy(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            copies[name] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    handles = [tap.module.register_forward_hook(copy(name)) for name, tap in backbone.taps.items()]
    with torch.inference_mode():
        backbone.network(**backbone.network_arguments(noisy, 51, {}))
    for handle in handles:
        handle.remove()
    return copies


@pytest.mark.parametrize("stop_early", [True, False])
def test_taps_are_those_of_a_full_pass(backbone: AdmBackbone, noisy: torch.Tensor, stop_early: bool) -> None:
    expected = full_pass(backbone, noisy)
    assert set(expected) == set(backbone.taps)
    for taps in [[tap] for tap in TAPS] + [TAPS, TAPS[::-1], list(backbone.taps)]:
        features = backbone.features(noisy, 51, {}, taps, stop_early=stop_early)
        assert list(features) == taps
        for tap, feature in features.items():
            assert feature.dtype == torch.float32
            torch.testing.assert_close(feature[:, 0], expected[tap], rtol=0, atol=0)


def test_nothing_runs_after_the_last_tap(backbone: AdmBackbone, noisy: torch.Tensor, calls: Counter[str]) -> None:
    backbone.features(noisy, 51, {}, ["output_blocks[7]", "mid_block"])
    assert calls["up_blocks.2.attentions.1"] == calls["mid_block"] == calls["conv_in"] == 1
    later = ("up_blocks.2.resnets.2", "up_blocks.2.upsamplers", "up_blocks.3", "up_blocks.4", "up_blocks.5", "conv_out")
    assert not [name for name in calls if name.startswith((*later, "conv_norm_out"))]
    calls.clear()
    backbone.features(noisy, 51, {}, ["down_blocks[0]"])
    assert not [name for name in calls if name.startswith(("down_blocks.1", "mid_block", "up_blocks", "conv_out"))]


def test_everything_runs_on_demand(backbone: AdmBackbone, noisy: torch.Tensor, calls: Counter[str]) -> None:
    backbone.features(noisy, 51, {}, ["down_blocks[0]"], stop_early=False)
    assert calls["conv_out"] == calls["up_blocks.5"] == 1


def test_hooks_are_removed(backbone: AdmBackbone, noisy: torch.Tensor) -> None:
    assert hooks_left(backbone.network) == 0
    for stop_early in (True, False):
        backbone.features(noisy, 51, {}, TAPS, stop_early=stop_early)
        assert hooks_left(backbone.network) == 0


def test_hooks_are_removed_after_an_error(backbone: AdmBackbone, noisy: torch.Tensor) -> None:
    with pytest.raises(RuntimeError, match="size"):  # a frame that the grid's strides do not divide
        backbone.features(noisy[..., :40], 51, {}, ["output_blocks[17]"])
    assert hooks_left(backbone.network) == 0
    with pytest.raises(KeyboardInterrupt):
        read_taps(_interrupt, {name: tap.module for name, tap in backbone.taps.items()})
    assert hooks_left(backbone.network) == 0
    full = full_pass(backbone, noisy)["output_blocks[7]"]
    feature = backbone.features(noisy, 51, {}, ["output_blocks[7]"])["output_blocks[7]"]
    torch.testing.assert_close(feature[:, 0], full, rtol=0, atol=0)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_other_hooks_stay(backbone: AdmBackbone, noisy: torch.Tensor) -> None:
    seen = []
    handle = backbone.taps["mid_block"].module.register_forward_hook(lambda *_: seen.append(1))
    backbone.features(noisy, 51, {}, ["mid_block"])
    backbone.features(noisy, 51, {}, ["mid_block", "output_blocks[0]"])
    handle.remove()
    assert seen == [1, 1]


@pytest.mark.parametrize("names", [["up_blocks[9]"], ["mid_block", "up_blocks.2"], ["mid_block", ""]])
def test_unknown_tap_lists_the_taps(backbone: AdmBackbone, noisy: torch.Tensor, names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        backbone.features(noisy, 51, {}, names)
    message = str(error.value)
    assert f"unknown tap {names[-1]!r}" in message
    assert "'adm'" in message
    assert "mid_block, output_blocks[0], output_blocks[1]" in message
    assert hooks_left(backbone.network) == 0


def test_no_tap(backbone: AdmBackbone) -> None:
    with pytest.raises(ConfigError, match="no tap asked for"):
        choose_taps(backbone.taps, [], "adm")


def test_tap_asked_for_twice_is_read_once(backbone: AdmBackbone, noisy: torch.Tensor, calls: Counter[str]) -> None:
    features = backbone.features(noisy, 51, {}, ["mid_block", "mid_block"])
    assert list(features) == ["mid_block"]
    assert not [name for name in calls if name.startswith("up_blocks")]
