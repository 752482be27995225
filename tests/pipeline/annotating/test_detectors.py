"""Detectors of transformers, on small random models in the published layout, against the library's processors."""

import ast
import inspect
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ted.extract.model_folder import quiet_libraries
from ted.pipeline.annotating.detectors import _prepare, load_detector, split_map
from ted.pipeline.annotating.segmenters import Prompt, fill_box
from ted.store.errors import ConfigError, WeightsError

TEXT = "the red circle"
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
COLOURS = {"image_mean": MEAN, "image_std": STD}
SIZES = {
    "owlv2": {"height": 64, "width": 64},
    "clipseg": {"height": 64, "width": 64},
    "sam3": {"height": 56, "width": 56},
    "grounding-dino": {"shortest_edge": 48, "longest_edge": 64},
    "mm-grounding-dino": {"shortest_edge": 48, "longest_edge": 64},
}


def small_models() -> dict[str, Any]:
    """Return small random models by `model_type`; their tokenizers know letters, or the text's words."""
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"vocab_size": 54, "bos_token_id": 52, "eos_token_id": 53}
    text, vision = layers | ends, layers | {"patch_size": 16, "image_size": 64}
    dino: dict[str, Any] = {
        "backbone_config": transformers.SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1], num_heads=[1] * 3, window_size=4,
            out_features=["stage2", "stage3"],
        ),
        "text_config": transformers.BertConfig(
            vocab_size=16, max_position_embeddings=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2,
        ),
        "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 10, "num_feature_levels": 2,
        "max_text_len": 12,
    }  # fmt: skip
    detr = {"hidden_size": 16, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    vit = layers | {"model_type": "sam3_vit_model", "image_size": 56, "patch_size": 14, "window_size": 2}
    return {
        "owlv2": transformers.Owlv2ForObjectDetection(
            transformers.Owlv2Config(
                text_config=text | {"max_position_embeddings": 16}, vision_config=vision, projection_dim=16
            )
        ),
        "clipseg": transformers.CLIPSegForImageSegmentation(
            transformers.CLIPSegConfig(
                text_config=text, vision_config=vision | {"num_hidden_layers": 2}, projection_dim=16,
                extract_layers=[0], reduce_dim=8, decoder_num_attention_heads=2, decoder_intermediate_size=8,
            )
        ),
        "sam3": transformers.Sam3Model(
            transformers.Sam3Config(
                vision_config={
                    "backbone_config": vit | {"global_attn_indexes": [0], "pretrain_image_size": 56},
                    "fpn_hidden_size": 16,
                    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
                },
                text_config=text | {"max_position_embeddings": 32, "projection_dim": 16},
                geometry_encoder_config=detr, detr_encoder_config=detr, detr_decoder_config=detr | {"num_queries": 10},
                mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
            )
        ),
        "grounding-dino": transformers.GroundingDinoForObjectDetection(transformers.GroundingDinoConfig(**dino)),
        "mm-grounding-dino": transformers.MMGroundingDinoForObjectDetection(transformers.MMGroundingDinoConfig(**dino)),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small random models, named by their type."""
    root = tmp_path_factory.mktemp("detectors")
    letters = [chr(code) for code in range(97, 123)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *TEXT.split()]
    clip = transformers.CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    bert = transformers.BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    torch.manual_seed(0)
    with quiet_libraries():
        for name, model in small_models().items():
            model.save_pretrained(root / name)
            (bert if "dino" in name else clip).save_pretrained(root / name)
            settings = COLOURS | {"size": SIZES[name], "resample": 2}
            (root / name / "preprocessor_config.json").write_text(json.dumps(settings))
    return root


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def output_of(folder: Path, pixels: Any, text: str = TEXT, **padding: Any) -> tuple[Any, Any]:
    """Run a folder's model as the library's documentation does; return its tokens and its output."""
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    with quiet_libraries(), torch.no_grad():
        model = getattr(transformers, kind).from_pretrained(folder).eval()
        tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", **padding)
        return tokens, model(pixel_values=torch.as_tensor(np.asarray(pixels)), **tokens)


@pytest.mark.parametrize("name", ["owlv2", "grounding-dino", "mm-grounding-dino"])
def test_boxes_and_scores_are_the_librarys(folders: Path, name: str) -> None:
    """The picture has the model's size, so that both prepare it to the same values."""
    shown = picture(48, 64)
    if name == "owlv2":
        processor: Any = Owlv2ImageProcessorPil(**COLOURS, size=SIZES[name])
        _, output = output_of(
            folders / name, processor(shown, return_tensors="pt").pixel_values, padding="max_length", max_length=16
        )
        least = output.logits.sigmoid().amax(-1).median().item()
        (expected,) = processor.post_process_object_detection(output, threshold=least, target_sizes=[(48, 64)])
    else:
        processor = GroundingDinoImageProcessorPil(**COLOURS, size=SIZES[name])
        tokens, output = output_of(folders / name, processor(shown, return_tensors="pt").pixel_values, f"{TEXT}.")
        function = transformers.GroundingDinoProcessor.post_process_grounded_object_detection
        post = SimpleNamespace(batch_decode=lambda ids: ids)
        least = output.logits.sigmoid().amax(-1).median().item()
        (expected,) = function(post, output, tokens.input_ids, threshold=least, target_sizes=[(48, 64)])
    prompts: list[Prompt] = []

    def segment(seen: np.ndarray, prompt: Prompt) -> np.ndarray:
        assert seen is shown
        prompts.append(prompt)
        return fill_box(seen, prompt)

    found, best = load_detector(folders / name, segment).find(shown, TEXT, TEXT, least + 1e-7)
    assert found
    assert best == pytest.approx(output.logits.sigmoid().max().item(), abs=1e-6)
    assert not prompts  # boxes that are not chosen are not segmented
    rows = []
    for score, (left, top, right, bottom) in sorted(
        zip(expected["scores"].tolist(), expected["boxes"].tolist(), strict=True), key=lambda row: -row[0]
    ):
        x, y = round(max(left, 0)), round(max(top, 0))
        wide, high = round(min(right, 64)) - x, round(min(bottom, 48)) - y
        if wide > 0 and high > 0:
            rows.append((score, Prompt(box=(x, y, wide, high))))
    masks = [one.mask() for one in found]
    assert prompts == [prompt for _, prompt in rows]
    assert [one.score for one in found] == pytest.approx([score for score, _ in rows], abs=1e-6)
    for one, mask in zip(found, masks, strict=True):
        ys, xs = np.nonzero(mask)
        assert one.centre == pytest.approx(((xs.mean() + 0.5) / 64, (ys.mean() + 0.5) / 48))
        assert one.area == pytest.approx(mask.mean())


def test_masks_of_sam3_are_the_librarys(folders: Path) -> None:
    # The processor's module needs torchvision, but its functions do not.
    path = Path(inspect.getfile(transformers.Sam3Model)).with_name("image_processing_sam3.py")
    wanted = ("post_process_instance_segmentation", "_scale_boxes")
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name in wanted
    ]  # fmt: skip
    library: dict[str, Any] = {"torch": torch, "TensorType": Any}
    exec(compile(ast.Module(nodes, type_ignores=[]), str(path), "exec"), library)

    shown = picture(56, 56)
    pixels = (shown.transpose(2, 0, 1)[None] / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    _, output = output_of(folders / "sam3", pixels.astype(np.float32), padding="max_length", max_length=32)
    least = (output.pred_logits.sigmoid() * output.presence_logits.sigmoid()).median().item()
    (expected,) = library["post_process_instance_segmentation"](None, output, least, 0.5, [(56, 56)])
    found, best = load_detector(folders / "sam3", fill_box).find(shown, TEXT, TEXT, least + 1e-7)
    order = expected["scores"].argsort(descending=True)
    assert len(found) == len(order) > 1
    assert best == pytest.approx(expected["scores"].max().item(), abs=1e-6)
    for one, at in zip(found, order, strict=True):
        assert one.score == pytest.approx(expected["scores"][at].item(), abs=1e-6)
        np.testing.assert_array_equal(one.mask(), expected["masks"][at].numpy() == 1)
    assert load_detector(folders / "sam3", fill_box).find(shown, TEXT, TEXT, 0.99) == ([], best)


def test_the_map_of_clipseg(folders: Path) -> None:
    shown = picture(64, 64)
    processor = ViTImageProcessorPil(**COLOURS, size=SIZES["clipseg"])
    _, output = output_of(folders / "clipseg", processor(shown, return_tensors="pt").pixel_values)
    values = output.logits.sigmoid().reshape(64, 64).numpy()
    least = float(np.median(values))
    found, best = load_detector(folders / "clipseg", fill_box).find(shown, TEXT, TEXT, least)
    assert best == pytest.approx(values.max(), abs=1e-6)
    union = np.any([one.mask() for one in found], axis=0)
    assert not (union & (values < least - 1e-6)).any()
    assert max(one.score for one in found) == best
    assert all(one.part for one in found)


def test_parts_of_a_map() -> None:
    values = np.zeros((40, 60))
    values[5:25, 5:25], values[30:36, 40:50], values[0, 59] = 0.8, 0.6, 0.9
    large, small = split_map(values, values > 0.5)  # the pixel is less than a hundredth of the largest part
    assert (large.score, small.score) == (0.8, 0.6)
    assert large.centre == (15 / 60, 15 / 40)
    assert small.area == 60 / 2400


@pytest.mark.parametrize("name", ["owlv2", "grounding-dino", "clipseg"])
def test_pictures_are_prepared_as_the_library_does(name: str) -> None:
    """Equal but for the filter: Pillow resizes 8-bit values, and OWLv2's processor blurs with a Gaussian."""
    kinds: dict[str, Any] = {
        "owlv2": Owlv2ImageProcessorPil,
        "grounding-dino": GroundingDinoImageProcessorPil,
        "clipseg": ViTImageProcessorPil,
    }
    rows, columns = np.mgrid[:96, :150]
    smooth = np.stack([rows * 2, columns * 1.5, 128 + 100 * np.sin(columns / 20)], -1).astype(np.uint8)
    expected = kinds[name](**COLOURS, size=SIZES[name], resample=2)(smooth, return_tensors="pt").pixel_values
    found = _prepare(smooth, COLOURS | {"size": SIZES[name], "resample": 2}, pad=name == "owlv2")
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < 0.02


def test_refused(folders: Path, tmp_path: Path) -> None:
    def refused(folder: Path, message: str) -> None:
        with pytest.raises(WeightsError, match=message):
            load_detector(folder, fill_box)

    refused(tmp_path, "no detector in the layout of transformers: config.json")
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    refused(tmp_path, "a model of type 'detr'; objects are found by text with sam3")
    shutil.copytree(folders / "clipseg", tmp_path / "copy")
    (tmp_path / "copy/model.safetensors").unlink()
    refused(tmp_path / "copy", "cannot load .* as CLIPSegForImageSegmentation")
    shutil.copy(folders / "owlv2/model.safetensors", tmp_path / "copy")
    refused(tmp_path / "copy", "of the tensors of CLIPSegForImageSegmentation|cannot load")
    shutil.copy(folders / "clipseg/model.safetensors", tmp_path / "copy")
    (tmp_path / "copy/preprocessor_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be used: KeyError"):
        load_detector(tmp_path / "copy", fill_box).find(picture(64, 64), "a", "", 0.5)
    with pytest.raises(ConfigError, match="has 15 tokens, of which GroundingDinoForObjectDetection reads 12"):
        load_detector(folders / "grounding-dino", fill_box).find(picture(48, 64), "red " * 12, "", 0.5)
