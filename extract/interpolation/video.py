"""Interpolate the pairs of one video: fine-tune, roll out, read attention, and write it pair by pair."""

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...store import ArtifactWriter, Cache, tidy_unit
from ...store.errors import Hint, TedError
from ..attention_maps import attention_layers
from ..backbones.base import Backbone, Condition
from ..frames import FrameSource
from ..noising.keyed_noise import NoiseKey
from ..runtime import describe_run, deterministic_gradients, is_out_of_memory, use_reproducible_kernels
from .operators import Pair, make_operator, roll_out, timestep_of
from .plan import InterpolationPlan
from .reading import AttentionMeans, largest_sources
from .tuned_weights import TunedWeights
from .tuning import (
    DivergedError,
    checkpoints_gradients,
    copy_weights,
    draw_for,
    predict,
    set_weights,
    tunable,
    tune_pair,
)

#: Change between frames, MSE of their latents over the variance of the second, from which a cut is reported. Two
#: unrelated images of equal mean and variance have 2.
CUT = 1.0


@dataclass(frozen=True, kw_only=True)
class InterpolationReport:
    """Summary of the interpolation of one video.

    Attributes
    ----------
    written
        Whether the unit was written or finished; False if it was complete before.
    frames_computed
        Number of frames whose attention was read.
    seconds
        Wall time.
    remarks
        Sentences about identical frames and cuts among the pairs that were computed.
    """

    written: bool
    frames_computed: int = 0
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()


class TextUpdate(Protocol):
    """New text states for each pair, from the result of the pairs before."""

    def advance(self, frame: int, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take the arrays of a frame; frames come in order from 0."""

    def text_states(self, latents: torch.Tensor) -> torch.Tensor:
        """Return text states (1, token, channel) for the pair that begins with the last frame that `advance` took.

        They depend on the arrays of the frames before, the frame's latents (channel, y, x), and the network's weights.
        """


def interpolate_video(
    cache: Cache,
    backbone: Backbone,
    source: FrameSource,
    plan: InterpolationPlan,
    *,
    update: TextUpdate | None = None,
    overwrite: bool = False,
    progress: Callable[[int], Callable[[int], None]] = lambda total: lambda done: None,
    say: Callable[[str], None] = lambda remark: None,
) -> InterpolationReport:
    """Write the attention of all pairs of a video, resuming an interrupted run.

    Each pair is durable when it is done. Interruptions do not change a byte: draws are keyed by the pair, and with a
    warm start the tuned weights of the last pair are kept until the unit is complete. Where they are lost, pairs are
    fine-tuned again from the first.

    Parameters
    ----------
    cache
        The cache to write to.
    backbone, source, plan
        The plan, from `plan_interpolation` with the same backbone and source. The backbone's weights are as before when
        the function returns.
    update
        New text states for each pair; by default those of the plan are used for all. The plan's identity describes it.
    overwrite
        Compute a complete unit again.
    progress
        Function of the number of passes ahead that returns a callback for the number of passes just done.
    say
        Takes remarks: identical frames, cuts, and gradient checkpointing.

    Raises
    ------
    ClaimedError
        When another process writes the unit.
    DivergedError
        When the fine-tuning of a pair diverges.
    TedError
        When memory runs out, frames cannot be read, or the cache cannot be written.
    """
    if not overwrite and cache.state(plan.spec) == "complete":
        tidy_unit(plan.spec.folder(cache.root))
        return InterpolationReport(written=False)
    began, clock = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), time.monotonic()
    use_reproducible_kernels()
    remarks: list[str] = []

    def remark(text: str) -> None:
        remarks.append(text)
        say(text)

    with (
        cache.artifact_writer(plan.spec, overwrite=overwrite, repair=True) as writer,
        deterministic_gradients(backbone.device),
        tunable(backbone.network, plan.settings.tuned) as parameters,
    ):
        job = PairJob(backbone, source, plan, parameters, remark)
        frames = _run(job, writer, plan, parameters, update, progress)
        seconds = time.monotonic() - clock
        run = describe_run(backbone, batch_size=1, started=began, seconds=seconds, frames=frames, waited={})
        writer.finish({**run, "remarks": remarks})
        TunedWeights(writer).discard()
    return InterpolationReport(written=True, frames_computed=frames, seconds=seconds, remarks=tuple(remarks))


def _run(
    job: "PairJob",
    writer: ArtifactWriter,
    plan: InterpolationPlan,
    parameters: Mapping[str, nn.Parameter],
    update: TextUpdate | None,
    progress: Callable[[int], Callable[[int], None]],
) -> int:
    """Compute the missing frames of a unit; return their number."""
    settings, tuned = plan.settings, TunedWeights(writer)
    missing = sorted(set(range(plan.spec.frame_count)) - writer.done)
    if not missing:
        return 0
    warm = settings.warm_start and settings.pair_steps > 0
    pretrained = {} if warm else copy_weights(parameters)
    known = tuned.load(parameters, before=missing[0]) if warm else 0
    pairs = range(max(1, known + 1), missing[-1] + 1) if warm else [frame for frame in missing if frame]
    advance = progress(len(pairs) * settings.pair_steps + len(missing) * settings.roll_steps)
    if missing[0] == 0:  # read with the pretrained weights
        writer.write(0, job.read_first(advance))
        writer.commit()
    taken = 0
    for frame in pairs:
        if not warm:
            set_weights(parameters, pretrained)
        if update is not None:
            for earlier in range(taken, frame):
                update.advance(earlier, writer.read(earlier))
            taken = frame
            job.set_text(update.text_states(job.latents_of(frame - 1)))
        losses = job.tune(frame, advance)
        if frame in writer.done:  # its tuned weights alone were lost
            continue
        values = job.read(frame, losses, advance)
        if warm:
            tuned.save(parameters, frame)
        writer.write(frame, values)
        writer.commit()
        tuned.discard(but=frame)
    return len(missing)


class PairJob:
    """Fine-tuning and read-out of the pairs of one video, whose network has tunable parameters."""

    def __init__(
        self,
        backbone: Backbone,
        source: FrameSource,
        plan: InterpolationPlan,
        parameters: Mapping[str, nn.Parameter],
        say: Callable[[str], None] = lambda remark: None,
    ) -> None:
        self._backbone, self._source, self._plan, self._say = backbone, source, plan, say
        self._parameters = parameters
        settings, states = plan.settings, plan.indicator.text_states
        self._condition: Condition = {}
        if states is not None:
            self.set_text(states)
        self._operator = make_operator(
            settings.operator, settings.roll_steps, backbone.schedule, backbone.prediction, plan.top_timestep
        )
        steps = range(1, settings.roll_steps + 1)
        self._timesteps = {step: timestep_of(step, settings.roll_steps, plan.top_timestep) for step in steps}
        self.latents: dict[int, torch.Tensor] = {}  # of the last frames, by index

    def set_text(self, states: torch.Tensor) -> None:
        """Set the text states of the conditioning, (1, token, channel)."""
        # Tensors of inference mode cannot be saved for gradients: copy them.
        self._condition = {"text_states": states.clone()}

    def tune(self, frame: int, advance: Callable[[int], None]) -> list[float]:
        """Fine-tune on the pair that ends in a frame; return the losses.

        If memory runs out, the pair is tuned again with gradient checkpointing.
        """
        settings, network = self._plan.settings, self._backbone.network
        pair = self._pair(frame)
        self._remark_on(frame, pair)
        if not settings.pair_steps:
            return [0.0]
        before, done = copy_weights(self._parameters), 0

        def count(steps: int) -> None:
            nonlocal done
            done += steps
            advance(steps)

        def attempt() -> list[float]:
            return tune_pair(
                self._backbone,
                self._parameters,
                self._operator,
                pair,
                self._condition,
                key=self._key(frame),
                timesteps=self._timesteps,
                pair_steps=settings.pair_steps,
                rate=settings.rate,
                progress=count,
            )

        with self._explained(frame):
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or checkpoints_gradients(network):
                    raise
            # After the except clause, the error's traceback no longer references the tensors of the pass.
            self._say(f"{self._name(frame)}: out of memory; from here on with gradient checkpointing, which is slower")
            set_weights(self._parameters, before)
            for parameter in self._parameters.values():
                parameter.grad = None
            self._free()
            network.enable_gradient_checkpointing()  # type: ignore[operator]
            advance(-done)
            return attempt()

    @torch.no_grad()
    def read(self, frame: int, losses: list[float], advance: Callable[[int], None]) -> dict[str, npt.NDArray[Any]]:
        """Roll out the pair that ends in a frame; return the arrays of the frame."""
        pair = self._pair(frame)
        means, steps = self._means(pair.following), self._plan.settings.read_steps

        def predict_at(step: int, latents: torch.Tensor) -> torch.Tensor:
            advance(1)
            return self._pass(step, latents, means if step in steps else None)

        with self._explained(frame):
            noise = draw_for(self._operator, self._key(frame), 0, pair.previous)
            _, errors = roll_out(self._operator, predict_at, pair, noise)
            if not np.isfinite(np.asarray(errors, np.float32)).all():
                raise DivergedError("the roll-out of the tuned network is not finite", hint=Hint("tune-gently"))
            return self._values(means, losses, errors)

    @torch.no_grad()
    def read_first(self, advance: Callable[[int], None]) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of frame 0: attention at the steps that are read, of the frame itself."""
        latents, settings = self.latents_of(0), self._plan.settings
        noise, means = draw_for(self._operator, self._key(0), 0, latents), self._means(latents)
        with self._explained(0):
            for step in settings.read_steps:
                self._pass(step, self._operator.sample(step, Pair(latents, latents), noise), means)
            advance(settings.roll_steps)
            return self._values(means, [0.0] * max(1, settings.pair_steps), [0.0] * settings.roll_steps)

    def _pass(self, step: int, latents: torch.Tensor, means: AttentionMeans | None) -> torch.Tensor:
        """Run the network once, and add its attention to the means, if any."""
        outputs: list[torch.Tensor] = []

        def forward() -> None:
            outputs.append(predict(self._backbone, latents, self._timesteps[step], self._condition))

        forward() if means is None else means.read(forward)
        return outputs[0]

    def _values(self, means: AttentionMeans, losses: list[float], errors: list[float]) -> dict[str, npt.NDArray[Any]]:
        grid, shapes = self._plan.grid, self._plan.spec.shapes
        sources, weights = largest_sources(means.self_attention(grid), shapes["sources"][2])
        return {
            "sources": sources,
            "weights": weights,
            "cross": means.cross_attention(grid).float().cpu().numpy(),
            "losses": np.asarray(losses, np.float32),
            "errors": np.asarray(errors, np.float32),
        }

    def _means(self, latents: torch.Tensor) -> AttentionMeans:
        layers, tokens = self._plan.settings.layers, self._plan.indicator.tokens
        return AttentionMeans(
            attention_layers(self._backbone, cross=False, within=layers),
            attention_layers(self._backbone, cross=True, within=layers) if tokens else {},
            tokens,
            (latents.shape[-2], latents.shape[-1]),
        )

    def _pair(self, frame: int) -> Pair:
        pair = Pair(self.latents_of(frame - 1), self.latents_of(frame))
        self.latents = {frame - 1: pair.previous, frame: pair.following}
        return pair

    @torch.no_grad()
    def latents_of(self, frame: int) -> torch.Tensor:
        """Return the latents of a frame, (channel, y, x), float32, on the device."""
        if frame not in self.latents:
            pixels = torch.from_numpy(self._backbone.to_pixels(self._source.read(frame), self._plan.frame_size))
            self.latents[frame] = self._backbone.encode(pixels[None].to(self._backbone.device))[0].float().clone()
        return self.latents[frame]

    def _key(self, frame: int) -> NoiseKey:
        return NoiseKey(seed=self._plan.settings.seed, video=self._plan.spec.video, start=frame)

    def _name(self, frame: int) -> str:
        names = self._plan.frame_names
        return f"frame {names[0]}" if not frame else f"frames {names[frame - 1]} -> {names[frame]}"

    def _remark_on(self, frame: int, pair: Pair) -> None:
        change = float((pair.following - pair.previous).square().mean())
        if change == 0:
            self._say(f"{self._name(frame)}: identical; the target stays where it is")
        elif change > CUT * float(pair.following.var()):
            self._say(f"{self._name(frame)}: probably a cut; look at the result from here on")

    def _free(self) -> None:
        if self._backbone.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextlib.contextmanager
    def _explained(self, frame: int) -> Iterator[None]:
        """Name the pair in errors of fine-tuning, and turn the lack of memory into an error for the user."""
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"{self._name(frame)}: {error}", hint=error.hint) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._free()
            raise TedError(f"{self._name(frame)}: out of memory", hint=Hint("tune-less")) from None


def measure_passes(backbone: Backbone, source: FrameSource, plan: InterpolationPlan) -> tuple[float, float]:
    """Return the seconds of one step of fine-tuning and of one step of the roll-out with its read-out.

    The second of two steps is measured, on the first two frames; the network's weights are as before afterwards.
    """
    last = min(1, len(source) - 1)
    one = dataclasses.replace(
        plan,
        settings=dataclasses.replace(plan.settings, pair_steps=1, roll_steps=1),
        frame_names=(plan.frame_names[0], plan.frame_names[last]),
    )
    with tunable(backbone.network, plan.settings.tuned) as parameters:
        job = PairJob(backbone, source, one, parameters)
        job.latents[0], job.latents[1] = job.latents_of(0), job.latents_of(last)
        seconds = []
        for work in (lambda: job.tune(1, _ignore), lambda: job.read(1, [0.0], _ignore)):
            for _ in range(2):
                if backbone.device.type == "cuda":
                    torch.cuda.synchronize(backbone.device)
                clock = time.monotonic()
                work()
            seconds.append(time.monotonic() - clock)  # both end with a number from the device
    return seconds[0], seconds[1]


def _ignore(steps: int) -> None:
    """Take the number of steps just done."""
