"""Wrong answers that a reader of chapter 6 may well give; each must be told apart from the right one."""

WRONG = {
    "kl": [
        "def kl_of_latent(mean, deviation):\n    return 0.5 * (mean**2 + deviation - np.log(deviation) - 1)",
        "def kl_of_latent(mean, deviation):\n    return mean**2 + deviation**2 - 2 * np.log(deviation) - 1",
        "def kl_of_latent(mean, deviation):\n    return 0.5 * (mean**2 + deviation**2 - 2 * np.log(deviation))",
        "def kl_of_latent(mean, deviation):\n    return 0.5 * (mean**2 + deviation**2 - np.log(deviation) - 1)",
        "def kl_of_latent(mean, deviation):\n    return -0.5 * (mean**2 + deviation**2 - 2 * np.log(deviation) - 1)",
    ],
    "bits": [
        "def to_bits_per_dim(log_likelihood, dimensions):\n    return -log_likelihood / (dimensions * np.log(2))",
        "def to_bits_per_dim(log_likelihood, dimensions):\n    return 8 + log_likelihood / (dimensions * np.log(2))",
        "def to_bits_per_dim(log_likelihood, dimensions):\n    return 8 - log_likelihood / dimensions",
        "def to_bits_per_dim(log_likelihood, dimensions):\n    return 8 - log_likelihood / np.log(2)",
    ],
    "survivors": [
        "def survivors(variances, sigma, beta, latents):\n    return sum(v > sigma**2 for v in variances[:latents])",
        "def survivors(variances, sigma, beta, latents):\n    return sum(v > beta * sigma for v in variances[:latents])",
        "def survivors(variances, sigma, beta, latents):\n    return sum(v > beta * sigma**2 for v in variances)",
        "def survivors(variances, sigma, beta, latents):\n"
        "    return sum(v > sigma**2 / beta for v in variances[:latents])",
    ],
}
