"""The memory against a plain dense version of the published formulas."""

from __future__ import annotations

import math

import pytest
import torch

from propagation_module.memory import (
    MemoryBank,
    affinity,
    aggregate,
    aggregate_logits,
    readout,
    top_k_softmax,
    with_position,
)
from volumes.errors import InputError


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def dense_readout(keys: torch.Tensor, queries: torch.Tensor, values: torch.Tensor, k: int) -> torch.Tensor:
    """One query token at a time, in double precision: (CK, N), (CK, Q), (N, C) -> (C, Q)."""
    keys, queries, values = keys.double(), queries.double(), values.double()
    columns = []
    for query in queries.unbind(1):
        likeness = -((keys - query[:, None]) ** 2).sum(0) / math.sqrt(len(keys))
        keep = likeness.argsort(descending=True)[:k]
        weights = torch.zeros(keys.shape[1], dtype=torch.float64)
        weights[keep] = likeness[keep].softmax(0)
        columns.append(weights @ values)
    return torch.stack(columns, 1)


@pytest.mark.parametrize("k", [1, 7, 20, 500])
def test_gathered_readout_is_the_dense_one(k: int) -> None:
    keys, queries, values = random(16, 90), random(16, 33, seed=1), random(90, 24, seed=2)
    weights, tokens = top_k_softmax(affinity(keys[None], queries[None]), k)
    found = readout(weights, tokens, values[None])[0]
    assert weights.shape == (1, min(k, 90), 33)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 33))
    expected = dense_readout(keys, queries, values, k).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_readout_of_a_batch_is_that_of_its_members() -> None:
    keys, queries, values = random(3, 8, 40), random(3, 8, 10, seed=1), random(3, 40, 6, seed=2)
    weights, tokens = top_k_softmax(affinity(keys, queries), 5)
    together = readout(weights, tokens, values)
    for b in range(3):
        own = readout(weights[b : b + 1], tokens[b : b + 1], values[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], own)


def test_readout_in_chunks_is_the_same_and_both_have_gradients() -> None:
    from propagation_module.memory import _gather_bags, _gather_chunks

    shares = random(30, 5).softmax(1)
    picked = torch.randint(0, 50, (30, 5), generator=torch.Generator().manual_seed(1))
    gradients = []
    for gather in (_gather_bags, _gather_chunks):
        table, weights = random(50, 7, seed=2).requires_grad_(), shares.clone().requires_grad_()
        found = gather(table, picked, weights)
        found.square().sum().backward()
        gradients.append((found.detach(), table.grad, weights.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_huge_affinities_overflow_nothing() -> None:
    keys, queries = random(1, 64, 50) * 1e4, random(1, 64, 9, seed=1) * 1e4
    scores = affinity(keys, queries)
    assert scores.abs().max() > 1e7  # exp would be infinite or zero for all
    weights, tokens = top_k_softmax(scores, 20)
    found = readout(weights, tokens, random(1, 50, 4))
    assert torch.isfinite(found).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 9))


def test_affinity_keeps_single_precision_under_autocast() -> None:
    keys, queries = random(1, 64, 20) * 30, random(1, 64, 20, seed=1) * 30
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = affinity(keys, queries)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, affinity(keys, queries))


def test_position_adds_its_squared_distance() -> None:
    keys, queries = random(1, 8, 12), random(1, 8, 5, seed=1)
    places, query_places = random(1, 3, 12, seed=2), random(1, 3, 5, seed=3)
    scores = affinity(with_position(keys, places, 0.5), with_position(queries, query_places, 0.5), scale=2.0)
    appearance = (keys[..., :, None] - queries[..., None, :]).square().sum(1)
    space = (places[..., :, None] - query_places[..., None, :]).square().sum(1)
    expected = -(appearance + 0.25 * space) / 2.0
    torch.testing.assert_close(scores.softmax(1), expected.softmax(1))


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_below_one_is_refused(top_k: int) -> None:
    with pytest.raises(InputError, match="top_k"):
        top_k_softmax(random(1, 4, 4), top_k)


def test_aggregate_is_a_distribution_with_background_first() -> None:
    p = torch.rand((2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    found = aggregate(p)
    assert found.shape == (2, 4, 4, 5)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 5))
    odds = torch.cat([(1 - p).prod(1, keepdim=True), p], 1)
    odds = odds / (1 - odds)
    torch.testing.assert_close(found, odds / odds.sum(1, keepdim=True), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(aggregate(p[0], dim=0), found[0])


def test_aggregate_of_certain_masks_is_finite() -> None:
    certain = torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]])  # label, background, two labels at once
    logits = aggregate_logits(certain, dim=0)
    assert torch.isfinite(logits).all()
    assert aggregate(certain, dim=0).argmax(0).tolist() == [[1, 0, 1]]


def test_bank_reads_with_fewer_tokens_than_top_k() -> None:
    bank = MemoryBank(top_k=40)
    key, value = random(8, 2, 3), random(2, 4, 2, 3, seed=1)
    bank.keep(key, value)
    assert len(bank) == 6
    found = bank.read(random(8, 2, 3, seed=2))
    rows = value.permute(2, 3, 0, 1).reshape(6, 8)
    expected = dense_readout(key.flatten(1), random(8, 2, 3, seed=2).flatten(1), rows, 40).float()
    torch.testing.assert_close(found, expected.view(2, 4, 2, 3), rtol=1e-5, atol=1e-5)


def test_bank_keeps_slices_and_holds_one_last_slice() -> None:
    def slice_of(value: float) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((8, 2, 2), value), torch.full((1, 1, 2, 2), value)

    def nearest(bank: MemoryBank, value: float) -> float:
        return float(bank.read(torch.full((8, 2, 2), value)).mean())

    bank = MemoryBank(top_k=1)
    bank.keep(*slice_of(0.0))
    bank.replace_last(*slice_of(5.0))
    assert len(bank) == 8 and nearest(bank, 5.0) == 5.0
    bank.replace_last(*slice_of(6.0))
    assert len(bank) == 8 and nearest(bank, 5.0) == 6.0
    bank.keep(*slice_of(1.0))
    assert len(bank) == 8 and nearest(bank, 6.0) == 1.0 and nearest(bank, 0.0) == 0.0
    for kept in range(2, 9):  # beyond the first room
        bank.keep(*slice_of(float(kept)))
    assert [nearest(bank, float(value)) for value in range(9)] == list(range(9))
    bank.replace_last(*slice_of(20.0))
    bank.forget_last()
    assert len(bank) == 36 and nearest(bank, 20.0) == 8.0


def test_empty_bank_says_what_to_do() -> None:
    with pytest.raises(InputError, match="keep one first"):
        MemoryBank().read(random(8, 2, 2))
