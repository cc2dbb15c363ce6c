"""`cifar-course reference`: tolerances that cover what they should and no more, measured by real runs over seeds."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from course_project import course, notebook, summary

from cifar_utils import data, evaluation, models, regression, training
from cifar_utils.batches import UNIT_RANGE, Batches
from cifar_utils.course import execute, reference
from cifar_utils.course.chapters import list_chapters
from cifar_utils.course.project import CourseError

MODELS, SEEDS = 100, 5


def drawn(random, deviation=0.005):
    """The metrics of one run: accuracies about 0.5, losses about 2 (and as noisy in proportion), and what is exact."""
    metrics = {f"m{i}.test.accuracy": 0.5 + deviation * random.standard_normal() for i in range(MODELS)}
    metrics |= {f"m{i}.test.loss": 2 + 4 * deviation * random.standard_normal() for i in range(MODELS)}
    metrics |= {"m.seconds": random.uniform(1, 9), "m.test.accuracy.std": random.random()}
    return metrics | {"m.parameters": 545_098}


def tolerances(seed=0, **rest):
    random = np.random.default_rng(seed)
    made = [drawn(random, **rest) for _ in range(SEEDS + 2)]
    chapter = {"metrics": reference.summarise(made[:-2], made[-2:])}
    reference.add_tolerances({"03_cnn": chapter})
    return chapter["metrics"], random


def test_another_run_lies_within_in_99_of_100_families():
    """Each family has 200 metrics; the means, too, are drawn anew every time. The family-wise error is 1 %."""
    outside = 0
    for seed in range(60):
        entries, random = tolerances(seed)
        outside += bool(regression.compare(drawn(random), entries))
    assert outside <= 4  # 0.6 are expected; 5 or more would have a chance of 0.04 %


def test_a_tolerance_is_not_much_wider_than_it_has_to_be():
    entries, _ = tolerances()
    widths = [entries[f"m{i}.test.accuracy"]["tolerance"] / 0.005 for i in range(MODELS)]
    assert 4 < np.median(widths) < 8  # in deviations; a t of 5 degrees alone would ask for 16
    losses = [entries[f"m{i}.test.loss"]["tolerance"] for i in range(MODELS)]
    assert 4 < np.median(losses) / 0.02 < 8  # relative to the mean, and given back in nats


def test_deterministic_metrics_have_tolerance_zero_and_times_none():
    entries, _ = tolerances()
    assert entries["m.parameters"] == {
        "mean": 545_098, "deviation": 0.0, "compared": True, "deterministic": True, "tolerance": 0.0}
    assert entries["m.seconds"]["tolerance"] is None
    assert entries["m.test.accuracy.std"]["tolerance"] is None


def test_what_depends_on_the_seed_and_not_on_the_machine_is_deterministic():
    runs_of = [{"data.near_duplicates_within_train": count} for count in (237, 241, 230)]
    entries = reference.summarise(runs_of, [dict(runs_of[0])] * 2)
    assert entries["data.near_duplicates_within_train"]["mean"] == 237  # of the seed that later runs have
    assert entries["data.near_duplicates_within_train"]["deviation"] == 0


def test_another_order_of_adding_is_no_deviation():
    entries = reference.summarise([{"m.norm": 0.1 + 0.2}] * 2, [{"m.norm": 0.3}])
    assert entries["m.norm"] == {"mean": 0.1 + 0.2, "deviation": 0.0, "compared": True, "deterministic": True}


def test_what_comes_out_the_same_once_by_chance_is_not_deterministic():
    """An accuracy on 1,000 images: the other machine happens to give the first seed's, one thread does not."""
    seeds, elsewhere = [{"m.val.accuracy": 0.498}, {"m.val.accuracy": 0.51}], [
        {"m.val.accuracy": 0.501}, {"m.val.accuracy": 0.498}]
    entry = reference.summarise(seeds, elsewhere)["m.val.accuracy"]
    assert entry["deviation"] > 0.005 and entry["mean"] == pytest.approx(0.50175)


def test_of_a_model_whose_training_varies_only_counts_are_deterministic():
    """All accuracies of a network come out alike on both other machines, by chance; its loss shows that it varies."""
    seeds = [{"m.test.accuracy": 0.7945, "m.test.accuracy_shift_1": 0.79, "m.test.loss": 0.61, "m.parameters": 545_098,
              "m.found": 500 + k, "pca.test.accuracy": 0.372 + 0.001 * k, "pca.test.psnr_db": 23.1} for k in range(3)]
    elsewhere = [{**seeds[0], "m.test.loss": 0.612}, {**seeds[0], "m.test.loss": 0.609, "pca.test.psnr_db": 23.10001}]
    entries = reference.summarise(seeds, elsewhere)
    assert {name for name, entry in entries.items() if entry["deterministic"]} == {"m.parameters", "pca.test.accuracy"}
    reference.add_tolerances({"03_cnn": {"metrics": entries}})
    assert entries["m.test.accuracy_shift_1"]["tolerance"] == 0.01  # no deviation was seen, so the kind's floor holds
    assert entries["pca.test.accuracy"]["tolerance"] == entries["m.parameters"]["tolerance"] == 0


def test_a_first_loss_is_compared_with_the_runs_of_its_own_seed():
    """Raw bytes begin at 13 nats with one seed and at 8 with another; the mean of both would be no run's."""
    seeds = [{"m.train.first_loss": loss, "m.val.loss": loss} for loss in (12.94, 8.28, 11.62)]
    elsewhere = [{"m.train.first_loss": 12.95, "m.val.loss": 12.95}, {"m.train.first_loss": 12.93, "m.val.loss": 12.93}]
    entries = reference.summarise(seeds, elsewhere)
    reference.add_tolerances({"10_failure_gallery": {"metrics": entries}})
    first, last = entries["m.train.first_loss"], entries["m.val.loss"]
    assert first["mean"] == pytest.approx(12.94) and first["runs"] == 3 and last["runs"] == 5
    assert first["deviation"] == pytest.approx(0.01) and last["deviation"] > 1
    assert 0.01 < first["tolerance"] < 0.13


@pytest.mark.parametrize(("deviation", "expected"), [(1e-6, 0.005), (0.5, 0.05)])
def test_tolerances_stay_between_floor_and_cap(deviation, expected):
    entries, _ = tolerances(deviation=deviation)
    assert {entries[f"m{i}.test.accuracy"]["tolerance"] for i in range(MODELS)} == {expected}


@pytest.mark.parametrize(("metric", "kind"), [
    ("mlp_exercise5_one_batch.train.loss", "memorised"),
    ("mlp_best.test.accuracy", "accuracy"), ("cnn_best.val.f1", "accuracy"), ("linear.train.last_loss", "loss"),
    ("linear.train.first_loss", "start"),
    ("vae.train.kl_nats", "loss"), ("cnn_best.test.accuracy_blur_3", "part"), ("linear.test.ece", "calibration"),
    ("mlp_exercise5.best_epoch", "choice"), ("data.near_duplicates_within_val", "count"),
    ("cnn_best.val.temperature", "other"), ("vae_spatial.test.active_units", "other")])
def test_kinds_are_told_by_name(metric, kind):
    assert reference.kind_of(metric).name == kind


def test_no_committed_tolerance_exceeds_its_cap():
    stored = json.loads((Path(__file__).parents[1] / "notebooks" / "reference" / "tolerances.json").read_text())
    for chapter in stored["chapters"].values():
        for name, entry in chapter["metrics"].items():
            kind = reference.kind_of(name)
            unit = abs(entry["mean"]) if kind.relative else 1.0
            assert (entry["tolerance"] or 0.0) <= kind.cap * max(unit, 1e-6) * 1.000001, name


class NeverForgets(torch.optim.Adam):
    """An optimiser whose gradients are never set to zero."""

    def zero_grad(self, set_to_none=True):
        pass


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("fault", "alarm"), [
    ("none", False), ("labels shifted", True), ("rate", True), ("no zero_grad", True)])
def test_classical_faults_fall_outside_the_committed_tolerances(fault, alarm):
    """The baseline of chapter 2, trained as there on the real images, against what is stored of it."""
    root = Path(__file__).parents[1]
    stored = json.loads((root / "notebooks" / "reference" / "tolerances.json").read_text())["chapters"]["02_mlp"]
    given, seed = stored["parameters"], stored["parameters"]["seed"]
    splits = data.split(data.load_cifar10(), train_size=given["train_size"], val_size=given["val_size"], seed=seed)
    examples = splits.train
    if fault == "labels shifted":
        examples = dataclasses.replace(examples, labels=(examples.labels + 1) % 10)
    torch.manual_seed(seed)
    model = models.glorot(models.MLP((256,)))
    batches = Batches(examples, batch_size=32, normalisation=UNIT_RANGE, shuffle=True, seed=seed)
    training.fit(model, batches, epochs=given["baseline_epochs"], weight_decay=0.0, seed=seed, progress=False,
                 learning_rate=given["default_rate"] * (10 if fault == "rate" else 1),
                 optimizer=NeverForgets if fault == "no zero_grad" else torch.optim.Adam)
    got = {f"mlp_baseline.{split}.{metric}": value for split in ("train", "val") for metric, value in evaluation.report(
        evaluation.predict(model, getattr(splits, split), normalisation=UNIT_RANGE)).metrics.items()}
    expected = {name: entry for name, entry in stored["metrics"].items() if name in got}
    assert len(expected) > 10
    assert bool(regression.compare({name: got[name] for name in expected}, expected)) == alarm


def test_runs_with_different_metrics_are_refused():
    with pytest.raises(CourseError, match="same metrics"):
        reference.summarise([{"a.accuracy": 1.0}], [{"b.accuracy": 1.0}])


def test_the_precision_can_be_chosen_from_outside(monkeypatch):
    import torch

    monkeypatch.setenv("CIFAR_COURSE_PRECISION", "float32")
    assert training.pick_precision(torch.device("cpu")) == "float32"


RECORD = """
import json, os, pathlib, random
own = pathlib.Path(os.environ["CIFAR_COURSE_RUN"]) / {name!r}
other = os.environ.get("CIFAR_COURSE_PRECISION") == "float32"
accuracy = 0.5 + 0.001 * (seed // 1000) + 0.002 * other
(own / "claims.json").write_text(json.dumps([dict(id="x", verdict="confirmed" if seed else "undecided")]))
(own / "metrics.json").write_text(json.dumps({{"m.test.accuracy": accuracy, "m.parameters": 7}}))
log = own.parent / {name!r}.replace("0", "log")
log.write_text((log.read_text() if log.exists() else "") + "x")
"""


def small(root, *names):
    course(root)
    for name in names:
        notebook(root / "notebooks" / f"{name}.ipynb", RECORD.format(name=name), finish=False,
                 parameters="seed: int = 0  # of everything [0, 100000]\nepochs: int = 2")
    return root


def measure(root, names=(), seeds=2):
    chosen = [chapter for chapter in list_chapters(root) if not names or chapter.name in names]

    def quietly(plan):
        plan.progress, plan.say = False, lambda text: None
        execute.run(plan)

    return json.loads(reference.measure(root, chosen, seeds, quietly).read_text(encoding="utf-8"))["chapters"]


@pytest.mark.slow
def test_chapters_are_measured_one_after_another_and_nothing_twice(tmp_path):
    root = small(tmp_path / "small", "01_first", "02_second")
    assert list(measure(root, ["01_first"])) == ["01_first"]
    stored = measure(root)
    assert list(stored) == ["01_first", "02_second"]
    accuracy = stored["01_first"]["metrics"]["m.test.accuracy"]
    assert accuracy["mean"] == pytest.approx((0.5 + 0.501 + 0.5 + 0.502) / 4) and 0.005 <= accuracy["tolerance"] <= 0.05
    assert stored["01_first"]["metrics"]["m.parameters"]["tolerance"] == 0
    assert stored["01_first"]["verdicts"] == {"x": ["confirmed", "undecided"]}
    assert stored["01_first"]["parameters"] == {"seed": 0, "epochs": 2} and stored["01_first"]["seeds"] == 2
    assert {"versions", "device", "threads", "precision"} <= set(stored["01_first"]["measured_on"])
    assert stored["01_first"]["runs"] == 4
    for folder in ("seed_0", "seed_1", "one_thread", "other_machine"):
        assert (root / "runs" / "reference" / folder / "log1_first").read_text() == "x"
        assert summary(root / "runs" / "reference" / folder)["02_second"]["status"] == "done"


def test_weights_of_another_run_are_refused(tmp_path):
    root = small(tmp_path / "small")
    borrow = RECORD.format(name="03_third") + (
        "(own / 'inputs.json').write_text(json.dumps({'runs/quick/02_mlp/m.safetensors': 'abc'}))")
    path = root / "runs" / "quick" / "02_mlp" / "m.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    notebook(root / "notebooks" / "03_third.ipynb", borrow, finish=False, parameters="seed: int = 0")
    with pytest.raises(CourseError, match=r"took weights from runs/quick/02_mlp/m\.safetensors"):
        measure(root)


def test_one_seed_has_no_deviation_and_no_seed_parameter_no_seeds(tmp_path):
    root = small(tmp_path / "small", "01_first")
    with pytest.raises(CourseError, match="at least two seeds"):
        measure(root, seeds=1)
    notebook(root / "notebooks" / "01_first.ipynb", "x = 1")
    with pytest.raises(CourseError, match="no parameter seed"):
        measure(root)
