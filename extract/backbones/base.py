"""What a backbone is: a network, in most a diffusion UNet, all it needs for one correct forward pass, and its taps."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..settings import ConditionOn
from ..taps import choose_taps, read_taps

__all__ = ["Backbone", "Condition", "Draw", "Timestep"]

#: Conditioning of some clips: tensors whose first axis is the clip, concatenated along it to make a batch.
Condition = Mapping[str, torch.Tensor]

#: tau, as training counts it: the same for all clips of a batch, or one for each.
Timestep = int | Sequence[int]

#: Draws standard normal noise of a shape, keyed by the clip: float32 on the CPU.
Draw = Callable[[Sequence[int]], torch.Tensor]


@dataclass(kw_only=True)
class Backbone(abc.ABC):
    """A network and its surroundings, ready to turn frames into features.

    Everything works on clips; an image backbone's clips are one frame long. Subclasses implement `taps`, `encode`,
    `perturb` and `network_arguments`, `condition` where the network is told something of the clip beside its frames,
    and `feature_map` where its modules give something else than maps; the forward pass itself, `features`, is the
    same for all.

    Attributes
    ----------
    name
        Name in the registry, for example ``"adm"``.
    network
        The network, in evaluation mode, on its device.
    device, dtype
        Where and in which precision the network (and VAE, and encoders) run.
    weights_id
        Identity of the weights, independent of the path they were read from: ``"sha256:..."``.
    clip_length
        Frames the network sees at once; 1 for an image backbone.
    frame_multiple
        Height and width of a frame must be multiples of this.
    timestep_count
        Timesteps that the model was trained with: tau is in [0, timestep_count).
    takes_noise
        Whether features depend on noise. Without, there is one timestep, 0, and nothing to draw or to average.
    condition_on
        The frame that `condition` is given.
    conditioning
        What the network is told beside the noisy clip (prompt, fps, ...), and options that change it, as JSON values;
        part of a unit's request.
    """

    name: str
    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    weights_id: str
    clip_length: int = 1
    frame_multiple: int = 32
    timestep_count: int = 1000
    takes_noise: bool = True
    condition_on: ConditionOn = "none"
    conditioning: Mapping[str, Any] = field(default_factory=dict)

    @property
    @abc.abstractmethod
    def taps(self) -> dict[str, nn.Module]:
        """Modules that can be read, by tap name, in the order of the forward pass."""

    @abc.abstractmethod
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn frames into what is noised.

        Parameters
        ----------
        pixels
            (frame, 3, height, width), float32, RGB in [-1, 1].

        Returns
        -------
        torch.Tensor
            x_0: (frame, channel, y, x), float32, on `device`.
        """

    def condition(self, pixels: torch.Tensor, image: torch.Tensor | None, draw: Draw) -> Condition:
        """Compute a clip's conditioning, the same for all its timesteps and noise draws.

        Parameters
        ----------
        pixels
            The clip: (`clip_length`, 3, height, width), float32, RGB in [-1, 1].
        image
            The frame that `condition_on` names, (1, 3, height, width), in the same range; None for ``"none"``.
        draw
            Source of any noise that the conditioning itself needs, keyed by the conditioning frame.

        Returns
        -------
        Condition
            Tensors with first axis 1 (one clip); empty, as here, for a backbone without conditioning.
        """
        return {}

    @abc.abstractmethod
    def perturb(self, latents: torch.Tensor, noise: torch.Tensor, timestep: int) -> torch.Tensor:
        """Return x_tau from x_0 and noise of the same shape (any), by the model's own noise schedule."""

    def alpha_bar(self, timestep: int) -> float | None:
        """Return the clean share of the power of x_tau, for x_0 and noise of unit variance; None without noise.

        Measured on `perturb`, which is linear in both: x_tau = c x_0 + n eps has the share c^2 / (c^2 + n^2). So it is
        what features see, and means the same whatever the model's parametrisation: of sqrt(abar) x_0 +
        sqrt(1 - abar) eps it is abar, of x_0 + sigma eps it is 1 / (1 + sigma^2).

        Returns
        -------
        float or None
            In [0, 1]; 0 for pure noise. The signal-to-noise ratio is alpha_bar / (1 - alpha_bar).
        """
        if not self.takes_noise:
            return None
        one, zero = torch.ones(1, device=self.device), torch.zeros(1, device=self.device)
        signal = float(self.perturb(one, zero, timestep)) ** 2
        noise = float(self.perturb(zero, one, timestep)) ** 2
        return signal / (signal + noise)

    @abc.abstractmethod
    def network_arguments(self, noisy: torch.Tensor, timestep: Timestep, condition: Condition) -> dict[str, Any]:
        """Return the keyword arguments of the network's forward pass.

        Parameters
        ----------
        noisy
            x_tau: (clip, frame, channel, y, x), on `device`, float32.
        timestep
            tau, as training counts it: of all clips, or of each.
        condition
            Conditioning of the same clips.
        """

    def feature_map(self, output: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        """Turn a tapped module's output into maps; here they are maps already.

        Parameters
        ----------
        output
            What the module gave, with clips and frames folded into the first axis, clip-major.
        noisy
            What the pass was given: (clip, frame, channel, y, x).

        Returns
        -------
        torch.Tensor
            (clip * frame, channel, grid y, grid x).
        """
        return output

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
        """Run one pass of the UNet that stops after the last of the taps.

        Parameters
        ----------
        noisy
            x_tau: (clip, frame, channel, y, x).
        timestep, condition
            As in `network_arguments`.
        taps
            Names out of `taps`.
        stop_early
            Leave the pass after the last tap (the default), or run all of it.

        Returns
        -------
        dict of str to torch.Tensor
            By tap: (clip, frame, channel, grid y, grid x), float32, on `device`.

        Raises
        ------
        ConfigError
            For an unknown tap.
        """
        modules = choose_taps(self.taps, taps, self.name)
        arguments = self.network_arguments(noisy, timestep, condition)
        outputs = read_taps(lambda: self.network(**arguments), modules, stop_early=stop_early)
        clips, frames = noisy.shape[:2]
        # 3D UNets fold clip and frame into the first axis inside their blocks, clip-major, as 2D UNets' batches are.
        maps = {tap: self.feature_map(output, noisy).float() for tap, output in outputs.items()}
        return {tap: found.reshape(clips, frames, *found.shape[1:]) for tap, found in maps.items()}
