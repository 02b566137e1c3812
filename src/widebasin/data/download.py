"""Downloads that resume after an interruption and are verified before use."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from widebasin.data.errors import DataError
from widebasin.data.places import ENVIRONMENT
from widebasin.data.writing import locked

# Seconds to connect, and seconds without a byte.
TIMEOUT = (10, 60)
CHUNK = 1 << 16

# Told the name of a file, the bytes of it that are here, and how many it has, if the server says.
Report = Callable[[str, int, int | None], None]


def download(
    urls: Sequence[str],
    checksum: str,
    target: Path,
    report: Report = lambda name, done, total: None,
    tries: int = 4,
    wait: float = 1.0,
) -> None:
    """Downloads a file from the first URL that has it.

    Received data are in ``TARGET.partial``: an interrupted download continues there, in this call or a later one, if
    the server supports it, and otherwise starts again. The file gets its final name once its checksum is right.

    Args:
        urls: URLs of the file.
        checksum: "md5:..." or "sha256:...", in hexadecimal digits.
        target: path to save it to.
        report: function that receives the progress.
        tries: number of failed rounds over all URLs before giving up; a round that receives more data has not failed.
        wait: seconds to wait after the first failed round; doubled after each further one.

    Raises:
        DataError: if no URL gives the right file, with the reason for each; or if it cannot be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent / ".download.lock"):
            # Another process may have been faster, or somebody has put it there.
            if target.is_file() and has_checksum(target, checksum):
                partial.unlink(missing_ok=True)
            else:
                _download(urls, checksum, partial, report, tries, wait)
                partial.replace(target)
    except OSError as error:
        remedy = f"free some space or set {ENVIRONMENT} to a writable folder"
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); {remedy}") from error


def discard_partial(target: Path) -> None:
    """Deletes the rest of an interrupted download of a file obtained in another way, unless one is running."""
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists():
        # Also a lock that another process holds is an OSError.
        with contextlib.suppress(OSError), locked(target.parent / ".download.lock", wait=0.0):
            partial.unlink(missing_ok=True)


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum, "md5:..." or "sha256:..."."""
    algorithm, _, digest = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == digest


def _download(urls: Sequence[str], checksum: str, partial: Path, report: Report, tries: int, wait: float) -> None:
    """Fills the partial file until its checksum is right."""
    import requests

    reasons: dict[str, str] = {}
    left = list(urls)
    most = fruitless = 0
    while left and fruitless < tries:
        if fruitless:
            time.sleep(wait * 2 ** (fruitless - 1))
        fruitless += 1
        for url in tuple(left):
            start = _size(partial)
            if start and has_checksum(partial, checksum):
                return
            try:
                _continue(url, partial, report)
            except requests.HTTPError as error:
                code = getattr(error.response, "status_code", None)
                reasons[url] = str(error).partition(" for url")[0]
                if code == 416:  # There is nothing after what we have, and that is not the file.
                    partial.unlink()
                elif code in (401, 403, 404, 410):
                    left.remove(url)
            except requests.RequestException as error:
                reasons[url] = _reason(error)
            else:
                if has_checksum(partial, checksum):
                    return
                partial.unlink()
                reasons[url] = f"the file does not have the checksum {checksum}"
                if not start:
                    left.remove(url)
            if _size(partial) > most:
                most, fruitless = _size(partial), 0
    if _size(partial) == 0:
        partial.unlink(missing_ok=True)
    said = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise DataError(
        f"{partial.with_suffix('')}: cannot be downloaded: {said}. Run the same command to try again, or download it "
        "yourself and put it there"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _continue(url: str, partial: Path, report: Report) -> None:
    """Appends the rest of the file to the partial file, or gets the whole file if the server cannot resume."""
    import pooch
    import requests

    with partial.open("ab") as file:
        start = file.tell()
        growing = _Growing(file, partial.stem, report)

        def begin(response: requests.Response, **options: object) -> None:
            nonlocal start
            del options
            if response.status_code == 200:
                start = 0
                file.truncate(0)
            elif response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            ):
                raise requests.exceptions.InvalidHeader(f"answers with {response.headers.get('Content-Range')}")
            length = response.headers.get("Content-Length")
            growing.done, growing.total = start, start + int(length) if length else None

        # Unpacked on the way, a file would have neither the size nor the checksum announced.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        pooch.HTTPDownloader(headers=headers, hooks={"response": begin}, timeout=TIMEOUT, chunk_size=CHUNK)(
            url, growing, None
        )


class _Growing:
    """A file that reports its size as it grows."""

    def __init__(self, file: BinaryIO, name: str, report: Report) -> None:
        self.file, self.name, self.report = file, name, report
        self.done = 0
        self.total: int | None = None

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self.done += len(chunk)
        self.report(self.name, self.done, self.total)

    def flush(self) -> None:
        self.file.flush()


def _reason(error: Exception) -> str:
    """The part of a requests error that matters to users; requests wraps the reason several times."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was lost"
    return "no connection" if isinstance(error, requests.ConnectionError) else str(error)
