"""The oracle itself: backwards against plain autograd, updates against torch.optim, and both rules on digits."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the oracle needs torch (extra `oracle`)")
import reference as ref  # noqa: E402

torch.set_num_threads(1)
F64 = torch.float64


def plain_norm(y: torch.Tensor, kind: str) -> torch.Tensor:
    a = y - y.mean(0)
    magnitude = a * ref.sign(a).detach() if (a == 0).any() else a.abs()  # torch gives |0| the slope 0, the rules +1
    return a / ((a.square().mean(0) + 1e-5).sqrt() if kind == "l2" else magnitude.mean(0))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (F64, 1e-13)])
@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_norm_backward_is_the_derivative(kind: str, dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(1)
    y, g = 3 * torch.randn(100, 37, dtype=dtype) + 2, torch.randn(100, 37, dtype=dtype)
    grads = []
    for f in (lambda v: ref.Normalise.apply(v, kind)[0], lambda v: plain_norm(v, kind)):
        leaf = y.clone().requires_grad_()
        out = f(leaf)
        out.backward(g)
        grads.append((out.detach(), leaf.grad))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=bound, atol=bound)


def test_bnn_backward_is_its_formula_and_l1_where_all_magnitudes_agree() -> None:
    torch.manual_seed(2)
    ends = torch.tensor([1.0, -1.0], dtype=F64).repeat(20)[:, None] * torch.arange(1, 6, dtype=F64) + 7
    for y, same in ((ends, True), (torch.randn(40, 5, dtype=F64).exp(), False)):
        g, leaf, other = torch.randn(40, 5, dtype=F64), y.clone().requires_grad_(), y.clone().requires_grad_()
        ref.Normalise.apply(leaf, "bnn")[0].backward(g)
        ref.Normalise.apply(other, "l1")[0].backward(g)
        a = y - y.mean(0)
        v, q = g / a.abs().mean(0), a.sign()
        torch.testing.assert_close(leaf.grad, v - v.mean(0) - (v * q).mean(0) * q)
        assert torch.allclose(leaf.grad, other.grad) == same


@pytest.mark.parametrize("kind", ref.NORMS)
def test_a_constant_channel_is_beta_and_has_no_gradient(kind: str) -> None:
    y = torch.full((8, 3), 4.0, requires_grad=True)
    out, mean, psi = ref.Normalise.apply(y, kind)
    out.backward(torch.ones(8, 3))
    assert not out.any()
    assert not y.grad.any()
    assert mean.tolist() == [4] * 3
    assert psi.max() < 0.004


def test_sign_and_its_surrogates() -> None:
    z = torch.tensor([-2.0, -1.0, -0.75, -0.0, 0.0, 0.5, 1.0, 1.0000001, math.nan])
    assert ref.sign(z).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1, -1]
    expected = {"ste": [0, 1, 1, 1, 1, 1, 1, 0], "identity": [1] * 8, "quadratic": [0, 0, 0.5, 2, 2, 1, 0, 0]}
    for name, factors in expected.items():
        leaf = z[:8].clone().requires_grad_()
        ref.BinarySign.apply(leaf, name).backward(torch.ones(8))
        assert leaf.grad.tolist() == factors


def batch_of(n: int = 50, k: int = 20, classes: int = 7, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, k), dtype=np.uint8), rng.integers(0, classes, n)


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_whole_step_against_the_detach_trick(norm: str, loss: str) -> None:
    """The straight-through network written a second way: identity or hard-tanh values with sign added as a constant."""
    x, y = batch_of()
    net = ref.Net([20, 16, 16, 7], norm=norm, loss=loss, dtype=F64).init(5)
    net.load({f"beta{i}": np.random.default_rng(i).normal(0, 0.3, n) for i, n in ((1, 16), (2, 16), (3, 7))})
    names = [f"{p}{i}" for p in ("W", "beta") for i in (1, 2, 3)]
    params = {k: net.tensors[k].clone().requires_grad_() for k in names}
    h = torch.from_numpy(x).double() * (2 / 255) - 1
    for i in (1, 2, 3):
        w = params[f"W{i}"]
        z = plain_norm(h @ (w + (ref.sign(w) - w).detach()), norm) + params[f"beta{i}"]
        soft = z.clamp(-1, 1)
        h = soft + (ref.sign(z) - soft).detach()
    if loss == "softmax":
        value = -torch.log_softmax(z, 1)[torch.arange(50), torch.from_numpy(y)].mean()
    else:
        t = torch.full_like(z, -1.0)
        t[torch.arange(50), torch.from_numpy(y)] = 1.0
        value = torch.relu(1 - t * z).pow(2).sum(1).mean()
    value.backward()
    out = net.step(x, y, 1e-3, 1)
    assert out["loss"] == pytest.approx(value.item(), rel=1e-12)
    assert out["correct"] == int((z.argmax(1).numpy() == y).sum())
    for i in (1, 2, 3):
        np.testing.assert_allclose(out["dW"][i - 1], params[f"W{i}"].grad.numpy(), atol=1e-13)
        np.testing.assert_allclose(out["dbeta"][i - 1], params[f"beta{i}"].grad.numpy(), atol=1e-13)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_updates_against_torch_optim(optimizer: str) -> None:
    net = ref.Net([20, 8, 7], optimizer=optimizer, clip=False, dtype=F64).init(1)
    params = {k: t.clone().requires_grad_() for k, t in net.tensors.items() if k in ("W1", "W2", "beta1", "beta2")}
    make = {"adam": lambda p: torch.optim.Adam(p, lr=0.01), "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)}
    theirs = make[optimizer](list(params.values()))
    for t in range(1, 6):
        before = {k: net.tensors[k].abs() > 1 for k in ("W1", "W2")}
        out = net.step(*batch_of(seed=t), lr=0.01, t=t)
        for i in (1, 2):
            assert not out["dW"][i - 1][before[f"W{i}"].numpy()].any()
            params[f"W{i}"].grad = torch.from_numpy(out["dW"][i - 1])
            params[f"beta{i}"].grad = torch.from_numpy(out["dbeta"][i - 1])
        theirs.step()
        for k, p in params.items():
            np.testing.assert_allclose(net.tensors[k].numpy(), p.detach().numpy(), atol=1e-14)


def test_clip_and_cancellation() -> None:
    x, y = batch_of()
    weights = {"W1": np.full((20, 8), 0.9995), "W2": np.full((8, 7), -1.5)}
    on = ref.Net([20, 8, 7], optimizer="sgd").load(weights).step(x, y, 10.0, 1)["state"]
    assert np.abs(on["W1"]).max() <= 1
    assert np.abs(on["W2"]).max() <= 1
    off = ref.Net([20, 8, 7], optimizer="sgd", clip=False).load(weights).step(x, y, 10.0, 1)
    assert np.array_equal(off["state"]["W2"], weights["W2"])
    assert not off["dW"][1].any()
    assert off["dW_raw"][1].any()


@pytest.mark.parametrize("rule", ["standard", "edge"])
def test_bop_flips_where_the_momentum_agrees_with_the_weight(rule: str) -> None:
    x, y = batch_of()
    net = ref.Net([20, 8, 7], rule=rule, optimizer="bop", gamma=0.5, tau=0.3).init(4)
    before = net.state()
    assert set(np.unique(before["W1"])) == {-1, 1}
    out = net.step(x, y, 0.01, 1)
    for i, k in ((1, 20), (2, 8)):
        m, w = 0.5 * out["dW"][i - 1], before[f"W{i}"].astype(np.float32)
        flip = w * m >= 0.3 * (1 / math.sqrt(k) if rule == "edge" else 1)
        np.testing.assert_array_equal(out["state"][f"W{i}"], np.where(flip, -w, w))
        assert rule == "standard" or (flip == (np.sign(out["dW"][i - 1]) == w)).all()
    assert "W1.v" not in out["state"]
    assert "beta1.v" in out["state"]


def test_running_statistics_and_evaluation() -> None:
    x, y = batch_of()
    for kind in ref.NORMS:
        net = ref.Net([20, 7], norm=kind).init(0)
        out = net.step(x, y, 0.0, 1)
        a = out["y"][0] - out["y"][0].mean(0)
        psi = np.sqrt((a**2).mean(0) + 1e-5) if kind == "l2" else np.abs(a).mean(0)
        np.testing.assert_allclose(out["state"]["mean1"], 0.1 * out["y"][0].mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(out["state"]["psi1"], 0.9 + 0.1 * psi, rtol=1e-5)
        net.load({"mean1": out["y"][0].mean(0), "psi1": psi})
        again = net.evaluate(x, y)
        np.testing.assert_allclose(again["logits"], out["logits"], atol=2e-5)
        assert again["correct"] == out["correct"]
        net.load({"psi1": np.zeros(7), "beta1": np.arange(7)})
        if kind != "l2":
            assert (net.evaluate(x, y)["logits"] == np.arange(7)).all()


def test_edge_stores_halves_one_bit_gradients_and_takes_the_loss_scale_out() -> None:
    x, y = batch_of(100)
    edge, full = (ref.Net([20, 16, 16, 7], rule=r, norm="bnn").init(2) for r in ("edge", "standard"))
    full.load(edge.state())
    a, b = edge.step(x, y, 1e-3, 1), full.step(x, y, 1e-3, 1)
    np.testing.assert_array_equal(a["logits"], b["logits"])
    assert a["loss"] == b["loss"]
    for i, k in enumerate((20, 16, 16)):
        np.testing.assert_allclose(np.abs(a["dW"][i]), 1 / math.sqrt(k), rtol=1e-6)
        np.testing.assert_array_equal(a["dW"][i] >= 0, a["dW_raw"][i] >= 0)
        np.testing.assert_allclose(a["dW_raw"][i] / 100, b["dW_raw"][i], atol=1e-3)
        np.testing.assert_allclose(a["dbeta"][i], b["dbeta"][i], atol=1e-4)
    for dx in a["dX"]:
        np.testing.assert_array_equal(dx, dx.astype(np.float16).astype(np.float32))
    assert any((dx != dx.astype(np.float16).astype(np.float32)).any() for dx in b["dX"])
    wide = sorted(k for k, v in a["state"].items() if v.dtype != np.float16)
    assert wide == ["mean1", "mean2", "mean3", "psi1", "psi2", "psi3"]
    np.testing.assert_allclose(a["state"]["W1.v"].astype(float), math.sqrt(0.001 / 20), rtol=1e-3)
    again = ref.Net([20, 16, 16, 7], rule="edge").load(a["state"]).step(x, y, 1e-3, 2)
    np.testing.assert_array_equal(again["state"]["W1"], edge.step(x, y, 1e-3, 2)["state"]["W1"])


def test_elided_second_moment_is_the_exact_one() -> None:
    """Every squared 1-bit gradient is 1 / fan_in, so is the corrected v; only its rounding and eps are left."""
    nets = [ref.Net([20, 8, 7], rule="edge", v=v).init(3) for v in ("keep", "elide")]
    for t in range(1, 4):
        states = [n.step(*batch_of(seed=t), 1e-2, t)["state"] for n in nets]
        if t == 1:
            np.testing.assert_allclose(*(s["W1"].astype(float) for s in states), atol=1e-3)
            assert "W1.v" in states[0]
        assert "W1.v" not in states[1]
        nets[1].load({k: v for k, v in states[0].items() if k in states[1]})


def test_names_and_shapes_are_checked() -> None:
    for bad in ({"norm": "l3"}, {"optimizer": "lion"}, {"v": "elide"}, {"loss": "mse"}):
        with pytest.raises(ValueError):
            ref.Net([4, 3], **bad)
    with pytest.raises(ValueError, match="W1"):
        ref.Net([4, 3]).load({"W1": np.zeros((3, 4))})


def test_input_kinds() -> None:
    x = np.array([[0, 255, 51]], np.uint8)
    np.testing.assert_allclose(ref.Net([3, 2]).encode(x).numpy(), [[-1, 1, -0.6]], rtol=1e-6)
    assert ref.Net([3, 2], input_kind="bit").encode(x > 100).tolist() == [[-1, 1, -1]]
    assert ref.Net([3, 2], input_kind="f32").encode(x * 0.5).tolist() == [[0, 127.5, 25.5]]


def digits(rule: str, seed: int) -> float:
    """Test accuracy of 64-256-256-256-10 on scikit-learn's 8x8 digits in [-1, 1], batch 100, Adam, 20 epochs."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn (extra `test`)")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 8 - 1).astype(np.float32), y[order]
    net = ref.Net([64, 256, 256, 256, 10], rule=rule, input_kind="f32").init(seed)
    ref.fit(net, x[:1437], y[:1437], 20, 100, lambda e: 3e-3 * (0.02 + 0.49 * (1 + math.cos(math.pi * e / 20))))
    return net.evaluate(x[1437:], y[1437:])["accuracy"]


@pytest.mark.parametrize("rule", [pytest.param("standard", marks=pytest.mark.slow), "edge"])
def test_digits(rule: str) -> None:
    assert digits(rule, 0) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["standard", "edge"])
def test_digits_over_seeds(rule: str) -> None:
    assert np.mean([digits(rule, s) for s in range(3)]) > 0.97
