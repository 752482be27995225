"""Interface of backbones: a network, everything that its forward pass needs, and its taps."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...store.errors import ConfigError
from ..frame_size import FrameSize, processed_size, to_pixels
from ..noising.schedules import NOISELESS, Noiseless, Schedule
from ..settings import ConditionOn
from ..taps import Tap, choose_taps, read_taps

if TYPE_CHECKING:
    from ..encoders import TextEncoder

#: Conditioning of clips: tensors whose first axis is the clip. Batches concatenate them along that axis.
Condition = Mapping[str, torch.Tensor]

#: Timestep tau: one for all clips of a batch, or one for each.
Timestep = int | Sequence[int]

#: Function that draws standard normal noise of a shape, keyed by the clip: float32, on the CPU.
Draw = Callable[[Sequence[int]], torch.Tensor]

#: Arrays of a video's artifacts (such as a learned token), by kind and name; on the CPU.
Artifacts = Mapping[str, Mapping[str, torch.Tensor]]

NO_ARTIFACTS: Artifacts = MappingProxyType({})


@dataclass(kw_only=True)
class Backbone(abc.ABC):
    """A network that turns frames into features, ready to run.

    All methods work on clips; an image backbone's clips are one frame long. A subclass implements `taps`, `encode` and
    `network_arguments`, and `condition` if the network has further inputs. All backbones share the forward pass,
    `features`.

    Attributes
    ----------
    name
        Name in the registry, for example ``"adm"``.
    network
        The network, in evaluation mode, on its device.
    device, dtype
        Device and precision of the network and of its encoders.
    weights_id
        Identity of the weights, from their content: ``"sha256:..."``.
    schedule
        The forward process of the model's training; its length is the number of timesteps. By default there is no
        noise and only timestep 0.
    prediction
        The network's prediction from x_tau: the noise eps, or v = sqrt(abar) eps - sqrt(1 - abar) x_0.
    clip_length
        Number of frames in a clip; 1 for an image backbone.
    latent_of_frame
        For a network whose encoder compresses time: index of the latent frame of each frame of a clip, `clip_length`
        numbers, not falling, from 0. `encode` then gets whole clips, and a frame's features are those of its latent
        frame. None for encoders of single frames: clips that share a frame then share its encoding.
    frame_multiple
        Height and width of a frame must be multiples of this number of pixels.
    condition_on
        The frame that is passed to `condition`.
    artifacts
        Kinds of the video's artifacts that are passed to `condition`. Their content hashes are part of the request.
    conditioning
        Everything else that changes features (prompt, fps, options, ...), as JSON values; part of the request.
    text
        Encoder of prompts, for a network with cross-attention to text that takes ``text_states`` (1, token, channel) in
        its conditioning; None for others.
    """

    name: str
    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    weights_id: str
    schedule: Schedule = NOISELESS
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    clip_length: int = 1
    latent_of_frame: tuple[int, ...] | None = None
    frame_multiple: int = 32
    condition_on: ConditionOn = "none"
    artifacts: tuple[str, ...] = ()
    conditioning: Mapping[str, Any] = field(default_factory=dict)
    text: "TextEncoder | None" = None

    @property
    def takes_noise(self) -> bool:
        """Whether the network was trained on noisy inputs."""
        return not isinstance(self.schedule, Noiseless)

    @property
    @abc.abstractmethod
    def taps(self) -> dict[str, Tap]:
        """The taps, by name, in the order of the forward pass."""

    @property
    def attention_taps(self) -> dict[str, Tap]:
        """Queries and keys of self-attention, such as ``up_blocks[3].attentions[0].attn1:q``; none by default."""
        return {}

    @property
    def attention_blocks(self) -> dict[str, nn.Module]:
        """Blocks with attention layers of diffusers, by name, in the order of the forward pass; none by default."""
        return {}

    def choose_taps(self, names: Sequence[str]) -> dict[str, Tap]:
        """Return the taps of maps and of attention with these names; see `ted.extract.taps.choose_taps`."""
        return choose_taps(self.taps, names, self.name, attention=self.attention_taps)

    def processed_size(self, size: tuple[int, int], frame_size: FrameSize | None) -> tuple[int, int]:
        """Return the (height, width) to which a frame of a size is brought; see `ted.extract.frame_size`."""
        return processed_size(size, frame_size, self.frame_multiple)

    def to_pixels(self, frame: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Bring a frame (height, width, 3), RGB, to (3, *size), float32, in [-1, 1]; called in threads."""
        return to_pixels(frame, size)

    @abc.abstractmethod
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode frames to x_0, the space in which noise is added.

        Parameters
        ----------
        pixels
            (frame, 3, height, width), float32, RGB in [-1, 1]: one frame, or a whole clip if `latent_of_frame` is set.

        Returns
        -------
        torch.Tensor
            (latent frame, channel, y, x), float32, on `device`.
        """

    def encode_clip(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode a whole clip, and check the number of latent frames if `latent_of_frame` is set.

        Raises
        ------
        ConfigError
            When the encoder returns another number of latent frames than `latent_of_frame` declares. Causal VAEs, for
            example, silently drop frames beyond a multiple.
        """
        latents = self.encode(pixels)
        if self.latent_of_frame is not None:
            declared = max(self.latent_of_frame) + 1
            if len(self.latent_of_frame) != len(pixels) or len(latents) != declared:
                raise ConfigError(
                    f"backbone {self.name!r} encodes {len(pixels)} frames to {len(latents)} latent frames; it declares "
                    f"{declared} for {len(self.latent_of_frame)} frames"
                )
        return latents

    def condition(
        self, pixels: torch.Tensor, image: torch.Tensor | None, draw: Draw, artifacts: Artifacts = NO_ARTIFACTS
    ) -> Condition:
        """Compute a clip's conditioning, the same for all its timesteps and noise draws.

        Parameters
        ----------
        pixels
            The clip: (`clip_length`, 3, height, width), float32, RGB in [-1, 1].
        image
            The frame that `condition_on` names, (1, 3, height, width), in the same range; None for ``"none"``.
        draw
            Source of noise for the conditioning, keyed by the conditioning frame.
        artifacts
            The video's artifacts of the kinds in the attribute `artifacts`.

        Returns
        -------
        Condition
            Tensors whose first axis has length 1 (one clip). By default empty, for a backbone without conditioning.
        """
        return {}

    @abc.abstractmethod
    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the keyword arguments of the network's forward pass.

        Parameters
        ----------
        noisy
            x_tau: (clip, latent frame, channel, y, x), float32, on `device`.
        timestep
            tau, one for all clips or one for each.
        condition
            Conditioning of the same clips.
        """

    @torch.inference_mode()
    def features(
        self,
        noisy: torch.Tensor,
        timestep: Timestep,
        condition: Condition,
        taps: Sequence[str],
        *,
        stop_early: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Run one forward pass that ends after the last of the taps.

        Parameters
        ----------
        noisy
            x_tau: (clip, latent frame, channel, y, x).
        timestep, condition
            As in `network_arguments`.
        taps
            Names of the taps to read.
        stop_early
            End the pass after the last tap (the default), or run the whole network.

        Returns
        -------
        dict of str to torch.Tensor
            By tap: (clip, latent frame, channel, grid y, grid x), float32, on `device`.

        Raises
        ------
        ConfigError
            For an unknown tap.
        """
        chosen = self.choose_taps(taps)
        arguments = self.network_arguments(noisy, timestep, condition)
        modules = {part: module for name, tap in chosen.items() for part, module in tap.modules(name).items()}
        outputs = read_taps(lambda: self.network(**arguments), modules, stop_early=stop_early)
        maps = {name: tap.read(name, outputs, noisy).float() for name, tap in chosen.items()}
        # Inside their blocks, 3D UNets fold clip and frame into the first axis, clip-major, like batches of 2D UNets.
        return {name: found.reshape(*noisy.shape[:2], *found.shape[1:]) for name, found in maps.items()}

    @torch.inference_mode()
    def on_device(self, timestep: Timestep) -> torch.Tensor:
        """Return timesteps as a tensor on the device, int64; the host does not wait for the device to fill in one."""
        if isinstance(timestep, Sequence):
            return torch.as_tensor(timestep, device=self.device)
        return torch.full((), timestep, dtype=torch.int64, device=self.device)

    def predict(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> torch.Tensor:
        """Run the whole network; return its prediction (see `prediction`), with the shape of x_tau, float32."""
        output = self.network(**self.network_arguments(noisy, timestep, condition))[0].float()
        return self.unfold_output(output, noisy)

    def unfold_output(self, output: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Reshape the network's output to that of x_tau: (clip, latent frame, channel, y, x).

        By default the output is a batch of frames, (clip * frame, channel, y, x), or of clips, (clip, channel, frame,
        y, x). Channels beyond those of x_tau, such as predicted variances, are dropped.
        """
        if output.ndim == noisy.ndim:
            output = output.transpose(1, 2)
        return output.reshape(*noisy.shape[:2], -1, *output.shape[-2:])[:, :, : noisy.shape[2]]
