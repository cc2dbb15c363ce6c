"""torchvision must be importable whether or not it fits the installed torch."""

import subprocess
import sys
import textwrap

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_torchvision_and_torchmetrics_can_be_imported_after_the_package():
    assert run("""
        import cifar_utils, torchvision, torchmetrics
        from torchvision import datasets, models, transforms, utils
        print(transforms.ToTensor.__name__)
    """) == "ToTensor"


@pytest.mark.parametrize("fits", [False, True])
def test_the_operators_are_declared_only_where_the_extension_cannot_load(tmp_path, fits):
    """A stand-in torchvision: its extension loads, or fails as one for another torch does."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_C.so").write_bytes(b"not a library")
    assert run(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import torch
        if {fits}:
            torch.ops.load_library = lambda path: None
        from cifar_utils import _torchvision
        print(bool(_torchvision._declared), hasattr(torch.ops.torchvision, "nms"))
    """) == ("False False" if fits else "True True")


def test_declaring_twice_is_harmless():
    assert run("""
        from cifar_utils import _torchvision
        first = _torchvision.make_importable()
        print(first == _torchvision.make_importable())
    """) == "True"


def test_importing_the_package_touches_neither_network_nor_matplotlib():
    assert run("""
        import socket, sys
        socket.socket.connect = None
        import cifar_utils
        print("matplotlib" in sys.modules, "papermill" in sys.modules)
    """) == "False False"
