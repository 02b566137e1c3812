import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data.files import with_empty_profile
from data.image_folders import write_folders

from widebasin.data.decoding import decode_batch
from widebasin.data.errors import DataError
from widebasin.data.image_files import list_image_files
from widebasin.data.streaming import ImageReader

SIZE = 16
INDICES = np.random.default_rng(0).integers(0, 12, (7, 5))
SEEDS = np.random.default_rng(1).integers(0, 2**32, (7, 5), dtype=np.uint32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return list_image_files(write_folders(tmp_path_factory.mktemp("images")))


def direct(files, indices, seeds):
    """Every image decoded by itself."""
    rows = []
    for step, numbers in enumerate(indices):
        seed = [None] * len(numbers) if seeds is None else [[int(s)] for s in seeds[step]]
        rows.append([decode_batch([files.absolute(int(n))], s, SIZE)[0] for n, s in zip(numbers, seed, strict=True)])
    return np.array(rows)


@pytest.mark.parametrize(("workers", "prefetch"), [(0, 1), (1, 20), (3, 1), (3, 20)])
@pytest.mark.parametrize("seeds", [None, SEEDS], ids=["evaluation", "training"])
def test_batches_come_in_order_whatever_the_number_of_workers(workers, prefetch, seeds, files):
    with ImageReader(files, workers, prefetch, SIZE) as reader:
        found = list(reader.batches(INDICES, seeds))
    assert all(batch.dtype == np.uint8 for batch in found)
    np.testing.assert_array_equal(np.stack(found), direct(files, INDICES, seeds))


def test_a_resumed_reader_goes_on_as_the_other_would_have(files):
    with ImageReader(files, 2, size=SIZE) as reader:
        whole = list(reader.batches(INDICES, SEEDS))
    with ImageReader(files, 2, size=SIZE) as reader:
        rest = list(reader.batches(INDICES[4:], SEEDS[4:]))
    np.testing.assert_array_equal(rest, whole[4:])


def test_a_reader_serves_several_epochs_also_after_one_was_left(files):
    with ImageReader(files, 2, size=SIZE) as reader:
        for batch in reader.batches(INDICES, SEEDS):
            np.testing.assert_array_equal(batch, direct(files, INDICES[:1], SEEDS[:1])[0])
            break
        training, evaluation = reader.batches(INDICES, SEEDS), reader.batches(INDICES)
        for step in range(3):  # two at a time
            np.testing.assert_array_equal(next(training), direct(files, INDICES, SEEDS)[step])
            np.testing.assert_array_equal(next(evaluation), direct(files, INDICES, None)[step])


def test_seeds_make_views_and_nothing_else_does(files):
    numbers = np.full((2, 6), 3)
    seeds = np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    with ImageReader(files, 2, size=SIZE) as reader:
        first, second = reader.batches(numbers, seeds)
    np.testing.assert_array_equal(first, second[::-1])
    assert len(np.unique(first, axis=0)) == 6


def test_no_steps_are_no_batches(files):
    with ImageReader(files, 1, size=SIZE) as reader:
        assert list(reader.batches(np.zeros((0, 5), int))) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", [lambda content: content[:200], with_empty_profile], ids=["cut", "profile"])
def test_a_broken_image_is_named_at_its_step_and_the_reader_goes_on(workers, damage, tmp_path):
    files = list_image_files(write_folders(tmp_path / "images", suffix=".png"))
    broken = Path(files.absolute(2))
    broken.write_bytes(damage(broken.read_bytes()))
    with ImageReader(files, workers, size=SIZE) as reader:
        batches = reader.batches(np.array([[0, 1], [3, 2], [4, 5]]))
        next(batches)
        with pytest.raises(DataError, match=rf"{broken}: not an image, or damaged .*; replace the file"):
            next(batches)
        assert next(reader.batches(np.array([[4, 5]]))).shape == (2, SIZE, SIZE, 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_an_error_and_no_wait(workers, files):
    with ImageReader(files, workers, prefetch=1, size=SIZE) as reader:
        batches = reader.batches(np.tile(INDICES, (20, 1)))
        next(batches)
        os.kill(reader._processes[0].pid, signal.SIGKILL)
        with pytest.raises(
            DataError, match=rf"ended with status -9: a negative .* 5 images, starting with {files.root}/\S+"
        ):
            list(batches)
        with pytest.raises(DataError, match="ended with status -9"):
            list(reader.batches(np.tile(INDICES, (20, 1))))


@pytest.mark.parametrize("error", [None, KeyError])
def test_no_process_is_left(error, files):
    with contextlib.suppress(KeyError), ImageReader(files, 2, size=SIZE) as reader:
        batches = reader.batches(INDICES)
        next(batches)
        processes = list(reader._processes)
        assert all(process.poll() is None for process in processes)
        if error:
            raise error
    assert len(processes) == 2
    assert all(process.returncode is not None for process in processes)


def gone(pid):
    """Whether a process has ended; one that nobody waits for counts too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@on_linux
def test_workers_hold_neither_jax_nor_this_package(files):
    with ImageReader(files, 1, size=SIZE) as reader:
        next(reader.batches(INDICES))
        libraries = Path(f"/proc/{reader._processes[0].pid}/maps").read_text()
    assert "numpy" in libraries
    assert "jaxlib" not in libraries


@pytest.mark.slow
@on_linux
def test_workers_end_with_a_program_that_is_killed(files, tmp_path):
    """A script without a guard for its main module, too."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from widebasin.data import ImageReader\n"
        "from widebasin.data.image_files import list_image_files\n"
        "reader = ImageReader(list_image_files(Path(sys.argv[1])), workers=2, size=16).__enter__()\n"
        "next(reader.batches(np.zeros((50, 4), int)))\n"
        "print(*[process.pid for process in reader._processes], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, str(script), str(files.root)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    pids = finished.stdout.split()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "workers go on without the program that they work for"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"prefetch": 0}, "prefetch must be at least 1, got 0"),
        ({"size": 0}, "size must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, said, files):
    with pytest.raises(ValueError, match=said):
        ImageReader(files, **arguments)


def test_indices_out_of_range_are_refused_at_once(files):
    with ImageReader(files, 1, size=SIZE) as reader:
        for indices in (np.array([[0, 12]]), np.array([[-1, 3]])):
            with pytest.raises(ValueError, match=r"indices must be in 0 \.\. 11, got"):
                reader.batches(indices)


def test_a_reader_with_workers_must_be_opened(files):
    with pytest.raises(ValueError, match="the reader is not open"):
        ImageReader(files, 2, size=SIZE).batches(INDICES)
