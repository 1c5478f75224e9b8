"""A run that is over in seconds and has everything in it: levels, labels, dropout, augmentation, a growing batch."""

import json
import multiprocessing
import os
import runpy
import socket
import time
from pathlib import Path

import msgspec
import pytest
import torch

from hdit_repro.data.datasets import open_dataset
from hdit_repro.spec.run import Run

WORKER = Path(__file__).with_name("worker.py")
PRELOAD = [
    "hdit_repro.stages.train",
    "torch._dynamo",
    "torch._decomp",
    "torch._meta_registrations",
    "einops._torch_specific",
]
"""What a worker needs, imported once by the server that workers are forked from."""


def tiny_run(seed=0, **training):
    """The run of tiny_run.json: row E of Table 1 at 16 pixels, two levels of one layer, FFHQ's augmentation, dropout.

    It is kept in a file of its own, so that a change of a scale does not move the golden curve.
    """
    tree = json.loads(WORKER.with_name("tiny_run.json").read_text())
    tree["seed"] = seed
    tree["training"] |= training
    return msgspec.convert(tree, Run)


@pytest.fixture(scope="session")
def tiny():
    return tiny_run


@pytest.fixture(scope="session")
def tiny_images():
    return open_dataset(tiny_run().data)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Processes:
    """The processes of one training, forked from a server that has imported torch once."""

    def __init__(self, run, folder, size, **options):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = {"run": json.loads(msgspec.json.encode(run)), "folder": str(folder), "size": size, "port": port}
        self.folder, self.size = folder, size
        folder.mkdir(parents=True, exist_ok=True)
        self.all = [
            context.Process(target=runpy.run_path, args=(str(WORKER), {"CONFIG": {**config, **options, "rank": rank}}))
            for rank in range(size)
        ]
        for process in self.all:
            process.start()

    def kill(self, rank):
        self.all[rank].kill()

    def signal(self, rank, number):
        os.kill(self.all[rank].pid, number)

    def join(self, seconds=60):
        """Exit codes, once all are gone; a process that stays is killed and its code is None."""
        until = time.monotonic() + seconds
        codes = []
        for process in self.all:
            process.join(max(0.0, until - time.monotonic()))
            codes.append(process.exitcode)
        for process in self.all:
            if process.is_alive():
                process.kill()
                process.join()
        return codes

    def results(self):
        return [json.loads((self.folder / f"result-{rank}.json").read_text()) for rank in range(self.size)]


@pytest.fixture(scope="session")
def processes():
    return Processes
