"""Wrong answers that a reader of chapter 8 may well give; each must be told apart from the right one."""

WRONG = {
    "training-pflop": [
        "def training_pflop(mflop, images, epochs):\n    return mflop * images / 1e9",
        "def training_pflop(mflop, images, epochs):\n    return mflop * images * epochs / 1e6",
        "def training_pflop(mflop, images, epochs):\n    return mflop * images * epochs",
        "def training_pflop(mflop, images, epochs):\n    return 3 * mflop * images * epochs / 1e9",
    ],
    "identity-filters": [
        "def identity_filters(outputs, inputs):\n    filters = np.zeros((inputs, outputs, 3, 3))\n"
        "    for channel in range(min(outputs, inputs)):\n        filters[channel, channel, 1, 1] = 1\n    return filters",
        "def identity_filters(outputs, inputs):\n    filters = np.zeros((outputs, inputs, 3, 3))\n"
        "    filters[:, :, 1, 1] = 1\n    return filters",
        "def identity_filters(outputs, inputs):\n    filters = np.zeros((outputs, inputs, 3, 3))\n"
        "    for channel in range(min(outputs, inputs)):\n        filters[channel, channel, 0, 0] = 1\n    return filters",
        "def identity_filters(outputs, inputs):\n    filters = np.zeros((outputs, inputs, 3, 3))\n"
        "    for channel in range(min(outputs, inputs)):\n        filters[channel, channel] = np.eye(3)\n    return filters",
        "def identity_filters(outputs, inputs):\n    return np.ones((outputs, inputs, 3, 3)) / 9",
    ],
    "both-views": [
        "def both_views(classify, images):\n    return (classify(images) + classify(images[:, :, ::-1])) / 2",
        "def both_views(classify, images):\n    return classify(images) + classify(images[..., ::-1])",
        "def both_views(classify, images):\n    return classify(images[..., ::-1])",
        "def both_views(classify, images):\n    return classify((images + images[..., ::-1]) / 2)",
        "def both_views(classify, images):\n    return np.maximum(classify(images), classify(images[..., ::-1]))",
    ],
}
