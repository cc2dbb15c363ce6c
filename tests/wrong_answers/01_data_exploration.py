"""Plausible wrong answers to chapter 1's exercises; each self-check has to reject them, and to say why."""

WRONG = {
    "channel-mean": [
        "def channel_mean(images):\n    return images.float().mean() / 255",
        "def channel_mean(images):\n    return images.float().mean((0, 2, 3))",
        "def channel_mean(images):\n    return (images.float() / 255).mean((2, 3))",
    ],
    "components": [
        "def components_for(variances, share):\n"
        "    held = variances.sort(descending=True).values.cumsum(0) / variances.sum()\n"
        "    return int((held < share).sum())",
        "def components_for(variances, share):\n"
        "    return int((variances.cumsum(0) / variances.sum() < share).sum()) + 1",
        "def components_for(variances, share):\n    return round(share * len(variances)) + 1",
    ],
    "leaked": [
        "def leaked(train, test):\n"
        "    known = {image.numpy().tobytes() for image in train}\n"
        "    return sum(image.numpy().tobytes() in known for image in test)",
        "def leaked(train, test):\n"
        "    known = {image.numpy().tobytes() for image in train}\n"
        "    views = [*test, *(image.flip(-1).contiguous() for image in test)]\n"
        "    return sum(image.numpy().tobytes() in known for image in views)",
        "def leaked(train, test):\n"
        "    known = {image.numpy().tobytes() for image in train}\n"
        "    known |= {image.flip(1).contiguous().numpy().tobytes() for image in train}\n"
        "    return sum(image.numpy().tobytes() in known for image in test)",
    ],
    "as-layer": [
        "def as_layer(means):\n    return means, -(means**2).sum(1)",
        "def as_layer(means):\n    return 2 * means, (means**2).sum(1)",
        "def as_layer(means):\n    return 2 * means, -means.norm(dim=1)",
    ],
}
