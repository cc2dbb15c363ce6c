"""Optimizers with a rate of their own for each kind of parameter, for `training.fit(optimizer=...)`."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Build = Callable[..., torch.optim.Optimizer]


def nesterov(*, momentum: float = 0.85, bias_factor: float = 64) -> Build:
    """Give SGD with Nesterov's momentum (Sutskever et al. 2013) in which biases learn `bias_factor` times as fast.

    Batch norm shifts what the next activation sees by its bias alone; the factor is airbench's (Jordan 2024). The
    weight decay of biases is divided by the same factor, so that a step pulls all parameters alike.
    """
    return functools.partial(_nesterov, momentum=momentum, bias_factor=bias_factor)


def _nesterov(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, *, momentum: float,
              bias_factor: float) -> torch.optim.SGD:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    weights, biases = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {"params": biases, "lr": bias_factor * lr, "weight_decay": weight_decay / bias_factor}]
    return torch.optim.SGD([group for group in groups if group["params"]], lr=lr, momentum=momentum, nesterov=True,
                           weight_decay=weight_decay, fused=True)


def muon(*, momentum: float = 0.6, head_factor: float = 3, bias_factor: float = 100) -> Build:
    """Give Muon for filters; dense layers and biases learn by Nesterov's momentum, `..._factor` times as fast."""
    return functools.partial(FilterMuon, momentum=momentum, head_factor=head_factor, bias_factor=bias_factor)


class FilterMuon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the filters of convolutions, Nesterov's momentum for all other parameters.

    Muon moves a matrix not along its momentum but along the nearest matrix whose singular values are all 1, so that
    rare directions are learned as fast as frequent ones. `torch.optim.Muon` takes matrices only; a filter bank
    (out, in, height, width) is handed to it as the matrix (out, in · height · width) that shares its memory.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, *, momentum: float,
                 head_factor: float, bias_factor: float) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self._filters = [p for p in trained if p.ndim == 4]
        if not self._filters:
            raise ValueError("FilterMuon is for networks with convolutions; this one has no filters to train")
        self._matrices = [nn.Parameter(_as_matrix(p.detach(), p)) for p in self._filters]
        heads, biases = [p for p in trained if p.ndim in (2, 3)], [p for p in trained if p.ndim <= 1]
        groups = [{"params": ps, "lr": factor * lr, "weight_decay": weight_decay / factor}
                  for ps, factor in ((heads, head_factor), (biases, bias_factor)) if ps]
        self._muon = torch.optim.Muon(self._matrices, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self._others = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True) if groups else None
        super().__init__([*self._muon.param_groups, *(self._others.param_groups if self._others else [])], {})
        self._share()

    def _share(self) -> None:
        """Let both optimizers work on this one's groups and state, which is what a training stores and resumes."""
        self._muon.param_groups, self._muon.state = self.param_groups[:1], self.state
        if self._others:
            self._others.param_groups, self._others.state = self.param_groups[1:], self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a stored state."""
        super().load_state_dict(state_dict)
        self._share()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, those of the filters too."""
        super().zero_grad(set_to_none)
        for parameter in self._filters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for parameter, matrix in zip(self._filters, self._matrices):
            matrix.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
        self._muon.step()
        if self._others:
            self._others.step()


def _as_matrix(values: Tensor, filters: Tensor) -> Tensor:
    """Give `values` (out, in, h, w) as a matrix, a row a filter, its columns in the order of the filters' memory."""
    if filters.is_contiguous():
        return values.flatten(1)
    return values.permute(0, 2, 3, 1).flatten(1)  # channels_last
