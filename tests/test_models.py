"""Models: counts that the course states, shapes, and networks that are what their text says."""

import pytest
import torch
from sklearn.decomposition import PCA

from cifar_utils import checkpoints, models
from cifar_utils.batches import UNIT_RANGE


@pytest.mark.parametrize(("model", "parameters"), [
    (models.Linear(), 30_730), (models.MLP((256,)), 789_258), (models.MLP(), 1_738_890), (models.CNN(), 545_098),
])
def test_parameter_counts(model, parameters):
    assert models.parameter_count(model) == parameters
    assert models.layer_table(model)["parameters"].sum() == parameters
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("pool", ["max", "average", "stride", "none"])
def test_cnn_accepts_every_pooling_and_kernel(pool):
    model = models.CNN((4, 6), kernel_size=5, dense=(8, 7), dropout=0.1, pool=pool)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_pooling_before_relu_gives_the_published_order_exactly():
    torch.manual_seed(0)
    model, inputs = models.CNN(), torch.randn(4, 3, 32, 32)
    maps = inputs
    for layer in model.features:
        if isinstance(layer, torch.nn.Conv2d):
            maps = torch.nn.functional.max_pool2d(layer(maps).relu(), 2)
    assert torch.equal(model.features(inputs), maps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 8, 6), (2, 4, 7, 6), (2, 3, 6, 5), (2, 3, 31, 31)],
                         ids=["even", "odd height", "odd width", "odd"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "contiguous"])
def test_maximum_pooling_and_its_gradient_are_those_of_the_library(layout, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    values = torch.randperm(torch.Size(shape).numel(), generator=generator).view(shape)  # no two alike in float32
    maps = (values - 100).to(dtype).contiguous(memory_format=layout).requires_grad_()
    theirs = torch.nn.functional.max_pool2d(maps, 2)
    ours = models.MaxPool()(maps)
    assert torch.equal(ours, theirs)
    weights = torch.randn(theirs.shape, generator=generator).to(dtype)
    expected, = torch.autograd.grad(theirs, maps, weights)
    found, = torch.autograd.grad(ours, maps, weights)
    if dtype is torch.float32:
        assert torch.equal(found, expected)
    sums = [torch.nn.functional.avg_pool2d(gradient.float(), 2) for gradient in (found, expected)]
    assert torch.equal(*sums)  # where bfloat16 makes two values equal, either place may get the gradient


def test_of_equal_maxima_exactly_one_gets_the_gradient():
    maps = torch.zeros(1, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    models.MaxPool()(maps).sum().backward()
    assert maps.grad.sum() == 12 and maps.grad.count_nonzero() == 12


def test_glorot_draws_within_its_bounds():
    model = models.glorot(models.CNN())
    weight = model.features[3].weight
    bound = (6 / (9 * 32 + 9 * 64)) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound
    assert all(not layer.bias.any() for layer in model.modules() if hasattr(layer, "bias"))


def test_compute_of_a_training_image():
    flops = {k: models.train_mflop(models.CNN(kernel_size=k)) for k in (1, 3, 5, 7)}
    assert {k: round(v, 1) for k, v in flops.items()} == {1: 6.7, 3: 35.0, 5: 91.6, 7: 176.6}


@pytest.mark.parametrize(("size", "features"), [(16, 64 * 4 * 4), (32, 64 * 8 * 8), (64, 64 * 16 * 16)])
def test_cnn_of_another_image_size(size, features):
    model = models.CNN(image_size=size)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)
    assert model.dense_layers[0].in_features == features
    convolutions = models.layer_table(model)["MFLOP"].iloc[[0, 3]].sum()  # in proportion to the pixels
    assert convolutions == pytest.approx(11.206656 * (size / 32) ** 2)


def test_two_small_convolutions_see_as_far_as_one_larger():
    fields = {}
    for name, model in {"5": models.CNN((2, 3), 5), "3+3": models.CNN((2, 3), 3, convolutions_per_block=2)}.items():
        image = torch.rand(1, 3, 32, 32).requires_grad_()
        models.glorot(model).features(image)[0, :, 4, 4].sum().backward()
        rows = image.grad.abs().sum((0, 1, 3)).nonzero()
        fields[name] = int(rows.max() - rows.min()) + 1
        assert models.layer_table(model)["parameters"].sum() == models.parameter_count(model)
    assert fields["5"] <= 16 and fields["3+3"] <= 16 and max(fields.values()) > 10


def test_glorot_draws_uniform_weights_and_no_biases():
    torch.manual_seed(0)
    model = models.glorot(models.CNN())
    weights = model.features[3].weight.detach()  # (64, 32, 3, 3)
    limit = (6 / (9 * (weights.shape[0] + weights.shape[1]))) ** 0.5
    assert weights.abs().max() <= limit
    assert weights.std() == pytest.approx(limit / 3 ** 0.5, rel=0.02)
    assert all(not layer.bias.any() for layer in model.modules() if hasattr(layer, "bias") and layer.bias is not None)


def test_layer_table_leaves_the_model_as_it_was():
    model = models.CNN(dropout=0.3).train()
    table = models.layer_table(model)
    assert model.training
    assert table["output shape"].iloc[-1] == (10,)
    assert not any(layer._forward_hooks for layer in model.modules())


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="pool"):
        models.CNN(pool="min")
    with pytest.raises(ValueError, match="odd"):
        models.CNN(kernel_size=4)
    with pytest.raises(ValueError, match="image_size=3"):
        models.CNN(image_size=3)
    with pytest.raises(ValueError, match="convolutions_per_block=0"):
        models.CNN(convolutions_per_block=0)


@pytest.mark.parametrize("model", [models.Linear(), models.MLP((7, 5), 0.2),
                                   models.CNN((3,), 5, (4, 4), 0.1, "average"),
                                   models.CNN((3, 4), convolutions_per_block=3, image_size=12),
                                   models.Autoencoder(5, 4, False)])
def test_arguments_build_the_same_model_again(model):
    again = type(model)(**models.arguments_of(model))
    assert models.arguments_of(again) == models.arguments_of(model)
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("model", [models.MLP((12, 12)), models.CNN((4, 4), dense=(12, 12))], ids=["MLP", "CNN"])
def test_there_is_an_activation_between_any_two_layers_with_weights(model):
    layers = [layer for layer in model.modules() if not list(layer.children())]
    weighted = [hasattr(layer, "weight") for layer in layers]
    between = "".join("w" if has else "a" if isinstance(layer, torch.nn.ReLU) else "."
                      for has, layer in zip(weighted, layers)).replace(".", "")
    assert between in ("wawaw", "wawawawaw")


@pytest.mark.parametrize(("model", "places"), [
    (models.MLP((12, 12), dropout=0.25), 2), (models.CNN((4, 4), dense=(12, 12), dropout=0.25), 2)], ids=["MLP", "CNN"])
def test_dropout_goes_where_dense_layers_are(model, places):
    assert [layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)] == [0.25] * places


def test_an_untrained_autoencoder_is_pca():
    pixels = torch.rand(50, 3, 32, 32)
    fitted = PCA(7).fit(pixels.flatten(1).numpy())
    mean, components = torch.from_numpy(fitted.mean_), torch.from_numpy(fitted.components_)
    model = models.Autoencoder(7, width=4).start_at_pca(mean, components)
    latents = fitted.transform(pixels.flatten(1).numpy())
    with torch.no_grad():
        assert torch.allclose(model.encode(pixels), torch.from_numpy(latents), atol=1e-4)
        decoded = torch.from_numpy(fitted.inverse_transform(latents)).view_as(pixels)
        assert torch.allclose(model(pixels), decoded, atol=1e-4)


@pytest.mark.parametrize("linear_path", [True, False])
def test_every_part_of_an_autoencoder_learns(linear_path):
    torch.manual_seed(0)
    model, pixels = models.Autoencoder(6, 4, linear_path), torch.rand(8, 3, 32, 32)
    assert model.encode(pixels).shape == (8, 6) and model.decode(torch.zeros(8, 6)).shape == pixels.shape
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(3):  # what starts at zero lets nothing through at first
        optimizer.zero_grad()
        (model(pixels) - pixels).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_components_of_another_shape_are_refused():
    mean, components = torch.zeros(3072), torch.zeros(5, 3072)
    with pytest.raises(ValueError, match="latent_dim=6"):
        models.Autoencoder(6, 4).start_at_pca(mean, components)
    with pytest.raises(ValueError, match="linear_path=False"):
        models.Autoencoder(5, 4, linear_path=False).start_at_pca(mean, components)
    with pytest.raises(ValueError, match="latent"):
        models.Autoencoder(0)


# ---------------------------------------------------------------- variational autoencoders


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    components = torch.linalg.qr(torch.randn(3072, 6))[0].T
    return models.Autoencoder(6, 8).start_at_pca(torch.full((3072,), 0.4), components)


def test_a_residual_block_adds_its_change_to_the_maps():
    torch.manual_seed(0)
    block = models.ResidualBlock(4)
    maps = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(maps), maps + block.change(maps))
    assert 0 < block.change(maps).std() < 0.5 * maps.std()


def test_a_vae_begins_as_the_autoencoder_that_it_comes_from(autoencoder):
    pixels = torch.rand(200, 3, 32, 32)
    vae = models.VAE.from_autoencoder(autoencoder, pixels)
    with torch.no_grad():
        mean, log_variance = vae.encode(pixels)
        assert torch.allclose(vae(pixels), autoencoder(pixels), atol=1e-5)
        assert torch.allclose(mean.mean(0), torch.zeros(6), atol=1e-4)
        assert torch.allclose(mean.std(0), torch.ones(6), atol=1e-4)
        error = (autoencoder(pixels) - pixels).square().mean()
        assert vae.log_sigma.exp().square().item() == pytest.approx(error.item(), rel=1e-4)
        # What probabilistic PCA has: a latent of variance s² that is seen through noise of variance e.
        spread = autoencoder.encode(pixels).var(0)
        assert torch.allclose(log_variance.exp(), (error / (spread + error)).expand(200, 6), rtol=1e-3)
        grey, log_grey_variance = vae.likelihood(mean)
        assert torch.allclose(grey, 255 * autoencoder(pixels) + 0.5, atol=1e-2)
        assert (0.5 * log_grey_variance).exp().item() == pytest.approx(255 * error.sqrt().item(), rel=1e-4)


@pytest.mark.parametrize("linear_path", [True, False])
def test_a_vae_comes_back_from_its_file(tmp_path, linear_path):
    torch.manual_seed(0)
    vae = models.VAE(5, 8, linear_path)
    vae.latent_std.fill_(2)
    path = checkpoints.save(tmp_path / "vae.safetensors", vae, normalisation=UNIT_RANGE)
    found = checkpoints.load(path, "VAE").model
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(found(inputs), vae(inputs))
    with pytest.raises(checkpoints.CheckpointError, match="holds a VAE, not the CNN"):
        checkpoints.load(path, "CNN")


def test_a_vae_is_by_default_built_as_the_default_autoencoder_whose_weights_it_takes_over():
    vae, autoencoder = models.VAE(), models.Autoencoder()
    assert models.arguments_of(vae) == models.arguments_of(autoencoder)
    vae.autoencoder.load_state_dict(autoencoder.state_dict())


def test_a_spatial_vae_says_at_first_that_whitened_numbers_are_standard_normal():
    model = models.SpatialVAE(3, 8)
    white = torch.randn(2, 3, 32, 32)
    mean, log_variance = model.encode(white)
    assert mean.shape == log_variance.shape == (2, 3, 8, 8) == (2, *model.latent_shape)
    guess, spread = model.likelihood(mean)
    assert guess.shape == spread.shape == white.shape
    assert not guess.any() and not spread.any()


def test_a_spatial_vaes_deviations_stay_within_bounds():
    model = models.SpatialVAE(3, 8)
    torch.nn.init.normal_(model.decoder[-2].weight, std=100)
    spread = model.likelihood(torch.randn(2, 3, 8, 8))[1]
    assert 7 < spread.abs().max() <= 8


# ------------------------------------------------------------------------------------------------------- chapter 8


def test_fast_cnn_has_the_layers_of_its_description():
    model = models.FastCNN()
    shapes = models.layer_table(model)
    assert shapes.loc[shapes["layer"].str.startswith("convolution"), "output shape"].tolist() == [
        (24, 31, 31), (64, 31, 31), (64, 15, 15), (256, 15, 15), (256, 7, 7), (256, 7, 7), (256, 3, 3)]
    filters = 24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256
    shifts = 2 * (64 + 256 + 256)
    assert models.parameter_count(model) == 24 + 9 * filters + shifts + 2560  # the whitening filters are not trained
    with_biases = models.FastCNN(batch_norm=False, whitening=False)
    assert models.parameter_count(with_biases) == 24 + 24 * 12 + 9 * filters + shifts + 2560
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in model.modules()) == 6
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in with_biases.modules())
    assert sum(isinstance(layer, torch.nn.GELU) for layer in model.modules()) == 7
    block = ["Conv2d", "MaxPool", "BatchNorm2d", "GELU", "Conv2d", "BatchNorm2d", "GELU"]
    assert [type(layer).__name__ for layer in model.blocks] == ["GELU", *3 * block, "AdaptiveMaxPool2d"]
    with pytest.raises(ValueError, match="three blocks"):
        models.FastCNN((64, 256))


def test_fast_cnn_gives_small_logits_at_first():
    torch.manual_seed(0)
    model, inputs = models.FastCNN((8, 16, 16)), torch.randn(50, 3, 32, 32)
    features = model.whiten(inputs).blocks(model.first(inputs)).flatten(1)
    assert features.shape == (50, 16)
    assert torch.allclose(model(inputs), features @ model.classify.weight.T / 9, atol=1e-6)


def test_whitened_patches_have_unit_covariance_in_both_signs():
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(40, 3, 36, 36), 5, stride=1)  # neighbours are alike
    inputs = 20 * smooth + torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1)
    model = models.FastCNN((4, 4, 4)).whiten(inputs)
    with torch.no_grad():
        responses = model.first(inputs).transpose(0, 1).flatten(1)  # (24, places)
    covariance = responses[:12].double().cov()
    assert torch.allclose(covariance, torch.eye(12).double(), atol=0.02)
    assert torch.equal(responses[12:], -responses[:12])
    assert not model.first.weight.requires_grad and model.first.bias.requires_grad
    trained = models.FastCNN((4, 4, 4), whitening=False)
    assert trained.first.weight.requires_grad
    with pytest.raises(ValueError, match="whitening=True"):
        trained.whiten(inputs)


def test_identity_start_hands_the_maps_on():
    model = models.FastCNN((32, 64, 64))
    convolutions = [layer for layer in model.blocks if isinstance(layer, torch.nn.Conv2d)]
    for layer in convolutions:
        maps = torch.randn(2, layer.in_channels, 9, 9)
        with torch.no_grad():
            assert torch.equal(layer(maps)[:, :layer.in_channels], maps)
    widening = convolutions[0].weight[24:]
    assert widening.std() > 0.01  # filters beyond the number of inputs begin at random
    torch.manual_seed(0)
    ordinary = models.FastCNN((32, 64, 64), identity=False)
    layer = next(layer for layer in ordinary.blocks if isinstance(layer, torch.nn.Conv2d))
    assert 0 < layer.weight.abs().max() < 1 / (24 * 9) ** 0.5 + 1e-6  # torch's own start


def test_batch_norm_of_the_fast_cnn_learns_a_shift_and_no_scale():
    norm = next(layer for layer in models.FastCNN((4, 4, 4)).modules() if isinstance(layer, torch.nn.BatchNorm2d))
    assert norm.bias.requires_grad and not norm.weight.requires_grad
    assert torch.equal(norm.weight, torch.ones(4))
    assert norm.momentum == 0.4


def test_fast_cnn_comes_back_from_its_checkpoint(tmp_path):
    torch.manual_seed(0)
    model = models.FastCNN((4, 6, 8), whitening=True).whiten(torch.randn(20, 3, 32, 32)).eval()
    checkpoints.save(tmp_path / "fast.safetensors", model, normalisation=UNIT_RANGE, split_seed=0)
    inputs = torch.randn(3, 3, 32, 32)
    assert torch.equal(checkpoints.load(tmp_path / "fast.safetensors").model(inputs), model(inputs))


def test_each_pooling_is_what_it_is_called():
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 32, 32)
    for pool, then in (("average", lambda maps: torch.nn.functional.avg_pool2d(maps.relu(), 2)), ("none", torch.relu),
                       ("stride", lambda maps: maps[..., ::2, ::2].relu())):
        model = models.CNN((4, 6), pool=pool)
        maps = inputs
        for layer in (layer for layer in model.features if isinstance(layer, torch.nn.Conv2d)):
            maps = then(torch.nn.functional.conv2d(maps, layer.weight, layer.bias, padding=1))
        assert torch.allclose(model.features(inputs), maps, atol=1e-5), pool


def test_layers_are_named_by_what_they_give():
    assert models.layer_table(models.CNN())["layer"].tolist() == [
        "convolution 3×3, 32 filters", "maximum pooling 2×2", "ReLU", "convolution 3×3, 64 filters",
        "maximum pooling 2×2", "ReLU", "dense, 128 units", "ReLU", "dense, 10 units"]


def test_fast_cnn_takes_smaller_images_at_less_work():
    model = models.FastCNN((8, 16, 16)).eval()
    for size in (9, 16, 20, 24, 32):
        assert model(torch.randn(2, 3, size, size)).shape == (2, 10)
    shapes = models.layer_table(model, 20)["output shape"].tolist()
    assert shapes[0] == (24, 19, 19) and (16, 4, 4) in shapes and shapes[-2:] == [(16, 1, 1), (10,)]
    assert models.layer_table(model).equals(models.layer_table(model, 32))
    # A convolution is applied at every place: 9 of 19 rows halved are those of 20 pixels, 15 of 31 those of 32.
    first_block = [models.layer_table(model, size)["MFLOP"].iloc[6] for size in (20, 32)]
    assert first_block[0] / first_block[1] == pytest.approx((9 / 15) ** 2)
    assert models.train_mflop(model, 20) < 0.4 * models.train_mflop(model)


def test_frozen_filters_cost_no_backward_pass():
    frozen, trained = (models.train_mflop(models.FastCNN((8, 16, 16), whitening=which)) for which in (True, False))
    assert trained - frozen == pytest.approx(2 * 24 * 12 * 31 * 31 / 1e6)  # the gradient of the first weights
