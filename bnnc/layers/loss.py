"""loss: the last layer.  It makes the per-sample loss and the predicted class, and starts the backward pass.

The gradient carries the rule's loss scale (parameter gradients divide it out).
"""

from __future__ import annotations

from ..ir.program import Region, T
from ..lower.context import Context
from ..model import Layer, TensorType
from ..registry import About, LayerDef, Param, layers

KINDS = ("softmax_cross_entropy", "squared_hinge")


def forward(cx: Context, layer: Layer, x: T) -> T:
    """The loss of each sample, f32 [batch, 1]; results ``loss`` and ``pred``, the class, i32 [batch, 1]."""
    softmax = layer["kind"] == "softmax_cross_entropy"
    z = cx.real(x)
    hot = cx.b.op("col", cols=z.shape[1]).eq(cx.b["labels"])
    if softmax:
        top = z.max(1).named("top")
        e = (z - top).exp().named("e")
        total = e.sum(1).named("total")
        at_label = hot.where(z, 0.0).sum(1).named("at_label")
        loss = (total.log() + top - at_label).named("loss")
        cx.save(e=e, total=total, hot=hot)
    else:
        t = hot.where(1.0, -1.0)
        miss = (1.0 - t * z).maximum(0.0).named("miss")
        loss = (miss * miss).sum(1).named("loss")
        cx.save(miss=miss, t=t)
    cx.b.results += [("loss", loss.name), ("pred", z.argmax(1).named("pred").name)]
    cx.scored(z, "logits" if softmax else "scores")
    return loss


def backward(cx: Context, region: Region, loss: T, wanted: bool) -> T | None:
    """dz [batch, classes], times the rule's loss scale; that of a sample, times its class's weight."""
    dz = _gradient(cx, region, cx.rule.loss_scale(cx.batch) / cx.batch)
    return (dz * _weight(cx, cx.model.class_weights) if cx.model.class_weights else dz).named("dz")


def _weight(cx: Context, weights: tuple[float, ...]) -> T | float:
    """Of each sample, f32 [batch, 1]: the weight that most classes have, unless its own has another."""
    found: T | float = (usual := max(weights, key=weights.count))
    for c, w in enumerate(weights):
        found = cx.b["labels"].eq(c).where(w, found).named("class_weight") if w != usual else found
    return found


def _gradient(cx: Context, region: Region, scale: float) -> T:
    if region.layer["kind"] == "softmax_cross_entropy":
        p = cx.get(region, "e") / cx.get(region, "total")
        return (p - cx.get(region, "hot").to("f32")) * scale
    return cx.get(region, "miss") * cx.get(region, "t") * (-2.0 * scale)


layers.add(
    LayerDef(
        "loss",
        "what training minimises; the last layer of every network",
        (Param("kind", "name", "softmax_cross_entropy", "the loss function", KINDS, positional=True),),
        infer=lambda t, args, body: TensorType("real", (1,)),
        forward=forward,
        backward=backward,
        role="loss",
        flat_input=True,
        about=About(
            formula="softmax_cross_entropy  L = mean of log(sum_c exp z_c) - z_label\n"
            "                       dz = (softmax(z) - [c = label]) / batch\n"
            "squared_hinge          L = mean of sum_c m_c^2, m_c = max(0, 1 - t_c z_c)\n"
            "                       dz = -2 m_c t_c / batch, t = +1 at the label, else -1\n"
            "class_weights w         dz of a sample times w[label]; L as it is",
            source="squared_hinge: 1602.02830",
            takes="real with one axis, one number a class; the last layer of every network.  Labels count from 0",
            gives="the loss, and the class of the largest number (the first of equals)",
            example="network tiny { input u8[9]; dense 4; batchnorm; loss squared_hinge; }\n",
        ),
    )
)
