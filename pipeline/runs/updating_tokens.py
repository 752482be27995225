"""Alternate the stages of tracking by interpolation: targets' tokens are learned again from each pair's result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch

from ...extract.backbones.base import Backbone
from ...extract.noising.keyed_noise import NoiseKey
from ...extract.token_learning import learn_tokens
from ...propagate.interpolation import ReadOutSettings
from ..tasks.running import AnnotatedTarget, encode_targets
from .learning_tokens import TokenSettings
from .reading_out import LabelState, PairMaps

_READ_OUT = ReadOutSettings()


def describe_updates(settings: TokenSettings) -> dict[str, Any]:
    """Describe how tokens are learned again for each pair, as JSON values."""
    learning = {name: getattr(settings, name) for name in ("timestep", "draws", "steps", "rate", "seed")}
    return {"every": "pair", **learning, "layers": list(settings.layers), "read_out": _READ_OUT.to_json()}


class UpdatedTokens:
    """Tokens that are learned again for each pair, from the labels that are read out for its first frame.

    Labels are read out as `ted readout` does by default; those of regions become 1 above one half, else 0. Each target
    starts from its first token, and keeps it while its label is zero. The pair of frame 0 has the first tokens.

    Parameters
    ----------
    backbone
        The backbone, with text.
    targets
        The targets of a run.
    grid
        (y, x) of the attention.
    states
        Text states with the first tokens, (1, token, channel).
    positions
        Position of the token of each target, in the order of all targets' channels; None for a target without one.
    settings
        Settings of learning.
    video
        Name of the video, which keys the noise.
    """

    def __init__(
        self,
        backbone: Backbone,
        targets: Sequence[AnnotatedTarget],
        grid: tuple[int, int],
        *,
        states: torch.Tensor,
        positions: Sequence[int | None],
        settings: TokenSettings,
        video: str,
    ) -> None:
        self._backbone, self._first, self._positions = backbone, states, positions
        self._settings, self._video = settings, video
        read_out = _READ_OUT.for_network(True)
        self._places = [getattr(target.target, "places", False) for target in targets]
        encoded = encode_targets(targets, grid)
        self._states = [
            LabelState(one, read_out, places=place) for one, place in zip(encoded, self._places, strict=True)
        ]
        self._channels = [one.channels for one in encoded]
        self._frame = -1
        self._labels = torch.zeros(0)  # (target, y, x)

    def advance(self, frame: int, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Read out the labels of the next frame from its attention."""
        labels, begin = [], 0
        for state, channels, places in zip(self._states, self._channels, self._places, strict=True):
            cross = values["cross"][begin : begin + len(channels)]
            label = state.advance(frame, PairMaps(values["sources"], values["weights"], cross))
            labels.append(label[channels] if places else (label[channels] > 0.5).float())
            begin += len(channels)
        self._labels, self._frame = torch.cat(labels), frame

    def text_states(self, latents: torch.Tensor) -> torch.Tensor:
        """Learn the tokens from the last frame's labels; return the text states."""
        states, labels = self._first.clone(), self._labels
        seen = [(at, index) for index, at in enumerate(self._positions) if at is not None and labels[index].any()]
        if seen and self._frame:
            places, indices = (list(part) for part in zip(*seen, strict=True))
            states[0, places] = learn_tokens(
                self._backbone,
                latents[None],
                labels[indices],
                layers=self._settings.layers,
                timestep=self._settings.timestep,
                draws=self._settings.draws,
                steps=self._settings.steps,
                rate=self._settings.rate,
                start=states[0, places],
                key=NoiseKey(seed=self._settings.seed, video=self._video, start=self._frame),
            ).tokens.to(states)
        return states
