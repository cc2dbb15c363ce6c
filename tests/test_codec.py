"""The codec: what comes out is what the decoder makes of the rounded latents, and damaged files are refused."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar_utils import checkpoints, codec, data, models
from cifar_utils.batches import UNIT_RANGE
from cifar_utils.codec import CodecError
from cifar_utils.course import compress
from cifar_utils.course.cli import main
from cifar_utils.course.project import CourseError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shapes():
    return data.synthetic_shapes(train_size=300, test_size=60, seed=1)


def linear_autoencoder(images):
    """The first 12 principal components of a few images, by the singular values: quicker than the covariance."""
    pixels = images.flatten(1).float() / 255
    components = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False).Vh[:12]
    return models.Autoencoder(12, width=2).start_at_pca(pixels.mean(0), components).eval()


@pytest.fixture(scope="module")
def model(shapes):
    return linear_autoencoder(shapes.train.images)


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pca_12.safetensors"
    return checkpoints.save(path, model, normalisation=UNIT_RANGE, split_seed=0)


def test_the_decoded_images_are_those_of_the_rounded_latents(model, shapes):
    images = shapes.test.images
    content = codec.compress(model, images, 0.25)
    latents = (codec.latents_of(model, images) / 0.25).round() * 0.25
    assert torch.equal(codec.decompress(model, content), codec.images_of(model, latents))


def test_the_bytes_are_few_and_all_accounted_for(model, shapes):
    content = codec.compress(model, shapes.test.images, 0.25)
    sizes = codec.sizes_of(content)
    assert sizes.total == len(content) and sizes.images == 60 and sizes.step == 0.25
    assert sizes.bits_per_pixel == pytest.approx(8 * len(content) / (60 * 1024))
    latents = (codec.latents_of(model, shapes.test.images) / 0.25).round()
    ideal = torch.log2(latents.std(0) * (2 * torch.pi * torch.e) ** 0.5).sum() * 60 / 8  # entropy of the Gaussians
    assert 0.9 * ideal < sizes.latents < 1.1 * ideal + 8


def test_a_larger_step_costs_fewer_bytes_and_more_error(model, shapes):
    images = shapes.test.images
    files = [codec.compress(model, images, step) for step in (0.1, 0.5, 2.0)]
    errors = [(codec.decompress(model, file).float() - images.float()).square().mean() for file in files]
    assert len(files[0]) > len(files[1]) > len(files[2])
    assert errors[0] < errors[1] < errors[2]


def test_one_image_and_constant_latents_are_no_special_case(model, shapes):
    image = shapes.test.images[:1]
    for images in (image, image.expand(5, -1, -1, -1)):
        decoded = codec.decompress(model, codec.compress(model, images, 0.3))
        assert decoded.shape == images.shape


def test_every_altered_byte_and_every_truncation_is_noticed(model, shapes):
    content = codec.compress(model, shapes.test.images[:3], 0.5)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(CodecError):
            codec.decompress(model, bytes(changed))
    for length in (*range(60), len(content) - 1):
        with pytest.raises(CodecError):
            codec.decompress(model, content[:length])
    with pytest.raises(CodecError, match="longer"):
        codec.decompress(model, content + b"x")


def test_files_of_another_network_or_kind_are_refused(model, shapes):
    content = codec.compress(model, shapes.test.images[:3], 0.5)
    other = linear_autoencoder(shapes.test.images)
    with pytest.raises(CodecError, match="another network"):
        codec.decompress(other, content)
    with pytest.raises(CodecError, match="no file of the course's codec"):
        codec.decompress(model, b"\x89PNG and more of it, so that it is long enough")


@pytest.mark.parametrize(("images", "step", "words"), [
    (torch.zeros(2, 3, 32, 32), 0.5, "uint8"), (torch.zeros(0, 3, 32, 32, dtype=torch.uint8), 0.5, "at least one"),
    (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 0.5, "16"),
    (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 0.0, "positive"),
    (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1e-9, "larger step")])
def test_what_cannot_be_coded_is_refused(model, images, step, words):
    with pytest.raises(ValueError, match=words):
        codec.compress(model, images, step)


def test_the_chosen_step_costs_as_much_as_allowed_and_the_next_one_more(model, shapes):
    images = shapes.test.images
    step = codec.choose_step(model, images, loss_db=0.2)
    latents = codec.latents_of(model, images)

    def psnr(decoded):
        return -10 * torch.log10((decoded.float() - images.float()).square().mean())

    best = psnr(codec.images_of(model, latents))
    lost = [best - psnr(codec.images_of(model, (latents / s).round() * s)) for s in (step, step * 2**0.5)]
    assert lost[0] <= 0.2 < lost[1]


def test_steps_lie_half_a_power_of_two_apart():
    ratios = [larger / smaller for smaller, larger in itertools.pairwise(codec._STEPS)]
    assert (codec._STEPS[0], codec._STEPS[-1]) == (1 / 64, 16) and ratios == pytest.approx([2**0.5] * 20)


def test_a_fresh_process_restores_the_images_from_the_bytes(model, checkpoint, shapes, tmp_path):
    """`decompress` has nothing but the file and the network; the pictures are exactly the decoder's."""
    originals = []
    for number, pixels in enumerate(shapes.test.images[:4]):
        originals.append(tmp_path / f"in_{number}.png")
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(originals[-1])
    sizes = compress.compress(checkpoint, originals, tmp_path / "four.cifa", step=0.25)
    assert (tmp_path / "four.cifa").stat().st_size == sizes.total
    command = [sys.executable, "-m", "cifar_utils.course", "decompress", tmp_path / "four.cifa", checkpoint,
               "--output", tmp_path / "out"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "out").iterdir())
    assert [picture.name for picture in pictures] == [f"{number:05d}.png" for number in range(4)]
    restored = torch.stack([torch.from_numpy(np.array(Image.open(p))).permute(2, 0, 1) for p in pictures])
    expected = codec.decompress(model, codec.compress(model, shapes.test.images[:4], 0.25))
    assert (restored.int() - expected.int()).abs().max() <= 1  # another number of threads may round the other way


@pytest.mark.slow
def test_the_images_of_a_split_are_taken_with_a_step_chosen_on_validation(checkpoint, tmp_path, capsys):
    cifar = data.synthetic_shapes(train_size=50_000, test_size=20, seed=1)
    sizes = compress.compress(checkpoint, [], tmp_path / "a", split="test", count=7, cifar=cifar)
    assert sizes.images == 7
    assert f"7 images in {sizes.total:,} bytes" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [
    (["compress", "{checkpoint}", "--output", "{folder}/x"], "either image files, or --split"),
    (["compress", "{checkpoint}", "{folder}/no.png", "--output", "{folder}/x"], "no.png"),
    (["compress", "{checkpoint}", "{folder}/text.png", "--output", "{folder}/x"], "no image that can be read"),
    (["compress", "{checkpoint}", "{folder}/large.png", "--output", "{folder}/x"], "20 × 40 pixels"),
    (["compress", "{checkpoint}", "--split", "test", "--count", "0", "--output", "{folder}/x"], "--count is 0"),
    (["compress", "{folder}/cnn.safetensors", "{folder}/large.png", "--output", "{folder}/x"], "not the Autoencoder"),
    (["compress", "{folder}/text.png", "{folder}/large.png", "--output", "{folder}/x"], "damaged"),
    (["decompress", "{folder}/text.png", "{checkpoint}", "--output", "{folder}/out"], "no file of the course's codec"),
])
def test_mistakes_are_explained_and_write_nothing(arguments, words, checkpoint, tmp_path, capsys):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (40, 20)).save(tmp_path / "large.png")
    checkpoints.save(tmp_path / "cnn.safetensors", models.CNN((2,), dense=(3,)), normalisation=UNIT_RANGE)
    filled = [argument.format(checkpoint=checkpoint, folder=tmp_path) for argument in arguments]
    assert main(["--root", str(ROOT), *filled]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists() and not (tmp_path / "out").exists()


def test_a_wrong_step_is_explained(checkpoint, tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(CourseError, match="positive"):
        compress.compress(checkpoint, [tmp_path / "a.png"], tmp_path / "x", step=-1)
