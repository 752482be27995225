import dataclasses
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import save_file

from ted.extract.backbones.adm import AdmBackbone, load
from ted.extract.backbones.adm_checkpoint import block_names, checkpoint_shapes
from ted.extract.backbones.adm_config import PUBLISHED, AdmConfig, build_unet
from ted.extract.small_adm import SMALL, make_small_adm
from ted.store.errors import ConfigError, WeightsError
from tests.references.adm_unet import adm_forward

CPU = torch.device("cpu")
#: The smallest UNet of the family, for what needs a checkpoint but not a deep one.
TINY = AdmConfig(
    image_size=16,
    num_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_downsample_factors=(2,),
    num_head_channels=32,
)


def load_cpu(weights: Path, dtype: torch.dtype = torch.float32) -> AdmBackbone:
    return load(weights, device=CPU, dtype=dtype)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


def random_tensors(config: AdmConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = checkpoint_shapes(config, build_unet(config).state_dict())
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) / 10 for name, shape in shapes.items()}


def write(folder: Path, tensors: Any, config: AdmConfig | dict[str, Any] = TINY) -> Path:
    folder.mkdir(exist_ok=True)
    values = config if isinstance(config, dict) else dataclasses.asdict(config)
    (folder / "config.json").write_text(json.dumps(values))
    torch.save(tensors, folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_adm(tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="module")
def small(small_weights: Path) -> AdmBackbone:
    return load_cpu(small_weights)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(3, 1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


# What the original code computed.


@pytest.fixture(scope="module")
def original(shared: Path) -> tuple[AdmBackbone, dict[str, torch.Tensor]]:
    folder = shared / "fixtures" / "adm_tiny"
    expected = np.load(folder / "expected.npz")
    return load_cpu(folder), {name: torch.from_numpy(expected[name]) for name in expected}


def test_noisy_frame_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    noisy = backbone.perturb(backbone.encode(expected["x0"]), expected["noise"], int(expected["t"]))
    assert noisy.dtype == torch.float32
    assert relative_error(noisy, expected["x_t"]) < 1e-6


def test_every_output_block_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    timestep = int(expected["t"])
    noisy = backbone.perturb(backbone.encode(expected["x0"]), expected["noise"], timestep)[:, None]
    count = 4 * (2 + 1)
    features = backbone.features(noisy, timestep, {}, [f"output_blocks[{i}]" for i in range(count)])
    for i in range(count):
        feature = features[f"output_blocks[{i}]"][:, 0]
        assert feature.shape == expected[f"output_block_{i}"].shape
        assert relative_error(feature, expected[f"output_block_{i}"]) < 1e-5, i


def test_output_is_the_originals(original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    backbone, expected = original
    arguments = backbone.unet_arguments(expected["x_t"][:, None], int(expected["t"]), {})
    with torch.inference_mode():
        (output,) = backbone.unet(**arguments)
    assert relative_error(output, expected["output"]) < 1e-5


def test_plain_reference_is_the_original(shared: Path, original: tuple[AdmBackbone, dict[str, torch.Tensor]]) -> None:
    folder = shared / "fixtures" / "adm_tiny"
    tensors = torch.load(folder / "model.pt", weights_only=True)
    config = json.loads((folder / "config.json").read_text())
    output, blocks = adm_forward(tensors, config, original[1]["x_t"], int(original[1]["t"]))
    assert relative_error(original[1]["output"], output) < 1e-5
    for i, block in enumerate(blocks):
        assert relative_error(original[1][f"output_block_{i}"], block) < 1e-5, i


# The depth of the published model, against the plain reference.


@pytest.mark.parametrize("timestep", [0, 51, 999])
def test_output_blocks_agree_with_plain_reference(
    small: AdmBackbone, small_weights: Path, frames: torch.Tensor, timestep: int
) -> None:
    tensors = torch.load(small_weights / "model.pt", weights_only=True)
    output, blocks = adm_forward(tensors, dataclasses.asdict(SMALL), frames[:, 0], timestep)
    taps = [f"output_blocks[{i}]" for i in range(len(blocks))]
    features = small.features(frames, timestep, {}, taps)
    for tap, block in zip(taps, blocks, strict=True):
        assert relative_error(features[tap][:, 0], block) < 1e-5, tap
    with torch.inference_mode():
        assert relative_error(small.unet(**small.unet_arguments(frames, timestep, {}))[0], output) < 1e-5


def test_taps_follow_the_forward_pass(small: AdmBackbone, frames: torch.Tensor) -> None:
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name)) for name, module in small.taps.items()
    ]
    with torch.inference_mode():
        small.unet(**small.unet_arguments(frames, 51, {}))
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
    backbone.unet.requires_grad_(True)
    (output,) = backbone.unet(**backbone.unet_arguments(frames[:1], 51, {}))
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in backbone.unet.named_parameters():
        assert parameter.grad is not None, name
        # Softmax ignores a shift of all keys; normalisation with a channel a group ignores a shift of the channel.
        if not name.endswith(("to_k.bias", "conv1.bias")):
            assert parameter.grad.abs().max() > 1e-6, name


# The published architecture.


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


# The backbone's contract.


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
    assert small.condition(frames[0], torch.randn) == {}
    assert (small.clip_length, small.frame_multiple, small.conditioning) == (1, 32, {})


@pytest.mark.parametrize(("timestep", "signal"), [(0, 1 - 1e-4), (51, 0.969), (300, 0.394), (600, 0.026)])
def test_noise_level(small: AdmBackbone, timestep: int, signal: float) -> None:
    one, zero = torch.ones(2, 3), torch.zeros(2, 3)
    assert float(small.perturb(one, zero, timestep)[0, 0]) ** 2 == pytest.approx(signal, abs=6e-4)
    assert float(small.perturb(zero, one, timestep)[0, 0]) ** 2 == pytest.approx(1 - signal, abs=6e-4)


def test_schedule_is_the_librarys_linear_one(small: AdmBackbone) -> None:
    library = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(small.schedule.alphas_cumprod.float(), library.alphas_cumprod, rtol=1e-6, atol=0)
    assert small.timestep_count == 1000


def test_noise_is_exact_where_it_is_weakest(small: AdmBackbone) -> None:
    noise = small.perturb(torch.zeros(1), torch.ones(1), 0)
    assert float(noise) == pytest.approx(1e-2, rel=1e-6)  # the square root of the first beta


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timestep_outside_of_training(small: AdmBackbone, timestep: int) -> None:
    with pytest.raises(ConfigError, match=f"timestep {timestep} "):
        small.perturb(torch.zeros(1), torch.ones(1), timestep)


def test_no_gradients_and_no_training_mode(small: AdmBackbone) -> None:
    assert not any(module.training for module in small.unet.modules())
    assert not any(parameter.requires_grad for parameter in small.unet.parameters())


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoint_of_another_precision(tmp_path: Path, stored: torch.dtype) -> None:
    tensors = {name: value.to(stored) for name, value in random_tensors(TINY).items()}
    backbone = load_cpu(write(tmp_path, tensors))
    assert all(parameter.dtype == torch.float32 for parameter in backbone.unet.parameters())
    torch.testing.assert_close(backbone.unet.conv_in.weight, tensors["input_blocks.0.0.weight"].float(), rtol=0, atol=0)


def test_features_in_bfloat16(small: AdmBackbone, small_weights: Path, frames: torch.Tensor) -> None:
    tap = "output_blocks[7]"
    half = load_cpu(small_weights, torch.bfloat16)
    assert all(parameter.dtype == torch.bfloat16 for parameter in half.unet.parameters())
    feature = half.features(frames, 51, {}, [tap])[tap]
    assert feature.dtype == torch.float32
    assert 1e-5 < relative_error(feature, small.features(frames, 51, {}, [tap])[tap]) < 0.05


def test_weights_outlive_their_file(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    folder = write(tmp_path, tensors)
    backbone = load_cpu(folder)
    (folder / "model.pt").write_bytes(b"")
    assert relative_error(backbone.unet.conv_in.weight, tensors["input_blocks.0.0.weight"]) == 0


def test_checkpoint_in_the_old_format(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    torch.save(random_tensors(TINY, seed=3), folder / "model.pt", _use_new_zipfile_serialization=False)
    expected = random_tensors(TINY, seed=3)["input_blocks.0.0.weight"]
    torch.testing.assert_close(load_cpu(folder).unet.conv_in.weight.data, expected, rtol=0, atol=0)


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    def identity(name: str, file: str = "model.pt", seed: int = 0, **changes: Any) -> str:
        folder = write(tmp_path / name, random_tensors(TINY, seed), dataclasses.replace(TINY, **changes))
        renamed = (folder / "model.pt").rename(folder / file)
        return load_cpu(renamed).weights_id

    first = identity("a")
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 64
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "renamed.pt").write_bytes((tmp_path / "a" / "model.pt").read_bytes())
    (moved / "config.json").write_text(json.dumps(dataclasses.asdict(TINY), indent=4, sort_keys=True))
    assert load_cpu(moved).weights_id == load_cpu(moved / "renamed.pt").weights_id == first
    assert identity("b", seed=1) != first
    assert identity("c", diffusion_steps=500) != first


def test_small_checkpoint_is_reproducible(tmp_path: Path, small_weights: Path) -> None:
    again, other = make_small_adm(tmp_path / "again"), make_small_adm(tmp_path / "other", seed=1)
    digests = [hashlib.sha256((path / "model.pt").read_bytes()).digest() for path in (small_weights, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_small_checkpoint_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    load_cpu(make_small_adm(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), before)


# Weights that cannot be used.


def test_absent_weights_name_the_download(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pt", tmp_path):
        with pytest.raises(WeightsError) as error:
            load_cpu(path)
        message = str(error.value)
        for part in (str(path), "256x256_diffusion_uncond.pt", "2.2 GB", "MIT", "github.com/openai/guided-diffusion"):
            assert part in message


def test_two_checkpoints_in_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "other.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"more than one \.pt file \(model\.pt, other\.pt\)"):
        load_cpu(folder)
    assert load_cpu(folder / "model.pt").weights_id


def test_without_description_the_published_model_is_expected(tmp_path: Path) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"not a checkpoint of the expected.*lacks .*more differences.*config\.json"):
        load_cpu(folder)


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["output_blocks.1.1.qkv.bias"]


def _add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["label_emb.weight"] = torch.zeros(10, 128)


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["middle_block.1.proj_out.weight"] = tensors["middle_block.1.proj_out.weight"][..., 0]


def _integers(tensors: dict[str, torch.Tensor]) -> None:
    tensors["out.2.bias"] = torch.zeros(6, dtype=torch.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, "lacks output_blocks.1.1.qkv.bias"),
        (_add, "has label_emb.weight, which this architecture does not"),
        (_reshape, r"middle_block.1.proj_out.weight has the shape \(64, 64\), not \(64, 64, 1\)"),
        (_integers, "out.2.bias is of type torch.int32"),
    ],
)
def test_checkpoint_of_another_architecture(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    tensors = random_tensors(TINY)
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        load_cpu(write(tmp_path, tensors))


def test_only_the_first_differences_are_listed(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1), "b": torch.zeros(1)}
    count = len(random_tensors(TINY)) + len(tensors)
    with pytest.raises(WeightsError, match=f"and {count - 4} more differences") as error:
        load_cpu(write(tmp_path, tensors))
    assert len(str(error.value)) < 700


class _Touch:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _plain_pickle(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=2)


def _modern_pickle(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=4)


def _old_format(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (torch.save, "refused, because it holds more than tensors"),
        (_old_format, "refused, because it holds more than tensors"),
        (_plain_pickle, "refused, because it holds more than tensors"),
        (_modern_pickle, "not a PyTorch checkpoint"),
    ],
)
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, save: Callable[[Any, Path], None], message: str) -> None:
    folder, trace = write(tmp_path / "weights", {}), tmp_path / "trace"
    save({"extra": _Touch(trace)}, folder / "model.pt")
    with pytest.raises(WeightsError, match=rf"model\.pt: {message}"):
        load_cpu(folder)
    assert not trace.exists()
    _Touch(trace).__reduce__()[0](trace)  # it would have
    assert trace.exists()


@pytest.mark.parametrize("kept", [0, 3, 4, 100, 0.5, 0.999])
@pytest.mark.parametrize("save", [torch.save, _old_format])
def test_truncated_checkpoint(tmp_path: Path, save: Callable[[Any, Path], None], kept: float) -> None:
    folder = write(tmp_path, {})
    save(random_tensors(TINY), folder / "model.pt")
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(WeightsError, match=r"model\.pt: not a PyTorch checkpoint, or cut short or damaged"):
        load_cpu(folder)


def test_other_formats(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    save_file(random_tensors(TINY), folder / "model.pt")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_cpu(folder)
    for content in (b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02}q\x00."):
        (folder / "model.pt").write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.pt: not a "):
            load_cpu(folder)
    np.savez(folder / "array.npz", a=np.zeros(3))
    (folder / "array.npz").rename(folder / "model.pt")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint"):
        load_cpu(folder)


@pytest.mark.parametrize(
    "content", [torch.zeros(3), [torch.zeros(3)], {}, {"state_dict": {"a": torch.zeros(3)}}, {1: torch.zeros(3)}]
)
def test_other_contents(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match="not a checkpoint of named tensors"):
        load_cpu(write(tmp_path, content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_cond": True}, "class_cond = true is not supported, only false"),
        ({"use_new_attention_order": True}, "use_new_attention_order = true is not supported"),
        ({"noise_schedule": "cosine"}, 'noise_schedule = "cosine" is not supported, only "linear"'),
        ({"resblock_updown": False}, "resblock_updown = false is not supported"),
        ({"use_scale_shift_norm": False}, "use_scale_shift_norm = false is not supported"),
        ({"num_channels": 48}, "num_channels must be a multiple of 32"),
        ({"num_channels": -32}, "num_channels must be a positive integer, not -32"),
        ({"num_channels": True}, "num_channels must be a positive integer, not True"),
        ({"num_head_channels": -1}, "num_head_channels must be a positive integer, not -1"),
        ({"num_head_channels": 48}, "num_head_channels = 48 does not divide the width 64"),
        ({"channel_mult": []}, "channel_mult is empty"),
        ({"channel_mult": "1,2"}, "channel_mult must be a list of positive integers"),
        ({"attention_downsample_factors": [3]}, "must be among the levels' strides"),
        ({"diffusion_steps": 20}, "diffusion_steps must be more than 20"),
        ({"learn_sigma": 1}, "learn_sigma must be true or false, not 1"),
        ({"use_fp16": True}, "has unknown use_fp16"),
    ],
)
def test_unsupported_description(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path, random_tensors(TINY), dataclasses.asdict(TINY) | changes)
    with pytest.raises(WeightsError, match="config.json: .*" + message.replace("(", r"\(")):
        load_cpu(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot read"), ("[]", "must hold a JSON object"), ('{"image_size": 16}', "lacks num_channels")],
)
def test_unreadable_description(tmp_path: Path, text: str, message: str) -> None:
    folder = write(tmp_path, random_tensors(TINY))
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=f"config.json: .*{message}"):
        load_cpu(folder)


def test_model_that_predicts_no_variance(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, learn_sigma=False, diffusion_steps=500)
    backbone = load_cpu(write(tmp_path, random_tensors(config), config))
    frame = torch.zeros(1, 1, 3, 16, 16)
    with torch.inference_mode():
        assert backbone.unet(**backbone.unet_arguments(frame, 0, {}))[0].shape == (1, 3, 16, 16)
    assert (backbone.frame_multiple, backbone.timestep_count) == (2, 500)
    # Half as many steps of twice the size.
    assert float(backbone.perturb(torch.zeros(1), torch.ones(1), 0)) ** 2 == pytest.approx(2e-4, rel=1e-5)
