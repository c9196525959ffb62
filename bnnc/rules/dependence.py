"""hsic: the values of each block should tell what the label tells, as kernels of the batch measure it.

No feedback and no second pass: a kernel K compares every sample with every other by a block's values, L does by the
labels.  With ``kind = cosine`` the objective is HSIC(K, K) - gamma HSIC(L, K) (2006.07123), with ``bottleneck`` it is
nHSIC(K, D) - gamma nHSIC(K, L), D a kernel of the data, all of them Gaussian (1908.01580).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..ir.dtype import INTEGERS
from ..ir.program import Program, Region, T
from ..lower.context import Context
from ..model import Model
from ..registry import About, Named, Param, rules
from .base import NUMERICS, Complaint
from .feedback import SOURCES, by_blocks, example, hot, small_batches
from .standard import STANDARD


def centred(x: T) -> T:
    """H x H for a symmetric x [batch, batch]."""
    return x - x.mean(1).named("rows") - (x.mean(0) - x.mean(0).mean(1)).named("columns")


def alike(cx: Context) -> T:
    """bool [batch, batch]: are two samples of one class?  Of signs, the sum over classes is C, or else C - 4."""
    t = (hot(cx) - 0.5).sign().named("target")
    return cx.b.op("contract", t, t, form="nt", name="same") >= float(cx.model.classes)


# -- cosine kernels ----------------------------------------------------------------------------------------------------


def cosine(cx: Context, z: T) -> T:
    """The gradient in a block's values z [batch, width] of HSIC(K, K) - gamma HSIC(L, K)."""
    b, gamma, batch = cx.b, cx.rule_args["gamma"], cx.samples

    def pulled(k: T, u: T) -> T:
        """sum_j Gk_ij u_j - u_i sum_j Gk_ij K_ij."""
        labels = alike(cx).where(1.0, -1.0 / max(1, cx.model.classes - 1))
        gk = (centred((k * 2.0 - labels * gamma).named("m")) * (1.0 / batch**2)).named("gk")
        own = (gk * k).sum(1).named("own")
        return b.op("contract", gk, u, form="nn", name="pull") - own * u

    scale = 2.0 * cx.rule.loss_scale(cx.batch)
    if z.dtype == "bit":
        k, over = b.op("contract", z, z, form="nt", name="k") * (1.0 / z.shape[1]), scale / z.shape[1]
        return pulled(k, z) * over
    norm = (z * z).sum(1).sqrt().named("norm")
    norm = (norm > 0.0).where(norm, 1e-6).named("norm")
    z = (z / norm).named("u")
    return pulled(b.op("contract", z, z, form="nt", name="k"), z) * (scale / norm)


# -- Gaussian kernels, normalised --------------------------------------------------------------------------------------


def identity(cx: Context) -> T:
    """bool [batch, batch]."""
    return cx.b.op("step", rows=cx.samples, steps=cx.samples).eq(cx.b.op("col", cols=cx.samples))


def gaussian(cx: Context, z: T) -> T:
    """exp(-|z_i - z_j|^2 / (2 sigma^2 width)), [batch, batch]."""
    over = 0.5 / (cx.rule_args["sigma"] ** 2 * z.shape[1])
    products = cx.b.op("contract", z, z, form="nt", name="products")
    if z.dtype == "bit":
        return ((products - float(z.shape[1])) * (2.0 * over)).exp().named("k")
    size = (z * z).sum(1).named("size")
    across = cx.b.op("turn", size, steps=cx.samples, name="size_t")
    return ((products * 2.0 - size - across) * over).exp().named("k")


def inverse(cx: Context, k: T) -> T:
    """(H K H + c)^-1 by Newton's iteration M <- 2 M - M A M.  It squares each eigenvalue's error, which is at most
    1 - ridge at the start, until it is below what f32 can tell.
    """
    ridge, eye = cx.rule_args["ridge"] * cx.samples, identity(cx)
    a = (centred(k) + eye.where(ridge, 0.0)).named("a")
    m = eye.where(1.0 / (cx.samples + ridge), 0.0).named("m")  # no eigenvalue is larger than the trace
    for _ in range(math.ceil(math.log2(16 / cx.rule_args["ridge"]))):
        am = cx.b.op("contract", a, m, form="nn", name="am")
        m = (m * 2.0 - cx.b.op("contract", m, am, form="nn", name="mam")).named("m")
    return m


def bottleneck(cx: Context, z: T) -> T:
    """The gradient in a block's values z [batch, width] of nHSIC(K, D) - gamma nHSIC(K, L): with R = A (A + c)^-1 of
    A = H K H, nHSIC is tr(R_K R_D), and its gradient in A c M R_D M, M = (A + c)^-1."""
    b, ridge, gamma = cx.b, cx.rule_args["ridge"] * cx.samples, cx.rule_args["gamma"]
    data = cx.joined(cx.real(cx.b["x"]), "data")
    z = z.to("f32") if z.dtype in INTEGERS else z
    apart = math.exp(-1.0 / (cx.rule_args["sigma"] ** 2 * cx.model.classes))
    of_data, of_labels = (inverse(cx, k) for k in (gaussian(cx, data), alike(cx).where(1.0, apart)))
    wanted = (of_labels * (gamma * ridge) - of_data * ridge + identity(cx).where(1.0 - gamma, 0.0)).named("wanted")
    k = gaussian(cx, z)
    m = inverse(cx, k)
    ga = b.op("contract", b.op("contract", m, wanted, form="nn", name="mq"), m, form="nn", name="mqm")
    w = (centred(ga * ridge) * k).named("w")
    scale = 2.0 * cx.rule.loss_scale(cx.batch) / (cx.rule_args["sigma"] ** 2 * z.shape[1])
    return (b.op("contract", w, z, form="nn", name="pull") - w.sum(1).named("own") * z) * scale


# -- the rule ----------------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Context, T], T]] = {"cosine": cosine, "bottleneck": bottleneck}


def dependence(cx: Context, program: Program) -> None:
    """Each block by the gradient that the rule's ``kind`` has in what it ends with."""
    cx.forward(cx.model.layers[0], cx.b["x"])  # says what data stand for

    def signal(region: Region, number: int) -> T:
        x = cx.b[region.inputs[0]]
        dz = KINDS[cx.rule_args["kind"]](cx, cx.joined(x, "z")).named("dz")
        return cx.parted(cx.rule.on_grad(cx, dz), x, "dz_rows")

    by_blocks(cx, program, signal)


def whole_batches(model: Model) -> Iterable[Complaint]:
    """The kernels of hsic compare every sample with every other."""
    if model.microbatch > 1:
        yield "", "`hsic` compares all samples of a batch, so it cannot take the batch in parts", "remove `microbatch`"
    yield from small_batches(model)


rules.add(
    Named(
        "hsic",
        "each layer makes its values tell what the label tells: kernels instead of feedback",
        (
            Param("gamma", "float", 20.0, "weight of the dependence on the label", above=0),
            Param("kind", "name", "cosine", "the kernels, and what is made of them", tuple(KINDS)),
            Param("sigma", "float", 5.0, "of bottleneck: the width of its Gaussian kernels", above=0),
            Param(
                "ridge",
                "float",
                1e-5,
                "of bottleneck: what is added to a kernel, times the batch",
                minimum=1e-6,
                maximum=1,
            ),
            NUMERICS,
        ),
        replace(STANDARD, propagate=dependence, at_once=True, validate=whole_batches, gates=None, published=None),
        About(
            formula="HSIC(A, D) = tr(A H D H) / B^2,  H = 1 - 1/B;  Z [B, width]: a block's values\n"
            "K = cosines of rows of Z;  L = 1 in a class, -1/(C - 1) across\n"
            "G = the gradient in Z of HSIC(K, K) - gamma HSIC(L, K), row i of it:\n"
            "    2 (sum_j Gk_ij u_j - u_i sum_j Gk_ij K_ij) / |z_i|,  u_i = z_i / |z_i|\n"
            "    Gk = H (2 K - gamma L) H / B^2;  of bits |z_i|^2 is the width\n"
            "kind = bottleneck   G = the gradient in Z of nHSIC(Z, X) - gamma nHSIC(Z, T)\n"
            "    nHSIC(Z, X) = tr(R_Z R_X),  R = A (A + ridge B)^-1,  A = H K H\n"
            "    K_ij = exp(-|z_i - z_j|^2 / (2 sigma^2 width)), X the data, T the labels\n"
            "a residual's input has a signal of its own; the last block has the loss",
            source=f"2006.07123, the kernelised bottleneck; {SOURCES}; bottleneck: 1908.01580, equation 5 (gamma 50)",
            example=example("hsic"),
        ),
    )
)
