"""Every network of the course: small, plain, with the shape of the data beside each step.

A constructor stores its arguments under their own names, so that a checkpoint can build the model again.
"""

import inspect
import itertools
import math
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Module):
    """Softmax regression: one linear layer from the 3,072 pixel values to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(3 * 32 * 32, 10)

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32)
        return self.classify(inputs.flatten(1))  # (N, 3072) -> (N, 10)


class MLP(nn.Module):
    """Dense layers with ReLU. `hidden=(256,)` is the baseline of TDSE-03, the default that of Exercise 5."""

    def __init__(self, hidden: tuple[int, ...] = (512, 256, 128), dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.dropout = tuple(hidden), dropout
        widths = (3 * 32 * 32, *self.hidden)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(widths[-1], 10)

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32)
        features = self.features(inputs.flatten(1))  # (N, 3072) -> (N, hidden[-1])
        return self.classify(features)  # (N, 10)


class _HalveByMaximum(torch.autograd.Function):
    """2×2 maximum pooling of a channels_last map by whole-row operations: two thirds of the library's time on a CPU.

    Backward sends the gradient to the place of the maximum; of equal values the upper, then the left one gets it.
    """

    @staticmethod
    def forward(context: Any, maps: Tensor) -> Tensor:
        count, channels, *size = maps.shape
        height, width = (side // 2 for side in size)
        even = maps.permute(0, 2, 3, 1)[:, : 2 * height, : 2 * width]  # the last row and column of an odd size drop out
        rows = even.reshape(-1, 2, 2 * width * channels)  # pairs of image rows, as they lie in memory
        tallest = torch.maximum(rows[:, 0], rows[:, 1]).view(-1, 2, channels)  # pairs of neighbouring columns
        output = torch.maximum(tallest[:, 0], tallest[:, 1])
        context.size = size
        context.save_for_backward(rows, tallest, output)
        return output.view(count, height, width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        rows, tallest, output = context.saved_tensors
        count, channels, height, width = gradients[0].shape
        gradient = gradients[0].permute(0, 2, 3, 1).reshape(-1, channels)
        columns = _share(gradient, tallest, output)
        pixels = _share(columns.view(rows.shape[0], -1), rows, tallest.view(rows.shape[0], -1))
        left_out = (context.size[1] - 2 * width, context.size[0] - 2 * height)
        pixels = pixels.view(count, 2 * height, 2 * width, channels)
        if any(left_out):
            pixels = functional.pad(pixels, (0, 0, 0, left_out[0], 0, left_out[1]))
        return pixels.permute(0, 3, 1, 2)


def _share(gradient: Tensor, pairs: Tensor, maximum: Tensor) -> Tensor:
    """Give the gradient (M, K) to the first of a pair (M, 2, K) where that is the maximum, else to the second."""
    shared = torch.empty_like(pairs)
    torch.eq(pairs[:, 0], maximum, out=shared[:, 0])  # 1 or 0 in the pairs' own dtype, which multiplies fast
    shared[:, 0].mul_(gradient)
    torch.sub(gradient, shared[:, 0], out=shared[:, 1])
    return shared


class MaxPool(nn.Module):
    """2×2 maximum pooling: half the height, half the width. `torch.nn.MaxPool2d(2)`, but faster to train on a CPU."""

    def forward(self, maps: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H/2, W/2)
        if maps.device.type == "cpu" and maps.is_contiguous(memory_format=torch.channels_last):
            return _HalveByMaximum.apply(maps)
        return functional.max_pool2d(maps, 2)


class CNN(nn.Module):
    """Blocks of convolution, 2×2 pooling and ReLU, then dense layers. The default is the network of TDSE-03.

    `pool` halves height and width at the end of each block by the maximum, the average, or a stride of the convolution
    itself; "none" keeps them, so that only the dense layers see the whole image at once. With two
    `convolutions_per_block` of 3×3 a block sees as far as with one of 5×5 (chapter 4). `image_size`: pixels a side.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64), kernel_size: int = 3, dense: tuple[int, ...] = (128,),
                 dropout: float = 0.0, pool: str = "max", convolutions_per_block: int = 1,
                 image_size: int = 32) -> None:
        super().__init__()
        if pool not in ("max", "average", "stride", "none"):
            raise ValueError(f'pool must be "max", "average", "stride" or "none", got {pool!r}')
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that the padding keeps the image's size; got {kernel_size}")
        if convolutions_per_block < 1 or image_size >> (0 if pool == "none" else len(channels)) < 1:
            raise ValueError("a block needs a convolution, and the last pooling a pixel to keep; got "
                             f"convolutions_per_block={convolutions_per_block}, image_size={image_size}")
        self.channels, self.kernel_size, self.dense = tuple(channels), kernel_size, tuple(dense)
        self.dropout, self.pool = dropout, pool
        self.convolutions_per_block, self.image_size = convolutions_per_block, image_size
        blocks: list[nn.Module] = []
        size = image_size
        for before, after in zip((3, *self.channels[:-1]), self.channels):
            for _ in range(convolutions_per_block - 1):
                blocks += [nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2), nn.ReLU()]
                before = after
            stride = 2 if pool == "stride" else 1
            blocks.append(nn.Conv2d(before, after, kernel_size, stride, padding=kernel_size // 2))
            # ReLU never changes which of four values is the largest: after the pooling it has a quarter of the work.
            blocks += [MaxPool(), nn.ReLU()] if pool == "max" else [nn.ReLU()]
            if pool == "average":
                blocks.append(nn.AvgPool2d(2))
            size = size if pool == "none" else size // 2
        self.features = nn.Sequential(*blocks)
        widths = (self.channels[-1] * size * size, *self.dense)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            if dropout:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.dense_layers = nn.Sequential(*layers)
        self.classify = nn.Linear(widths[-1], 10)

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32), or of another image_size
        maps = self.features(inputs)  # (N, 32, 16, 16) -> (N, 64, 8, 8)
        rows = maps.permute(0, 2, 3, 1).flatten(1)  # (N, 4096), place by place: as channels_last maps lie in memory
        features = self.dense_layers(rows)  # (N, 128)
        return self.classify(features)  # (N, 10)


class FastCNN(nn.Module):
    """A 2×2 convolution, three blocks of two 3×3 convolutions, one linear layer: learns fast (Jordan 2024, airbench).

    Chapter 8 climbs to it step by step. `batch_norm` normalises what a convolution gives, with a learned shift and no
    learned scale. With `whitening` the first convolution is frozen: `whiten` sets it from images. With `identity` a
    3×3 convolution begins as one that hands its input on, as far as it has channels for it.
    """

    PATCH = 12  # numbers in 2×2 pixels of three colours

    def __init__(self, channels: tuple[int, int, int] = (64, 256, 256), batch_norm: bool = True,
                 whitening: bool = True, identity: bool = True) -> None:
        super().__init__()
        if len(channels) != 3 or min(channels) < 1:
            raise ValueError(f"three blocks need three positive numbers of channels, got {channels}")
        self.channels, self.batch_norm, self.whitening, self.identity = tuple(channels), batch_norm, whitening, identity
        self.first = nn.Conv2d(3, 2 * self.PATCH, 2)
        self.first.weight.requires_grad_(not whitening)
        layers: list[nn.Module] = [nn.GELU()]
        for before, after in itertools.pairwise((2 * self.PATCH, *self.channels)):
            layers += [self._convolution(before, after), MaxPool(), *self._activation(after),
                       self._convolution(after, after), *self._activation(after)]
        self.blocks = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1))  # the largest of each map, whatever its size
        self.classify = nn.Linear(self.channels[-1], 10, bias=False)

    def _convolution(self, before: int, after: int) -> nn.Conv2d:
        layer = nn.Conv2d(before, after, 3, padding=1, bias=not self.batch_norm)
        if self.identity:
            nn.init.dirac_(layer.weight.detach()[:before])  # filters beyond the number of inputs begin at random
        return layer

    def _activation(self, width: int) -> list[nn.Module]:
        if not self.batch_norm:
            return [nn.GELU()]
        norm = nn.BatchNorm2d(width, momentum=0.4)  # a short training: the running averages must follow soon
        norm.weight.requires_grad_(False)
        return [norm, nn.GELU()]

    def whiten(self, inputs: Tensor) -> "FastCNN":
        """Set the first convolution from model inputs (N, 3, 32, 32): the principal directions of their 2×2 patches,
        each divided by its deviation, and the same again with the other sign, since GELU lets only one sign through.

        Raises:
            ValueError: the first convolution is one that is trained.
        """
        if not self.whitening:
            raise ValueError("this network trains its first convolution; build it with whitening=True to whiten it")
        patches = functional.unfold(inputs.float(), 2).transpose(1, 2).reshape(-1, self.PATCH)
        variances, directions = torch.linalg.eigh(patches.T.double().cov())
        filters = (directions / (variances + 5e-4).sqrt()).T.float().view(self.PATCH, 3, 2, 2)
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([filters, -filters]))
            self.first.bias.zero_()  # type: ignore[union-attr]
        return self

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32), or fewer pixels, down to 9 a side
        maps = self.blocks(self.first(inputs))  # (N, 24, 31, 31) -> 15×15 -> 7×7 -> 3×3 -> (N, 256, 1, 1)
        return self.classify(maps.flatten(1)) / 9  # (N, 10); 9: small logits, small first steps


class ResidualBlock(nn.Module):
    """Maps plus a change of them that two 3×3 convolutions work out (pre-activation form, He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(last.weight, std=0.5 / (9 * width) ** 0.5)  # a small change at first
        self.change = nn.Sequential(nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU(), last)

    def forward(self, maps: Tensor) -> Tensor:  # (N, width, H, W), and out again
        return maps + self.change(maps)


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Autoencoder(nn.Module):
    """Images to `latent_dim` numbers and back: `encode`, `decode`, and both after one another as the forward pass.

    Inputs are pixels in [0, 1]; reconstructions are not cut to that range. With `linear_path` the latent is a linear
    map of the pixels plus what convolutions add, and the reconstruction a linear map of the latent that convolutions
    refine, as a blurred photograph is sharpened. What convolutions add starts at zero: after `start_at_pca` the
    untrained network *is* PCA. Without the path convolutions and one dense layer on either side do all the work.
    """

    def __init__(self, latent_dim: int = 128, width: int = 64, linear_path: bool = True) -> None:
        super().__init__()
        if latent_dim < 1 or width < 2:
            raise ValueError(f"an autoencoder needs a latent and two maps at least; got {latent_dim} and {width}")
        self.latent_dim, self.width, self.linear_path = latent_dim, width, linear_path
        self.look = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=4), ResidualBlock(width), ResidualBlock(width), nn.GELU(),
            nn.Conv2d(width, width // 2, 1))
        self.head = nn.Linear(width // 2 * 8 * 8, latent_dim)
        if linear_path:
            self.mean = nn.Parameter(torch.full((3 * 32 * 32,), 0.5))
            self.project = nn.Linear(3 * 32 * 32, latent_dim, bias=False)
            self.restore = nn.Linear(latent_dim, 3 * 32 * 32, bias=False)
            self.cut = nn.Conv2d(3, width, 4, stride=4)
            _start_at_zero(self.head)
        else:
            self.spread = nn.Linear(latent_dim, width * 8 * 8)
        paint = nn.Conv2d(width, 3 * 4 * 4, 3, padding=1)
        _start_at_zero(paint)
        self.refine = nn.Sequential(
            ResidualBlock(width), ResidualBlock(width), nn.GELU(), paint, nn.PixelShuffle(4))

    def start_at_pca(self, mean: Tensor, components: Tensor) -> "Autoencoder":
        """Set the linear path to PCA: mean (3072,) of the flattened pixels, components (latent_dim, 3072), unit rows.

        Raises:
            ValueError: there is no linear path, or the shapes are others.
        """
        expected = (self.latent_dim, 3 * 32 * 32)
        if not self.linear_path or components.shape != expected or mean.shape != expected[1:]:
            raise ValueError(f"PCA of shape {tuple(components.shape)} and mean {tuple(mean.shape)} do not fit an "
                             f"autoencoder with latent_dim={self.latent_dim}, linear_path={self.linear_path}")
        with torch.no_grad():
            self.mean.copy_(mean)
            self.project.weight.copy_(components)
            self.restore.weight.copy_(components.T)
        return self

    def features(self, inputs: Tensor) -> Tensor:
        """What the convolutions see: (N, 3, 32, 32) pixels to (N, 32 · width) numbers."""
        maps = self.look(4 * (inputs - 0.5))  # (N, width/2, 8, 8); 4: about unit deviation
        return maps.permute(0, 2, 3, 1).flatten(1)

    def encode(self, inputs: Tensor, features: Tensor | None = None) -> Tensor:
        """Turn pixels (N, 3, 32, 32) into latents (N, latent_dim); whoever has their `features` already gives them."""
        latents: Tensor = self.head(self.features(inputs) if features is None else features)
        return latents + self.project(inputs.flatten(1) - self.mean) if self.linear_path else latents

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents (N, latent_dim) into pixels (N, 3, 32, 32), unclamped."""
        if not self.linear_path:
            maps = self.spread(latents).view(-1, 8, 8, self.width).permute(0, 3, 1, 2)
            return 0.5 + self.refine(maps)  # (N, width, 8, 8) -> (N, 48, 8, 8) -> (N, 3, 32, 32)
        blurred = (self.restore(latents) + self.mean).view(-1, 3, 32, 32)
        return blurred + self.refine(self.cut(4 * (blurred - 0.5)))

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32), and out again
        return self.decode(self.encode(inputs))


class VAE(nn.Module):
    """The variational autoencoder of chapter 6: an `Autoencoder` whose encoder gives two numbers for each latent.

    Beside the mean there is a log-variance, read from the same features. `log_sigma` is the logarithm of the one
    deviation that the likelihood has for all pixels (in [0, 1]). Latents are the autoencoder's, shifted and scaled to
    mean 0 and deviation 1 over the images, since that is what the prior expects.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent_dim: int = 128, width: int = 64, linear_path: bool = True) -> None:
        super().__init__()
        self.latent_dim, self.width, self.linear_path = latent_dim, width, linear_path
        self.latent_shape = (latent_dim,)
        self.autoencoder = Autoencoder(latent_dim, width, linear_path)
        self.log_variance = nn.Linear(self.autoencoder.head.in_features, latent_dim)
        self.log_sigma = nn.Parameter(torch.tensor(-2.0))
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))

    @classmethod
    def from_autoencoder(cls, autoencoder: Autoencoder, pixels: Tensor) -> "VAE":
        """Take a trained autoencoder's weights; `pixels` (N, 3, 32, 32) in [0, 1] tell how its latents are spread.

        At first the mean of the latents decodes to the autoencoder's own reconstruction, sigma is that one's error, and
        the latents' variances are those of probabilistic PCA with this sigma, the same for every image.
        """
        model = cls(autoencoder.latent_dim, autoencoder.width, autoencoder.linear_path)
        model.autoencoder.load_state_dict(autoencoder.state_dict())
        with torch.no_grad():
            latents = autoencoder.encode(pixels)
            error = (autoencoder.decode(latents) - pixels).square().mean()
            model.latent_mean.copy_(latents.mean(0))
            model.latent_std.copy_(latents.std(0).clamp(min=1e-6))
            model.log_sigma.copy_(0.5 * error.log())
            nn.init.zeros_(model.log_variance.weight)
            model.log_variance.bias.copy_((error / (model.latent_std.square() + error)).log())
        return model

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:  # (N, 3, 32, 32)
        """Give mean and log-variance of the latents of pixels in [0, 1], (N, latent_dim) each."""
        features = self.autoencoder.features(inputs)
        latents = self.autoencoder.encode(inputs, features)
        return (latents - self.latent_mean) / self.latent_std, self.log_variance(features)

    def decode(self, latents: Tensor) -> Tensor:  # (N, latent_dim)
        """Turn latents into pixels (N, 3, 32, 32), unclamped: the mean of the likelihood."""
        return self.autoencoder.decode(latents * self.latent_std + self.latent_mean)

    def likelihood(self, latents: Tensor) -> tuple[Tensor, Tensor]:  # (N, latent_dim)
        """Give mean (N, 3, 32, 32) and log-variance (a scalar) of dequantised grey levels, 0 to 256."""
        return 255 * self.decode(latents) + 0.5, 2 * (self.log_sigma + math.log(255))

    def forward(self, inputs: Tensor) -> Tensor:  # (N, 3, 32, 32), and out again
        return self.decode(self.encode(inputs)[0])


class SpatialVAE(nn.Module):
    """A VAE of whitened images with a map of latents, 8×8 places of `latent_channels` each.

    The decoder gives mean *and* log-variance of each whitened number. Both begin at zero, so an untrained model is
    exactly the Gaussian that the whitening comes from; what training adds is mostly how strong the contrast of each
    place is. So the encoder is shown the numbers' strength, log(white² + 0.1), beside their size (chapter 6).
    """

    def __init__(self, latent_channels: int = 16, width: int = 64, blocks: int = 1) -> None:
        super().__init__()
        self.latent_channels, self.width, self.blocks = latent_channels, width, blocks
        self.latent_shape = (latent_channels, 8, 8)
        self.encoder = nn.Sequential(nn.Conv2d(6, width, 4, stride=4), *(ResidualBlock(width) for _ in range(blocks)))
        self.head = nn.Conv2d(width, 2 * latent_channels, 1)
        self.decoder = nn.Sequential(nn.Conv2d(latent_channels, width, 3, padding=1),
                                     *(ResidualBlock(width) for _ in range(blocks)), nn.GELU(),
                                     nn.Conv2d(width, 6 * 4 * 4, 3, padding=1), nn.PixelShuffle(4))
        for parameter in self.decoder[-2].parameters():
            nn.init.zeros_(parameter)

    def encode(self, white: Tensor) -> tuple[Tensor, Tensor]:  # (N, 3, 32, 32)
        """Give mean and log-variance of the latents, (N, latent_channels, 8, 8) each."""
        size, strength = white / (1 + white.abs()), (white.square() + 0.1).log()
        maps = self.encoder(torch.cat([size, strength], 1))  # (N, 6, 32, 32) -> (N, width, 8, 8)
        mean, log_variance = self.head(maps).chunk(2, 1)
        return mean, log_variance

    def likelihood(self, latents: Tensor) -> tuple[Tensor, Tensor]:  # (N, latent_channels, 8, 8)
        """Give mean and log-variance of each whitened number, (N, 3, 32, 32) each."""
        mean, log_variance = self.decoder(latents).chunk(2, 1)
        return mean, 8 * torch.tanh(log_variance / 8)  # no deviation under 1/55 or over 55 times the Gaussian's

    def forward(self, white: Tensor) -> Tensor:  # (N, 3, 32, 32)
        return self.likelihood(self.encode(white)[0])[0]  # (N, 3, 32, 32)


def glorot(model: nn.Module) -> nn.Module:
    """Draw the first weights anew as Keras does: uniform (Glorot & Bengio 2010), biases zero; gives the model back."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


ARCHITECTURES: dict[str, type[nn.Module]] = {
    model.__name__: model for model in (Linear, MLP, CNN, FastCNN, Autoencoder, VAE, SpatialVAE)}


def arguments_of(model: nn.Module) -> dict[str, Any]:
    """Give the constructor's arguments of a model of this module, from its attributes of the same names."""
    names = inspect.signature(type(model).__init__).parameters
    return {name: getattr(model, name) for name in names if name != "self"}


def parameter_count(model: nn.Module) -> int:
    """Count the trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _name(layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d):
        return f"convolution {layer.kernel_size[0]}×{layer.kernel_size[1]}, {layer.out_channels} filters"
    if isinstance(layer, nn.Linear):
        return f"dense, {layer.out_features} units"
    names = {"MaxPool": "maximum pooling 2×2", "AvgPool2d": "average pooling 2×2", "Dropout": "dropout",
             "AdaptiveMaxPool2d": "maximum of each map"}
    return names.get(type(layer).__name__, type(layer).__name__)


def layer_table(model: nn.Module, image_size: int | None = None) -> pd.DataFrame:
    """List the layers with a row each: layer, output shape (without N), parameters, MFLOP forward an image.

    A multiplication and its addition count as two operations; layers without weights count as none. `image_size`:
    pixels a side, by default the model's own, or 32.
    """
    rows: list[dict[str, Any]] = []

    def note(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        weights, uses = 0, 1
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weights = layer.weight.numel()
        if isinstance(layer, nn.Conv2d):
            uses = shape[1] * shape[2]  # each filter is applied at every place of its output
        rows.append({
            "layer": _name(layer), "output shape": shape, "parameters": parameter_count(layer),
            "MFLOP": 2 * weights * uses / 1e6,
        })

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(note) for layer in leaves]
    training = model.training
    try:
        size: int = getattr(model, "image_size", 32) if image_size is None else image_size
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return pd.DataFrame(rows)


def train_mflop(model: nn.Module, image_size: int | None = None) -> float:
    """Give the compute of one training image in MFLOP; `image_size` as in `layer_table`.

    The backward pass costs twice the forward pass, once for the weights and once for the layer's input; the first
    layer needs no gradient for its input, which is the image, and none for its weights where they are frozen.
    """
    forward = layer_table(model, image_size)["MFLOP"]
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    passes_less = 1 if first.weight.requires_grad else 2
    return 3 * float(forward.sum()) - passes_less * float(forward[forward > 0].iloc[0])
