"""Wrong answers that a reader of chapter 7 may well give; each must be told apart from the right one."""

WRONG = {
    "shared-by-chance": [
        "def shared_by_chance(a, b, images):\n    return a * b / images**2",
        "def shared_by_chance(a, b, images):\n    return min(a, b)",
        "def shared_by_chance(a, b, images):\n    return a + b - a * b / images",
    ],
    "at-temperature": [
        "def probabilities_at(logits, temperature):\n    raised = np.exp(logits / temperature)\n    return raised / raised.sum(1, keepdims=True)",
        "def probabilities_at(logits, temperature):\n    z = logits * temperature\n    raised = np.exp(z - z.max(1, keepdims=True))\n    return raised / raised.sum(1, keepdims=True)",
        "def probabilities_at(logits, temperature):\n    raised = np.exp(logits - logits.max(1, keepdims=True))\n    return raised / raised.sum(1, keepdims=True) / temperature",
        "def probabilities_at(logits, temperature):\n    raised = np.exp((logits - logits.max()) / temperature)\n    return raised / raised.sum(0)",
    ],
    "hand-over": [
        "def accuracy_of_kept(confidence, correct, share):\n    kept = np.argsort(confidence)[:len(confidence) - round(share * len(confidence))]\n    return correct[kept].mean()",
        "def accuracy_of_kept(confidence, correct, share):\n    kept = np.argsort(-confidence)[:len(confidence) - round(share * len(confidence))]\n    return correct[kept].sum() / len(correct)",
        "def accuracy_of_kept(confidence, correct, share):\n    return correct[confidence >= share].mean()",
    ],
}
