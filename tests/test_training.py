"""fit: it learns, keeps what it is told to keep, stops on nonsense, and goes on bit for bit."""

import functools
import math
import subprocess
import sys
import textwrap

import pytest
import torch

from cifar_utils import batches, checkpoints, data, losses, models, optimizers, training
from cifar_utils.batches import STANDARD, Batches


@pytest.fixture(scope="module")
def splits():
    synthetic = data.synthetic_shapes(train_size=600, test_size=200)
    return synthetic.train, synthetic.test


def small_cnn(seed=0):
    torch.manual_seed(seed)
    return models.CNN(channels=(8, 8), dense=(16,), dropout=0.2)


def loaders(splits, batch_size=50):
    train = Batches(splits[0], batch_size=batch_size, shuffle=True, flip=True, shift=2)
    return train, Batches(splits[1], batch_size=100)


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_fit_learns_and_reports(splits):
    model = small_cnn()
    history = training.fit(model, *loaders(splits), epochs=6, learning_rate=3e-3, progress=False)
    assert not model.training
    assert history.curve("val", "accuracy").iloc[-1] > 0.5
    assert list(history.curve("train", "loss").index) == [1, 2, 3, 4, 5, 6]
    assert history.best_epoch == history.curve("val", "loss").idxmin()
    assert set(history.table["metric"]) == {"loss", "accuracy"}
    assert "epochs" in repr(history)


def test_fit_is_the_loop_written_by_hand(splits):
    """In float32 and without augmentation, fit computes exactly what twenty plain lines compute."""
    made = Batches(splits[0], batch_size=64, shuffle=True)
    torch.manual_seed(0)
    model = models.MLP((16,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    expected = []
    for epoch in range(2):
        total = 0.0
        for inputs, labels in made.epoch(epoch):
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        expected.append(total / len(splits[0]))
    torch.manual_seed(0)
    fitted = models.MLP((16,))
    history = training.fit(fitted, made, epochs=2, precision="float32", progress=False)
    assert history.curve("train", "loss").tolist() == pytest.approx(expected, rel=1e-12)
    assert same_weights(model, fitted)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_reruns_are_bit_identical(splits, precision):
    first, second = small_cnn(), small_cnn()
    for model in (first, second):
        torch.rand(3)  # what the caller drew before must not matter
        training.fit(model, *loaders(splits), epochs=2, precision=precision, progress=False)
    assert same_weights(first, second)


def test_fit_leaves_the_callers_random_numbers_alone(splits):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model = models.MLP((8,), dropout=0.5)
    torch.manual_seed(5)
    training.fit(model, loaders(splits)[0], epochs=1, progress=False)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("keep", ["best", "last", "average"])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW,
                                       functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True)])
def test_an_interrupted_training_goes_on_bit_for_bit(splits, tmp_path, keep, optimizer):
    settings = dict(epochs=4, learning_rate=1e-2, keep=keep, optimizer=optimizer, progress=False,
                    schedule=training.triangular())
    whole, broken = small_cnn(), small_cnn()
    expected = training.fit(whole, *loaders(splits), **settings)
    path = tmp_path / "model.safetensors"
    calls = 0

    class Stop(Exception):
        pass

    class StoppingLoss(losses.Classification):
        def __call__(self, model, inputs, labels):
            nonlocal calls
            calls += model.training
            if calls == 31:  # in the third of four epochs of 12 batches
                raise Stop
            return super().__call__(model, inputs, labels)

    stopping = StoppingLoss()
    with pytest.raises(Stop):
        training.fit(broken, *loaders(splits), loss=stopping, checkpoint=path, **settings)
    assert not path.exists()
    assert (tmp_path / "model.resume.safetensors").exists()
    resumed = small_cnn()
    history = training.fit(resumed, *loaders(splits), loss=stopping, checkpoint=path, **settings)
    assert same_weights(resumed, whole)
    assert history.table.equals(expected.table)
    assert calls < 31 + 2 * 12 + 1  # two epochs were not done again
    assert path.exists()
    assert not (tmp_path / "model.resume.safetensors").exists()
    assert same_weights(checkpoints.load(path).model, whole)


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(splits, tmp_path):
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        import torch
        from cifar_utils import data, losses, models, training
        from cifar_utils.batches import Batches
        synthetic = data.synthetic_shapes(train_size=600, test_size=200)
        steps = 0
        class KillingLoss(losses.Classification):
            def __call__(self, model, inputs, labels):
                global steps
                steps += 1
                if sys.argv[2] == "kill" and steps == 20:
                    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
                return super().__call__(model, inputs, labels)
        torch.manual_seed(0)
        model = models.CNN(channels=(8, 8), dense=(16,), dropout=0.2)
        train = Batches(synthetic.train, batch_size=50, shuffle=True, flip=True)
        training.fit(model, train, epochs=3, loss=KillingLoss(), checkpoint=Path(sys.argv[1]), progress=False)
    """)
    def run(name, word):
        return subprocess.run([sys.executable, "-c", script, str(tmp_path / name), word], capture_output=True,
                              text=True, timeout=120)
    assert run("broken.safetensors", "kill").returncode != 0
    assert (tmp_path / "broken.resume.safetensors").exists()
    for name in ("broken.safetensors", "whole.safetensors"):
        done = run(name, "go on")
        assert done.returncode == 0, done.stderr
    broken, whole = (checkpoints.load(tmp_path / name).model for name in ("broken.safetensors", "whole.safetensors"))
    assert same_weights(broken, whole)


def test_another_settings_resume_file_is_not_taken(splits, tmp_path):
    path = tmp_path / "model.safetensors"
    loss = losses.Classification()

    def interrupted(self, model, inputs, labels, calls=[0]):  # noqa: B006 (counts the calls)
        calls[0] += 1
        if calls[0] > 20:
            raise RuntimeError
        return loss(model, inputs, labels)

    stopping = type("Stopping", (losses.Classification,), {"__call__": interrupted})()
    train = loaders(splits)[0]
    with pytest.raises(RuntimeError):
        training.fit(small_cnn(), train, epochs=3, loss=stopping, checkpoint=path, progress=False)
    plain, other = small_cnn(), small_cnn()
    training.fit(plain, train, epochs=3, learning_rate=5e-3, progress=False)
    training.fit(other, train, epochs=3, learning_rate=5e-3, checkpoint=path, progress=False)
    assert same_weights(plain, other)


def test_ctrl_c_keeps_what_was_learned(splits, tmp_path, capsys):
    class Interrupting(losses.Classification):
        steps = 0

        def __call__(self, model, inputs, labels):
            Interrupting.steps += model.training
            if Interrupting.steps == 30:
                raise KeyboardInterrupt
            return super().__call__(model, inputs, labels)

    model, path = small_cnn(), tmp_path / "model.safetensors"
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = training.fit(model, *loaders(splits), epochs=5, loss=Interrupting(), checkpoint=path, progress=False)
    assert history.interrupted
    assert history.epochs == 2
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert "Interrupted in epoch 3 of 5" in capsys.readouterr().out
    assert not path.exists()  # an unfinished training never passes for a finished one


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 3)])
def test_keep_decides_whose_weights_the_model_has(splits, keep, kept):
    """With a learning rate that grows, the first epoch is the best and the last the worst."""
    schedule = [1.0, 30.0, 30.0]
    model = small_cnn()
    history = training.fit(model, *loaders(splits), epochs=3, keep=keep, learning_rate=5e-3, progress=False,
                           schedule=lambda progress: schedule[min(int(progress * 3), 2)])
    assert history.best_epoch == kept
    measured = training.evaluate_loss(model, loaders(splits)[1], losses.classification(), history.precision)
    assert measured["loss"] == history.curve("val", "loss")[kept]


def test_averaged_weights_are_the_running_average(splits, monkeypatch):
    assert training.AVERAGE_SHARE == 0.05
    monkeypatch.setattr(training, "AVERAGE_SHARE", 0.5)  # of so few steps that the first ones count
    made = Batches(splits[0], batch_size=100, shuffle=True)
    model, by_hand = small_cnn(), small_cnn()
    training.fit(model, made, epochs=1, keep="average", precision="float32", progress=False)
    seen = []

    class Noting(losses.Classification):
        def __call__(self, model, inputs, labels):
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            return super().__call__(model, inputs, labels)

    training.fit(by_hand, made, epochs=1, loss=Noting(), precision="float32", progress=False)
    steps = [*seen[1:], by_hand.state_dict()]
    assert len(steps) == 6  # so the average reaches back over 3 steps
    shares = [(1 - 1 / 3) ** age for age in reversed(range(len(steps)))]
    for name, value in model.state_dict().items():
        average = sum(share * weights[name] for share, weights in zip(shares, steps)) / sum(shares)
        assert torch.allclose(value, average, atol=1e-6)


def test_an_average_takes_the_last_count_of_batch_norm(splits):
    """A count of batches cannot be averaged; its running means and variances can."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), models.Linear())
    training.fit(model, Batches(splits[0], batch_size=50), epochs=2, keep="average", progress=False)
    assert model[0].num_batches_tracked == 2 * len(splits[0]) / 50
    assert model[0].running_mean.abs().max() > 0


@pytest.mark.parametrize("optimizer", [optimizers.nesterov(), optimizers.muon()], ids=["nesterov", "muon"])
def test_optimizers_with_groups_of_their_own_resume_to_the_same_bits(splits, tmp_path, optimizer):
    """An interruption in the third epoch, and the same call again: the weights of a training in one piece."""

    def train(path, loss):
        torch.manual_seed(0)
        model = models.FastCNN((4, 6, 8)).whiten(STANDARD.apply(splits[0].images[:50]))
        made = Batches(splits[0], batch_size=50, shuffle=True, flip="alternating", shift=2, border="mirrored")
        history = training.fit(model, made, epochs=4, learning_rate=0.02, optimizer=optimizer, loss=loss,
                               schedule=training.triangular(), keep="average", checkpoint=path, progress=False)
        return model, history

    steps = []

    def interrupting(model, inputs, labels):
        steps.append(len(labels))
        if len(steps) == 2 * len(splits[0]) / 50 + 3:
            raise KeyboardInterrupt
        return losses.classification()(model, inputs, labels)

    interrupting.__module__, interrupting.__qualname__ = "same", "loss"

    def whole(model, inputs, labels):
        return losses.classification()(model, inputs, labels)

    whole.__module__, whole.__qualname__ = "same", "loss"
    expected, _ = train(tmp_path / "whole.safetensors", whole)
    _, history = train(tmp_path / "model.safetensors", interrupting)
    assert history.interrupted and history.epochs == 2
    resumed, history = train(tmp_path / "model.safetensors", whole)
    assert history.epochs == 4
    assert same_weights(expected, resumed)


def test_a_loss_that_is_not_finite_stops_with_when_and_what_to_do(splits):
    with pytest.raises(training.NonFiniteLoss, match=r"epoch 1, step \d+, at learning rate 1e\+20.*tenth"):
        training.fit(models.MLP((8, 8)), loaders(splits)[0], epochs=2, learning_rate=1e20, progress=False,
                     optimizer=torch.optim.SGD)


def test_on_a_processor_the_very_step_is_named_whose_loss_is_not_finite(splits):
    loss, seen = losses.classification(), []

    def breaks_in_its_third_step(model, inputs, labels):
        seen.append(len(labels))
        parts = loss(model, inputs, labels)
        return parts | {"loss": parts["loss"] * (math.inf if len(seen) == 3 else 1)}

    on_processor = Batches(splits[0], batch_size=50, device="cpu")
    with pytest.raises(training.NonFiniteLoss, match="epoch 1, step 3, "):
        training.fit(models.MLP((8, 8)), on_processor, epochs=1, loss=breaks_in_its_third_step, progress=False)


def test_evaluation_does_not_train_and_switches_dropout_off(splits):
    model = small_cnn().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (training.evaluate_loss(model, loaders(splits)[1], losses.classification()) for _ in range(2))
    assert first == second
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_validation_loss_is_the_mean_over_images_whatever_the_batches(splits):
    """200 images in batches of 150 and 50: the small batch counts a third of the large one."""
    model = small_cnn().eval()
    whole, uneven = (training.evaluate_loss(model, Batches(splits[1], batch_size=size), losses.classification())
                     for size in (200, 150))
    assert uneven == pytest.approx(whole, rel=1e-6)


def test_dropout_is_on_while_training_and_drawn_by_the_seed(splits):
    made = Batches(splits[0], batch_size=100)

    def trained(dropout, seed):
        torch.manual_seed(0)
        model = models.MLP((16,), dropout=dropout)
        training.fit(model, made, epochs=1, seed=seed, progress=False)
        return model

    assert same_weights(trained(0.5, 1), trained(0.5, 1))
    assert not same_weights(trained(0.5, 1), trained(0.5, 2))
    assert same_weights(trained(0.0, 1), trained(0.0, 2))  # what fit draws is dropout, and nothing else


def test_the_best_epoch_is_chosen_by_the_validation_loss(splits):
    """With labels of the validation split shifted by one, the better the training loss the worse the validation's."""
    wrong = data.Examples(splits[1].images, (splits[1].labels + 1) % 10, splits[1].indices)
    model = small_cnn()
    train = Batches(splits[0], batch_size=50, shuffle=True)
    history = training.fit(model, train, Batches(wrong, batch_size=100), epochs=4, learning_rate=5e-3, progress=False)
    assert history.curve("train", "loss").idxmin() == 4
    assert history.best_epoch == history.curve("val", "loss").idxmin() < 4


def test_schedules():
    triangular, cosine = training.triangular(0.25), training.cosine()
    assert triangular(0.125) == pytest.approx(0.5)
    assert triangular(0.25) == pytest.approx(1)
    assert triangular(0.625) == pytest.approx(0.5)
    assert cosine(0) == 1
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1) == pytest.approx(0, abs=1e-12)


def test_the_schedule_reaches_the_optimizer(splits):
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    training.fit(small_cnn(), loaders(splits)[0], epochs=2, learning_rate=0.1, optimizer=Recording,
                 schedule=training.cosine(), progress=False)
    assert rates == pytest.approx([0.1 * 0.5 * (1 + math.cos(math.pi * k / 24)) for k in range(24)])


def test_label_smoothing_and_extra_parts(splits):
    model, (inputs, labels) = small_cnn().eval(), next(iter(loaders(splits)[1]))
    smooth = losses.classification(0.2)(model, inputs, labels)
    expected = torch.nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.2)
    assert torch.equal(smooth["loss"], expected)
    assert smooth["accuracy"] == (model(inputs).argmax(1) == labels).float().mean()


@pytest.mark.parametrize(("settings", "message"), [
    ({"epochs": 0}, "positive"), ({"epochs": 1, "learning_rate": 0.0}, "positive"),
    ({"epochs": 1, "keep": "best"}, "validation split"), ({"epochs": 1, "keep": "first"}, "keep must be"),
    ({"epochs": 1, "precision": "half"}, "precision"),
])
def test_contradicting_arguments_are_refused(splits, settings, message):
    with pytest.raises(ValueError, match=message):
        training.fit(small_cnn(), loaders(splits)[0], **settings)


def test_finished_trainings_are_taken_only_when_the_runner_says_so(splits, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    train = batches.Batches(splits[0], batch_size=100, shuffle=True)
    training.fit(small_cnn(), train, epochs=1, checkpoint=path, progress=False)
    stamp = path.stat().st_mtime_ns
    monkeypatch.setenv("CIFAR_COURSE_CONTINUE", "1")
    model = small_cnn()
    history = training.fit(model, train, epochs=1, checkpoint=path, progress=False)
    assert path.stat().st_mtime_ns == stamp
    assert same_weights(model, checkpoints.load(path).model)
    assert history.epochs == 1
    monkeypatch.delenv("CIFAR_COURSE_CONTINUE")
    training.fit(small_cnn(), train, epochs=1, checkpoint=path, progress=False)
    assert path.stat().st_mtime_ns > stamp


def test_the_environment_may_choose_a_precision_that_there_is(monkeypatch):
    monkeypatch.setenv("CIFAR_COURSE_PRECISION", "float32")
    assert training.pick_precision(torch.device("cpu")) == "float32"
    monkeypatch.setenv("CIFAR_COURSE_PRECISION", "bfloat16")
    assert training.pick_precision(torch.device("cpu")) == "bfloat16"
    monkeypatch.setenv("CIFAR_COURSE_PRECISION", "fp16")
    with pytest.raises(ValueError, match="CIFAR_COURSE_PRECISION must be"):
        training.pick_precision(torch.device("cpu"))


def test_with_averaged_weights_the_average_is_what_validation_measures(splits):
    model = small_cnn()
    history = training.fit(model, *loaders(splits), epochs=2, learning_rate=1e-2, keep="average", progress=False)
    measured = training.evaluate_loss(model, loaders(splits)[1], losses.classification(), history.precision)
    assert measured["loss"] == history.curve("val", "loss")[2]


def test_a_resumed_training_still_knows_its_best_epoch(splits, tmp_path):
    class Stopping(losses.Classification):
        steps = 0

        def __call__(self, model, inputs, labels):
            Stopping.steps += model.training
            if Stopping.steps == 30:  # in the third epoch of 12 batches
                raise RuntimeError
            return super().__call__(model, inputs, labels)

    def grows(progress):  # so the first epoch is the best
        return 1.0 if progress < 0.25 else 30.0

    def fit(model, **more):
        return training.fit(model, *loaders(splits), epochs=4, learning_rate=5e-3, progress=False, schedule=grows,
                            **more)

    whole, resumed, path = small_cnn(), small_cnn(), tmp_path / "model.safetensors"
    expected = fit(whole)
    stopping = Stopping()
    with pytest.raises(RuntimeError):
        fit(small_cnn(), loss=stopping, checkpoint=path)
    history = fit(resumed, loss=stopping, checkpoint=path)
    assert history.best_epoch == expected.best_epoch == 1
    assert same_weights(resumed, whole) and history.table.equals(expected.table)


def plain(splits, **settings):
    return Batches(splits[0], **({"batch_size": 100, "shuffle": True} | settings))


@pytest.mark.parametrize(("fit", "batch"), [
    ({"learning_rate": 2e-3}, {}), ({"weight_decay": 0.5}, {}), ({"seed": 1}, {}),
    ({"schedule": training.cosine()}, {}),
    ({"loss": losses.classification(0.3)}, {}), ({"keep": "average"}, {}), ({"optimizer": torch.optim.Adam}, {}),
    ({}, {"seed": 1}), ({}, {"flip": True}), ({}, {"shift": 1}), ({}, {"cutout": 4}), ({}, {"border": "mirrored"}),
    ({}, {"sizes": (32,)}), ({}, {"normalisation": batches.UNIT_RANGE}), ({}, {"batch_size": 50})], ids=str)
def test_a_finished_training_of_other_settings_is_not_taken(splits, tmp_path, monkeypatch, fit, batch):
    monkeypatch.setenv("CIFAR_COURSE_CONTINUE", "1")
    path = tmp_path / "model.safetensors"
    training.fit(small_cnn(), plain(splits), epochs=1, checkpoint=path, progress=False)
    stamp = path.read_bytes()
    training.fit(small_cnn(), plain(splits), epochs=1, checkpoint=path, progress=False)
    assert path.read_bytes() == stamp
    training.fit(small_cnn(), plain(splits, **batch), epochs=1, checkpoint=path, progress=False, **fit)
    assert path.read_bytes() != stamp


def test_a_triangle_begins_and_ends_low():
    assert [training.triangular()(at) for at in (0, 0.15, 0.3, 1)] == pytest.approx([0.01, 0.5, 1, 0.01])


def test_a_checkpoint_of_fit_says_how_its_images_were_normalised(splits, tmp_path):
    path, odd = tmp_path / "model.safetensors", batches.Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    training.fit(models.MLP((4,)), plain(splits, normalisation=odd), epochs=1, checkpoint=path, progress=False,
                 header={"split_seed": 5})
    found = checkpoints.load(path)
    assert found.normalisation == odd and found.split_seed == 5
