"""A network that only predicts as an ONNX graph: what its Program computes of one sample, op by op, to the same bits.

Whole numbers are i32 there, bits f32 of -1 and +1.  A product of whole numbers is one of floats that hold every sum of
it exactly, and a cast to i32 behind it: so its result does not depend on the order in which a runtime adds, and no
runtime can fold the scale that follows into the weights.  What would depend on it, sums of real numbers, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..diag import error
from ..driver import Planned
from ..inputs.encode import of_model
from ..ir.dtype import INTEGERS
from ..ir.image import geometry
from ..ir.interp import constant_array
from ..ir.program import Op, Value
from ..version import __version__

OPSET, IR_VERSION = 17, 8  # of 2022: what runtimes of the last years read
EXACT = 1 << 24  # whole numbers up to here are floats
MAPS = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "abs": "Abs", "sqrt": "Sqrt"}
COMPARED = {
    "le": "LessOrEqual",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "eq": "Equal",
    "max": "Greater",
    "min": "Less",
}
STORED = {"bit": np.float32, "bool": np.bool_, "f16": np.float32, "f32": np.float32}  # the others: i32


def missing(reason: str, help: str) -> Exception:
    """B0718: there is no ONNX graph of that."""
    return error("B0718", reason, exit_code=2, help=help)


class Graph:
    """Nodes and constants, as they are added."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        try:
            import onnx
        except ImportError:
            raise missing("ONNX graphs are written by the package onnx", 'pip install "bnnc[onnx]"') from None
        self.onnx, self.value = onnx, values
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.named: dict[str, str] = {}  # the Program's values, by their names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The result of a node."""
        out = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [out], **attributes))
        return out

    def array(self, x: Any, name: str = "") -> str:
        """A constant."""
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(x), name))
        return name

    def cast(self, x: str, to: type) -> str:
        return self.op("Cast", x, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def real(self, name: str, to: type = np.float32) -> str:
        """A value as floats."""
        x = self.named[name]
        return x if to is np.float32 and self.value[name].dtype not in INTEGERS else self.cast(x, to)

    def product(self, a: str, b: str, largest: int, dtype: str) -> str:
        """Of two matrices of whole numbers: ``largest`` bounds its sums."""
        if dtype == "f32":
            raise missing(
                "a sum of real numbers depends on the order in which it is added, and ONNX does not say which",
                "export networks whose weights and inputs are bits or whole numbers",
            )
        wide = np.float64 if largest >= EXACT else np.float32
        a, b = (x if wide is np.float32 else self.cast(x, wide) for x in (a, b))
        return self.cast(self.op("MatMul", a, b), np.int32)

    # -- ops -----------------------------------------------------------------------------------------------------------
    def map(self, op: Op) -> str:
        """An op of elements."""
        kind, whole = op.kind, self.value[op.output].dtype in INTEGERS
        if kind in MAPS:
            return self.op(MAPS[kind], *(self.named[n] if whole else self.real(n) for n in op.inputs))
        if kind in COMPARED:
            both = all(self.value[n].dtype in INTEGERS for n in op.inputs)
            a, b = (self.named[n] if both else self.real(n) for n in op.inputs)
            found = self.op(COMPARED[kind], a, b)
            return self.op("Where", found, a, b) if kind in ("max", "min") else found
        if kind == "sign":
            least = self.array(np.zeros((), np.int32 if self.value[op.inputs[0]].dtype in INTEGERS else np.float32))
            return self.signs(self.op("GreaterOrEqual", self.named[op.inputs[0]], least))
        if kind == "select":
            chosen = (self.named[n] if whole else self.real(n) for n in op.inputs[1:])
            return self.op("Where", self.named[op.inputs[0]], *chosen)
        if kind == "and":
            return self.op("And", *(self.named[n] for n in op.inputs))
        if kind == "cast":
            return self.converted(op)
        raise missing(f"ONNX has nothing with the bits of `{kind}`, which this network computes", "compile it to C")

    def signs(self, positive: str) -> str:
        return self.op("Where", positive, self.array(np.float32(1)), self.array(np.float32(-1)))

    def converted(self, op: Op) -> str:
        to = self.value[op.output].dtype
        if to in INTEGERS:
            return self.cast(self.named[op.inputs[0]], np.int32)
        x = self.cast(self.named[op.inputs[0]], np.float32)
        return self.cast(self.cast(x, np.float16), np.float32) if to == "f16" else x

    def contract(self, op: Op) -> str:
        """A product of matrices."""
        form, (a, b) = dict(op.attrs)["form"], (self.real(n) for n in op.inputs)
        a = self.op("Transpose", a, perm=[1, 0]) if form == "tn" else a
        b = self.op("Transpose", b, perm=[1, 0]) if form == "nt" else b
        terms = prod(self.value[op.inputs[0]].shape) // self.value[op.output].shape[0]
        return self.product(a, b, terms * self.most(op.inputs[0]), self.value[op.output].dtype)

    def most(self, name: str) -> int:
        return {"u8": 255, "i8": 128 * 255}.get(self.value[name].dtype, 1)

    def windows(self, x: str, op: Op, beyond: float) -> str:
        """[windows, pixels in one, channels]: what each window sees."""
        rows = geometry(dict(op.attrs)).sources(1)
        edge = self.array(np.full((1, self.value[op.inputs[0]].shape[1]), beyond, np.float32))
        rows = np.where(rows < 0, self.value[op.inputs[0]].shape[0], rows)
        return self.op("Gather", self.op("Concat", x, edge, axis=0), self.array(rows), axis=0)

    def convolve(self, op: Op) -> str:
        """A convolution: a product of what windows see by the weights."""
        attrs, image = dict(op.attrs), self.value[op.inputs[0]]
        if attrs["groups"] != 1:
            raise missing("convolutions in groups are not exported to ONNX", "compile the network to C")
        x, fill = self.real(op.inputs[0]), attrs["fill"]
        if image.dtype == "u8":  # a u8 stands for 2 u - 255
            x = self.op("Sub", self.op("Mul", x, self.array(np.float32(2))), self.array(np.float32(255)))
            fill *= 255
        terms = self.value[op.inputs[1]].shape[0]
        seen = self.op("Reshape", self.windows(x, op, fill), self.array(np.array([-1, terms])))
        return self.product(seen, self.real(op.inputs[1]), terms * self.most(op.inputs[0]), self.value[op.output].dtype)

    def window(self, op: Op) -> str:
        """The maximum of what windows see."""
        if dict(op.attrs)["how"] != "max":
            raise missing("of pools ONNX graphs have the maximum alone", "use `maxpool`, or compile the network to C")
        out = self.op("ReduceMax", self.windows(self.real(op.inputs[0]), op, -np.inf), axes=[1], keepdims=0)
        return self.cast(out, np.int32) if self.value[op.output].dtype in INTEGERS else out

    def reduce(self, op: Op) -> str:
        """Over rows or columns: the place of the first maximum, or the maximum."""
        attrs, x = dict(op.attrs), self.named[op.inputs[0]]
        if attrs["how"] == "argmax":
            return self.cast(self.op("ArgMax", x, axis=attrs["axis"], keepdims=1), np.int32)
        if attrs["how"] == "max":
            return self.op("ReduceMax", x, axes=[attrs["axis"]], keepdims=1)
        if self.value[op.output].dtype in INTEGERS:
            x = self.cast(x, np.int32)
            return self.op("ReduceSum", x, self.array(np.array([attrs["axis"]])), keepdims=1)
        return self.product("", "", 0, "f32")

    def add(self, op: Op) -> None:
        """The nodes of an op."""
        v = self.value[op.output]
        if op.kind in ("contract", "convolve", "window", "reduce"):
            out = getattr(self, op.kind)(op)
        elif op.kind == "const":
            out = self.array(np.full((1, 1), dict(op.attrs)["value"], STORED.get(v.dtype, np.int32)))
        elif op.kind == "col":
            out = self.array(np.arange(v.shape[1], dtype=np.int32)[None])
        elif op.kind in ("join", "split"):  # rows side by side, or one below the other
            out = self.op("Reshape", self.named[op.inputs[0]], self.array(np.array([v.shape[0], -1])))
            if op.kind == "split":
                first, cols = (dict(op.attrs)[k] for k in ("first", "cols"))
                out = self.op("Slice", out, *(self.array(np.array([n])) for n in (first, first + cols, 1)))
        elif op.kind == "copy":
            out = self.named[op.inputs[0]]
        else:
            out = self.map(op)
        self.named[op.output] = out


def write(planned: Planned, path: Path) -> None:
    """The graph of a planned predictor: input ``x``, one sample as the network takes it, [1, ...] (of bits that an
    encoder makes: bools; ``sign`` is in the graph); outputs ``class``, i32[1], and ``scores``, [1, n].

    Raises
    ------
    BnncError
        B0718 for a network that computes sums of real numbers, or ops that ONNX has not to the bit.
    """
    p, model = planned.trace.results["simplify"].train, planned.model
    g = Graph(p.value)
    shape, given = _sample(g, planned)
    read = {n for op in p.ops for n in op.inputs} | {n for _, n in p.results}
    for k in (k for k in p.constants if k.name in read):
        x = constant_array(p.value[k.name], k)
        g.named[k.name] = g.array(x.astype(STORED.get(p.value[k.name].dtype, np.int32)), k.name)
    for op in p.ops:
        g.add(op)
    h, kind = g.onnx.helper, g.onnx.TensorProto
    (pred,), (name,) = ([n for role, n in p.results if (role == "pred") is so] for so in (True, False))
    g.nodes.append(h.make_node("Reshape", [g.named[pred], g.array(np.array([1]))], ["class"]))
    g.nodes.append(h.make_node("Identity", [g.named[name]], ["scores"]))
    whole = p.value[name].dtype in INTEGERS
    outputs = [
        h.make_tensor_value_info("class", kind.INT32, [1]),
        h.make_tensor_value_info("scores", kind.INT32 if whole else kind.FLOAT, list(p.value[name].shape)),
    ]
    x = h.make_tensor_value_info("x", given, [1, *shape])
    graph = h.make_graph(g.nodes, model.name, [x], outputs, g.constants)
    opset = [h.make_opsetid("", OPSET)]
    made = h.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name=f"bnnc {__version__}")
    made.metadata_props.add(key="spec", value=model.hash)
    g.onnx.checker.check_model(made, full_check=True)
    path.write_bytes(made.SerializeToString())


def _sample(g: Graph, planned: Planned) -> tuple[tuple[int, ...], Any]:
    """The shape and type of what comes in, which becomes the Program's x."""
    p, e, kind = planned.placed.program, of_model(planned.model), g.onnx.TensorProto
    rows, first = g.array(np.array(p.value["x"].shape)), planned.model.layers[0]
    if e is not None and (e.how != "sign" or e.pad_odd):
        g.named["x"] = g.signs(g.op("Reshape", "x", rows))
        return (p.value["x"].shape[1],), kind.BOOL
    t = first["tensor"]
    x = g.op("Reshape", "x", rows)
    if e is not None:
        x = g.signs(g.op("GreaterOrEqual", g.cast(x, np.float32), g.array(np.float32(e.threshold))))
    elif t.kind == "bit":
        x = g.signs(x)
    elif t.kind == "u8":
        x = g.cast(x, np.int32)
    g.named["x"] = x
    return t.shape, {"u8": kind.UINT8, "bit": kind.BOOL}.get(t.kind, kind.FLOAT)
