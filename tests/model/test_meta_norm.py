"""MetaBIN against its formula, the three ways to use statistics, and gates that hold for one pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model import build_neck
from lookalike.model.batch_norm import use_biased_running_variance
from lookalike.model.layers import ConvNorm
from lookalike.model.meta_norm import MetaBIN, clip_gates, gates, set_mode, stepped_gates, using_gates


def layer() -> MetaBIN:
    torch.manual_seed(0)
    norm = MetaBIN(3)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.2, 0.8)
    nn.init.normal_(norm.batch_norm.running_mean)  # type: ignore[arg-type]
    return norm


def pictures(seed: int = 1) -> Tensor:
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def naive(norm: MetaBIN, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Channel by channel and picture by picture."""
    y = torch.empty_like(x)
    batch, instance = norm.batch_norm, norm.instance_norm
    for c in range(x.shape[1]):
        share = norm.gate.gate[c]
        for n in range(len(x)):
            own = (x[n, c] - x[n, c].mean()) / (x[n, c].var(correction=0) + 1e-5).sqrt()
            common = (x[n, c] - mean[c]) / (variance[c] + 1e-5).sqrt()
            y[n, c] = share * (common * batch.weight[c] + batch.bias[c])
            y[n, c] += (1 - share) * (own * instance.weight[c] + instance.bias[c])
    return y


def test_the_formula_in_training_and_at_evaluation() -> None:
    norm, x = layer(), pictures()
    before = norm.batch_norm.running_mean.clone(), norm.batch_norm.running_var.clone()  # type: ignore
    with torch.no_grad():
        own = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(norm.eval()(x), naive(norm, x, *before))
        torch.testing.assert_close(norm.train()(x), naive(norm, x, *own))


@pytest.mark.parametrize("biased", [False, True])
def test_what_the_modes_use_and_move(biased: bool) -> None:
    x = pictures()
    for norm, statistics in (
        (layer(), "batch_norm"),
        (build_neck({"MetaBNNeck": {"num_features": 75}}), "feat_bn"),
    ):
        if biased:
            use_biased_running_variance(norm)
        twin = copy.deepcopy(norm).train()
        ordinary, evaluated = twin(x), copy.deepcopy(norm).eval()(x)
        for mode, expected, moves in (
            ("general", ordinary, True),
            ("hold", ordinary, False),
            ("eval", evaluated, False),
        ):
            part = copy.deepcopy(norm).train()
            set_mode(part, mode)  # type: ignore[arg-type]
            before = {key: value.clone() for key, value in part.state_dict().items()}
            torch.testing.assert_close(part(x), expected)
            after = part.state_dict()
            moved = {key for key in before if not torch.equal(before[key], after[key])}
            running = {
                f"{statistics}.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
            }
            assert moved == (running if moves else set())
            torch.testing.assert_close(part.eval()(x), evaluated if not moves else twin.eval()(x))


def test_set_mode_goes_back_and_wants_something_to_set() -> None:
    norm, x = layer().train(), pictures()
    twin = copy.deepcopy(norm)
    set_mode(norm, "hold")
    norm(x)
    set_mode(norm, "general")
    torch.testing.assert_close(norm(x), twin(x))
    torch.testing.assert_close(norm.state_dict(), twin.state_dict())
    with pytest.raises(UserError, match="the model has none"):
        set_mode(ConvNorm(3, 4, 1), "hold")


def network() -> nn.Sequential:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 3, 1), layer(), nn.ReLU(), layer()).train()
    set_mode(net, "hold")
    return net


@pytest.mark.parametrize("exact", [False, True])
def test_the_outer_gradient_goes_through_the_inner_step(exact: bool) -> None:
    """Against the same two passes written with the gates as plain tensors."""
    net, rate = network(), 0.3
    own = gates(net)
    assert list(own) == ["1.gate.gate", "3.gate.gate"]

    def passed(shares: list[Tensor], x: Tensor) -> Tensor:
        x = net[0](x)
        for norm, share in zip((net[1], net[3]), shares, strict=True):
            share = share[:, None, None]
            x = share * norm.batch_norm(x) + (1 - share) * norm.instance_norm(x)
            x = x.relu() if norm is net[1] else x
        return x.square().mean()

    plain = [gate.detach().clone().requires_grad_() for gate in own.values()]
    inner = torch.autograd.grad(passed(plain, pictures(3)), plain, create_graph=exact)
    stepped = [gate - rate * gradient for gate, gradient in zip(plain, inner, strict=True)]
    expected = torch.autograd.grad(passed(stepped, pictures(4)), plain)

    gradients = torch.autograd.grad(net(pictures(3)).square().mean(), list(own.values()), create_graph=exact)
    with using_gates(net, stepped_gates(own, gradients, rate)):
        net(pictures(4)).square().mean().backward()
    torch.testing.assert_close([gate.grad for gate in own.values()], list(expected))


def test_gates_stand_in_for_one_pass_only() -> None:
    net, x = network(), pictures()
    before = net(x)
    ones = {name: torch.ones(3) for name in gates(net)}
    with using_gates(net, ones):
        only_batch = net(x)
    torch.testing.assert_close(only_batch, net[3].batch_norm(net[1].batch_norm(net[0](x)).relu()))
    assert torch.equal(net(x), before)
    assert set(net.state_dict()) == set(network().state_dict())
    with pytest.raises(KeyError), using_gates(net, {"0.gate": torch.ones(3)}):
        pass


def test_a_gate_past_its_bound_counts_as_the_bound_and_can_come_back() -> None:
    norm, x = layer().train(), pictures()
    with torch.no_grad():
        norm.gate.gate.copy_(torch.tensor([-0.5, 0.5, 1.25]))
    output = norm(x)
    output.square().mean().backward()
    assert norm.gate.gate.grad is not None
    assert (norm.gate.gate.grad != 0).all()
    evaluated = norm.eval()(x)
    clip_gates(norm)
    assert norm.gate.gate.tolist() == [0.0, 0.5, 1.0]
    torch.testing.assert_close(norm.train()(x), output)
    norm.eval()
    assert torch.isfinite(evaluated).all()


def test_the_rate_of_an_inner_step_follows_the_parameter() -> None:
    own = {"gate": nn.Parameter(torch.tensor([0.5]))}
    own["gate"].lr_multiplier = 2.0  # type: ignore[attr-defined]
    assert stepped_gates(own, [torch.tensor([0.25])], 0.5)["gate"].item() == 0.25


def test_the_recipe_of_the_reference_asks_for_nothing_lost(caplog: pytest.LogCaptureFixture) -> None:
    neck = build_neck({"name": "MetaBNNeck", "num_features": 3, "use_global_stats": True})
    assert not caplog.records
    assert [name for name, _ in neck.named_parameters()] == ["feat_bn.weight", "feat_bn.bias"]
