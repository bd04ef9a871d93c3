"""2,000 malformed or forbidden requests, drawn from a seed: none changes state, none is answered with 500."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.annotate.hostile import ATTACKS, FILES, Answered, huge_body
from tests.tools.annotate.serving import Page, runs, serving, write_ct

COUNT = 2000


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    folder = tmp_path / "open"
    ct = write_ct(folder / "case.nii.gz")
    secret = write_ct(tmp_path / "secret.nii.gz")
    (folder / "link.nii.gz").symlink_to(secret)
    other = write_ct(tmp_path / "other.nii.gz", (4, 8, 8)).read_bytes()  # a wrong grid
    whole = ct.read_bytes()
    FILES[1:] = [lambda rng: other, lambda rng: whole[: rng.randrange(len(whole))]]
    with serving(ct) as page:
        page.watch()
        page.edit("paint", z=5, label=1, runs=runs(8, 10, 12, 14))
        page.edit("paint", z=8, label=2, runs=runs(8, 10, 12, 14))
        page.propagate()
        page.edit("lock", value=2, locked=True)
        page.edit("lock", value=2, locked=False)
        page.edit("undo")
        page.edit("lock", value=2, locked=False)
        yield page


def test_two_thousand_hostile_requests_change_nothing(page: Page) -> None:
    rng = random.Random(5)
    before = page.digest()
    attacks, weights = zip(*ATTACKS, strict=True)
    answers: Counter[Answered] = Counter()
    for attack in (*rng.choices(attacks, weights, k=COUNT - 4), *[huge_body] * 4):
        answers[attack(page, rng)] += 1
    assert answers.total() == COUNT
    assert not [status for _, status in answers if status >= 500]
    assert {kind for kind, _ in answers} >= {"no token", "host or origin", "path", "edit", "json", "length", "huge"}
    assert page.digest() == before, answers
    assert page.edit("undo")["title"] is not None, "it lives"
