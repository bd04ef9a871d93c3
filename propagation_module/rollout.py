"""How a network is unrolled over a training sample: each kind of network as it will be used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from propagation_module.local_stcn import Features, LocalSTCN, Prior, places
from propagation_module.stcn import STCN
from propagation_module.triplets import FIRST, KEY, PREVIOUS

Batch = dict[str, Tensor]


def rollout(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and targets of a batch's Q queries, each labelled from the prediction before it.

    Both are (B, Q, H, W) for `LocalSTCN`, and for `STCN` (B, 2 Q, H, W): it carries a second object as well.
    """
    targets = batch["masks"][:, FIRST:]
    if isinstance(network, LocalSTCN):
        return _rollout_local(network, batch), targets
    if isinstance(network, STCN):
        return _rollout_stcn(network, batch), torch.cat([targets, batch["others"][:, FIRST:]], 1)
    raise TypeError(f"no rollout for {type(network).__name__}")


def _rollout_local(network: LocalSTCN, batch: Batch) -> Tensor:
    images = batch["images"]  # B x 5 x 3 x H x W
    size, slices = images.shape[:2]
    flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    together = network.encode_key(flat)
    features = [Features(*(f.unflatten(0, (size, slices))[:, s] for f in together)) for s in range(slices)]
    height, width = images.shape[-2:]
    place = [places(height, width, batch["pixel"], batch["z"][:, s]) for s in range(slices)]

    # Key slices and the slice before the queries, whose mask may be a prediction, are memory.
    memory = range(PREVIOUS + 1)
    given = [batch["masks"][:, s, None] for s in range(PREVIOUS)] + [batch["previous"][:, None]]
    stacked = Features(*(torch.cat(f) for f in zip(*(features[s] for s in memory), strict=True)))
    values = network.encode_value(
        images[:, : PREVIOUS + 1].transpose(0, 1).flatten(0, 1),
        stacked,
        torch.cat(given),
        batch["others"][:, : PREVIOUS + 1].transpose(0, 1).flatten(0, 1)[:, None],
    ).unflatten(0, (len(memory), size))
    keys = [features[s].key for s in memory]
    values = list(values)
    at, valid = place[: PREVIOUS + 1], batch["valid"]
    tokens = keys[0][0, 0].numel()

    previous, logits = batch["previous"], []
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
        out = network.decode(images[:, query], features[query], readout, prior)
        logits.append(out[:, 0])
        if query == slices - 1:
            break
        # As in use, the slice just labelled takes the place of the one before it.
        previous = torch.sigmoid(out[:, 0]).detach()
        keys[PREVIOUS], at[PREVIOUS] = features[query].key, place[query]
        values[PREVIOUS] = network.encode_value(
            images[:, query], features[query], previous[:, None], batch["others"][:, query, None]
        )
        valid = torch.cat([valid[:, :PREVIOUS], torch.ones_like(valid[:, :1])], 1)
    return torch.stack(logits, 1)


def _tokens(slices: list[Tensor]) -> Tensor:
    """Slices B x C x h x w as memory tokens B x C x Thw."""
    return torch.stack(slices, 2).flatten(2)


def _rollout_stcn(network: STCN, batch: Batch) -> Tensor:
    """Pham et al. (systems 1.10): two objects, frame 1 from frame 0, frame 2 from frame 0 and predicted frame 1."""
    images = torch.cat([batch["images"][:, KEY, None], batch["images"][:, FIRST:]], 1)  # B x (1 + Q) x 3 x H x W
    first = torch.stack([batch["masks"][:, KEY], batch["others"][:, KEY]], 1)  # B x 2 x H x W
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
