"""What is loaded beside the server does not keep it from answering afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

from tests.tools.annotate.serving import ROOT
from tools.annotate.loading import loading


def test_full_collections_wait_and_do_not_look_at_what_was_loaded() -> None:
    usual = gc.get_threshold()
    try:
        before = gc.get_freeze_count()
        with loading():
            assert gc.get_threshold()[:2] == usual[:2] and gc.get_threshold()[2] > 10**6
            loaded = [[number] for number in range(20_000)]
        assert gc.get_threshold() == usual
        assert gc.get_freeze_count() - before > len(loaded)
    finally:
        gc.unfreeze()


def test_blocks_of_several_threads_overlap() -> None:
    usual, inside, leave = gc.get_threshold(), threading.Event(), threading.Event()

    def load() -> None:
        with loading():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=load)
    try:
        other.start()
        assert inside.wait(10)
        with loading():
            pass
        assert gc.get_threshold() != usual, "the other one still loads"
        leave.set()
        other.join()
        assert gc.get_threshold() == usual
    finally:
        gc.unfreeze()


def test_torch_is_loaded_in_small_pieces_and_the_program_ends_quietly() -> None:
    """A full collection beside torch takes some 0.25 s, in which nothing is answered; frozen it takes none."""
    code = (
        "import gc, time\n"
        "from tools.annotate.loading import load_torch, loading\n"
        "full = []\n"
        "gc.callbacks.append(lambda when, about: when == 'start' and about['generation'] == 2 and full.append(1))\n"
        "with loading():\n"
        "    load_torch()\n"
        "    import timm\n"
        "assert not full, full\n"
        "begun = time.thread_time()\n"
        "gc.collect()\n"
        "assert time.thread_time() - begun < 0.02, time.thread_time() - begun\n"
        "import torch\n"
        "print(float((torch.ones(3, 3) @ torch.ones(3, 3)).sum()))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("27.0\n", "")
