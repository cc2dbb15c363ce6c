"""A chapter's result in a few words."""

import pytest

from cifar_utils import runs
from cifar_utils.course import tables


@pytest.mark.parametrize(("metrics", "said"), [
    ({"cnn_kernel_3.test.accuracy": 0.561, "cnn_kernel_5.test.accuracy": 0.549, "cnn_kernel_3.val.accuracy": 0.9,
      "mlp_best_permuted.test.accuracy": 0.8, "a_broken_one.test.accuracy": 0.7},
     "CNN 3×3: 56.1% of the test images right"),
    ({"ae_64.test.over_pca_gain": 0.112, "ae_128.test.over_pca_gain": 0.117},
     "Autoencoder, 128: squared error 11.7% less than PCA's"),
    ({"gaussian.test.bits_per_dim": 4.65, "vae.test.bits_per_dim": 6.29, "vae_spatial.test.bits_per_dim": 4.06},
     "Spatial VAE: 4.06 bits a dimension"),
    ({"a_broken_one.test.accuracy": 0.7}, "not run yet")])
def test_the_result_is_that_of_the_best_model_of_the_course(tmp_path, metrics, said):
    runs.write_json(tmp_path / "03_some" / "metrics.json", metrics)
    assert tables.result(tmp_path, "03_some") == said


def test_claims_are_counted(tmp_path):
    runs.write_json(tmp_path / "03_some" / "claims.json", [{"verdict": "refuted"}, {"verdict": "refuted"}])
    assert tables.result(tmp_path, "03_some") == "claims: 2 refuted"
