"""Wrong answers that a reader of chapter 4 may well give; each must be told apart from the right one."""

WRONG = {
    "stack-cost": [
        "def stack_cost(kernel_size):\n    return 9 / kernel_size**2",
        "def stack_cost(kernel_size):\n    return kernel_size**2 / (9 * ((kernel_size - 1) // 2))",
        "def stack_cost(kernel_size):\n    return kernel_size / 3 * 9 / kernel_size**2",
    ],
    "paired-t": [
        "def paired_t(first, second):\n    d = np.subtract(first, second)\n    return d.mean() / d.std(ddof=1)",
        "def paired_t(first, second):\n    d = np.subtract(first, second)\n"
        "    return d.mean() / (d.std() / len(d) ** 0.5)",
        "def paired_t(first, second):\n    d = np.subtract(second, first)\n"
        "    return d.mean() / (d.std(ddof=1) / len(d) ** 0.5)",
        "def paired_t(first, second):\n    return stats.ttest_ind(first, second).statistic",
    ],
    "right-order": [
        "def right_order(difference, sigma, n):\n    return stats.norm.cdf(difference * n**0.5 / sigma)",
        "def right_order(difference, sigma, n):\n    return stats.norm.cdf(difference / (2**0.5 * sigma))",
        "def right_order(difference, sigma, n):\n    return 1 - stats.norm.cdf(difference * n**0.5 / (2**0.5 * sigma))",
        "def right_order(difference, sigma, n):\n    return stats.norm.cdf(difference * n**0.5 / (2 * sigma))",
    ],
}
