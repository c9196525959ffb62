"""Random specs over the whole registry: ``draw(seed)`` is a spec that ``check`` accepts, the same one for ever.

Nothing here knows a layer, a rule or an optimiser by its name.  What may follow what comes from the records: the kinds
of value that a layer takes, its parameters with their bounds, and its own ``infer``; what a rule cannot train is told
by
``check``, and the spec is mended as the message says (the statement goes, or what the help names is put before it).  So
a new name is drawn on the day that it is registered.

A spec is a tree of statements (:class:`Node`) and of settings, so that ``shrink`` can take parts away.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from bnnc import builtin, driver, registry
from bnnc.diag import BnncError
from bnnc.front.sections import TRAIN
from bnnc.layers.image import LINE
from bnnc.model import Call, Layer, Model, TensorType
from bnnc.registry import REQUIRED, LayerDef, Param, ShapeError

SIZES = (1, 2, 3, 5, 7, 8, 9, 10, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 130)
SMALL = (1, 2, 3, 4, 5, 7)
BATCHES = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 16, 20, 31, 32, 33, 63, 64, 65, 127, 128, 130)
# names that C, Python, the runtime or the plan have a use for
NAMES = (
    "eval",
    "evaluate",
    "train",
    "step",
    "state",
    "x",
    "labels",
    "lr",
    "loss",
    "pred",
    "part",
    "tick",
    "seed",
    "stage",
    "errors",
    "eval_dense1",
    "eval_x",
    "dense1_weight",
    "conv1_y",
    "input",
    "dense",
    "sign_",
    "net",
    "NET",
    "main",
    "bnnc_arena",
    "CONST",
    "STATE",
    "AT_x",
    "map_x",
    "r",
    "c",
    "n",
    "t",
    "tid",
    "nt",
    "acc",
    "x2",
    "y",
    "sum",
    "window",
    "py",
    "ox",
    "int",
    "while",
    "register",
    "default",
    "restrict",
    "uint32_t",
    "NULL",
    "vf",
    "VL",
    "def",
    "lambda",
    "None",
    "class",
    "import",
    "tl",
    "triton",
    "np",
    "pass",
    "_",
    "__init__",
    "a_b",
    "a__b",
    "A" * 60,
    "b" * 59 + "1",
)
MAX_VALUES, MAX_WEIGHTS = (
    40_000,
    20_000,
)  # of a batch in one layer, and of a layer: so that a step takes well under a second


@dataclass
class Node:
    """A statement: ``name args [{ body }]``, as text."""

    name: str
    args: list[str] = field(default_factory=list)
    body: list[Node] | None = None

    def lines(self, indent: str = "  ") -> list[str]:
        head = " ".join((self.name, *self.args))
        if self.body is None:
            return [f"{indent}{head};"]
        return [f"{indent}{head} {{", *(x for n in self.body for x in n.lines(indent + "  ")), f"{indent}}}"]


@dataclass
class Spec:
    """A whole spec.  ``blocks`` are definitions, as text."""

    name: str
    nodes: list[Node]
    rule: str
    train: dict[str, str]
    allow: dict[str, str] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)

    def text(self) -> str:
        out = [*self.blocks, f"network {self.name} {{", *(x for n in self.nodes for x in n.lines()), "}"]
        out += [f"rule {self.rule};"] if self.rule else []
        out += ["train {", *(f"  {k} = {v};" for k, v in self.train.items()), "}"]
        out += ["allow {", *(f"  {k} = {v};" for k, v in self.allow.items()), "}"] if self.allow else []
        return "\n".join(out) + "\n"

    def at_line(self, line: int) -> tuple[list[Node], int] | None:
        """The list that holds the statement printed on ``line`` (from 1), and its index there."""
        row = len("".join(b + "\n" for b in self.blocks).splitlines()) + 1

        def find(nodes: list[Node], row: int) -> tuple[tuple[list[Node], int] | None, int]:
            for i, n in enumerate(nodes):
                row += 1
                if row == line:
                    return (nodes, i), row
                if n.body is not None:
                    found, row = find(n.body, row)
                    if found:
                        return found, row
                    row += 1
            return None, row

        return find(self.nodes, row)[0]

    def copy(self) -> Spec:
        def deep(nodes: list[Node]) -> list[Node]:
            return [Node(n.name, list(n.args), None if n.body is None else deep(n.body)) for n in nodes]

        return replace(
            self, nodes=deep(self.nodes), train=dict(self.train), allow=dict(self.allow), blocks=list(self.blocks)
        )


class Refused(Exception):
    """No valid spec was found on the way that this seed takes."""


class Drawer:
    """Draws from the registry.  ``banned``: layers that the rule was found not to train."""

    def __init__(self, rng: random.Random, tables: registry.Tables, banned: set[str], budget: int) -> None:
        self.rng, self.tables, self.banned = rng, tables, banned
        self.per_sample = max(8, MAX_VALUES // budget)
        self.used: set[str] = set()

    # -- values -------------------------------------------------------------------------------------------------------
    def number(self, p: Param) -> Any:
        lo = p.minimum if p.minimum is not None else p.above if p.above is not None else 0
        if p.type == "int":
            some = (
                SIZES[: self.rng.choice((7, 11, 15, len(SIZES)))]
                if p.default is REQUIRED
                else (*SMALL, p.default or 0, p.default or 1)
            )
            return min(max(self.rng.choice(some), int(lo)), int(p.maximum) if p.maximum is not None else 1 << 30)
        hi = p.maximum if p.maximum is not None else max(2.0 * float(p.default or 1), lo + 1)
        near = lo + (hi - lo) * 1e-3
        return self.rng.choice(
            (lo if p.above is None else near, hi, p.default or near, round(self.rng.uniform(near, hi), 6))
        )

    def value(self, p: Param) -> tuple[Any, str] | None:
        """A value of the parameter, and how it is written; None where there is nothing to choose."""
        if p.type in ("int", "float"):
            v = self.number(p)
            return v, f"{v:.9g}" if isinstance(v, float) else str(v)
        if p.type == "bool":
            b = self.rng.random() < 0.5
            return b, "on" if b else "off"
        if p.type == "name":
            name = self.rng.choice(list(p.choices))
            return name, name
        if p.type == "ints":
            some = [self.rng.choice((0, 1, 2, 3, 5, 9, 16)) for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
            return tuple(some), (
                f"[{', '.join(map(str, some))}]" if len(some) != 1 or self.rng.random() < 0.5 else str(some[0])
            )
        if p.type.startswith("call:") or p.type == "encoder":
            table = getattr(self.tables, p.type.partition(":")[2] or "encoders")
            return self.call(table, self.rng.choice(list(p.choices)) if p.choices else "")
        return None

    def call(self, table: Any, name: str = "") -> tuple[Call, str]:
        name = name or self.rng.choice(sorted(table))
        values, written = self.arguments(table[name].params, 0.3)
        text = f"{name}({', '.join(written)})" if written else name
        return Call(name, tuple(values.items())), text

    def arguments(self, params: tuple[Param, ...], share: float) -> tuple[dict[str, Any], list[str]]:
        """Values for all parameters, and the text of those that are given:
        the required ones and a share of the others.
        """
        values: dict[str, Any] = {}
        written: list[str] = []
        bare = True  # may a positional argument still stand without its name?
        for p in params:
            found = self.value(p) if p.default is REQUIRED or self.rng.random() < share else None
            if found is None:
                values[p.name], bare = (None if p.default is REQUIRED else p.default), False
                continue
            values[p.name], text = found
            if p.positional and bare and self.rng.random() < 0.8:
                written.append(text)
            else:
                written.append(f"{p.name} = {text}")
                bare = False
        return values, written

    def tensor(self) -> str:
        kind = self.rng.choice(("u8", "u8", "f32", "bit"))
        form = self.rng.choice(("flat", "image", "image", "image", "sequence", "plane"))
        pick = self.rng.choice
        shape = {
            "flat": lambda: (pick(SIZES),),
            "image": lambda: (
                pick((1, 2, 3, 5, 6, 8, 9)),
                pick((1, 3, 4, 5, 6, 8, 11)),
                pick((1, 1, 2, 3, 3, 4, 8, 33)),
            ),
            "sequence": lambda: (pick((1, 2, 3, 5, 6)), pick((1, 2, 3, 5, 8, 9))),
            "plane": lambda: (pick((2, 3, 5, 7)), pick((1, 2, 5, 7, 9))),
        }[form]()
        return f"{kind}[{', '.join(map(str, shape))}]"

    # -- layers -------------------------------------------------------------------------------------------------------
    def first(self) -> tuple[Node, Layer]:
        """The input layer, as ``check`` types it."""
        d = next(x for x in self.tables.layers.values() if x.role == "input")
        last = next(x for x in self.tables.layers.values() if x.role == "loss")
        ending = f"flatten; dense 3; {last.name}; }}"
        for _ in range(40):
            args = []
            for p in d.params:
                if p.type == "tensor":
                    args.append(self.tensor())
                elif self.rng.random() < 0.5 and (found := self.value(p)):
                    args.append(found[1])
            node = Node(d.name, args)
            try:
                model = driver.check_text(driver.Options(f"network n {{ {node.lines('')[0]} {ending}"))
            except BnncError:
                continue
            if model.layers[0].output.elements <= self.per_sample:
                return node, model.layers[0]
        raise Refused

    def weights(self, layer: Layer) -> int:
        """About how many weights a layer has, as far as its record tells."""
        d = self.tables.layers[layer.kind]
        if not (d.binary_weights or d.forward is None):
            return 0
        if not d.images:
            return layer.input.elements * layer.output.elements
        args = dict(layer.args.args)
        return int(args.get("kernel", 1)) ** 2 * layer.input.shape[-1] * layer.output.shape[-1]

    def one(self, d: LayerDef, t: TensorType, depth: int) -> tuple[list[Node], Layer] | None:
        """A statement of this layer on values of type ``t``, if its ``infer`` lets one be."""
        values, written = self.arguments(d.params, 0.25)
        body: list[Node] | None = None
        inner: tuple[Layer, ...] = ()
        if d.role == "container":
            found = self.container_body(d, t, depth)
            if found is None:
                return None
            body, inner = found
        call = Call(d.name, tuple(values.items()))
        try:
            out = d.infer(t, call, inner)
        except (ShapeError, TypeError, ZeroDivisionError):
            return None
        layer = Layer(d.name, d.name, call, t, out, body=inner)
        if out.elements > self.per_sample or self.weights(layer) > MAX_WEIGHTS or min(out.shape) < 1:
            return None
        if not any(p.name == "name" for p in d.params) and self.rng.random() < 0.15:
            name = self.rng.choice(NAMES)
            if name not in self.used:
                self.used.add(name)
                written.append(f"name = {name}")
        return [Node(d.name, written, body)], layer

    def container_body(self, d: LayerDef, t: TensorType, depth: int) -> tuple[list[Node], tuple[Layer, ...]] | None:
        """A body that the container takes: random layers, then one that brings the shape back, or a branch
        that follows it.
        """
        nodes, layers, out = self.some(t, self.rng.randint(0, 3), depth + 1)
        for _ in range(30):
            try:
                if layers:
                    d.infer(t, Call(d.name), tuple(layers))
                    return nodes, tuple(layers)
            except ShapeError:
                pass
            closing = self.reach(out, t)
            if closing is None:
                break
            more, layer = closing
            nodes, layers, out = [*nodes, *more], [*layers, layer], layer.output
        branches = [x for x in self.tables.layers.values() if x.role == "branch" and x.name not in self.banned]
        if branches and layers:
            if out.kind == "bit" and (found := self.reach(out, out)):
                nodes, layers, out = [*nodes, *found[0]], [*layers, found[1]], found[1].output
            b = self.rng.choice(branches)
            found = self.reach(t, out)
            if found:
                side = Layer(b.name, b.name, Call(b.name), t, t, body=(found[1],))
                try:
                    d.infer(t, Call(d.name), (side, *layers))
                    return [Node(b.name, [], found[0]), *nodes], (side, *layers)
                except ShapeError:
                    return None
        return None

    def reach(self, t: TensorType, goal: TensorType) -> tuple[list[Node], Layer] | None:
        """A layer with weights that turns type ``t`` into the shape of ``goal``."""
        trained = [x for x in self.tables.layers.values() if x.binary_weights and x.name not in self.banned]
        for _ in range(60):
            d = self.rng.choice(trained) if trained else None
            if d is None or (d.flat_input and len(t.shape) != 1):
                continue
            values, written = self.arguments(d.params, 0.4)
            sized = next((p for p in d.params if p.default is REQUIRED), None)
            if sized is None:
                continue
            values[sized.name] = goal.shape[-1]
            written = [w for w in written if not w.startswith(f"{sized.name} =")]
            bare = [w for w in written if "=" not in w]
            written = [f"{sized.name} = {goal.shape[-1]}", *(w for w in written if "=" in w)]
            for p, _ in zip((p for p in d.params if p.positional and p is not sized), bare[1:], strict=False):
                values[p.name] = p.default  # it was given by place: leave it out instead
            call = Call(d.name, tuple(values.items()))
            try:
                out = d.infer(t, call, ())
            except (ShapeError, TypeError):
                continue
            if out.shape == goal.shape and t.kind in d.input_kinds:
                return [Node(d.name, written)], Layer(d.name, d.name, call, t, out)
        return None

    def some(self, t: TensorType, count: int, depth: int) -> tuple[list[Node], list[Layer], TensorType]:
        """Up to ``count`` layers one after another."""
        nodes: list[Node] = []
        layers: list[Layer] = []
        last: LayerDef | None = None
        for _ in range(count):
            ways = [
                d
                for d in self.tables.layers.values()
                if d.role in ("layer", "container")
                and d.name not in self.banned
                and t.kind in d.input_kinds
                and not (d.images and len(t.shape) != axes(d))
                and not (d.role == "container" and depth > 1)
                and (d.forward is not None or not layers)
            ]
            weight = [self.liking(d, t, last) for d in ways]
            for _ in range(12):
                d = self.rng.choices(ways, weight)[0]
                before: list[Node] = []
                at = t
                if d.flat_input and len(t.shape) != 1:
                    if depth:
                        continue  # a container's body keeps the sample's shape
                    at = TensorType(t.kind, (t.elements,))
                    before = [Node("flatten")]
                found = next((x for _ in range(4) if (x := self.one(d, at, depth))), None)
                lost = found and len(t.shape) > 1 and len(t.shape) != len(found[1].output.shape)
                if found and not (
                    lost and len(layers) < count - 1 and self.rng.random() < 0.8
                ):  # an image stays one for a while
                    nodes += [*before, *found[0]]
                    layers += [Layer("flatten", "", Call("flatten"), t, at)] if before else []
                    layers.append(found[1])
                    t, last = found[1].output, d
                    break
        return nodes, layers, t

    def liking(self, d: LayerDef, t: TensorType, last: LayerDef | None) -> float:
        """Networks that are like real ones more often than not."""
        if d.forward is None:
            return 12.0  # only some rules have it
        if d.images or d.flat_input:
            least = {1: 1.0, 2: 0.3, 3: 0.02}[len(t.shape)]  # a layer that wants no axes, where there are some
            return (6.0 if t.kind != "real" else 2.0) * (1.0 if d.images else least)
        if d.normalises:
            return 4.0 if t.kind == "real" and last is not None and not last.normalises else 0.3
        return 2.0 if t.kind == "real" else 0.4


def axes(d: LayerDef) -> int:
    """Of the samples that a layer on images, or on sequences, takes."""
    return 2 if d.name.endswith(LINE) else 3


def _draw(rng: random.Random, tables: registry.Tables, rule: str, batch: int, banned: set[str]) -> Spec:
    d = Drawer(rng, tables, banned, batch)
    node, layer = d.first()
    nodes, layers, t = d.some(layer.output, rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 11)), 0)
    nodes = [node, *nodes]
    if len(t.shape) != 1:
        nodes.append(Node("flatten"))
    last = rng.random()
    if last < 0.9 or t.elements > 255:
        trained = [x for x in tables.layers.values() if x.binary_weights and x.flat_input and x.name not in banned]
        if trained:
            head = rng.choice(trained)
            sized = next(p for p in head.params if p.default is REQUIRED)
            nodes.append(Node(head.name, [f"{sized.name} = {rng.choice((2, 2, 3, 5, 10, 17, 1))}"]))
        norms = [x for x in tables.layers.values() if x.normalises]
        if norms and rng.random() < 0.6:
            nodes.append(Node(rng.choice(norms).name))
    losses = [x for x in tables.layers.values() if x.role == "loss"]
    loss = rng.choice(losses)
    nodes.append(Node(loss.name, d.arguments(loss.params, 0.4)[1]))
    text = d.call(tables.rules, rule)[1]
    train = {"batch": str(batch)}
    for p in TRAIN:
        if p.name != "batch" and rng.random() < (0.5 if p.type.startswith("call") else 0.25):
            found = ("on", "on") if p.type == "bool" else d.value(p)
            if found:
                train[p.name] = found[1]
    if "microbatch" in train:
        divisors = [x for x in range(1, min(batch, 9) + 1) if batch % x == 0]
        train["microbatch"] = str(rng.choice(divisors))
    allow = {}
    if rng.random() < 0.1:
        for p in TRAIN:
            if p.name in ("recompute", "optimizer", "batch") and rng.random() < 0.5 and (found := d.value(p)):
                allow[p.name] = found[1]
    spec = Spec(rng.choice((*NAMES, "net", "net", "net")) if rng.random() < 0.3 else "net", nodes, text, train, allow)
    return _folded(rng, spec)


def _folded(rng: random.Random, spec: Spec) -> Spec:
    """Now and then some neighbouring layers become a block, or are repeated."""
    inside = [i for i in range(1, len(spec.nodes) - 1)]
    if len(inside) < 2 or rng.random() > 0.2:
        return spec
    i = rng.choice(inside[:-1])
    j = rng.randint(i + 1, len(spec.nodes) - 1)
    part = spec.nodes[i:j]
    if any("name =" in line for n in part for line in n.lines()):
        return spec
    if rng.random() < 0.5:
        return replace(
            spec, nodes=[*spec.nodes[:i], Node("repeat", [str(rng.choice((1, 1, 2)))], part), *spec.nodes[j:]]
        )
    name = rng.choice(("part", "stage", "eval_block", "body"))
    definition = "\n".join([f"block {name}(size = 3) {{", *(x for n in part for x in n.lines()), "}"])
    return replace(spec, blocks=[definition], nodes=[*spec.nodes[:i], Node(name), *spec.nodes[j:]])


FIX = re.compile(r"add `(\w+);`")


def mend(spec: Spec, e: BnncError, rng: random.Random, banned: set[str]) -> Spec | None:
    """The spec without its first mistake: what the help names is put before the statement, or the statement goes."""
    d = next(x for x in e.diagnostics if x.severity == "error")
    spec = spec.copy()
    text = spec.text().splitlines()
    line = text[d.span.line - 1].strip() if 0 < d.span.line <= len(text) else ""
    if line.startswith("rule "):
        name = re.split(r"[ (;]", spec.rule)[0]
        spec.rule = name if spec.rule != name else ""
        return spec
    if line.startswith("train") or any(line.startswith(f"{k} =") for k in spec.train):
        key = line.partition(" =")[0]
        if key in spec.train and key != "batch":
            del spec.train[key]
        elif "microbatch" in spec.train:
            del spec.train["microbatch"]
        else:
            return None
        return spec
    if line.startswith("allow"):
        return replace(spec, allow={})
    at = spec.at_line(d.span.line)
    if at is None:
        return None
    nodes, i = at
    fix = FIX.search(d.help or "")
    if fix and not any(n.name == fix[1] for n in nodes[max(0, i - 1) : i]):
        nodes.insert(i, Node(fix[1]))
    elif d.code == "B0501" and nodes[i].body is None and i not in (0, len(spec.nodes) - 1):
        if f"`{nodes[i].name}`" in d.message:
            banned.add(nodes[i].name)
        del nodes[i]
    elif nodes is spec.nodes and i in (0, len(nodes) - 1):
        return None
    elif any("=" in a for a in nodes[i].args) and rng.random() < 0.5:
        nodes[i].args = [a for a in nodes[i].args if "=" not in a or a.startswith(("units", "channels"))]
    else:
        del nodes[i]
    return spec


@dataclass
class Drawn:
    """A spec that ``check`` accepts, its Model, and how many texts it refused before, by code."""

    seed: int
    spec: Spec
    model: Model
    refused: Counter[str]


def draw(seed: int, tables: registry.Tables | None = None) -> Drawn:
    """The spec of a seed.  Whatever is not a spec must be refused with a code: any other exception is let through."""
    tables = tables or builtin.tables()
    refused: Counter[str] = Counter()
    rng = random.Random(f"bnnc {seed}")
    rules = sorted(tables.rules)  # those that follow gradients have more layers and options to try
    rule = rng.choices(rules, [2 if getattr(tables.rules[n].impl, "backward", None) is None else 1 for n in rules])[0]
    banned = set[str]()
    for turn in range(1000):
        batch = rng.choice(BATCHES[: rng.choice((10, len(BATCHES)))])
        if turn % 10 == 9:
            banned.clear()
        try:
            spec: Spec | None = _draw(rng, tables, rule, batch, banned)
        except Refused:
            continue
        for _ in range(25):
            assert spec is not None
            try:
                model = driver.check_text(driver.Options(spec.text()))
                return Drawn(seed, spec, model, refused)
            except BnncError as e:
                refused[next(d.code for d in e.diagnostics if d.severity == "error")] += 1
                spec = mend(spec, e, rng, banned)
                if spec is None:
                    break
    raise AssertionError(f"seed {seed}: no spec that `check` accepts; refused: {refused}")


if __name__ == "__main__":
    import sys

    for number in map(int, sys.argv[1:] or ["0"]):
        print(f"# seed {number}\n{draw(number).spec.text()}")
