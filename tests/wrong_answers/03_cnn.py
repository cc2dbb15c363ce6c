"""Wrong answers that a reader of chapter 3 may well give; each must be told apart from the right one."""

WRONG = {
    "output-size": [
        "def output_size(size, kernel_size, stride, padding):\n    return (size + 2 * padding - kernel_size) // stride",
        "def output_size(size, kernel_size, stride, padding):\n    return (size + padding - kernel_size) // stride + 1",
        "def output_size(size, kernel_size, stride, padding):\n    return -(-(size + 2 * padding - kernel_size) // stride) + 1",
    ],
    "conv-parameters": [
        "def conv_parameters(channels, filters, kernel_size):\n    return channels * filters * kernel_size**2",
        "def conv_parameters(channels, filters, kernel_size):\n    return filters * (kernel_size**2 + 1)",
        "def conv_parameters(channels, filters, kernel_size):\n    return filters * (channels * kernel_size + 1)",
        "def conv_parameters(channels, filters, kernel_size):\n    return channels * (filters * kernel_size**2 + 1)",
    ],
    "receptive-field": [
        "def receptive_field(layers):\n    return 1 + sum(kernel - 1 for kernel, stride in layers)",
        "def receptive_field(layers):\n    return sum(kernel for kernel, stride in layers)",
        "def receptive_field(layers):\n    field, jump = 1, 1\n    for kernel, stride in layers:\n"
        "        jump *= stride\n        field += (kernel - 1) * jump\n    return field",
    ],
    "max-pool": [
        "def max_pool(image):\n    c, h, w = image.shape\n    return image.reshape(c, h // 2, 2, w // 2, 2).mean(axis=(2, 4))",
        "def max_pool(image):\n    return image[:, ::2, ::2]",
        "def max_pool(image):\n    c, h, w = image.shape\n"
        "    return np.maximum(image.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4)), 0)",
        "def max_pool(image):\n    c, h, w = image.shape\n    return image.reshape(c, h // 2, 2, w // 2, 2).max(axis=(0, 2, 4))",
    ],
}
