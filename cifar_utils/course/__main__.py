"""`python -m cifar_utils.course` is the command `cifar-course`, also before anything is installed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the one place that an older Python reaches
    sys.exit(
        "The course needs Python 3.11 or newer; this is {}.{}. Install one, then: make install PYTHON=python3.12 "
        "(or: python3.12 -m cifar_utils.course install).".format(*sys.version_info[:2])
    )

from cifar_utils.course.cli import main

if __name__ == "__main__":
    sys.exit(main())
