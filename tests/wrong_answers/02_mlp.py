"""Plausible wrong answers to the exercises of chapter 2: each self-check must reject them and say why."""

WRONG = {
    "dense-parameters": [
        "def dense_parameters(widths):\n"
        "    return sum(before * after for before, after in itertools.pairwise(widths))\n",
        "def dense_parameters(widths):\n"
        "    return sum(a * b + b for a, b in itertools.pairwise(widths[:-1]))\n",
        "def dense_parameters(widths):\n"
        "    return sum(a * b + a for a, b in itertools.pairwise(widths))\n",
    ],
    "stable-cross-entropy": [
        "def cross_entropy(logits, labels):\n"
        "    p = logits.exp() / logits.exp().sum(1, keepdim=True)\n"
        "    return -p[torch.arange(len(labels)), labels].log().mean()\n",
        "def cross_entropy(logits, labels):\n"
        "    return -logits.log_softmax(1)[torch.arange(len(labels)), labels].sum()\n",
        "def cross_entropy(logits, labels):\n"
        "    return logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()\n",
        "def cross_entropy(logits, labels):\n"
        "    return -logits.log_softmax(0)[torch.arange(len(labels)), labels].mean()\n",
        "def cross_entropy(logits, labels):\n"
        "    return -logits.log_softmax(1)[torch.arange(len(labels)), labels]\n",
        "def cross_entropy(logits, labels):\n"
        "    return -(logits.log_softmax(1) / math.log(2))[torch.arange(len(labels)), labels].mean()\n",
    ],
    "one-step": [
        "def step(weights, bias, inputs, labels, learning_rate):\n"
        "    pull = ((inputs @ weights.T + bias).softmax(1) - functional.one_hot(labels, len(bias))) / len(labels)\n"
        "    return weights + learning_rate * pull.T @ inputs, bias + learning_rate * pull.sum(0)\n",
        "def step(weights, bias, inputs, labels, learning_rate):\n"
        "    pull = (inputs @ weights.T + bias).softmax(1) - functional.one_hot(labels, len(bias))\n"
        "    return weights - learning_rate * pull.T @ inputs, bias - learning_rate * pull.sum(0)\n",
        "def step(weights, bias, inputs, labels, learning_rate):\n"
        "    pull = ((inputs @ weights.T + bias).softmax(1) - functional.one_hot(labels, len(bias))) / len(labels)\n"
        "    return weights - pull.T @ inputs, bias - pull.sum(0)\n",
        "def step(weights, bias, inputs, labels, learning_rate):\n"
        "    pull = ((inputs @ weights.T + bias).softmax(1) - functional.one_hot(labels, len(bias))) / len(labels)\n"
        "    return weights - learning_rate * pull.T @ inputs, bias - learning_rate * pull.mean(0)\n",
        "def step(weights, bias, inputs, labels, learning_rate):\n"
        "    pull = (inputs @ weights.T + bias).softmax(1) / len(labels)\n"
        "    return weights - learning_rate * pull.T @ inputs, bias - learning_rate * pull.sum(0)\n",
    ],
}
