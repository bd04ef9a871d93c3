"""How a network is unrolled over a training sample: each kind of network as it will be used."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from propagation_module.fusion import refresh
from propagation_module.local_stcn import Features, LocalSTCN, Prior, places
from propagation_module.stcn import STCN
from propagation_module.triplets import FAR_KEY, FIRST, KEY, PREVIOUS

Batch = dict[str, Tensor]


class Rollout(NamedTuple):
    """What a network says of a batch's Q queries, each labelled from the prediction before it, and what is true."""

    logits: Tensor  # B x Q x H x W; for `STCN` B x 2 Q x H x W: it carries a second object as well
    targets: Tensor  # the same shape
    presence: Tensor | None  # B x Q, logits of the structure being there; None from a network that does not say


def rollout(network: nn.Module, batch: Batch) -> Rollout:
    """Label the batch's queries one after the other, as in use."""
    targets = batch["masks"][:, FIRST:]
    if isinstance(network, LocalSTCN):
        logits, presence = _rollout_local(network, batch)
        return Rollout(logits, targets, presence)
    if isinstance(network, STCN):
        return Rollout(_rollout_stcn(network, batch), torch.cat([targets, batch["others"][:, FIRST:]], 1), None)
    raise TypeError(f"no rollout for {type(network).__name__}")


def _rollout_local(network: LocalSTCN, batch: Batch) -> tuple[Tensor, Tensor]:
    size, slices = batch["images"].shape[:2]
    # Slice by slice, so that a slice of the whole batch lies in one piece.
    flat = batch["images"].transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    together = network.encode_key(flat)
    images = flat.split(size)  # of B x 3 x H x W
    features = [Features(*parts) for parts in zip(*(f.split(size) for f in together), strict=True)]
    height, width = flat.shape[-2:]
    place = [places(height, width, batch["pixel"], batch["z"][:, s]) for s in range(slices)]

    # Key slices and the slice before the queries, whose mask may be a prediction, are memory.
    memory = range(PREVIOUS + 1)
    given = torch.cat([batch["keys"][:, KEY], batch["keys"][:, FAR_KEY], batch["previous"]])[:, None]
    first = len(memory) * size
    values = list(network.encode_value(flat[:first], Features(*(f[:first] for f in together)), given).split(size))
    keys = [features[s].key for s in memory]
    at, valid = place[: PREVIOUS + 1], batch["valid"]
    tokens = keys[0][0, 0].numel()

    previous, logits, presence = batch["previous"], [], []
    for step, query in enumerate(range(FIRST, slices)):
        readout = network.read(
            features[query].key,
            place[query],
            _tokens(keys),
            _tokens(values),
            _tokens(at),
            valid.repeat_interleave(tokens, 1),
        )
        prior = Prior(previous[:, None], batch["shapes"][:, step, None], batch["distances"][:, step])
        out, there = network.decode(images[query], features[query], readout, prior)
        presence.append(there)
        logits.append(out[:, 0])
        if query == slices - 1:
            break
        # As in use, the slice just labelled takes the place of the one before it, and its mask does not fade.
        previous = _refreshed(torch.sigmoid(out[:, 0]).detach())
        keys[PREVIOUS], at[PREVIOUS] = features[query].key, place[query]
        values[PREVIOUS] = network.encode_value(images[query], features[query], previous[:, None])
        valid = torch.cat([valid[:, :PREVIOUS], torch.ones_like(valid[:, :1])], 1)
    return torch.stack(logits, 1), torch.stack(presence, 1)


def _refreshed(probability: Tensor) -> Tensor:
    """Predictions B x H x W as the propagator hands them on."""
    planes = probability.float().cpu().numpy()
    return torch.from_numpy(np.stack([refresh(plane) for plane in planes])).to(probability.device)


def _tokens(slices: list[Tensor]) -> Tensor:
    """Slices B x C x h x w as memory tokens B x C x Thw."""
    return torch.stack(slices, 2).flatten(2)


def _rollout_stcn(network: STCN, batch: Batch) -> Tensor:
    """Pham et al. (systems 1.10): two objects, frame 1 from frame 0, frame 2 from frame 0 and predicted frame 1."""
    images = torch.cat([batch["images"][:, KEY, None], batch["images"][:, FIRST:]], 1)  # B x (1 + Q) x 3 x H x W
    first = torch.stack([batch["keys"][:, KEY], batch["others"][:, KEY]], 1)  # B x 2 x H x W
    present = first.flatten(2).any(2).float()  # B x 2
    key, thin, f16, f8, f4 = network.encode_key(images.flatten(0, 1))
    size, frames = images.shape[:2]

    def frame(feature: Tensor, index: int) -> Tensor:
        return feature.unflatten(0, (size, frames))[:, index]

    def value(index: int, masks: Tensor) -> Tensor:
        both = [
            network.encode_value(images[:, index], frame(f16, index), masks[:, own, None], masks[:, 1 - own, None])
            for own in (0, 1)
        ]
        return torch.stack(both, 1)  # B x 2 x CV x 1 x h x w

    keys, values, logits = [frame(key, 0)], [value(0, first)], []
    for index in range(1, frames):
        out, probability = network.segment(
            frame(key, index),
            frame(thin, index),
            frame(f8, index),
            frame(f4, index),
            torch.stack(keys, 2),
            torch.cat(values, 3),
            present,
        )
        # Each object against background and the other one.
        logits.append(
            torch.stack(
                [out[:, 1] - torch.logsumexp(out[:, [0, 2]], 1), out[:, 2] - torch.logsumexp(out[:, [0, 1]], 1)], 1
            )
        )
        if index < frames - 1:
            keys.append(frame(key, index))
            values.append(value(index, probability))
    return torch.stack(logits, 2).flatten(1, 2)  # B x (object, frame) x H x W
