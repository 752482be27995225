import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from ted.extract.backbones.adm import AdmBackbone
from ted.extract.backbones.adm_checkpoint import block_names, checkpoint_shapes
from ted.extract.backbones.adm_config import PUBLISHED, build_unet
from ted.extract.small_models import SMALL_ADM, make_small
from ted.store.errors import ConfigError
from tests.extract.adm_files import load_cpu, relative_error
from tests.references.adm_unet import adm_forward


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small("adm", tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="module")
def small(small_weights: Path) -> AdmBackbone:
    return load_cpu(small_weights)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(3, 1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


# Against outputs of the original code


@pytest.fixture(scope="module")
def original(shared: Path) -> tuple[AdmBackbone, dict[str, torch.Tensor]]:
    folder = shared / "fixtures" / "adm_tiny"
    expected = np.load(folder / "expected.npz")
    return load_cpu(folder), {name: torch.from_numpy(expected[name]) for name in expected}


def test_noisy_frame_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    noisy = backbone.schedule.perturb(backbone.encode(expected["x0"]), expected["noise"], int(expected["t"]))
    assert noisy.dtype == torch.float32
    assert relative_error(noisy, expected["x_t"]) < 1e-6


def test_every_output_block_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    timestep = int(expected["t"])
    noisy = backbone.schedule.perturb(backbone.encode(expected["x0"]), expected["noise"], timestep)[:, None]
    count = 4 * (2 + 1)
    features = backbone.features(noisy, timestep, {}, [f"output_blocks[{i}]" for i in range(count)])
    for i in range(count):
        feature = features[f"output_blocks[{i}]"][:, 0]
        assert feature.shape == expected[f"output_block_{i}"].shape
        assert relative_error(feature, expected[f"output_block_{i}"]) < 1e-5, i


def test_output_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    arguments = backbone.network_arguments(expected["x_t"][:, None], int(expected["t"]), {})
    with torch.inference_mode():
        (output,) = backbone.network(**arguments)
    assert relative_error(output, expected["output"]) < 1e-5


def test_plain_reference_is_the_original(shared: Path, original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    folder = shared / "fixtures" / "adm_tiny"
    tensors = torch.load(folder / "model.pt", weights_only=True)
    config = json.loads((folder / "config.json").read_text())
    output, blocks = adm_forward(tensors, config, original[1]["x_t"], int(original[1]["t"]))
    assert relative_error(original[1]["output"], output) < 1e-5
    for i, block in enumerate(blocks):
        assert relative_error(original[1][f"output_block_{i}"], block) < 1e-5, i


# With the depth of the published model, against the plain reference


@pytest.mark.parametrize("timestep", [0, 51, 999])
def test_output_blocks_agree_with_plain_reference(
    small: AdmBackbone, small_weights: Path, frames: torch.Tensor, timestep: int
) -> None:
    frames = frames[:1]
    tensors = torch.load(small_weights / "model.pt", weights_only=True)
    output, blocks = adm_forward(tensors, dataclasses.asdict(SMALL_ADM), frames[:, 0], timestep)
    taps = [f"output_blocks[{i}]" for i in range(len(blocks))]
    features = small.features(frames, timestep, {}, taps)
    for tap, block in zip(taps, blocks, strict=True):
        assert relative_error(features[tap][:, 0], block) < 1e-5, tap
    with torch.inference_mode():
        assert relative_error(small.network(**small.network_arguments(frames, timestep, {}))[0], output) < 1e-5


def test_taps_follow_the_forward_pass(small: AdmBackbone, frames: torch.Tensor) -> None:
    called: list[str] = []
    handles = [
        tap.module.register_forward_hook(lambda *_, name=name: called.append(name)) for name, tap in small.taps.items()
    ]
    with torch.inference_mode():
        small.network(**small.network_arguments(frames, 51, {}))
    for handle in handles:
        handle.remove()
    assert list(small.taps) == called
    assert called[:7] == [f"down_blocks[{i}]" for i in range(6)] + ["mid_block"]
    assert [name for name in called if name.startswith("output")] == [f"output_blocks[{i}]" for i in range(18)]
    assert [name for name in called if name.startswith("up")] == [f"up_blocks[{i}]" for i in range(6)]


def test_papers_tap_lies_on_the_eighth_grid(small: AdmBackbone, frames: torch.Tensor) -> None:
    features = small.features(frames, 51, {}, ["output_blocks[7]"])
    assert features["output_blocks[7]"].shape == (3, 1, 64, 64 // 8, 96 // 8)


def test_level_ends_with_its_last_output_block(small: AdmBackbone, frames: torch.Tensor) -> None:
    pairs = {f"up_blocks[{i}]": f"output_blocks[{3 * i + 2}]" for i in range(6)}
    features = small.features(frames, 51, {}, [*pairs, *pairs.values()])
    for block, entry in pairs.items():
        torch.testing.assert_close(features[block], features[entry], rtol=0, atol=0)


def test_every_weight_matters(small_weights: Path, frames: torch.Tensor) -> None:
    backbone = load_cpu(small_weights)
    backbone.network.requires_grad_(True)
    (output,) = backbone.network(**backbone.network_arguments(frames[:1], 51, {}))
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in backbone.network.named_parameters():
        assert parameter.grad is not None, name
        # Softmax ignores a shift of all keys; normalisation with a channel a group ignores a shift of the channel.
        if not name.endswith(("to_k.bias", "conv1.bias")):
            assert parameter.grad.abs().max() > 1e-6, name


# The published architecture


def test_published_model_maps_completely() -> None:
    with torch.device("meta"):
        parameters = build_unet(PUBLISHED).state_dict()
    assert sum(value.numel() for value in parameters.values()) == 552_814_086  # 2,211,256,344 bytes in float32
    shapes = checkpoint_shapes(PUBLISHED, parameters)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 552_814_086
    attentions = sum(name.endswith("qkv.weight") for name in shapes)
    assert attentions == 3 * 2 + 1 + 3 * 3
    assert len(parameters) == len(shapes) + attentions * 2 * 2  # q, k and v, weight and bias, from one tensor each
    published = {
        "time_embed.0.weight": (1024, 256),
        "input_blocks.0.0.weight": (256, 3, 3, 3),
        "input_blocks.3.0.in_layers.2.weight": (256, 256, 3, 3),  # the first down-sampling block
        "input_blocks.17.1.qkv.bias": (3072,),
        "middle_block.1.proj_out.weight": (1024, 1024, 1),
        "output_blocks.7.0.skip_connection.weight": (512, 1024, 1, 1),
        "output_blocks.7.1.qkv.weight": (1536, 512, 1),
        "output_blocks.8.2.emb_layers.1.weight": (1024, 1024),  # up-sampling: two values for each of 512 channels
        "output_blocks.17.0.out_layers.3.weight": (256, 256, 3, 3),
        "out.2.weight": (6, 256, 3, 3),
    }
    assert published.items() <= shapes.items()


def test_papers_tap_is_the_attention_of_the_second_layer() -> None:
    names = block_names(PUBLISHED)
    assert names["output_blocks.7.0"] == "up_blocks.2.resnets.1"
    assert names["output_blocks.7.1"] == "up_blocks.2.attentions.1"
    assert "output_blocks.7.2" not in names
    assert names["output_blocks.8.2"] == "up_blocks.2.upsamplers.0"


# The backbone's interface


def test_features_depend_on_nothing_but_the_frame(small: AdmBackbone, frames: torch.Tensor) -> None:
    tap = "output_blocks[7]"
    together = small.features(frames, 51, {}, [tap])[tap]
    for i in range(len(frames)):
        assert relative_error(small.features(frames[i : i + 1], 51, {}, [tap])[tap], together[i : i + 1]) < 1e-5
    changed = frames.clone()
    changed[1:] = -changed[1:]
    torch.testing.assert_close(small.features(changed, 51, {}, [tap])[tap][:1], together[:1], rtol=0, atol=0)
    assert relative_error(small.features(changed, 51, {}, [tap])[tap][1:], together[1:]) > 1e-2


def test_timestep_matters(small: AdmBackbone, frames: torch.Tensor) -> None:
    tap = "output_blocks[7]"
    early, late = (small.features(frames, timestep, {}, [tap])[tap] for timestep in (51, 300))
    assert relative_error(late, early) > 1e-2


def test_pixels_are_noised_as_they_are(small: AdmBackbone, frames: torch.Tensor) -> None:
    torch.testing.assert_close(small.encode(frames[:, 0]), frames[:, 0], rtol=0, atol=0)
    assert small.condition(frames[0], None, torch.randn) == {}
    assert (small.clip_length, small.frame_multiple, small.conditioning) == (1, 32, {})


@pytest.mark.parametrize(("timestep", "signal"), [(0, 1 - 1e-4), (51, 0.969), (300, 0.394), (600, 0.026)])
def test_noise_level(small: AdmBackbone, timestep: int, signal: float) -> None:
    one, zero = torch.ones(2, 3), torch.zeros(2, 3)
    assert float(small.schedule.perturb(one, zero, timestep)[0, 0]) ** 2 == pytest.approx(signal, abs=6e-4)
    assert float(small.schedule.perturb(zero, one, timestep)[0, 0]) ** 2 == pytest.approx(1 - signal, abs=6e-4)


def test_schedule_is_the_librarys_linear_one(small: AdmBackbone) -> None:
    library = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(small.schedule.alphas_cumprod.float(), library.alphas_cumprod, rtol=1e-6, atol=0)
    assert len(small.schedule) == 1000


def test_noise_is_exact_where_it_is_weakest(small: AdmBackbone) -> None:
    noise = small.schedule.perturb(torch.zeros(1), torch.ones(1), 0)
    assert float(noise) == pytest.approx(1e-2, rel=1e-6)  # the square root of the first beta


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timestep_outside_of_training(small: AdmBackbone, timestep: int) -> None:
    with pytest.raises(ConfigError, match=f"timestep {timestep} "):
        small.schedule.perturb(torch.zeros(1), torch.ones(1), timestep)


def test_no_gradients_and_no_training_mode(small: AdmBackbone) -> None:
    assert not any(module.training for module in small.network.modules())
    assert not any(parameter.requires_grad for parameter in small.network.parameters())


def test_features_in_bfloat16(small: AdmBackbone, small_weights: Path, frames: torch.Tensor) -> None:
    tap = "output_blocks[7]"
    half = load_cpu(small_weights, torch.bfloat16)
    assert all(parameter.dtype == torch.bfloat16 for parameter in half.network.parameters())
    feature = half.features(frames[:1], 51, {}, [tap])[tap]
    assert feature.dtype == torch.float32
    assert 1e-5 < relative_error(feature, small.features(frames[:1], 51, {}, [tap])[tap]) < 0.05


def test_small_checkpoint_is_reproducible(tmp_path: Path, small_weights: Path) -> None:
    again, other = make_small("adm", tmp_path / "again"), make_small("adm", tmp_path / "other", seed=1)
    digests = [hashlib.sha256((path / "model.pt").read_bytes()).digest() for path in (small_weights, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_small_checkpoint_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    load_cpu(make_small("adm", tmp_path))
    assert torch.equal(torch.random.get_rng_state(), before)
