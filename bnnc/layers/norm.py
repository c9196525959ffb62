"""batchnorm over the batch, per channel, with a trained shift (beta) and, if wanted, a trained factor (gamma); and
layernorm, over the channels of each row, with both.

In line 12 of Algorithm 2 (2102.04270) x excludes beta, which makes omega = mean|x~| identically 1, so it does not exist
here; `bnn` keeps one bit (q) per element.  For l1 and bnn a channel whose psi is at most eps is constant over the
batch: it normalises to beta and passes no gradient.  Over one row x~ is 0, and over two it is +-1 whatever y is, so
that dy is 0 (but for eps) for every kind: what is below hardly learns from less than LEAST_ROWS.  Running statistics
(mean and psi, r <- m r + (1-m) s) serve evaluation.
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..lower.whole import MOST, centred, fitting
from ..model import Layer, TensorType
from ..registry import About, LayerDef, Param, layers

KINDS = ("l2", "l1", "bnn")
LEAST_ROWS = 3


def _inverse(kind: str, psi: T, eps: float) -> T:
    return 1.0 / psi if kind == "l2" else (psi > eps).where(1.0 / psi, 0.0)


def factor(cx: Context, layer: Layer, xt: T) -> T:
    """x~ times gamma [1, channels], where there is one."""
    return (xt * cx.param(f"{layer.name}.gamma", xt.shape[1], 1.0)).named("scaled") if layer["scale"] else xt


def forward(cx: Context, layer: Layer, x: T) -> T:
    """z, f32 [rows, channels]; in training updates the running mean and psi [1, channels]."""
    y, n = cx.real(x), x.shape[1]
    kind, eps, momentum = layer["kind"], layer["eps"], layer["momentum"]
    beta = cx.param(f"{layer.name}.beta", n)
    mean, dev = cx.stat(f"{layer.name}.mean", n, 0.0), cx.stat(f"{layer.name}.psi", n, 1.0)
    if cx.settled:
        xt = (y - mean) * _inverse(kind, dev, eps).named("inv")
        return (factor(cx, layer, xt) + beta).named("z")
    mu = y.mean(0).named("mu")
    a = (y - mu).named("a")
    psi = ((a * a).mean(0) + eps).sqrt() if kind == "l2" else a.abs().mean(0)
    psi = psi.named("psi_b")
    inv = _inverse(kind, psi, eps).named("inv")
    for stat, now in () if cx.aside else ((mean, mu), (dev, psi)):
        cx.b.phase = "update"
        role = stat.name.rsplit(".", 1)[1]
        cx.b.update(stat, (stat * momentum + now * (1.0 - momentum)).named(f"{role}_new"))
        cx.b.phase = "forward"
    xt = (a * inv).named("xt")
    if kind != "l2":
        cx.save(q=a.sign().named("q"))
    cx.save(inv=inv, xt=xt)
    return (factor(cx, layer, xt) + beta).named("z")


def unfactored(cx: Context, region: Region, g: T, xt: T) -> T:
    """Reports the gradients of beta and gamma [1, channels]; returns that of x~."""
    name, scale = region.layer.name, cx.rule.loss_scale(cx.batch)
    cx.wgrad(f"{name}.beta", cx.over_rows(g) / scale)
    if not region.layer["scale"]:
        return g
    cx.wgrad(f"{name}.gamma", (g * xt).sum(0) / scale)
    return (g * cx.b[f"{name}.gamma"]).named("gs")


def backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """dy [rows, channels] of g; reports the gradient of beta [1, channels]."""
    kind = region.layer["kind"]
    if kind == "bnn" and g.name in cx.factors:
        return whole_backward(cx, region, g, wanted)
    g = unfactored(cx, region, g, cx.get(region, "q" if kind == "bnn" else "xt"))
    if not wanted:
        return None
    v = (g * cx.get(region, "inv")).named("v")
    mean_v = v.mean(0).named("mean_v")
    if kind == "bnn":
        q = cx.get(region, "q")
        return (v - mean_v - (v * q).mean(0).named("mean_vq") * q).named("dy")
    xt = cx.get(region, "xt")
    along = (v * xt).mean(0).named("mean_vx")
    if kind == "l2":
        return (v - mean_v - along * xt).named("dy")
    q = cx.get(region, "q")
    return (v - mean_v - along * (q - q.mean(0).named("mean_q"))).named("dy")


def whole_backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """As ``backward`` of kind bnn, for g of whole numbers: all that is asked of a channel are whole numbers too."""
    name, loss, q, factor = region.layer.name, cx.rule.loss_scale(cx.batch), cx.get(region, "q"), cx.get(region, "inv")
    cx.wgrad(f"{name}.beta", cx.over_rows(g) / loss)
    if region.layer["scale"]:
        cx.wgrad(f"{name}.gamma", cx.over_rows(cx.each(g, lambda x: x * q)) / loss)
        factor = factor * cx.b[f"{name}.gamma"]
    if not wanted:
        return None
    return centred(cx, g, q, factor, _most(cx, region.inputs[0]))


def _most(cx: Context, y: str) -> int:
    """The largest size of whole numbers that the layer which made y finds its weight's gradient with."""
    regions = (*cx.b.base.regions, *cx.regions)
    makers = [r for r in regions if r.output == y and dict(r.layer.args.args).get("weights") == "binary"]
    return min((fitting(cx.b[r.inputs[0]], cx.b[y].shape[0]) for r in makers), default=MOST)


layers.add(
    LayerDef(
        "batchnorm",
        "batch normalisation with a trained shift, and factor",
        (
            Param(
                "kind", "name", None, "l2 (standard), l1, or bnn (keeps one bit per element)", KINDS, positional=True
            ),
            Param(
                "eps",
                "float",
                1e-5,
                "added to the variance (l2); smallest psi that is not constant (l1, bnn)",
                minimum=0,
            ),
            Param("scale", "bool", False, "a trained factor (gamma) beside the shift"),
            Param(
                "momentum", "float", 0.9, "share of the running statistic that is kept each step", minimum=0, maximum=1
            ),
        ),
        infer=lambda t, args, body: TensorType("real", t.shape),
        forward=forward,
        backward=backward,
        normalises=True,
        settles=True,
        least_rows=LEAST_ROWS,
        about=About(
            formula="a = y - mu(y);  z = a/psi + beta;  x~ = a/psi, v = g/psi, q = sgn(a)\n"
            "l2    psi = sqrt(mean a^2 + eps)   dy = v - mu(v) - mu(v x~) x~\n"
            "l1    psi = mean |a|               dy = v - mu(v) - mu(v x~) (q - mu(q))\n"
            "bnn   psi = mean |a|               dy = v - mu(v) - mu(v q) q\n"
            "mu: the mean of a channel over the batch, of images over pixels too\n"
            "scale = on   z = gamma x~ + beta, dgamma = sum of g x~; of bnn, which keeps\n"
            "             the sign of x~ alone and where mean |x~| is 1, the sum of g q\n"
            "evaluation takes running mu and psi: r <- momentum r + (1 - momentum) s",
            source="l2: 1502.03167 (2102.04270, Algorithm 1); l1: exact for that norm; bnn: 2102.04270, Algorithm 2, "
            "lines 10-13",
            gives="real, of the same shape",
            example="network tiny {\n  input u8[9];\n  dense 8;\n  batchnorm bnn momentum = 0.95;\n  sign;\n"
            "  dense 4;\n  batchnorm;\n  loss;\n}\n",
        ),
    )
)


def layer_forward(cx: Context, layer: Layer, x: T) -> T:
    """z, f32 [rows, channels]; keeps x~ as the rule stores values, and 1/psi [rows, 1]."""
    y, n = cx.real(x), x.shape[1]
    beta = cx.param(f"{layer.name}.beta", n)
    a = (y - y.mean(1).named("mu")).named("a")
    inv = (1.0 / ((a * a).mean(1) + layer["eps"]).sqrt()).named("inv")
    xt = cx.rule.on_value(cx, (a * inv).named("xt"))
    if cx.training:
        cx.save(inv=inv, xt=xt)
        cx.static["keeps"] = (xt.dtype,)
    return (factor(cx, layer, xt) + beta).named("z")


def layer_backward(cx: Context, region: Region, g: T, wanted: bool) -> T | None:
    """dy [rows, channels] of g; reports the gradients of beta and gamma [1, channels]."""
    xt = cx.get(region, "xt")
    g = unfactored(cx, region, g, xt)
    if not wanted:
        return None
    mean, along = g.mean(1).named("mean_g"), (g * xt).mean(1).named("mean_gx")
    return ((g - mean - along * xt) * cx.get(region, "inv")).named("dy")


layers.add(
    LayerDef(
        "layernorm",
        "normalises each row: a sample's numbers, of images those of each pixel",
        (
            Param("eps", "float", 1e-5, "added to the variance", above=0),
            Param("scale", "bool", True, "a trained factor (gamma) beside the shift"),
        ),
        infer=lambda t, args, body: TensorType("real", t.shape),
        forward=layer_forward,
        backward=layer_backward,
        normalises=True,
        about=About(
            formula="a = y - mu(y);  x~ = a / sqrt(mean a^2 + eps);  z = gamma x~ + beta\n"
            "dy = (v - mu(v) - mu(v x~) x~) / sqrt(mean a^2 + eps),  v = gamma g\n"
            "mu: the mean over a row: over a sample, of images over a pixel's channels\n"
            "evaluation is the same: there is nothing to remember",
            source="1607.06450, equations 3 and 4",
            gives="real, of the same shape",
            example="network tiny { input u8[9]; dense 8; layernorm; sign; dense 4; batchnorm; loss; }\n",
        ),
    )
)
