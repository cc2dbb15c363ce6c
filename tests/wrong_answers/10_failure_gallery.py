"""Wrong answers that a reader of the failure gallery may well give; each must be told apart from the right one."""

WRONG = {
    "lowest-loss": [
        "def lowest_loss(classes):\n    return 0.0",
        "def lowest_loss(classes):\n    return math.log(classes)",
        "def lowest_loss(classes):\n    return math.log(1 + classes / math.e)",
        "def lowest_loss(classes):\n    return math.log(math.e / (math.e + classes - 1))",
    ],
    "dead-units": [
        "def dead_units(activations):\n    return float((activations == 0).mean())",
        "def dead_units(activations):\n    return float((activations == 0).any(0).mean())",
        "def dead_units(activations):\n    return float((activations.max(1) == 0).mean())",
        "def dead_units(activations):\n    return float((activations.max(0) > 0).mean())",
    ],
    "suspect": [
        "def suspect(train, val, crossed, dead):\n"
        "    if train - val > 0.2:\n"
        "        return 'overfitting'\n"
        "    return 'dead' if dead > 0.9 else 'healthy'",
        "def suspect(train, val, crossed, dead):\n"
        "    if dead > 0.9:\n        return 'dead'\n"
        "    if train - val > 0.2:\n        return 'labels' if val < 0.15 else 'overfitting'\n"
        "    return 'pipeline' if train - crossed > 0.2 else 'healthy'",
        "def suspect(train, val, crossed, dead):\n"
        "    if train - crossed > 0.2:\n        return 'pipeline'\n"
        "    if train - val > 0.2:\n        return 'labels' if val < 0.15 else 'overfitting'\n"
        "    return 'dead' if dead > 0.9 else 'healthy'",
        "def suspect(train, val, crossed, dead):\n"
        "    if dead > 0.9:\n        return 'dead'\n"
        "    if train - crossed > 0.2:\n        return 'pipeline'\n"
        "    return 'overfitting' if train - val > 0.2 else 'healthy'",
    ],
}
