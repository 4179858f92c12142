"""The two Pyro flows of make_vectors.py: between them every layer that export_pyro.py knows."""

from typing import Any

import pyro.distributions.transforms as T
import torch
from pyro.distributions.conditional import ConditionalComposeTransformModule
from pyro.distributions.torch_transform import ComposeTransformModule
from pyro.nn import AutoRegressiveNN, ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN
from torch import nn
from torch.distributions import ReshapeTransform


def perturb(module: Any, scale: float) -> None:
    """Adds noise to every parameter, as training would."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))


def spline_sizes(dim: int, bins: int, order: str) -> list[int]:
    """param_dims of a network for `dim` splines."""
    return [dim * n for n in (bins, bins, bins - 1) + ((bins,) if order == "linear" else ())]


def coupling(bins: int, order: str, split: int, hidden: list[int], act: Any, identity: bool) -> Any:
    """A SplineCoupling of 4 variables."""
    net = DenseNN(split, hidden, spline_sizes(4 - split, bins, order), nonlinearity=act)
    return T.SplineCoupling(4, split, net, bins, 3.0, order, identity)


def masked(hidden: list[int], sizes: list[int], context: int = 0, **kwargs: Any) -> Any:
    """An autoregressive network of 4 variables with an order of its own."""
    kwargs["permutation"] = torch.randperm(4)
    if context:
        return ConditionalAutoRegressiveNN(4, context, hidden, sizes, **kwargs)
    return AutoRegressiveNN(4, hidden, sizes, **kwargs)


def batch_norm(dim: int) -> T.BatchNorm:
    """A BatchNorm in evaluation, with statistics of some training."""
    layer = T.BatchNorm(dim)
    layer.moving_mean.copy_(0.3 * torch.randn(dim))
    layer.moving_variance.copy_(0.5 + torch.rand(dim))
    perturb(layer, 0.2)
    return layer.eval()


def small(layer: Any, scale: float) -> Any:
    """Shrinks a layer's parameters, so that a series converges or a tail stays finite."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(scale)
    return layer


def pixels() -> tuple[ReshapeTransform, ReshapeTransform]:
    """Four variables as 2 channels of 1 x 2 pixels, and back."""
    return ReshapeTransform((4,), (2, 1, 2)), ReshapeTransform((2, 1, 2), (4,))


def pyro_plain() -> list[Any]:
    """Every unconditional layer that the exporter knows, but for LeakyReLUTransform."""
    into, out = pixels()
    tril = torch.eye(4) + 0.3 * torch.randn(4, 4).tril()
    return [
        T.Spline(4, count_bins=5, bound=3.0, order="linear"),
        T.Householder(4, count_transforms=2),
        coupling(4, "quadratic", 2, [8], nn.Tanh(), identity=False),
        T.Permute(torch.tensor([2, 0, 3, 1])),
        coupling(4, "linear", 1, [8, 8], nn.ELU(), identity=True),
        T.SplineAutoregressive(
            4, masked([8], spline_sizes(1, 4, "linear"), skip_connections=True), 4, 4.0, "linear"
        ),
        batch_norm(4),
        T.AffineCoupling(
            2,
            DenseNN(2, [8], [2, 2], nonlinearity=nn.LeakyReLU()),
            log_scale_min_clip=-0.125,
            log_scale_max_clip=0.1875,
        ),
        T.AffineAutoregressive(masked([7], [1, 1], nonlinearity=nn.Softplus())).inv,
        small(
            T.AffineAutoregressive(
                masked([8, 6], [1, 1], nonlinearity=nn.SiLU(), skip_connections=True),
                sigmoid_bias=1.5,
                stable=True,
            ),
            0.3,
        ),
        T.DiscreteCosineTransform(smooth=1.0).inv,
        T.DiscreteCosineTransform(),
        T.HaarTransform(flip=True),
        T.HaarTransform().inv,
        T.Spline(4, count_bins=3, bound=2.5, order="quadratic").inv,
        small(T.MatrixExponential(4), 0.25),
        T.ComposeTransform([into, T.GeneralizedChannelPermute(2), out]),
        T.LowerCholeskyAffine(0.5 * torch.randn(4), tril),
        # Functions that grow fast get small numbers. Constants are exact in float32.
        T.AffineTransform(0.0, 0.3125),
        T.ComposeTransform([T.SoftplusTransform(), T.ExpTransform().inv]),
        T.AffineTransform(0.25, 0.25),
        T.TanhTransform(),
        T.AffineTransform(0.5, 0.5),
        T.SigmoidTransform().inv,
        T.AffineTransform(torch.randn(4), 6.0 + torch.rand(4)),
    ]


def conditional_spline() -> T.ConditionalSpline:
    """Four splines from 2 context variables."""
    net = DenseNN(2, [8], spline_sizes(4, 4, "linear"), nonlinearity=nn.Sigmoid())
    return T.ConditionalSpline(net, 4, 4, bound=3.0, order="linear")


def conditional_matrix() -> T.ConditionalMatrixExponential:
    """A matrix from 2 context variables."""
    return T.ConditionalMatrixExponential(4, small(DenseNN(2, [6], [16]), 0.4))


def conditional_pixels() -> T.ConditionalGeneralizedChannelPermute:
    """A matrix of 2 channels, away from a singular one."""
    net = DenseNN(2, [6], [4])
    with torch.no_grad():
        net.layers[-1].bias.copy_(torch.tensor([1.2, 0.4, -0.3, -0.9]))
    return T.ConditionalGeneralizedChannelPermute(net, 2, torch.tensor([1, 0]))


def pyro_context() -> list[Any]:
    """Every conditional layer that the exporter knows, compositions, and LeakyReLUTransform."""
    into, out = pixels()
    return [
        T.AffineTransform(2.5, 1.0),
        T.LeakyReLUTransform(),
        T.AffineTransform(-2.5, 1.0),
        T.ConditionalSplineAutoregressive(
            4,
            masked([10], spline_sizes(1, 4, "quadratic"), 2, skip_connections=True, nonlinearity=nn.Tanh()),
            count_bins=4,
            bound=3.5,
            order="quadratic",
        ),
        T.Permute(torch.tensor([3, 0, 2, 1])),
        ComposeTransformModule([T.Spline(4, 3, order="quadratic"), T.Householder(4, 3)]).inv,
        ConditionalComposeTransformModule(
            [conditional_spline(), T.conditional_householder(4, 2, [8], 2)]
        ),
        T.ConditionalAffineCoupling(2, ConditionalDenseNN(2, 2, [8], [2, 2]), log_scale_max_clip=0.125),
        T.ConditionalAffineAutoregressive(masked([8], [1, 1], 2)).inv,
        T.ConditionalAffineAutoregressive(masked([9], [1, 1], 2), stable=True),
        conditional_matrix(),
        into,
        conditional_pixels(),
        out,
        T.conditional_householder(4, 2, [6], 1).inv,
        T.AffineTransform(torch.randn(4), 0.5 + torch.rand(4), event_dim=1),
    ]
