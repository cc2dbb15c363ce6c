"""The failure gallery: each failure still shows and each cure still works, in the committed runs and in a short one."""

from pathlib import Path

import pytest

from cifar_utils import runs
from cifar_utils.course import execute

ROOT = Path(__file__).parents[1]
NAME = "10_failure_gallery"
SHORT = {  # real images, as few as show every symptom
    "train_images": 1500, "val_images": 600, "epochs": 6, "memory_images": 200, "memory_epochs": 30,
    "leaked_images": 300, "leak_epochs": 8,
}
CHANCE = 0.15  # accuracy that a network without any knowledge may have by luck


def right(metrics, name, split="val"):
    return metrics[f"gallery_{name}.{split}.accuracy"]


SYMPTOMS = {  # what is measured of the broken run
    "too_high": lambda m: right(m, "too_high") < CHANCE and m["gallery_too_high.val.dead_share"] > 0.9,
    "too_low": lambda m: right(m, "too_low") < right(m, "healthy") - 0.1 and m["gallery_too_low.val.loss"] > 2.1,
    "exploding": lambda m: True,  # it ends in an error, which the notebook catches and judges by its message
    "no_zero_grad": lambda m: right(m, "no_zero_grad") < right(m, "healthy") - 0.1
    and m["gallery_no_zero_grad.train.growth"] == pytest.approx(2, abs=0.01),
    "raw_bytes": lambda m: right(m, "raw_bytes") < right(m, "healthy_descent") - 0.05
    and m["gallery_raw_bytes.train.first_loss"] > 5,
    "other_statistics": lambda m: right(m, "other_statistics") < right(m, "healthy") - 0.1
    and m["gallery_other_statistics.train.accuracy_other_path"] < right(m, "other_statistics", "train") - 0.2,
    "unshuffled": lambda m: right(m, "unshuffled") < 0.25,
    "shuffled_labels": lambda m: right(m, "shuffled_labels", "train") > 0.8 and right(m, "shuffled_labels") < 0.17,
    "shifted_labels": lambda m: right(m, "shifted_labels") < 0.17,
    "leaked_test": lambda m: right(m, "leaked_test", "test") > right(m, "leaked_test") + 0.1,
    "softmax_twice": lambda m: m["gallery_softmax_twice.val.loss"] > 1.461 and right(m, "softmax_twice") > CHANCE,
    "dead_relus": lambda m: right(m, "dead_relus") < CHANCE and m["gallery_dead_relus.val.dead_share"] > 0.9
    and m["gallery_dead_relus.train.gradient_part"] == 0,
    "no_eval": lambda m: m["gallery_no_eval.val.changed_by_asking"] > 0.05,
    "kl_collapse": lambda m: m["gallery_kl_collapse.val.swapped_ratio"] == pytest.approx(1, abs=0.02),
}
CURES = {  # where the cure is more than a higher validation accuracy
    "exploding": lambda m: right(m, "exploding_cured") > CHANCE,
    "leaked_test": lambda m: right(m, "leaked_test_cured", "test") < right(m, "leaked_test", "test") - 0.1,
    "softmax_twice": lambda m: right(m, "softmax_twice_cured") > right(m, "softmax_twice") + 0.02,
    "no_eval": lambda m: right(m, "no_eval_cured") > right(m, "no_eval")
    and m["gallery_no_eval_cured.val.changed_by_asking"] == 0,
    "kl_collapse": lambda m: m["gallery_kl_collapse_cured.val.active_units"]
    > m["gallery_kl_collapse.val.active_units"]
    and m["gallery_kl_collapse_cured.val.swapped_ratio"] > 1.2,
}


def complaints(metrics):
    """What does not show: an empty list where all symptoms and cures do."""
    found = [f"{name}: no symptom" for name, shows in SYMPTOMS.items() if not shows(metrics)]
    for name in SYMPTOMS:
        works = CURES.get(name, lambda m, name=name: right(m, f"{name}_cured") > right(m, name) + 0.05)
        found += [] if works(metrics) else [f"{name}: no cure"]
        said = [kind for kind in ("symptom", "cure") if not metrics[f"gallery_{name}.{kind}"]]
        found += [f"{name}: the notebook says that the {kind} does not show" for kind in said]
    return found


def test_all_rooms_of_the_gallery_are_tested_and_a_failure_that_is_none_is_noticed():
    metrics = runs.read_json(ROOT / "notebooks" / "reference" / "quick" / NAME / "metrics.json")
    assert {name.removeprefix("gallery_").split(".")[0] for name in metrics if name.endswith(".symptom")} == {*SYMPTOMS}
    for name in {*SYMPTOMS} - {"exploding", "no_eval", "kl_collapse", "leaked_test"}:
        harmless = {key.replace("healthy", name): value for key, value in metrics.items()
                    if key.startswith("gallery_healthy.")}
        assert f"{name}: no cure" in complaints({**metrics, **harmless}), f"{name} is as good as healthy"


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_every_symptom_and_cure_shows_in_the_committed_runs(profile):
    path = ROOT / "notebooks" / "reference" / profile / NAME / "metrics.json"
    if profile == "full" and not path.is_file():
        pytest.skip("there is no full run of the gallery")
    assert complaints(runs.read_json(path)) == []


@pytest.mark.slow
@pytest.mark.real_data
def test_every_symptom_and_cure_shows_in_a_short_run(tmp_path):
    overrides = [f"{name}={value}" for name, value in SHORT.items()]
    plan = execute.make_plan(ROOT, names=[NAME], overrides=overrides, progress=False)
    plan.folder = tmp_path / "short"
    execute.run(plan)
    assert complaints(runs.read_json(plan.folder / NAME / "metrics.json")) == []
