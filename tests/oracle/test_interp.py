"""The interpreter against torch.autograd: what a Program means is what the papers' mathematics says.

``reference.py`` shares no code with bnnc; here it computes in f64, so the differences below are bnnc's f32 rounding.

Tolerances.  Sums of at most 100 f32 terms of one size are within 1e-5 of the exact value relative to the largest entry.
Rule edge rounds activation gradients to f16 (2**-11 relative), and a value that lies at a rounding boundary may go
either way, so its weight gradients are compared within 2e-3 of the largest.  A 1-bit gradient, and Adam's first step
(m/|g|), depend on the sign of dW alone: entries with |dW| below that same bound are left out, and they must be few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers import plan, spec

torch = pytest.importorskip("torch", reason="the oracle needs torch (extra `oracle`)")
import reference as ref  # noqa: E402

from bnnc import registry  # noqa: E402
from bnnc.ir import interp  # noqa: E402
from bnnc.ir.ops import OPS  # noqa: E402
from bnnc.ir.program import Builder, Module, Program, T  # noqa: E402
from bnnc.lower.derive import VJP, _unbroadcast, _vjp  # noqa: E402
from bnnc.model import TensorType  # noqa: E402
from bnnc.registry import LayerDef  # noqa: E402

torch.set_num_threads(1)
F64 = torch.float64
WIDTHS, BATCH, LR = (24, 20, 16, 7), 30, 0.01
LOSSES = {"softmax": "softmax_cross_entropy", "hinge": "squared_hinge"}
OPTIMIZERS = {  # name: (spec, reference)
    "adam": ("adam", {"optimizer": "adam"}),
    "elide": ("adam(v = elide)", {"optimizer": "adam", "v": "elide"}),
    "sgd": ("sgd", {"optimizer": "sgd"}),
    "bop": ("bop(tau = 0.3, gamma = 0.5)", {"optimizer": "bop", "tau": 0.3, "gamma": 0.5}),
}
CASES = [
    *[
        (rule, o, norm, "softmax", "f32")
        for rule in ("standard", "edge")
        for o in ("adam", "sgd", "bop")
        for norm in ("l2", "l1", "bnn")
        if rule == "standard" or norm == "bnn"
    ],
    ("edge", "elide", "bnn", "softmax", "f32"),
    ("edge", "elide", "bnn", "hinge", "u8"),
    *[
        (rule, o, {"standard": "l2", "edge": "bnn"}[rule], "hinge", "f32")
        for rule in ("standard", "edge")
        for o in ("adam", "sgd", "bop")
    ],
    *[
        (rule, "adam", {"standard": "l2", "edge": "bnn"}[rule], "softmax", kind)
        for rule in ("standard", "edge")
        for kind in ("u8", "bit")
    ],
]


def name_of(state: str) -> str:
    """bnnc's state names as the reference's: ``dense1.weight.v_sqrt`` -> ``W1.v``, ``batchnorm2.mean`` -> ``mean2``."""
    layer, role, *slot = state.split(".")
    base = {"weight": "W"}.get(role, role) + layer.lstrip("abcdefghijklmnopqrstuvwxyz")
    return ".".join([base, *(s.removesuffix("_sqrt") for s in slot)])


def theirs(states: dict[str, np.ndarray], rule: str) -> dict[str, np.ndarray]:
    """States for ``Net.load``; bnnc stores the root of v under every rule, the reference under ``edge`` only."""
    out = {}
    for n, x in states.items():
        x = x.astype(np.float64)
        out[name_of(n)] = (x * x if n.endswith("v_sqrt") and rule == "standard" else x).reshape(
            x.shape if "weight" in n else -1
        )
    return out


def raw_gradient(p: Program, values: dict[str, np.ndarray], i: int) -> np.ndarray:
    """X^T dY of layer i: with u8 inputs after their scaling has been put back in."""
    name = f"dense{i}.dw"
    scaled = next(
        (
            op
            for op in p.ops
            if op.kind == "mul"
            and op.inputs[0] == name
            and p.producer[op.inputs[1]].kind == "const"
            and op.output != f"dense{i}.y"
        ),
        None,
    )
    if scaled is not None and i == 1 and p.value["x"].dtype == "u8":
        name = next(op.output for op in p.ops if op.kind == "add" and op.inputs[0] == scaled.output)
    return values[name].astype(np.float64)


def batch(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = {
        "f32": lambda: rng.standard_normal((BATCH, WIDTHS[0])).astype(np.float32),
        "u8": lambda: rng.integers(0, 256, (BATCH, WIDTHS[0])).astype(np.uint8),
        "bit": lambda: rng.choice(np.array([-1, 1], np.int8), (BATCH, WIDTHS[0])),
    }[kind]()
    return x, rng.integers(0, WIDTHS[-1], BATCH).astype(np.uint8)


def close(
    got: np.ndarray, want: np.ndarray, bound: float, what: str, sure: np.ndarray | None = None, share: float = 0.9
) -> None:
    """|got - want| <= bound * max|want|, where ``sure`` (everywhere by default)."""
    got, want = np.asarray(got, np.float64).reshape(want.shape), np.asarray(want, np.float64)
    sure = np.ones(want.shape, bool) if sure is None else sure
    assert sure.mean() >= share, f"{what}: too few entries are compared"
    worst = np.abs(got - want)[sure].max(initial=0) / max(np.abs(want).max(), 1e-6)
    assert worst <= bound, f"{what}: off by {worst:.2e} of the largest, bound {bound:.0e}"


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_steps_and_evaluation(case: tuple[str, str, str, str, str]) -> None:
    """Each step of both starts from bnnc's states, so rounding does not add up; the second has non-zero moments."""
    rule, optimizer, norm, loss, kind = case
    text, args = OPTIMIZERS[optimizer]
    planned = plan(spec(WIDTHS, kind, rule, text, BATCH, norm, loss=LOSSES[loss]))
    module: Module = planned.trace.results["differentiate"]
    p = module.train
    net = ref.Net(WIDTHS, norm, rule, loss=loss, input_kind=kind, dtype=F64, **args)
    states = interp.init_states(p, 4)
    bound = 1e-5 if rule == "standard" else 2e-3
    half = 2**-10 if rule == "edge" else 2e-5  # one unit in the last place of a stored f16, or rounding of f32
    for t in (1, 2):
        x, y = batch(kind, t)
        inputs = {
            "x": x,
            "labels": y[:, None],
            "lr": np.full((1, 1), LR, np.float32),
            "step": np.full((1, 1), t, np.float32),
        }
        values, new = interp.step(p, {**states, **inputs})
        net.load(theirs(states, rule))
        out = net.step(x, y, LR, t)
        roles = dict(p.results)
        close(values[roles["loss"]].mean(), np.array(out["loss"]), 1e-5, "loss")
        assert (values[roles["pred"]][:, 0] == y).sum() == out["correct"]
        for i in net.layers:
            close(values[f"dense{i}.yr" if i == 1 and kind == "u8" else f"dense{i}.y"], out["y"][i - 1], 1e-5, f"y{i}")
            close(values[f"batchnorm{i}.z"], out["z"][i - 1], 1e-5, f"z{i}")
        want = {k: v.astype(np.float64) for k, v in out["state"].items()}
        got = theirs(new, rule)
        assert set(got) == set(want)
        for i in net.layers:
            raw = out["dW_raw"][i - 1]
            close(raw_gradient(p, values, i), raw, bound, f"dW{i}")
            sure = (
                np.abs(raw) > 4 * bound * np.abs(raw).max()
                if rule == "edge"
                else np.abs(raw) > 1e-3 * np.abs(raw).max()
            )
            for n in (n for n in got if n.split(".")[0] == f"W{i}"):
                close(got[n], want[n], half, n, sure)
            beta = out["dbeta"][i - 1]
            trusted = np.abs(beta) > 1e-2 * np.abs(beta).max()
            for n in (n for n in got if n.split(".")[0] == f"beta{i}"):
                close(got[n], want[n], 2 * bound, n, trusted, share=0.7)
            for n in (f"mean{i}", f"psi{i}"):
                close(got[n], want[n], 1e-5, n)
        states = new
    x, y = batch(kind, 3)
    values = interp.run(
        module.evaluate, {**{s.name: states[s.name] for s in module.evaluate.states}, "x": x, "labels": y[:, None]}
    )
    net.load(theirs(states, rule))
    out = net.evaluate(x, y)
    roles = dict(module.evaluate.results)
    close(values[f"batchnorm{len(WIDTHS) - 1}.z"], out["logits"], 1e-5, "logits")
    close(values[roles["loss"]].mean(), np.array(out["loss"]), 1e-5, "loss")
    np.testing.assert_array_equal(values[roles["pred"]][:, 0], out["labels"])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weights", [(0.5, 2.0, 0.1, 2.0, 0.0), (3.0,) * 5])
def test_class_weights_are_torchs(loss: str, weights: tuple[float, ...]) -> None:
    """The gradient of the sum of w[label] L over the batch; the loss that is shown has none."""
    torch = pytest.importorskip("torch")
    text = spec((20, 16, 5), "f32", "standard", batch=30, loss=LOSSES[loss])
    weighed = text.replace("train {", f"train {{ class_weights = [{', '.join(map(str, weights))}];")
    p, plain = (plan(t).trace.results["differentiate"].train for t in (weighed, text))
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 20)).astype(np.float32), rng.integers(0, 5, (30, 1)).astype(np.uint8)
    env = {**interp.init_states(p, 4), "x": x, "labels": y, "lr": np.ones((1, 1), np.float32), "step": np.ones((1, 1))}
    values = interp.run(p, {k: v.astype(np.float32) if k == "step" else v for k, v in env.items()})
    z = torch.tensor(values["batchnorm2.z"].astype(np.float64), requires_grad=True)
    t = torch.tensor(y[:, 0].astype(np.int64))
    if loss == "softmax":
        each = torch.nn.functional.cross_entropy(z, t, reduction="none")
    else:
        each = (1 - (2 * torch.nn.functional.one_hot(t, 5) - 1) * z).clamp(min=0).square().sum(1)
    (torch.tensor(weights, dtype=torch.float64)[t] * each).mean().backward()
    close(values["loss1.dz"], z.grad.numpy(), 1e-6, "dz")
    close(values[dict(p.results)["loss"]][:, 0], each.detach().numpy(), 1e-6, "loss")
    assert len(p.ops) > len(plain.ops) and dict(p.results)["loss"] in plain.value


@pytest.mark.parametrize("surrogate", ["ste", "identity", "quadratic"])
def test_surrogates(surrogate: str) -> None:
    p = plan(spec(WIDTHS, "f32", "standard", "sgd", BATCH, surrogate=surrogate)).trace.results["differentiate"].train
    net = ref.Net(WIDTHS, optimizer="sgd", surrogate=surrogate, input_kind="f32", dtype=F64)
    states = interp.init_states(p, 4)
    x, y = batch("f32", 1)
    values = interp.run(
        p,
        {
            **states,
            "x": x,
            "labels": y[:, None],
            "lr": np.full((1, 1), LR, np.float32),
            "step": np.ones((1, 1), np.float32),
        },
    )
    out = net.load(theirs(states, "standard")).step(x, y, LR, 1)
    for i in net.layers:
        close(values[f"dense{i}.dw"], out["dW_raw"][i - 1], 1e-5, f"dW{i}")


def test_clip_off_cancels_gradients() -> None:
    p = plan(spec(WIDTHS, "f32", "standard(clip = off)", "sgd", BATCH)).trace.results["differentiate"].train
    states = interp.init_states(p, 4)
    rng = np.random.default_rng(0)
    for i in (1, 2, 3):
        w = states[f"dense{i}.weight"]
        states[f"dense{i}.weight"] = rng.choice(np.array([-1.5, -0.5, 0.25, 1.0, 1.25], np.float32), w.shape)
    x, y = batch("f32", 1)
    inputs = {"x": x, "labels": y[:, None], "lr": np.full((1, 1), LR, np.float32), "step": np.ones((1, 1), np.float32)}
    _, new = interp.step(p, {**states, **inputs})
    net = ref.Net(WIDTHS, optimizer="sgd", input_kind="f32", clip=False, dtype=F64).load(theirs(states, "standard"))
    want = net.step(x, y, LR, 1)["state"]
    for i in (1, 2, 3):
        close(new[f"dense{i}.weight"], want[f"W{i}"], 1e-5, f"W{i}")
        outside = np.abs(states[f"dense{i}.weight"]) > 1
        np.testing.assert_array_equal(new[f"dense{i}.weight"][outside], states[f"dense{i}.weight"][outside])


# -- derivatives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtypes", [("f32", "f32"), ("f32", "bit"), ("bit", "f32"), ("f16", "bit")])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (7, 33, 10), (16, 64, 17)])
def test_contract_is_its_own_adjoint(shape: tuple[int, int, int], dtypes: tuple[str, str]) -> None:
    """<A B, C> = <A, C B^T> = <B, A^T C>, within f32 rounding of the sums; and the three forms are transposes."""
    m, q, n = shape
    rng = np.random.default_rng(q)
    draw: dict[str, Callable[..., np.ndarray]] = {
        "f32": lambda *s: rng.standard_normal(s).astype(np.float32),
        "f16": lambda *s: rng.standard_normal(s).astype(np.float16),
        "bit": lambda *s: rng.choice(np.array([-1, 1], np.int8), s),
    }
    a, b, c = draw[dtypes[0]](m, q), draw[dtypes[1]](q, n), draw["f32"](m, n)

    def product(x: np.ndarray, y: np.ndarray, form: str) -> np.ndarray:
        return OPS["contract"].run([x, y], {"form": form}, "f32").astype(np.float64)

    ab, cb, ac = product(a, b, "nn"), product(c, b, "nt"), product(a, c, "tn")
    inner = (ab * c).sum()
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    bound = 1e-6 * (scale * np.abs(c)).sum() * max(q, m, n)
    assert abs(inner - (cb * a).sum()) <= bound
    assert abs(inner - (ac * b).sum()) <= bound
    np.testing.assert_array_equal(product(a, np.ascontiguousarray(b.T), "nt"), ab)
    np.testing.assert_array_equal(product(np.ascontiguousarray(a.T), b, "tn"), ab)
    np.testing.assert_allclose(ab, a.astype(np.float64) @ b.astype(np.float64), atol=1e-5 * q)


TORCH: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "max": torch.maximum,
    "min": torch.minimum,
    "cast": lambda x: x.clone(),
    "copy": torch.clone,
    "select": lambda c, a, b: torch.where(c, a, b),
}


def test_every_derivative_is_tested() -> None:
    assert set(TORCH) == set(VJP)


@pytest.mark.parametrize(
    "shapes", [((4, 5), (4, 5)), ((4, 5), (1, 5)), ((4, 1), (4, 5)), ((4, 5), (1, 1)), ((1, 5), (4, 1))]
)
@pytest.mark.parametrize("kind", VJP)
def test_derivatives(kind: str, shapes: tuple[tuple[int, int], ...]) -> None:
    """Gradients of sum(r * op(x)) for random r, broadcasting included.  Inputs are positive and apart from each
    other.
    """
    unary = kind in ("neg", "abs", "sqrt", "exp", "log", "cast", "copy")
    b = Builder(Program("train", (), (), (), ()))
    rng = np.random.default_rng(1)
    used = shapes[:1] if unary else shapes
    xs = [b.input(f"x{i}", s, "f32") for i, s in enumerate(used)]
    env = {
        f"x{i}": (rng.uniform(0.5, 2, s) * (1 if kind in ("sqrt", "log") else rng.choice([-1, 1], s))).astype(
            np.float32
        )
        for i, s in enumerate(used)
    }
    args: list[T] = list(xs)
    if kind == "select":
        args.insert(0, b.input("c", (4, 5), "bool"))
        env["c"] = rng.random((4, 5)) < 0.5
    y = b.op(kind, *args, **({"dtype": "f32"} if kind == "cast" else {}))
    op = b.ops[-1]
    g = b.input("g", y.shape, "f32")
    env["g"] = rng.standard_normal(y.shape).astype(np.float32)
    grads = _vjp(g, op, args, y)[-len(xs) :]
    names = [_unbroadcast(gx, x).name for gx, x in zip(grads, xs, strict=True) if gx is not None]
    values = interp.run(b.finish(), env)
    leaves = [torch.tensor(env[f"x{i}"], dtype=F64, requires_grad=True) for i in range(len(xs))]
    out = TORCH[kind](*([torch.from_numpy(env["c"])] if kind == "select" else []), *leaves)
    out.backward(torch.from_numpy(env["g"]).to(F64))
    assert len(names) == len(xs)
    for name, leaf in zip(names, leaves, strict=True):
        np.testing.assert_allclose(np.broadcast_to(values[name], leaf.shape), leaf.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["reduce0", "reduce1", "contract"])
def test_derivatives_of_sums(kind: str) -> None:
    b = Builder(Program("train", (), (), (), ()))
    rng = np.random.default_rng(1)
    x, w = b.input("x", (4, 5), "f32"), b.input("w", (5, 3), "f32")
    y = b.op("contract", x, w, form="nn") if kind == "contract" else x.sum(int(kind[-1]))
    g = b.input("g", y.shape, "f32")
    env = {n: rng.standard_normal(b.values[n].shape).astype(np.float32) for n in ("x", "w", "g")}
    grads = _vjp(g, next(op for op in b.ops if op.output == y.name), [x, w], y)
    values = interp.run(b.finish(), env)
    leaves = [torch.tensor(env[n], dtype=F64, requires_grad=True) for n in ("x", "w")]
    out = leaves[0] @ leaves[1] if kind == "contract" else leaves[0].sum(int(kind[-1]), keepdim=True)
    out.backward(torch.from_numpy(env["g"]).to(F64))
    for gx, leaf in zip(grads, leaves, strict=False):
        np.testing.assert_allclose(
            np.broadcast_to(values[gx.name], leaf.shape), leaf.grad.numpy(), rtol=1e-5, atol=1e-5
        )


@pytest.fixture
def curve() -> Iterator[str]:
    """A layer without a backward of its own: y = sqrt(|x gain| + 1) - max(x, gain) / (1 + e^gain)."""

    def forward(cx: object, layer: object, x: T) -> T:
        gain = cx.param(f"{layer.name}.gain", x.shape[1], 0.75)  # type: ignore[attr-defined]
        return ((x * gain).abs() + 1.0).sqrt() - x.maximum(gain) / (1.0 + gain.exp())

    registry.layers.add(
        LayerDef("curve", "a test", (), infer=lambda t, a, body: TensorType("real", t.shape), forward=forward)
    )
    yield "curve"
    del registry.layers["curve"]


def test_a_layer_without_a_backward_is_derived(curve: str) -> None:
    """SGD with rate 1 and no momentum shows the gradients: of the gain, and at the input through the shift before
    it.
    """
    text = spec((6, 5), "f32", "standard", "sgd(momentum = 0)", 8).replace("  loss;", f"  {curve};\n  loss;")
    p = plan(text).trace.results["differentiate"].train
    states = interp.init_states(p, 1)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 6)).astype(np.float32), rng.integers(0, 5, (8, 1)).astype(np.uint8)
    values, new = interp.step(
        p, {**states, "x": x, "labels": y, "lr": np.ones((1, 1), np.float32), "step": np.ones((1, 1), np.float32)}
    )
    z = torch.tensor(values["batchnorm1.z"], dtype=F64, requires_grad=True)
    gain = torch.full((1, 5), 0.75, dtype=F64, requires_grad=True)
    out = ((z * gain).abs() + 1).sqrt() - torch.maximum(z, gain.expand_as(z)) / (1 + gain.exp())
    torch.nn.functional.cross_entropy(out, torch.from_numpy(y[:, 0].astype(np.int64))).backward()
    np.testing.assert_allclose(states["curve1.gain"] - new["curve1.gain"], gain.grad.numpy(), atol=1e-6)
    np.testing.assert_allclose(
        (states["batchnorm1.beta"] - new["batchnorm1.beta"])[0], z.grad.sum(0).numpy(), atol=1e-6
    )
