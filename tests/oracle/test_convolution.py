"""Convolutions and pools of the interpreter: against torch in f64, against the adjoint identity, and against a plain
loop.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers import batch_of, plan

from bnnc.ir import interp
from bnnc.ir.image import Geometry
from bnnc.ir.ops import OPS
from bnnc.lower.differentiate import differentiate
from bnnc.lower.expand import expand

torch = pytest.importorskip("torch", reason="the oracle needs torch (extra `oracle`)")
import torch.nn.functional as tf  # noqa: E402

torch.set_num_threads(1)
Array = np.ndarray

# samples, channels in and out, groups, geometry
CASES: dict[str, tuple[int, int, int, int, Geometry]] = {
    "valid": (2, 3, 5, 1, Geometry(5, 6, 3, 3)),
    "same": (2, 33, 5, 1, Geometry(4, 4, 3, 3, 1, 1, 1, 1, 1)),
    "stride": (1, 4, 6, 1, Geometry(7, 6, 3, 2, 2, 1, 0, 0, 1)),
    "one-pixel": (3, 5, 2, 1, Geometry(1, 1, 1, 1)),
    "one-pixel-padded": (2, 2, 3, 1, Geometry(1, 1, 3, 3, 1, 1, 1, 1, 1)),
    "batch-1": (1, 7, 4, 1, Geometry(3, 3, 3, 3)),
    "groups": (2, 6, 4, 2, Geometry(4, 5, 3, 3, 1, 1, 1, 1, 1)),
    "depthwise": (2, 5, 5, 5, Geometry(5, 5, 3, 3, 2, 1, 1, 1, 1)),
    "gaps": (2, 3, 4, 1, Geometry(5, 5, 1, 1, 2)),
}


def attrs(g: Geometry, **more: Any) -> dict[str, Any]:
    return {"geometry": (g.height, g.width, g.ky, g.kx, g.stride, g.top, g.bottom, g.left, g.right), **more}


def signs(rng: Any, *shape: int) -> Array:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def nchw(x: Array, n: int, height: int, width: int) -> Any:
    return torch.tensor(np.asarray(x, np.float64).reshape(n, height, width, -1)).permute(0, 3, 1, 2)


def rows(t: Any) -> Array:
    return t.permute(0, 2, 3, 1).reshape(-1, t.shape[1]).numpy()


def torch_convolution(x: Array, w: Array, n: int, g: Geometry, groups: int, fill: float) -> Any:
    kernel = torch.tensor(np.asarray(w, np.float64).reshape(g.ky, g.kx, -1, w.shape[1])).permute(3, 2, 0, 1)
    padded = tf.pad(nchw(x, n, g.height, g.width), (g.left, g.right, g.top, g.bottom), value=fill)
    return padded.requires_grad_(), kernel.requires_grad_(), tf.conv2d(padded, kernel, stride=g.stride, groups=groups)


def check_gradients(
    x: Array, w: Array, dy: Array, a: dict[str, Any], g: Geometry, dx: Any, dw: Any, atol: float
) -> None:
    """Against torch's, of the padded input and of the kernel; ``atol``: for the weight's gradient."""
    inside = dx[:, :, g.top : g.top + g.height, g.left : g.left + g.width]
    np.testing.assert_allclose(OPS["convolve_back"].run([dy, w], a, "f32"), rows(inside), rtol=1e-4, atol=1e-4)
    weight = dw.permute(2, 3, 1, 0).reshape(w.shape).numpy()
    np.testing.assert_allclose(OPS["convolve_weight"].run([x, dy], a, "f32"), weight, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("kind", ["bit", "u8"])
@pytest.mark.parametrize("fill", [-1, 0, 1])
@pytest.mark.parametrize("case", CASES)
def test_convolution_is_torchs(case: str, fill: int, kind: str) -> None:
    n, c_in, c_out, groups, g = CASES[case]
    rng = np.random.default_rng(1)
    x = signs(rng, n * g.pixels, c_in) if kind == "bit" else rng.integers(0, 256, (n * g.pixels, c_in)).astype(np.uint8)
    real = x if kind == "bit" else 2.0 * x - 255
    w = signs(rng, g.positions * c_in // groups, c_out)
    a = attrs(g, groups=groups, fill=fill)
    padded, kernel, want = torch_convolution(real, w, n, g, groups, fill * (1 if kind == "bit" else 255))
    got = OPS["convolve"].run([x, w], a, "i32")
    np.testing.assert_array_equal(got, rows(want.detach()))
    dy = rng.standard_normal(got.shape).astype(np.float32)
    want.backward(nchw(dy, n, g.out_height, g.out_width))
    check_gradients(x, w, dy, a, g, padded.grad, kernel.grad, 1e-4 * np.abs(real).max())


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("fill", [-1, 0, 1])
@pytest.mark.parametrize("case", CASES)
def test_convolution_with_real_weights_is_torchs(case: str, fill: int, kind: str) -> None:
    n, c_in, c_out, groups, g = CASES[case]
    rng = np.random.default_rng(5)
    dtype = {"f16": np.float16, "f32": np.float32}[kind]
    x = rng.standard_normal((n * g.pixels, c_in)).astype(dtype)
    w = rng.standard_normal((g.positions * c_in // groups, c_out)).astype(dtype)
    a = attrs(g, groups=groups, fill=fill)
    padded, kernel, want = torch_convolution(x, w, n, g, groups, fill)
    got = OPS["convolve"].run([x, w], a, "f32")
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, rows(want.detach()), rtol=1e-4, atol=1e-4)
    dy = rng.standard_normal(got.shape).astype(np.float32)
    want.backward(nchw(dy, n, g.out_height, g.out_width))
    check_gradients(x, w, dy, a, g, padded.grad, kernel.grad, 1e-4)


def test_the_order_of_a_real_convolutions_sums() -> None:
    """1 is lost beside 2**24 in f32, so the order of the terms shows: position by position, channels in order."""
    g = Geometry(1, 2, 1, 2)
    x = np.array([[2.0**24, 1], [-(2.0**24), 1]], np.float32)
    one = np.ones((4, 1), np.float32)
    assert OPS["convolve"].run([x, one], attrs(g, groups=1, fill=0), "f32").tolist() == [[1.0]]
    dy = np.array([[2.0**24, 1, -(2.0**24), 1]], np.float32)
    assert OPS["convolve_back"].run([dy, np.ones((2, 4), np.float32)], attrs(g, groups=1, fill=0), "f32").tolist() == [
        [1.0],
        [1.0],
    ]


@pytest.mark.parametrize("case", CASES)
def test_adjoint_with_real_weights(case: str) -> None:
    n, c_in, c_out, groups, g = CASES[case]
    rng = np.random.default_rng(6)
    x, w = (
        rng.integers(-8, 8, s).astype(np.float32) for s in ((n * g.pixels, c_in), (g.positions * c_in // groups, c_out))
    )
    a = attrs(g, groups=groups, fill=0)
    y = OPS["convolve"].run([x, w], a, "f32").astype(np.float64)
    dy = rng.integers(-8, 8, y.shape).astype(np.float32)  # whole numbers: every sum is exact
    want = (y * dy).sum()
    assert (x * OPS["convolve_back"].run([dy, w], a, "f32").astype(np.float64)).sum() == want
    assert (w * OPS["convolve_weight"].run([x, dy], a, "f32").astype(np.float64)).sum() == want


@pytest.mark.parametrize("case", CASES)
def test_adjoint(case: str) -> None:
    """<A x, y> = <x, A' y> for both arguments of the convolution (no padding value: then the map is linear)."""
    n, c_in, c_out, groups, g = CASES[case]
    rng = np.random.default_rng(2)
    x, w = signs(rng, n * g.pixels, c_in), signs(rng, g.positions * c_in // groups, c_out)
    a = attrs(g, groups=groups, fill=0)
    y = OPS["convolve"].run([x, w], a, "i32").astype(np.float64)
    dy = rng.integers(-8, 8, y.shape).astype(np.float32)  # whole numbers: every sum is exact
    want = (y * dy).sum()
    assert (x * OPS["convolve_back"].run([dy, w], a, "f32").astype(np.float64)).sum() == want
    assert (w * OPS["convolve_weight"].run([x, dy], a, "f32").astype(np.float64)).sum() == want


WINDOWS = {
    "halves": Geometry(4, 6, 2, 2, 2),
    "ragged": Geometry(5, 7, 2, 2, 2),
    "overlap": Geometry(7, 7, 3, 3, 2, 0, 0, 0, 0),
    "overlap-same": Geometry(6, 6, 3, 3, 2, 0, 1, 0, 1),
    "padded": Geometry(5, 5, 3, 3, 2, 1, 1, 1, 1),
    "all": Geometry(3, 2, 3, 2, 3),
    "one": Geometry(1, 1, 1, 1),
    "dense": Geometry(4, 4, 3, 3, 1),
    "gaps": Geometry(5, 5, 2, 2, 3),
}


def planes(g: Geometry) -> int:
    return max(1, (g.positions - 1).bit_length())


@pytest.mark.parametrize("kind", ["bit", "i16", "f32"])
@pytest.mark.parametrize("case", WINDOWS)
def test_maximum_and_its_gradient(case: str, kind: str) -> None:
    """A plain loop: the maximum over the pixels that exist, the gradient to the first of equals."""
    n, c, g = 2, 5, WINDOWS[case]
    rng = np.random.default_rng(3)
    x = {
        "bit": lambda s: signs(rng, *s),
        "i16": lambda s: rng.integers(-3, 3, s).astype(np.int16),
        "f32": lambda s: rng.integers(-9, 9, s).astype(np.float32) / 8,
    }[kind]((n * g.pixels, c))
    got = OPS["window"].run([x], attrs(g, how="max"), kind)
    route = [OPS["window"].run([x], attrs(g, how="route", plane=p), "bool") for p in range(planes(g))]
    gy = rng.integers(-9, 9, got.shape).astype(np.float32)
    back = OPS["unwindow"].run([gy, *route], attrs(g), "f32")
    if g.disjoint:
        hit, spread = OPS["hit"].run(route, attrs(g), "bool"), OPS["spread"].run([gy], attrs(g), "f32")
        np.testing.assert_array_equal(np.where(hit, spread, 0), back)
    image, want_back = x.reshape(n, g.height, g.width, c), np.zeros((n, g.height, g.width, c))
    out, gy = (v.reshape(n, g.out_height, g.out_width, c) for v in (got, gy))
    for b, oy, ox, ch in itertools.product(range(n), range(g.out_height), range(g.out_width), range(c)):
        where = [(oy * g.stride + dy - g.top, ox * g.stride + dx - g.left) for dy in range(g.ky) for dx in range(g.kx)]
        where = [(y, z) for y, z in where if 0 <= y < g.height and 0 <= z < g.width]
        y, z = max(where, key=lambda p: image[b, p[0], p[1], ch])
        assert out[b, oy, ox, ch] == image[b, y, z, ch]
        want_back[b, y, z, ch] += gy[b, oy, ox, ch]
    np.testing.assert_array_equal(back.reshape(image.shape), want_back)


@pytest.mark.parametrize("case", WINDOWS)
def test_sum_and_its_adjoint(case: str) -> None:
    g, rng = WINDOWS[case], np.random.default_rng(4)
    x = rng.integers(-9, 9, (2 * g.pixels, 3)).astype(np.float32)
    y = OPS["window"].run([x], attrs(g, how="sum"), "f32")
    if not g.padded:
        want = tf.avg_pool2d(nchw(x, 2, g.height, g.width), (g.ky, g.kx), g.stride) * g.positions
        np.testing.assert_allclose(y, rows(want), rtol=1e-12)
    gy = rng.integers(-9, 9, y.shape).astype(np.float32)
    assert (y * gy).sum() == (x * OPS["unwindow"].run([gy], attrs(g), "f32")).sum()
    assert (OPS["window"].run([x.astype(np.int16)], attrs(g, how="sum"), "i32") == y).all()


def test_dropout_is_drawn_again() -> None:
    """What a value became 0 by, its gradient becomes 0 by; the others are scaled alike; evaluation changes nothing."""
    text = """network net { input f32[64]; dropout 0.25; dense 8; batchnorm; dropout 0.25; dense 4; batchnorm; loss; }
              rule standard; train { batch = 50; }"""
    planned = plan(text)
    module = planned.trace.results["simplify"]
    raw = expand(planned.model)
    inputs, states = batch_of(planned, 0), interp.init_states(module.train, 1)
    assert {"seed", "tick"} <= set(module.train.inputs) and not {"seed", "tick"} & set(module.evaluate.inputs)
    x = np.abs(inputs["x"]) + 1
    env = {**states, **{n: inputs[n] for n in raw.train.inputs}, "x": x}
    values = interp.run(raw.train, env)
    out = values["dropout1.out"]
    assert 0.2 < (out == 0).mean() < 0.3
    np.testing.assert_allclose(out[out != 0], (x / 0.75)[out != 0], rtol=1e-4)
    again = interp.run(raw.train, {**env, "tick": env["tick"] + 1})["dropout1.out"]
    assert ((again == 0) != (out == 0)).mean() > 0.2
    both = interp.run(differentiate(raw).train, {**env, "lr": inputs["lr"], "step": inputs["step"]})
    dropped = both["dropout2.out"] == 0
    assert dropped.any() and (both["dropout2.g"][dropped] == 0).all() and (both["dropout2.g"][~dropped] != 0).all()
    np.testing.assert_array_equal(
        OPS["mul"].run([x, np.ones((1, 1), np.float32)], {}, "f32"),
        interp.run(raw.evaluate, {**states, "x": x, "labels": inputs["labels"]})["dropout1.mul"],
    )


def test_join_undoes_split() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 12)
    pixels = OPS["split"].run([x], {"steps": 4, "first": 0, "cols": 3}, "f32")
    np.testing.assert_array_equal(pixels, x.reshape(8, 3))
    np.testing.assert_array_equal(OPS["join"].run([pixels], {"steps": 4}, "f32"), x)
