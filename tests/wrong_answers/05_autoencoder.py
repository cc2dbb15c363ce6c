"""Wrong answers that a reader of chapter 5 may well give; each must be told apart from the right one."""

WRONG = {
    "bits-per-pixel": [
        "def bits_per_pixel(file_bytes, images, side):\n    return file_bytes / (images * side**2)",
        "def bits_per_pixel(file_bytes, images, side):\n    return 8 * file_bytes / (images * 3 * side**2)",
        "def bits_per_pixel(file_bytes, images, side):\n    return 8 * file_bytes / side**2",
        "def bits_per_pixel(file_bytes, images, side):\n    return 8 * file_bytes / (images * side)",
    ],
    "psnr": [
        "def psnr_of(first, second, peak):\n    return 10 * np.log10(peak**2 / np.mean((first - second) ** 2))",
        "def psnr_of(first, second, peak):\n    error = np.mean((np.asarray(first, float) - second) ** 2)\n    return 10 * np.log10(error / peak**2)",
        "def psnr_of(first, second, peak):\n    error = np.mean((np.asarray(first, float) - second) ** 2)\n    return -10 * np.log10(error)",
        "def psnr_of(first, second, peak):\n    error = np.mean((np.asarray(first, float) - second) ** 2)\n    return 10 * np.log10(peak / error**0.5)",
    ],
    "pca-error": [
        "def pca_error(pixels, k):\n    values = np.linalg.svd(pixels, compute_uv=False)\n    return np.sum(values[k:] ** 2) / pixels.size",
        "def pca_error(pixels, k):\n    values = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False)\n    return np.sum(values[:k] ** 2) / pixels.size",
        "def pca_error(pixels, k):\n    values = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False)\n    return np.sum(values[k:] ** 2) / len(pixels)",
        "def pca_error(pixels, k):\n    values = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False)\n    return np.sum(values[k:] ** 2)",
        "def pca_error(pixels, k):\n    values = np.linalg.svd(pixels - pixels.mean(0), compute_uv=False)\n    return np.sum(values[k:]) / pixels.size",
    ],
}
