"""Faults that `cifar-course faults` plants, one at a time, in a copy of the project: the checks have to catch each.

A fault replaces a text that occurs exactly once in a file (of a notebook: in the source of one cell). `likely` are the
tests that run first; a fault that they miss goes through all fast tests, then through the slow ones. Where a check
misses a fault the check is mended; the list only grows. A new module's faults go into a new section below.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One text replaced by another; `what` says it in the words of somebody who made the mistake."""

    id: str
    what: str
    file: str
    old: str
    new: str
    likely: tuple[str, ...]


def faults_in(file: str, *likely: str) -> "Section":
    """Begin a section: the file that the next faults change, and the tests (files in tests/) that should notice."""
    return Section(file, tuple(f"tests/{name}.py" for name in likely))


class Section:
    """Collects the faults of one file."""

    def __init__(self, file: str, likely: tuple[str, ...]) -> None:
        self.file, self.likely = file, likely

    def add(self, id: str, what: str, old: str, new: str) -> None:
        FAULTS.append(Fault(id, what, self.file, old, new, self.likely))


FAULTS: list[Fault] = []

# ------------------------------------------------------------------------------------------------------------- data

section = faults_in("cifar_utils/data.py", "test_data", "test_plotting")
section.add("labels_shifted", "every label is one too high",
            "= records[:, 0]\n", "= (records[:, 0] + 1) % 10\n")
section.add("channels_swapped", "red and blue exchanged",
            ".view(-1, 3, 32, 32)\n", ".view(-1, 3, 32, 32).flip(1)\n")
section.add("images_transposed", "rows read as columns",
            ".view(-1, 3, 32, 32)\n", ".view(-1, 3, 32, 32).transpose(2, 3)\n")
section.add("train_in_test", "the test split holds training images",
            "cifar.train[val], cifar.test, seed)", "cifar.train[val], cifar.train[train], seed)")
section.add("val_in_train", "the validation images are among the training images",
            "np.sort(order[train_size : train_size + val_size])", "np.sort(order[:val_size])")
section.add("split_not_stratified", "classes fall into the splits by chance",
            "return np.lexsort((first[classes], turn))", "return random.permutation(len(classes))")
section.add("split_seed_ignored", "every seed gives the same split",
            "_class_by_class(cifar.train.labels, seed, proportional=True)",
            "_class_by_class(cifar.train.labels, 0, proportional=True)")
section.add("statistics_over_256", "pixels divided by 256 instead of 255",
            "torch.arange(256, dtype=torch.float64) / 255", "torch.arange(256, dtype=torch.float64) / 256")
section.add("class_names_exchanged", "cat and deer have each other's name",
            '"bird", "cat", "deer"', '"bird", "deer", "cat"')
section = faults_in("cifar_utils/_download.py", "test_data")
section.add("checksum_ignored", "a damaged file passes",
            "    found, right = md5(data), OFFICIAL.files[name]\n",
            "    found = right = OFFICIAL.files[name]\n")

# ---------------------------------------------------------------------------------------------------------- batches

section = faults_in("cifar_utils/batches.py", "test_batches")
section.add("wrong_normalisation", "the widespread wrong deviations 0.2023, 0.1994, 0.2010",
            "(0.24703223, 0.24348513, 0.26158784)", "(0.2023, 0.1994, 0.2010)")
section.add("scaled_by_256", "batches divide by 256",
            "scale = 1 / (255 * ", "scale = 1 / (256 * ")
section.add("inverse_forgets_the_mean", "images made visible again without adding the mean",
            "inputs.to(torch.float32) * std + mean", "inputs.to(torch.float32) * std")
section.add("no_shuffle", "the order never changes",
            "torch.randperm(count, generator=random) if self.shuffle else torch.arange(count)", "torch.arange(count)")
section.add("same_order_every_epoch", "shuffled once, for all epochs alike",
            "(self.seed * 1_000_003 + number)", "(self.seed * 1_000_003)")
section.add("labels_out_of_step", "images shuffled, labels not",
            "self._labels[chosen.to(self.device)]", "self._labels[start : start + len(chosen)]")
section.add("everything_flipped", "each image is mirrored, not half of them",
            "torch.rand(len(self.examples), generator=random) < 0.5", "torch.rand(len(self.examples), generator=random) < 2")
section.add("shift_one_way", "images move down and to the right only",
            "torch.randint(0, 2 * self.shift + 1,", "torch.randint(0, self.shift + 1,")
section.add("cutout_in_black", "the square is black instead of the mean colour",
            "(colour - mean) / std)", "-mean / std)")
section.add("last_batch_lost", "the incomplete last batch is always dropped",
            "(math.floor if self.drop_last else math.ceil)", "math.floor")

# --------------------------------------------------------------------------------------------------------- training

section = faults_in("cifar_utils/training.py", "test_training")
section.add("no_zero_grad", "gradients of all steps add up",
            "            self.optimizer.zero_grad(set_to_none=True)\n", "")
section.add("learning_rate_times_ten", "steps ten times as long",
            'rate = self.settings["learning_rate"] * (', 'rate = 10 * self.settings["learning_rate"] * (')
section.add("train_mode_in_evaluation", "dropout stays on while the loss is measured",
            "    model.eval()\n    sums: dict[str, Tensor] = {}\n", "    model.train()\n    sums: dict[str, Tensor] = {}\n")
section.add("trained_in_evaluation_mode", "dropout is off while training",
            "        self.model.train()\n", "        self.model.eval()\n")
section.add("best_by_training_loss", "the kept epoch is that of the lowest training loss",
            'val_means["loss"] < self.best_loss:\n            self.best_loss, self.best_epoch = val_means["loss"], self.epoch',
            'train_means["loss"] < self.best_loss:\n            self.best_loss, self.best_epoch = train_means["loss"], self.epoch')
section.add("best_is_an_alias", "the best weights go on changing with the model",
            "copy.deepcopy(self.model.state_dict())", "self.model.state_dict()")
section.add("batch_means_averaged", "validation loss: every batch counts alike, however small",
            "_add(sums, loss(model, inputs, labels), len(labels))", "_add(sums, loss(model, inputs, labels), 1)")
section.add("training_means_averaged", "training loss: every batch counts alike, however small",
            "_add(sums, parts, len(labels))", "_add(sums, parts, 1)")
section.add("schedule_ignored", "the learning rate stays as it is",
            "(self.schedule(step / steps) if self.schedule else 1.0)", "1.0")
section.add("average_too_slow", "averaged weights lag ten times as far behind",
            "AVERAGE_SHARE = 0.05 ", "AVERAGE_SHARE = 0.5 ")
section.add("weight_decay_dropped", "weight decay never reaches the optimizer",
            '"weight_decay": weight_decay}\n    if "fused"', '"weight_decay": 0.0}\n    if "fused"')
section.add("same_batches_every_epoch", "each epoch sees the first one's batches",
            "enumerate(self.train.epoch(self.epoch))", "enumerate(self.train.epoch(0))")
section.add("randomness_not_restored", "a resumed training draws other dropout masks",
            '        torch.set_rng_state(tensors["random.cpu"])\n', "")
section.add("optimizer_not_restored", "a resumed training starts with an empty optimizer",
            "        self.optimizer.load_state_dict(state)\n", "")
section.add("seed_ignored", "the seed of fit changes nothing",
            "            torch.manual_seed(seed)\n", "            torch.manual_seed(0)\n")
section.add("interrupted_passes_for_finished", "an interrupted training leaves a finished checkpoint",
            "    if not history.interrupted:\n", "    if True:\n")

# ----------------------------------------------------------------------------------------------------------- models

section = faults_in("cifar_utils/models.py", "test_models")
section.add("missing_activation", "the MLP's layers follow each other without ReLU",
            "layers += [nn.Linear(before, after), nn.ReLU()]", "layers += [nn.Linear(before, after), nn.Identity()]")
section.add("missing_activation_dense", "the CNN's dense layers have no ReLU",
            "layers += [nn.Linear(inputs, outputs), nn.ReLU()]", "layers += [nn.Linear(inputs, outputs), nn.Identity()]")
section.add("wrong_padding", "the padding does not keep the image's size",
            "kernel_size, stride, padding=kernel_size // 2)", "kernel_size, stride, padding=kernel_size // 2 + 1)")
section.add("dropout_forgotten", "the MLP has no dropout, whatever is asked for",
            "                layers.append(nn.Dropout(dropout))\n        self.features",
            "                layers.append(nn.Identity())\n        self.features")
section.add("dropout_forgotten_dense", "the CNN has no dropout, whatever is asked for",
            "                layers.append(nn.Dropout(dropout))\n            layers +=",
            "                pass\n            layers +=")
section.add("average_for_maximum", "pooling takes the mean",
            'blocks += [MaxPool(), nn.ReLU()] if pool == "max"', 'blocks += [nn.AvgPool2d(2), nn.ReLU()] if pool == "max"')
section.add("pooling_gradient_doubled", "both of a pair get the gradient",
            "    torch.sub(gradient, shared[:, 0], out=shared[:, 1])\n", "    shared[:, 1] = gradient\n")
section.add("glorot_normal", "first weights normal instead of uniform",
            "nn.init.xavier_uniform_", "nn.init.xavier_normal_")
section.add("compute_of_two_passes", "the backward pass counted once",
            'return 3 * float(forward.sum())', 'return 2 * float(forward.sum())')

# ----------------------------------------------------------------------------------------------------------- losses

section = faults_in("cifar_utils/losses.py", "test_training")
section.add("softmax_before_cross_entropy", "the loss takes probabilities for logits",
            "logits = model(inputs).float()", "logits = model(inputs).float().softmax(1)")
section.add("sum_instead_of_mean", "the loss is a sum over the batch",
            "label_smoothing=self.label_smoothing)", 'label_smoothing=self.label_smoothing, reduction="sum")')
section.add("label_smoothing_ignored", "label smoothing has no effect",
            "label_smoothing=self.label_smoothing)", "label_smoothing=0.0)")

# ------------------------------------------------------------------------- autoencoders and models of images (5, 6)

section = faults_in("cifar_utils/losses.py", "test_losses")
section.add("kl_sign", "the KL term has the wrong sign",
            "return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)",
            "return -0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)")
section.add("kl_deviation_for_variance", "the KL reads the log-variance as the logarithm of the deviation",
            "log_variance.exp() - 1 - log_variance)", "(2 * log_variance).exp() - 1 - 2 * log_variance)")
section.add("nats_mean_instead_of_sum", "the reconstruction term is averaged over the pixels",
            "return 0.5 * terms.expand_as(values).flatten(1).sum(1)",
            "return 0.5 * terms.expand_as(values).flatten(1).mean(1)")
section.add("latents_drawn_too_wide", "latents drawn with the variance in place of the deviation",
            "return mean + (0.5 * log_variance).exp()", "return mean + log_variance.exp()")
section.add("no_dequantisation", "no noise is added to the grey levels",
            "torch.rand_like(inputs, dtype=torch.float32)", "0.5")
section.add("bits_in_nats", "bits a dimension are nats a dimension",
            "return nats / (NUMBERS * math.log(2))", "return nats / NUMBERS")
section.add("beta_forgotten", "the weight of the KL term has no effect",
            '{"loss": recon + self.beta * kl,', '{"loss": recon + kl,')
section.add("log_det_sign", "the whitening's determinant is subtracted",
            "recon = recon + self.whitening.log_det", "recon = recon - self.whitening.log_det")
section.add("denoising_wants_the_noise", "the denoising autoencoder is asked for the noisy image",
            "functional.mse_loss(model(seen).float(), inputs)", "functional.mse_loss(model(seen).float(), seen)")

section = faults_in("cifar_utils/models.py", "test_models")
section.add("linear_path_not_centred", "the mean image is not subtracted before the projection",
            "self.project(inputs.flatten(1) - self.mean)", "self.project(inputs.flatten(1))")
section.add("refinement_alone", "the decoder gives the refinement without the blurred image",
            "return blurred + self.refine(", "return self.refine(")
section.add("latents_not_scaled_back", "the VAE's decoder gets standardised latents",
            "self.autoencoder.decode(latents * self.latent_std + self.latent_mean)",
            "self.autoencoder.decode(latents)")

section = faults_in("cifar_utils/gaussian.py", "test_gaussian")
section.add("quantisation_noise_too_large", "the uniform noise has variance 1 instead of 1/12",
            "covariance += torch.eye(NUMBERS).double() / 12", "covariance += torch.eye(NUMBERS).double()")
section.add("latents_share_the_largest", "probabilistic PCA gives the rest the greatest variance left, not the mean",
            "variances[latents:] = variances[latents:].mean()", "variances[latents:] = variances[latents:].max()")
section.add("least_components_kept", "PCA keeps the components of least variance",
            "variances.flip(0), vectors.flip(1).T", "variances, vectors.T")

section = faults_in("cifar_utils/generative.py", "test_generative")
section.add("active_by_deviation", "active units by deviation instead of variance",
            "(means.double().var(0) > ACTIVE)", "(means.double().std(0) > ACTIVE)")
section.add("frechet_without_means", "the distance of sets ignores the means",
            "((means[0] - means[1]).square().sum() + one.trace()", "(one.trace()")
section.add("straight_walk", "interpolation along the straight line",
            "return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last) / torch.sin(angle)",
            "return (1 - share) * first + share * last")

section = faults_in("cifar_utils/evaluation.py", "test_evaluation")
section.add("reconstructions_not_cut", "reconstructions are not cut to [0, 1]",
            "_apply(model, examples, UNIT_RANGE).clamp(0, 1)", "_apply(model, examples, UNIT_RANGE)")

section = faults_in("cifar_utils/codec.py", "test_codec")
section.add("other_network_accepted", "a file of another network is decoded all the same",
            "if digest != _digest(model):", "if not digest:")
section.add("checksum_not_looked_at", "an altered file is decoded all the same",
            "if zlib.crc32(content[: -4]) != _CHECK.unpack_from(content, expected - _CHECK.size)[1]:", "if not content:")
section.add("bits_of_the_latents_only", "header and tables are not counted",
            "return self.header + self.tables + self.latents", "return self.latents")

# ---------------------------------------------------------------------------------------------------------- metrics

section = faults_in("cifar_utils/evaluation.py", "test_evaluation")
section.add("augmentation_on_test", "test images are mirrored at random",
            "batch_size=250, normalisation=normalisation", "batch_size=250, flip=True, normalisation=normalisation")
section.add("prediction_in_training_mode", "dropout stays on while predicting",
            "    model.eval()\n", "")
section.add("own_normalisation_ignored", "predictions always standardise",
            "normalisation, examples = split.normalisation, split.examples", "examples = split.examples")
section.add("macro_for_micro", "accuracy is the mean over classes",
            '"accuracy": predictions.correct.double().mean().item()', '"accuracy": float(present["recall"].mean())')
section.add("weighted_for_macro", "F1 weighs classes by their size",
            '**{name: float(table[name].mean()) for name in ("precision", "recall", "f1", "specificity")}',
            '**{name: float(np.average(table[name], weights=table["support"])) '
            'for name in ("precision", "recall", "f1", "specificity")}')
section.add("confusion_transposed", "rows are predictions",
            "labels, count).numpy()", "labels, count).numpy().T")
section.add("calibration_in_five_bins", "calibration error by 5 bins instead of 15",
            "n_bins=15)", "n_bins=5)")
section.add("precision_is_recall", "the precision column holds the recall",
            '"precision": classification.multiclass_precision(', '"precision": classification.multiclass_recall(')
section = faults_in("cifar_utils/analysis.py", "test_analysis")
section.add("temperature_multiplies", "a higher temperature makes surer",
            "return Predictions(predictions.logits / temperature,", "return Predictions(predictions.logits * temperature,")
section.add("suspicion_reversed", "the surest labels are the suspects",
            "torch.sigmoid(other - given)", "torch.sigmoid(given - other)")
section.add("cheap_cross_validation", "the folds' models have seen what they judge",
            "train_one(examples[rest], fold)", "train_one(examples, fold)")
section = faults_in("cifar_utils/experiments.py", "test_experiments")
section.add("interval_of_90_per_cent", "the 95 % interval is one of 90 %",
            "** 0.5 * stats.t.ppf(0.975,", "** 0.5 * stats.t.ppf(0.95,")
section = faults_in("cifar_utils/runs.py", "test_runs")
section.add("error_for_deviation", "the standard error goes by the name of the deviation",
            "float(stdev(values))", "float(stdev(values)) / len(values) ** 0.5")
section.add("half_written_files", "files are written in place",
            'path.with_name(f".{path.name}.{os.getpid()}.part")', "path")

# ------------------------------------------------------------------------------------------------------------ plots

section = faults_in("cifar_utils/plotting.py", "test_plotting")
section.add("unnormalised_image", "a standardised image is drawn as it is",
            "    if not (image.min() >= -0.5 and image.max() <= 1.5):", "    if False:")
section.add("axes_swapped", "the confusion matrix's axes have each other's label",
            '_finish(panel, title, "predicted class", "true class")', '_finish(panel, title, "true class", "predicted class")')
section.add("confusion_by_column", "per cent of the predicted class, not of the true one",
            "counts.sum(1, keepdims=True)", "counts.sum(0, keepdims=True)")
section.add("star_at_the_minimum", "the star marks the lowest loss, not the kept epoch",
            "panel.plot(history.best_epoch, curve.loc[history.best_epoch], marker=",
            "panel.plot(curve.idxmin(), curve.min(), marker=")
section.add("epochs_called_steps", "the loss graph's axis says step",
            'title if len(metrics) == 1 else "", "epoch",', 'title if len(metrics) == 1 else "", "step",')
section.add("curves_exchanged", "validation is drawn dashed, training solid",
            '_SPLIT_DASHES: dict[str, Any] = {"train": "--",', '_SPLIT_DASHES: dict[str, Any] = {"val": "--",')
section.add("alternative_text_optional", "a figure without description passes",
            "    if len(alt) < 60:\n", "    if False:\n")

# ------------------------------------------------------------------------------------------------ claims, regression

section = faults_in("cifar_utils/claims.py", "test_claims")
section.add("one_sided_interval", "the 95 % prediction interval is one of 90 %",
            "stats.t.ppf(0.5 + level / 2, n - 1)", "stats.t.ppf(level, n - 1)")
section.add("interval_of_the_mean", "the interval of the mean taken for that of a run",
            "* spread * (1 + 1 / n) ** 0.5", "* spread * (1 / n) ** 0.5")
section.add("direction_reversed", "what contradicts a claim confirms it",
            '"confirmed" if bottom > 0 else "refuted" if top < 0', '"refuted" if bottom > 0 else "confirmed" if top < 0')
section.add("two_runs_decide", "two runs are enough for a verdict",
            "FEWEST_RUNS = 3 ", "FEWEST_RUNS = 2 ")
section.add("counts_always_confirmed", "a wrong count is confirmed",
            '"confirmed" if value == measured else "corrected"', '"confirmed"')
section = faults_in("cifar_utils/regression.py", "test_regression")
section.add("tolerance_doubled", "twice the tolerance passes",
            "off > allowed + ROUNDING", "off > 2 * allowed + ROUNDING")
section.add("only_too_high_is_noticed", "a metric that fell passes",
            "off = abs(metrics[name] - expected)", "off = metrics[name] - expected")
section.add("verdicts_not_compared", "a changed verdict passes",
            'changed = changed_verdicts(ledger, stored["verdicts"])', "changed: list[str] = []")
section.add("missing_metrics_pass", "a metric that is no longer recorded passes",
            "sorted(reference.keys() | metrics.keys())", "sorted(reference.keys() & metrics.keys())")
section.add("substitutes_compared", "a network trained here in place of an earlier chapter's counts as a regression",
            "elif others := [model for model, path in run.weights.items() if not _as_in_reference(path)]:",
            "elif others := []:")
section.add("foreign_parameters_compared", "weights of a run with other parameters count as the reference's",
            "runs.read_json(parameters) == stored[\"parameters\"]", "bool(stored)")
section = faults_in("cifar_utils/course/reference.py", "test_course_reference")
section.add("error_for_each_metric", "an error of 1 % for each metric instead of for all",
            "FAMILY_ERROR / (2 * metrics)", "FAMILY_ERROR / 2")
section.add("no_cap", "a noisy metric has any tolerance",
            "min(max(half, kind.floor), kind.cap)", "max(half, kind.floor)")
section.add("exact_by_chance", "an accuracy that agreed in two runs must agree for ever",
            "_model_of(name) not in varying_models or (kind_of(name).whole and _same(values))", "True")
section.add("first_losses_over_seeds", "a first loss is expected at its mean over seeds, which no run has",
            "again[name] if kind_of(name).seeded else values", "values")

# ------------------------------------------------------------------------------------ the runner and stored outputs

section = faults_in("cifar_utils/course/execute.py", "test_course_run")
section.add("failed_passes_for_done", "a chapter whose summary says failed counts as done",
            'if entry.get("status") != "done" or not all(', "if not all(")
section.add("earlier_results_count", "results of an earlier attempt pass for this one's",
            '    for path in (own / "metrics.json", own / "executing.ipynb",', '    for path in (own / "executing.ipynb",')
section.add("interrupt_does_not_wait", "Ctrl-C does not wait for the notebook that is still being written",
            "while not watch.ended.wait(timeout=1) and time.monotonic() < end:", "while time.monotonic() > end:")
section.add("notebook_written_over", "the notebook that is being executed is written over in place",
            "    _register_whole_files(output.parent)\n", "")
section = faults_in("cifar_utils/course/fingerprint.py", "test_course_run", "test_course")
section.add("helpers_not_looked_at", "a changed helper does not make its chapters run again",
            '"modules": modules(root, [text for kind, _, text in source if kind == "code"])', '"modules": {}')
section = faults_in("cifar_utils/course/outputs.py", "test_notebooks")
section.add("errors_published", "a stored error passes",
            '            problems.append(f"{output.ename}: {output.evalue}")\n', "            pass\n")

# ------------------------------------------------------------------------------------------------------- chapter 8

section = faults_in("cifar_utils/models.py", "test_models")
section.add("whitening_trained", "the whitening filters are trained away",
            "self.first.weight.requires_grad_(not whitening)", "self.first.weight.requires_grad_(True)")
section.add("whitening_one_sign", "both halves of the whitening filters have the same sign",
            "torch.cat([filters, -filters])", "torch.cat([filters, filters])")
section.add("whitening_by_variance", "directions are divided by the variance, not the deviation",
            "(variances + 5e-4).sqrt()", "(variances + 5e-4)")
section.add("identity_left_out", "every convolution begins at random",
            "nn.init.dirac_(layer.weight.detach()[:before])", "nn.init.dirac_(layer.weight.detach()[:0].clone())")
section.add("norm_after_activation", "batch norm comes after the activation",
            "return [norm, nn.GELU()]", "return [nn.GELU(), norm]")
section.add("odd_pixel_pooled", "pooling an odd map begins with its second row",
            "[:, : 2 * height, : 2 * width]", "[:, -2 * height :, : 2 * width]")
section = faults_in("cifar_utils/optimizers.py", "test_optimizers", "test_training")
section.add("filters_not_moved", "Muon works on a copy of the filters",
            "nn.Parameter(_as_matrix(p.detach(), p))", "nn.Parameter(_as_matrix(p.detach().clone(), p))")
section.add("filter_gradients_pile_up", "gradients of the filters are never forgotten",
            "            parameter.grad = None\n", "            pass\n")
section.add("biases_slow", "biases learn no faster than weights",
            '"lr": bias_factor * lr, "weight_decay": weight_decay / bias_factor}',
            '"lr": lr, "weight_decay": weight_decay / bias_factor}')
section.add("muon_state_lost", "a resumed training forgets Muon's momentum",
            "        super().load_state_dict(state_dict)\n", "        pass\n")
section.add("no_nesterov", "momentum without Nesterov's look ahead",
            "momentum=momentum, nesterov=True,\n", "momentum=momentum, nesterov=False,\n")
section = faults_in("cifar_utils/batches.py", "test_batches")
section.add("edge_twice", "a mirrored border repeats the edge itself",
            "return size - 1 - (size - 1 - places).abs()", "return (size - 1 - (size - places).abs()).clamp(0)")
section.add("border_ignored", "the border is always black",
            "widen(examples.images, shift, border)", 'widen(examples.images, shift, "black")')
section = faults_in("cifar_utils/evaluation.py", "test_evaluation")
section.add("moved_views_heavy", "moved views count as much as all views together",
            "self._both_ways(wider[..., :-2, :-2])) / 4", "self._both_ways(wider[..., :-2, :-2])) / 2")
section.add("mirror_upside_down", "the second view stands on its head",
            "inputs.flip(3)", "inputs.flip(2)")
section.add("views_leave_evaluation_mode", "after predicting with views a model is back in training mode",
            "        self.training = model.training  # to be left as it was\n", "")
section = faults_in("cifar_utils/training.py", "test_training")
section.add("average_held_back", "the average remembers its first step too well",
            "(1 - decay) / (1 - decay ** (int(count) + 1))", "1 - decay")
section = faults_in("cifar_utils/plotting.py", "test_plotting")
section.add("gain_of_the_next", "a ladder writes the next change's gain beside a change",
            "gains = np.diff(values, prepend=values[0])", "gains = np.diff(values, append=values[-1])")
section = faults_in("cifar_utils/course/checks.py", "test_course_checks")
section.add("failed_check_forgotten", "a long check that fails is not named",
            "failed += [check.name] * bool(process.returncode)", "failed += []")
section.add("check_begins_too_early", "a chapter is checked before those whose weights it takes",
            "if not check.after & open_ends]", "if True]")

# ---------------------------------------------------------------------------------------------- found by an audit

section = faults_in("cifar_utils/training.py", "test_training")
section.add("average_not_validated", "validation measures the last weights, not the average that is kept",
            "evaluated = self.average.module if self.average is not None else self.model", "evaluated = self.model")
section.add("best_epoch_lost", "a resumed training forgets which epoch was the best",
            'self.best_epoch = header["best_epoch"]', "self.best_epoch = 0")
section.add("seed_not_in_settings", "a finished training of another seed is taken",
            '"keep": keep, "seed": seed,\n', '"keep": keep,\n')
section.add("normalisation_not_stored", "a checkpoint says another normalisation than that of its training",
            "normalisation=train.normalisation,", "normalisation=type(train.normalisation)((0, 0, 0), (1, 1, 1)),")
section = faults_in("cifar_utils/claims.py", "test_claims")
section.add("claim_one_sided", "a claim far above what was measured counts as confirmed",
            "low <= top and high >= bottom", "high >= bottom")
section.add("claim_columns_exchanged", "the table shows what was measured under what is said",
            "(claim.source, claim.says, claim.measured + guess,", "(claim.source, claim.measured + guess, claim.says,")
section = faults_in("cifar_utils/plotting.py", "test_plotting")
section.add("bars_misnamed", "bars bear each other's names",
            "panel.set_yticks(range(len(names)), [_label(name) for name in names])\n    panel.invert_yaxis()\n"
            '    panel.grid(axis="y", visible=False)\n    panel.set_xscale',
            "panel.set_yticks(range(len(names)), [_label(name) for name in names[::-1]])\n    panel.invert_yaxis()\n"
            '    panel.grid(axis="y", visible=False)\n    panel.set_xscale')
section.add("points_in_other_colours", "points in the plane have the colours of other classes",
            "[_array(labels)[order]]", "[_array(labels)]")
section = faults_in("cifar_utils/batches.py", "test_batches")
section.add("cutout_on_the_diagonal", "squares are cut out on the diagonal only",
            "(columns >= column[:, None] - low) & (columns < column[:, None] + high)",
            "(columns >= row[:, None] - low) & (columns < row[:, None] + high)")
section.add("flip_by_place", "which image is mirrored depends on its place in the batch",
            "torch.where(mirrored[chosen, None],", "torch.where(mirrored[:count, None],")
section.add("sizes_start_over", "after the last of the sizes the images become small again",
            "self.sizes[min(number, len(self.sizes) - 1)]", "self.sizes[number % len(self.sizes)]")
section.add("sizes_by_thinning", "images are made smaller by leaving out pixels",
            'mode="bilinear", antialias=True)', 'mode="nearest")')
section = faults_in("cifar_utils/training.py", "test_training")
section.add("sizes_not_in_digest", "a finished training on images of other sizes is taken for this one",
            "batches.cutout, batches.sizes,", "batches.cutout,")
section = faults_in("cifar_utils/evaluation.py", "test_evaluation")
section.add("absent_class_counts", "a class without images counts as never recognised",
            'present = table[table["support"] > 0]', "present = table")
section.add("ssim_range", "SSIM is told that pixels reach to 2",
            '*part, data_range=1.0, reduction="none"', '*part, data_range=2.0, reduction="none"')
section = faults_in("cifar_utils/analysis.py", "test_analysis")
section.add("folds_without_seed", "folds are the same for every seed", "random_state=seed", "random_state=0")
section = faults_in("notebooks/03_cnn.ipynb", "test_notebooks")
section.add("test_is_validation", "what is called the test split is the validation split",
            'splits.val, splits.test.subset(test_size)', 'splits.val, splits.val.subset(test_size)')
section = faults_in("notebooks/02_mlp.ipynb", "test_notebooks")
section.add("wrong_variable", "a sentence on one model tells of another",
            'b=gap_of("mlp_exercise5"), c=val_to_test(', 'b=gap_of("mlp_best"), c=val_to_test(')

# ------------------------------------------------------------------------------------------------------------- text

section = faults_in("notebooks/03_cnn.ipynb", "test_notebooks", "test_exercises")
section.add("setting_changed", "a chapter's learning rate is ten times as high",
            "learning_rate: float = 1e-3  # Adam's", "learning_rate: float = 1e-2  # Adam's")
section.add("claim_misquoted", "a source's number is copied wrongly",
            "CNN with two convolutions: 67–70 %", "CNN with two convolutions: 76–79 %")
section.add("claimed_value_mistyped", "another number than the claim's own is put to the test",
            "0.665, 0.705", "0.765, 0.805")
section.add("solution_wrong", "an exercise's solution forgets the bias",
            "return filters * (channels * kernel_size**2 + 1)", "return filters * channels * kernel_size**2")
section.add("self_check_lenient", "a self-check accepts the usual mistake",
            "cases = [((32, 64, 3), 18_496), ((3, 32, 3), 896), ((1, 4, 5), 104), ((64, 10, 1), 650)]",
            "cases = [((1, 1, 1), 2)]")
section = faults_in("book/how_to_read.md", "test_course_pages")
section.add("number_without_source", "a page names a number that no run recorded",
            "{measured}`e5_test_loss`", "{measured}`e5_tset_loss`")
section = faults_in("book/glossary.md", "test_course_pages")
section.add("glossary_out_of_order", "a term stands in the wrong place",
            "\n\nchannel\n  One of", "\n\nvalue channel\n  One of")
section = faults_in("book/quizzes/03_cnn.yml", "test_course_pages")
section.add("quiz_without_answer", "a question has no right answer",
            "In the convolutions.\n      right: true", "In the convolutions.\n      right: false")
section = faults_in("book/troubleshooting.md", "test_course_pages")
section.add("message_misquoted", "a message that the code does not say is explained",
            "metrics lie outside their tolerance:`", "metrics are outside their tolerance:`")
