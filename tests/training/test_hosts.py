"""What is trained does not depend on the number of hosts; ``several_hosts.py`` is one of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data.image_folders import write_folders

from widebasin.training.problem import Share

TESTS = Path(__file__).parents[1]
RUNS = ("normalized, m = 10", "images, m = 2", "images, pruned", "sharded")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def trained(folder, images, count):
    """What so many hosts found, and what each did."""
    folder.mkdir()
    port = free_port()
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "training.several_hosts", *map(str, (folder, images, index, count, port))],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]
    said = [host.communicate()[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0] * count, said
    return {name: dict(np.load(folder / f"{name}.npz")) for name in RUNS}, [
        dict(np.load(folder / f"host-{index}.npz")) for index in range(count)
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("images"), train=9, val=3)


@pytest.mark.slow
def test_networks_are_the_same_on_several_hosts(images, tmp_path):
    """Batch normalization, groups of m, pruning, images from disk, a sharded state: parameters, statistics, metrics."""
    count = 4
    (one, (host,)), (several, hosts) = (trained(tmp_path / str(some), images, some) for some in (1, count))
    for name in RUNS:
        assert one[name].keys() == several[name].keys()
        for what, value in one[name].items():
            np.testing.assert_allclose(several[name][what], value, rtol=0, atol=1e-11, err_msg=f"{name}: {what}")
        assert one[name]["gradient_norm"][0] > 0.01
    # Of the images that one host reads, each of several reads its share, and others to fill up a batch.
    for name in ("images, m = 2", "images, pruned"):
        read = np.concatenate([each[name] for each in hosts])
        assert set(read) == set(host[name])
        assert {len(each[name]) for each in hosts} == {len(read) // count}
        filling = sum(-block % count * blocks for block, blocks in BLOCKS)
        assert len(read) == len(host[name]) + filling
    # What is not sharded are arrays of less than 4,096 numbers: at most 0.1 of the state.
    assert host["share"] == 1
    for each in hosts:
        assert 1 / count < each["share"] < 1 / count + 0.1
        for name in ("sharded", "images, pruned"):
            assert each[f"resumed: {name}"].tolist() == [True, False, False]


# Size and number of the blocks of an epoch: 3 batches of 4, then 4 images, 6 and, of the training set, 14 in blocks.
BLOCKS = ((4, 3), (4, 1), (3, 2), (4, 4))


def test_the_shares_of_all_hosts_are_the_batch():
    for examples, hosts, devices in ((12, 3, 2), (7, 2, 1), (3, 4, 2)):
        shares = [Share(host, hosts, devices) for host in range(hosts)]
        filled = examples + shares[0].filling(examples)
        assert filled % (hosts * devices) == 0
        assert filled - examples < hosts * devices
        numbers = np.arange(filled)
        np.testing.assert_array_equal(np.concatenate([numbers[share.of(filled)] for share in shares]), numbers)
