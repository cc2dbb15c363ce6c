"""The project's own `.venv`: install, check and remove it, and what runs in it. Standard library only at import."""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_utils.course.project import CourseError, call, environment_python

EXTRAS = "course,test"
CPU_ADVICE = (
    "Without an NVIDIA GPU a small build of PyTorch (0.2 instead of several GB) does: open PyTorch's page *Get "
    "Started* (pytorch.org), choose CPU, and give the course the address that stands there after --index-url: "
    "cifar-course install --torch-index ADDRESS (make install TORCH_INDEX=ADDRESS)."
)
_MEGABYTES = re.compile(r"Downloading (\S+?)(?:-py\S*|-cp\S*)?(?:\.metadata)? \(([\d.]+) (kB|MB|GB)\)")


def stamp(root: Path) -> Path:
    """The file that says for which pyproject.toml and constraints.txt `.venv` was installed."""
    return root / ".venv" / ".cifar-course.json"


def _wanted(root: Path) -> dict[str, str]:
    content = b"".join(
        path.read_bytes() for path in (root / "pyproject.toml", root / "constraints.txt") if path.is_file()
    )
    return {"pins": hashlib.sha256(content).hexdigest(), "extras": EXTRAS, "root": str(root)}


def installed(root: Path) -> bool:
    """True where `.venv` holds what pyproject.toml and constraints.txt ask for now."""
    try:
        return environment_python(root).exists() and json.loads(stamp(root).read_text(encoding="utf-8")) == _wanted(
            root
        )
    except (OSError, ValueError):
        return False


def install(root: Path, *, torch_index: str | None = None) -> None:
    """Make `.venv` and install the course into it, in the tested versions. Returns at once where nothing changed.

    Nothing is registered outside `.venv`: Jupyter's kernel `python3` lies in it too. Raises CourseError with the
    installer's last words where a step fails.
    """
    if installed(root) and not torch_index:
        return
    python = environment_python(root)
    if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode if python.exists() else True:
        print("Making .venv ...")
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(root / ".venv")],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise CourseError(
                f"Python could not make .venv: {(made.stderr or made.stdout).strip()}\n"
                "On Debian and Ubuntu the package python3-venv is missing then: sudo apt install python3-venv"
            )
    pins: list[str | Path] = ["-c", root / "constraints.txt"]
    index: list[str | Path] = ["--index-url", torch_index] if torch_index else []
    print("Installing PyTorch (once; some minutes, by the network) ...")
    _pip(root, [*pins, *index, "torch", "torchvision"])
    print("Installing the course and its tools ...")
    _pip(root, [*pins, "-e", f"{root}[{EXTRAS}]"])
    check = subprocess.run(
        [python, "-c", "import cifar_utils, torch, torchvision, papermill"],
        capture_output=True,
        text=True,
        check=False,
    )
    if check.returncode:
        raise CourseError(
            f"Installed, but not all of it loads:\n{check.stderr.strip()[-1500:]}\nTry: make remove, then make install."
        )
    stamp(root).write_text(json.dumps(_wanted(root)), encoding="utf-8")
    print("Installed into .venv.")
    if os.name != "nt" and not _has_gpu() and _is_cuda_build(python):
        print(f"This PyTorch is the large build for GPUs. It works. {CPU_ADVICE}")


def _pip(root: Path, words: list[str | Path]) -> None:
    """Run pip, showing large downloads and what it is at; on failure raise CourseError with its errors."""
    command = [
        environment_python(root),
        "-m",
        "pip",
        "install",
        "--progress-bar",
        "off",
        "--disable-pip-version-check",
        *words,
    ]
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    terminal, tail = sys.stdout.isatty(), deque[str](maxlen=200)
    for line in process.stdout:
        tail.append(line.rstrip())
        match = _MEGABYTES.search(line)
        if match and (match[3] == "GB" or (match[3] == "MB" and float(match[2]) >= 20)):
            print(f"{_clear(terminal)}  {match[1].split('/')[-1]}: {match[2]} {match[3]}", flush=True)
        elif line.startswith("Installing collected"):
            print(f"{_clear(terminal)}  unpacking {line.count(',') + 1} packages", flush=True)
        elif terminal and line.startswith("Collecting "):
            print(f"{_clear(terminal)}  {line.split()[1]}", end="", flush=True)
    if terminal:
        print(_clear(terminal), end="", flush=True)
    if process.wait():
        errors = [line for line in tail if line.startswith("ERROR")] or list(tail)[-10:]
        raise CourseError(
            "pip failed:\n  "
            + "\n  ".join(errors)
            + "\nMend that (network? disk?), then run `make install` again: it goes on from here."
        )


def _clear(terminal: bool) -> str:
    return "\r\x1b[K" if terminal else ""


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _is_cuda_build(python: Path) -> bool:
    answer = subprocess.run(
        [python, "-c", "import torch; print(torch.version.cuda)"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() not in ("None", "")


def remove(root: Path, *, data: bool = False) -> list[str]:
    """Undo the installation: `.venv` and what the installer left beside it; with `data` the stored CIFAR-10 too.

    Returns what was removed. Raises CourseError when asked from inside that `.venv` on Windows, which locks it.
    """
    venv = root / ".venv"
    if os.name == "nt" and Path(sys.prefix).resolve() == venv.resolve():
        raise CourseError(
            "Windows cannot remove a program that runs: use another Python: py -m cifar_utils.course remove"
        )
    stored = _stored_files(root) if data else []
    return [str(path) for path in (*stored, venv, *root.glob("*.egg-info"), *root.glob(".*_cache")) if _delete(path)]


def _stored_files(root: Path) -> list[Path]:
    """The official files in the data's store, and nothing else that may lie there. Only .venv knows where that is."""
    code = (
        "from cifar_utils._download import OFFICIAL as o, store_folder as s; [print(s() / name) for name in o.files]"
    )
    python = environment_python(root)
    command = [python if python.exists() else sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise CourseError(
            "Where the data is stored is known only while the course is installed: make install, then remove --data."
        )
    return [Path(line) for line in answer.stdout.splitlines()]


def _delete(path: Path) -> bool:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        return False
    return True


def clean(root: Path, *, with_runs: bool = False) -> list[str]:
    """Remove the built book, caches and unfinished files; `with_runs` means runs/ too. Returns what went."""
    targets = [root / "_build", *root.glob(".*_cache")]
    for folder in ("cifar_utils", "tests", "notebooks", "benchmarks", "book"):
        targets += [
            *(root / folder).rglob("__pycache__"),
            *(root / folder).rglob(".ipynb_checkpoints"),
            *(root / folder).rglob(".*.part"),
        ]
    runs = root / "runs"
    targets += [runs] if with_runs else [*runs.rglob(".*.part"), *runs.rglob("executing.ipynb")]
    return [path.relative_to(root).as_posix() for path in targets if _delete(path)]


def lab(root: Path) -> int:
    """Start JupyterLab in notebooks/, with this environment's kernel. Returns its exit status."""
    print("JupyterLab starts in the browser; Ctrl-C twice ends it. What is played there goes to runs/interactive.")
    return call([sys.executable, "-m", "jupyterlab"], cwd=root / "notebooks")


# --- what this machine is, and whether all is well --------------------------------------------------------------------


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Versions, device, threads and precision of this environment, as a run's summary records them."""
    import torch

    from cifar_utils.training import pick_precision

    names = ("torch", "torchvision", "numpy", "scikit-learn", "torchmetrics", "papermill", "cifar-course")
    versions = {
        "python": platform.python_version(),
        **{name: version for name in names if (version := _version(name))},
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    return {
        "versions": versions,
        "device": f"{device.type}: {named}",
        "threads": torch.get_num_threads(),
        "precision": pick_precision(device),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`: what it is; a `fix` where something is wrong, a `note` where that may matter."""

    name: str
    what: str
    fix: str = ""
    note: str = ""


def doctor(root: Path) -> list[Finding]:
    """Look at everything that the course needs. Something is wrong where a finding has a fix."""
    found = [Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    if Path(sys.prefix).resolve() != (root / ".venv").resolve():
        found.append(
            Finding("environment", sys.prefix, note="not the project's own .venv; fine with conda or on a server")
        )
    elif installed(root):
        found.append(Finding("environment", ".venv, current"))
    else:
        found.append(
            Finding("environment", ".venv is older than pyproject.toml or constraints.txt", fix="make install")
        )
    found += _packages(root)
    if all(importlib.util.find_spec(name) for name in ("torch", "torchvision")):
        found += _torch()
    if importlib.util.find_spec("platformdirs"):
        found += _data()
    found += _places(root)
    return found


def _packages(root: Path) -> list[Finding]:
    pins = _pins(root)
    with (root / "pyproject.toml").open("rb") as stream:
        project = tomllib.load(stream)["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in EXTRAS.split(",") for line in project["optional-dependencies"][extra]),
    ]
    names = [re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0] for line in wanted]
    have = {name: _version(name) for name in names}
    missing = [name for name, version in have.items() if version is None]
    other = [
        f"{name} {version} (tested: {pins[_key(name)]})"
        for name, version in have.items()
        if version and _key(name) in pins and version.split("+")[0] != pins[_key(name)]
    ]
    main = ", ".join(
        f"{name} {have[name]}" for name in ("torch", "torchvision", "papermill", "jupyter-book") if have.get(name)
    )
    return [
        Finding(
            "packages",
            main or "none",
            fix=f"make install (missing: {', '.join(missing)})" if missing else "",
            note=f"other than tested: {', '.join(other)}" if other else "",
        )
    ]


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(root: Path) -> dict[str, str]:
    path = root / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {_key(name): version for name, equals, version in (line.partition("==") for line in lines) if equals}


def _torch() -> list[Finding]:
    import torch

    from cifar_utils import _torchvision

    about = machine()
    note = (
        ""
        if torch.cuda.is_available() or torch.version.cuda is None
        else f"a GPU build without a GPU: it works. {CPU_ADVICE}"
    )
    found = [
        Finding("device", about["device"], note=note),
        Finding("threads", str(about["threads"])),
        Finding("precision", about["precision"]),
    ]
    try:
        import torchvision  # noqa: F401 - loading it is the check

        stand_in = _torchvision.make_importable()
        found.append(
            Finding(
                "torchvision",
                "loads",
                note="built for another PyTorch: its detection operators do not work; the course does not use them"
                if stand_in
                else "",
            )
        )
    except (ImportError, RuntimeError) as error:
        found.append(Finding("torchvision", f"does not load: {error}", fix="make remove, then make install"))
    return found


def _data() -> list[Finding]:
    from cifar_utils._download import store_folder, store_status

    states = store_status()
    bad = {name: state for name, state in states.items() if state == "damaged"}
    if bad:
        return [Finding("data", f"{store_folder()}: damaged: {', '.join(bad)}", fix="cifar-course data")]
    if any(state == "missing" for state in states.values()):
        return [
            Finding(
                "data",
                f"not yet in {store_folder()}",
                note="obtained when first needed, or now by: cifar-course data",
            )
        ]
    return [Finding("data", f"CIFAR-10, verified, in {store_folder()}")]


def _places(root: Path) -> list[Finding]:
    free = shutil.disk_usage(root).free / 1e9
    found = [
        Finding(
            "disk", f"{free:.0f} GB free", fix="free 3 GB: runs, book and environment need them" if free < 3 else ""
        )
    ]
    folder = next(path for path in (root / "runs", root) if path.is_dir())
    writable = os.access(folder, os.W_OK)
    found.append(
        Finding(
            "runs",
            "writable" if writable else f"{folder} cannot be written",
            fix="" if writable else f"give yourself the right to write to {folder}",
        )
    )
    if importlib.util.find_spec("jupyter_client"):
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

        try:
            KernelSpecManager().get_kernel_spec("python3")
            found.append(Finding("kernel", "python3"))
        except NoSuchKernel:
            found.append(Finding("kernel", "Jupyter finds no kernel python3", fix="make install"))
    if shutil.which("npm") is None:
        found.append(
            Finding(
                "npm",
                "not here",
                note="one source of the data and the book's offline diagrams need it; the others do not",
            )
        )
    return found
