"""Batches of images from disk, decoded by worker processes while the device computes."""

import contextlib
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from widebasin.data import decoding
from widebasin.data.errors import DataError
from widebasin.data.image_files import ImageFiles


class ImageReader:
    """Reads, decodes and crops image files in worker processes, a few batches ahead.

    A worker is a Python process that imports only Pillow and NumPy; neither JAX nor the running program is copied to
    it.

    Args:
        files: the images.
        workers: number of processes; 0 decodes in this process, when a batch is requested.
        prefetch: batches decoded ahead of the one in use; if fewer than ``workers``, some workers are idle.
        size: height and width of the images, in pixels.

    Raises:
        ValueError: if a number is out of range.

    Example::

        with ImageReader(files, workers=8, prefetch=16) as reader:
            for step, images in enumerate(reader.batches(indices, seeds)):  # int[steps, batch] both
                ...  # uint8[batch, 224, 224, 3]
    """

    def __init__(self, files: ImageFiles, workers: int = 2, prefetch: int = 4, size: int = 224) -> None:
        for name, value, least in (("workers", workers, 0), ("prefetch", prefetch, 1), ("size", size, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.files, self.workers, self.prefetch, self.size = files, workers, prefetch, size
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> "ImageReader":
        if self.workers:
            command = [sys.executable, "-P", decoding.__file__]
            for _ in range(self.workers):
                self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
                self._idle.put(self._processes[-1])
            # A thread waits for a process; there is one for each.
            self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="image-reader")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()  # it only reads
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]
        self._processes.clear()
        self._idle = queue.SimpleQueue()

    def batches(
        self,
        indices: Integer[np.ndarray, "steps batch"],
        seeds: Integer[np.ndarray, "steps batch"] | None = None,
    ) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
        """The images of every step, in order.

        An image depends only on its file and seed, not on its step, its position in the batch or the number of workers.
        To resume at a step, give the rows from that step on.

        Args:
            indices: indices of the files.
            seeds: seeds of random crops and flips for training, see ``decoding.training_view``. Without seeds, images
                are for evaluation, see ``decoding.evaluation_view``.

        Raises:
            ValueError: immediately, if arguments do not fit, or the reader has workers and is not open.
            DataError: at the step concerned, if an image cannot be read or a worker dies.
        """
        if indices.ndim != 2:
            raise ValueError(f"indices must be of shape [steps, batch], got {indices.shape}")
        if seeds is not None and seeds.shape != indices.shape:
            raise ValueError(f"seeds must have the shape of indices, {indices.shape}, got {seeds.shape}")
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self.files):
            raise ValueError(f"indices must be in 0 .. {len(self.files) - 1}, got {indices.min()} .. {indices.max()}")
        if self.workers and self._threads is None:
            raise ValueError("the reader is not open; use it in: with ImageReader(...) as reader")
        return self._ordered(indices, seeds)

    def _ordered(self, indices: np.ndarray, seeds: np.ndarray | None) -> Iterator[np.ndarray]:
        waiting: deque[Future[np.ndarray]] = deque()
        threads = self._threads
        try:
            for step, numbers in enumerate(indices):
                request = (
                    [self.files.absolute(number) for number in numbers.tolist()],
                    None if seeds is None else seeds[step].tolist(),
                    self.size,
                )
                if threads is None:
                    yield self._decode_here(request)
                    continue
                waiting.append(threads.submit(self._decode_there, request))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _decode_here(self, request: tuple[Any, ...]) -> np.ndarray:
        try:
            return decoding.decode_batch(*request)
        except decoding.UnreadableImage as error:
            raise DataError(str(error)) from error

    def _decode_there(self, request: tuple[Any, ...]) -> np.ndarray:
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin, protocol=5)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            raise DataError(
                f"an image worker (process {process.pid}) ended with status {process.returncode}: a negative status is "
                "the signal that killed it (-9: perhaps out of memory; use fewer workers or a smaller prefetch), 1 an "
                f"error that it has printed; it was decoding {len(request[0])} images, starting with "
                f"{request[0][0] if request[0] else 'none'}"
            ) from error
        finally:
            # Also one that has ended: its error is then met again, where an empty queue would wait for ever.
            self._idle.put(process)
        if isinstance(answer, str):
            raise DataError(answer)
        return answer
