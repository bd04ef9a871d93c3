"""Propagation the published way, for comparison: STCN's single pass, and the paper's way with volumes.

`propagate_compat` gives the numbers of the published STCN (Cheng et al. 2021). `propagate_volume_compat` is
what the mask-propagation paper's public code (Pham et al. 2022) does with several key slices: every range
between neighbours by itself, forward and backward, memory emptied in between, probabilities summed. It is
blind to distance and to confidence, and a label that only one of two neighbours has often loses to
background: `Propagator` does better. What crashed in the public code, or changed key slices, is left out.

Shapes: T frames, K labels, D H W the volume, H' W' padded to multiples of 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from propagation_module.memory import MemoryBank, aggregate
from propagation_module.stcn import STCN, STRIDE
from volumes.errors import InputError
from volumes.windows import windowed

if TYPE_CHECKING:
    from volumes.key_slices import KeySlices
    from volumes.volume import Volume

UNSEEN_BACKGROUND = 1e-7  # probability of background on slices that no pass reached, as published

Padding = tuple[int, int, int, int]
"""Pixels added (left, right, top, bottom)."""


def pad_to_stride(images: Tensor, stride: int = STRIDE) -> tuple[Tensor, Padding]:
    """Pad ... x H x W with zeros to multiples of `stride`, alike on both sides; an odd pixel goes last."""
    height, width = images.shape[-2:]
    rows, columns = -height % stride, -width % stride
    left, top = columns // 2, rows // 2
    padding = (left, columns - left, top, rows - top)
    return F.pad(images, padding), padding


def crop_padding(images: Tensor, padding: Padding) -> Tensor:
    """Undo `pad_to_stride`."""
    left, right, top, bottom = padding
    height, width = images.shape[-2:]
    return images[..., top : height - bottom, left : width - right]


@torch.inference_mode()
def propagate_compat(
    network: STCN,
    frames: Tensor,
    masks: Tensor,
    start: int,
    end: int,
    *,
    top_k: int = 20,
    memory_every: int = 5,
    include_last: bool = False,
) -> Tensor:
    """Follow labels from one slice in one direction, with the published STCN's numbers.

    The start slice's masks are aggregated too. A slice whose index is a multiple of `memory_every` stays in
    memory, encoded from the aggregated probabilities of all labels; the last slice of the pass never does.

    Args:
        network: in eval mode.
        frames: T x 3 x H x W, windowed, of any size.
        masks: K x H x W in [0, 1], the labels on slice `start`.
        start: slice with known labels.
        end: where to stop, not reached itself: T for all slices above `start`, -1 for all below.
        top_k: memory tokens that a query token draws from.
        memory_every: 1 remembers every slice.
        include_last: keep the slice just labelled in memory until the next one.

    Returns:
        (K + 1) x T x H x W, background first, where `frames` are. On slices that the pass does not reach,
        background is 1e-7 and the labels are 0, so that argmax gives background.
    """
    count, height, width = len(frames), *frames.shape[-2:]
    _check_range(start, end, count)
    if masks.dim() != 3 or masks.shape[-2:] != frames.shape[-2:] or len(masks) == 0:
        raise InputError(
            "masks",
            found=f"shape {tuple(masks.shape)}",
            expected=f"at least one mask of {height} x {width}, as (K, {height}, {width})",
            fix="give one mask a label, of the frames' size",
        )
    device = next(network.parameters()).device
    probabilities = frames.new_zeros((len(masks) + 1, count, height, width), dtype=torch.float32)
    probabilities[0] = UNSEEN_BACKGROUND
    _, padding = pad_to_stride(frames[:1])

    def frame_at(index: int) -> Tensor:
        return pad_to_stride(frames[index : index + 1].to(device))[0]  # 1 x 3 x H' x W'

    painted = pad_to_stride(masks.to(device, torch.float32))[0].unsqueeze(1)  # K x 1 x H' x W'
    remember = _Remember(top_k, memory_every, include_last).checked()
    for index, found in _follow(network, frame_at, painted, start, end, remember):
        probabilities[:, index] = crop_padding(found[:, 0], padding).to(frames.device)
    return probabilities


@torch.inference_mode()
def propagate_volume_compat(
    network: STCN,
    volume: Volume,
    key_slices: KeySlices,
    *,
    top_k: int = 20,
    memory_every: int = 5,
    include_last: bool = True,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.uint8]:
    """Label a volume from several key slices the paper's way (Pham et al. 2022, and its public code).

    Every key slice counts as complete, as in the paper: what is not painted there is background. Key slices
    come back as they were given. Between two key slices the probabilities of the whole range are held, on the
    network's device: 4 bytes x (K + 1) x pixels x slices.

    Args:
        network: in eval mode.
        volume: HU, D x H x W.
        key_slices: of that volume, at least one with a label.
        size: (H, W) that slices are resized to for the network, masks back by nearest; the paper's code has
            (512, 512), None keeps the slices as they are.
        progress: called with (slices labelled so far in all passes, all of them).

    Returns:
        uint8 D x H x W.
    """
    labels, slices = key_slices.labels, key_slices.slices()
    depth, height, width = volume.array.shape
    if not labels:
        raise InputError(
            volume.name, found="no key slice", expected="at least one with a label", fix="label a slice first"
        )
    device = next(network.parameters()).device
    network_size = (height, width) if size is None else size
    _, padding = pad_to_stride(torch.empty((1, 1, *network_size), device="meta"))
    values = torch.tensor((0, *labels), dtype=torch.uint8, device=device)
    result = np.zeros((depth, height, width), dtype=np.uint8)
    remember = _Remember(top_k, memory_every, include_last).checked()

    def frame_at(z: int) -> Tensor:
        frame = torch.from_numpy(windowed(volume.array[z : z + 1])).to(device)  # 1 x 3 x H x W
        if network_size != (height, width):
            frame = F.interpolate(frame, network_size, mode="bilinear", align_corners=False)
        return pad_to_stride(frame)[0]

    def masks_at(z: int) -> Tensor:
        # A copy: key slices are read-only, which torch cannot express.
        painted = torch.from_numpy(key_slices.mask(z).copy()).to(device)  # H x W
        masks = (painted == values[1:, None, None]).float().unsqueeze(1)  # K x 1 x H x W
        if network_size != (height, width):
            masks = F.interpolate(masks, network_size, mode="nearest")
        return pad_to_stride(masks)[0]

    done, total = 0, _steps(slices, depth)

    def a_pass(start: int, end: int) -> Iterator[tuple[int, Tensor]]:
        nonlocal done
        for z, found in _follow(network, frame_at, masks_at(start), start, end, remember):
            if z == start:
                continue
            yield z, crop_padding(found[:, 0], padding)  # (K + 1) x H x W
            done += 1
            if progress is not None:
                progress(done, total)

    def write(z: int, found: Tensor) -> None:
        chosen = values[found.argmax(0)]  # H x W
        if network_size != (height, width):
            chosen = F.interpolate(chosen[None, None].float(), (height, width), mode="nearest")[0, 0].byte()
        result[z] = chosen.cpu().numpy()

    for z, found in a_pass(slices[0], -1):
        write(z, found)
    for lower, upper in zip(slices, slices[1:], strict=False):
        if upper - lower < 2:
            continue
        forward = dict(a_pass(lower, upper))
        for z, found in a_pass(upper, lower):
            write(z, forward.pop(z) + found)
    for z, found in a_pass(slices[-1], depth):
        write(z, found)
    for z in slices:
        result[z] = key_slices.mask(z)
    return result


class _Remember(NamedTuple):
    """What a pass keeps in memory and takes from it."""

    top_k: int
    every: int
    last: bool

    def checked(self) -> _Remember:
        if self.every < 1:
            raise InputError(
                "memory_every",
                found=str(self.every),
                expected="at least 1",
                fix="use 1 to remember every slice",
            )
        return self


def _follow(
    network: STCN,
    frame_at: Callable[[int], Tensor],
    masks: Tensor,
    start: int,
    end: int,
    remember: _Remember,
) -> Iterator[tuple[int, Tensor]]:
    """Each slice from `start` to just before `end` with its probabilities, (K + 1) x 1 x H' x W'.

    Args:
        frame_at: gives slice z as 1 x 3 x H' x W'.
        masks: K x 1 x H' x W', the labels on `start`.
    """
    step = 1 if end > start else -1
    found = aggregate(masks, dim=0)  # (K + 1) x 1 x H' x W'
    yield start, found
    bank = MemoryBank(top_k=remember.top_k)
    if start + step == end:
        return
    frame = frame_at(start)
    features = network.encode_key(frame)
    bank.keep(features.key[0], network.encode_values(frame, features.f16, found[1:]))
    for index in range(start + step, end, step):
        frame = frame_at(index)
        features = network.encode_key(frame)
        found = aggregate(network.segment_with_memory(bank, features), dim=0)
        yield index, found
        stays = index % remember.every == 0
        if index + step != end and (stays or remember.last):
            value = network.encode_values(frame, features.f16, found[1:])
            (bank.keep if stays else bank.replace_last)(features.key[0], value)


def _steps(slices: list[int], depth: int) -> int:
    """Slices that all passes together label."""
    between = sum(upper - lower - 1 for lower, upper in zip(slices, slices[1:], strict=False))
    return slices[0] + 2 * between + depth - 1 - slices[-1]


def _check_range(start: int, end: int, count: int) -> None:
    if not (0 <= start < count and -1 <= end <= count and end != start):
        raise InputError(
            "range",
            found=f"from {start} to {end}",
            expected=f"start in 0..{count - 1} and another end in -1..{count}",
            fix="the end is not reached itself: -1 or the number of frames for all slices that way",
        )
