"""Check, second half: the statements of a network -> typed layers.

Blocks and repeats are expanded in place, every layer's arguments bound, its type inferred from the one before, and the
rules about order (input first, loss last) applied.  The network is bounded: MAX_LAYERS layers, MAX_STEPS statements.

Non-goals: the other sections of a spec (``check``), and the values of arguments (``bind``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..diag import InternalError, Span, did_you_mean
from ..inputs.encode import settled
from ..model import Call, Layer, TensorType
from ..registry import LayerDef, Param, ShapeError, Tables, rule_of
from . import ast
from .bind import Binder, Log, Reported, Scope, Stop
from .sections import COUNT, REPEAT
from .values import describe

MAX_LAYERS, MAX_STEPS, MAX_USES, MAX_NESTING = 1000, 100_000, 32, 100
BODIES = ("container", "branch")


@dataclass
class _Flow:
    """What one layer hands to the next, within the network or within one container."""

    type: TensorType
    guess: bool = True  # an earlier mistake made the type unsure
    source: tuple[str, Span] | None = None  # the layer that gives the type
    bare: Span | None = None  # a layer of binary weights whose output nothing has normalised


class Expander:
    """Makes the layers of one network.  ``settings`` are names that belong into ``train``, for a hint; ``widths``
    replaces the argument ``units`` of layers by their names."""

    def __init__(
        self,
        tables: Tables,
        log: Log,
        binder: Binder,
        top: Scope,
        blocks: dict[str, ast.BlockDef],
        rule: Call | None,
        settings: Iterable[str],
        widths: Mapping[str, int],
    ) -> None:
        self.tables, self.log, self.binder, self.top = tables, log, binder, top
        self.blocks, self.rule, self.settings = blocks, rule, tuple(settings)
        self.widths = widths
        self.numbers: Counter[str] = Counter()
        self.named: dict[str, Span] = {}
        self.steps = self.nesting = 0
        self.started = self.unknown = False  # the network has a layer; it has one that nobody knows
        self.loss_span: Span | None = None

    def network(self, s: ast.Stmt, end: Span) -> tuple[str, tuple[Layer, ...]]:
        """Name and layers of the statement ``network``; ``end`` is the place of its closing brace."""
        names = [a.value.id for a in s.args if a.name is None and isinstance(a.value, ast.Name)]
        if len(names) != 1 or len(s.args) != 1:
            self.log.add("B0207", "a network has one name", s.header, help="write e.g. `network mnist_mlp { ... }`")
        if not s.body:
            self.log.add("B0408", "the network has no layers", s.header, help="write `network NAME { ... }`")
            return "", ()
        flow = _Flow(TensorType("f32", (1,)))
        try:
            layers = self.body(s.body, Scope(self.top), flow)
        except Stop:
            return "", ()
        if flow.guess and not self.log.errors and layers:
            raise InternalError("a layer was left out and nobody was told")
        if self.loss_span is None and not self.unknown:
            name = next((n for n, d in self.tables.layers.items() if d.role == "loss"), "loss")
            self.log.add(
                "B0309",
                "the network does not end with a loss",
                end,
                "the network ends here",
                f"add `{name};` before this line",
            )
        return (names[0] if names else ""), tuple(layers)

    def step(self, span: Span) -> None:
        """Count one statement; stop where a network grows beyond all bounds."""
        self.steps += 1
        if self.nesting > MAX_NESTING:
            self.log.add(
                "B0107",
                f"layers are nested more than {MAX_NESTING} levels deep",
                span,
                help="use fewer blocks within blocks",
            )
            raise Stop
        if self.steps > MAX_STEPS or self.numbers.total() > MAX_LAYERS:
            self.log.add("B0307", f"the network has more than {MAX_LAYERS} layers", span, help="repeat less")
            raise Stop

    def body(self, items: Iterable[ast.Item], scope: Scope, flow: _Flow, inside: str = "") -> list[Layer]:
        """The layers of a list of statements.  ``inside`` is the container's name, empty in the network itself."""
        out: list[Layer] = []
        self.nesting += 1
        for item in items:
            self.step(item.span)
            try:
                out += self.statement(item, scope, flow, inside)
            except Stop:
                raise
            except Reported:
                flow.guess, flow.bare = True, None
        self.nesting -= 1
        return out

    def statement(self, item: ast.Item, scope: Scope, flow: _Flow, inside: str) -> list[Layer]:
        """The layers of one statement.  Raises Reported."""
        match item:
            case ast.Let():
                self.binder.let(item, scope, item.value)
                return []
            case ast.Stmt(name="repeat"):
                return self.repeat(item, scope, flow, inside)
            case ast.Stmt() if item.name in self.blocks:
                return self.use(item, scope, flow, inside)
            case ast.Stmt() if item.name in self.tables.layers:
                return [self.layer(item, scope, flow, inside)]
            case ast.Stmt():
                self.started = self.unknown = True
                known = [*self.tables.layers, *self.blocks, REPEAT]
                raise self.log.fail(
                    "B0202",
                    f"unknown layer `{item.name}`",
                    ast.head(item),
                    "no such layer or block",
                    did_you_mean(item.name, known) or f"the layers are {', '.join(sorted(self.tables.layers))}",
                )
            case ast.BlockDef():
                raise self.log.fail(
                    "B0206",
                    f"the block `{item.name}` must be defined at the top level",
                    item.name_span,
                    help="move it out of the network",
                )
            case ast.Setting():
                move = item.name in self.settings
                raise self.log.fail(
                    "B0206",
                    f"`{item.name} = ...` cannot stand among layers",
                    ast.head(item),
                    help="move it into `train { ... }`" if move else f"write `let {item.name} = ...;`",
                )

    def repeat(self, s: ast.Stmt, scope: Scope, flow: _Flow, inside: str) -> list[Layer]:
        """The layers of ``repeat``, one after the other.  Raises Reported."""
        args = self.binder.resolve_args(s.args, scope)
        n = self.binder.bind(REPEAT, (COUNT,), args, s.header, scope)["count"]
        if not s.body:
            raise self.log.fail("B0408", "`repeat` needs a body", s.header, help="write `repeat 3 { ... }`")
        out: list[Layer] = []
        for _ in range(n):
            self.step(s.header)
            out += self.body(s.body, Scope(scope), flow, inside)
        return out

    def use(self, s: ast.Stmt, scope: Scope, flow: _Flow, inside: str) -> list[Layer]:
        """The layers of a block where it is used, with its arguments.  Raises Reported, or Stop for recursion."""
        b = self.blocks[s.name]
        self.binder.no_body(s)
        uses = self.log.uses
        if any(name == b.name for name, _ in uses) or len(uses) >= MAX_USES:
            self.log.add(
                "B0208",
                f"the block `{b.name}` uses itself",
                ast.head(s),
                help="use `repeat`",
                notes=[(b.name_span, "defined here")],
            )
            raise Stop
        inner = self.arguments(b, s, scope)
        uses.append((b.name, s.header))
        try:
            return self.body(b.body, Scope(inner), flow, inside)
        finally:
            uses.pop()

    def arguments(self, b: ast.BlockDef, s: ast.Stmt, scope: Scope) -> Scope:
        """A scope with the values of a block's parameters.  Raises Reported."""
        inner = Scope(self.top)
        names = [p.name for p in b.params]
        for i, a in enumerate(self.binder.resolve_args(s.args, scope)):
            name = a.name or (names[i] if i < len(names) else None)
            if name is None or name not in names:
                raise self.no_parameter(b, a)
            if name in inner.values:
                raise self.log.fail(
                    "B0405",
                    f"`{name}` of `{b.name}` is given twice",
                    a.span,
                    "second value",
                    "remove one of the two",
                    [(inner.values[name][1], "first given here")],
                )
            inner.values[name] = (a.value, a.span)
        for p in b.params:
            if p.name in inner.values:
                continue
            if p.default is None:
                raise self.log.fail(
                    "B0404",
                    f"the block `{b.name}` needs `{p.name}`",
                    s.header,
                    f"`{p.name}` is missing",
                    f"write `{b.name} {p.name} = ...;`",
                    [(p.span, f"`{p.name}` has no default")],
                )
            inner.values[p.name] = (self.binder.resolve(p.default, self.top), p.span)
        return inner

    def no_parameter(self, b: ast.BlockDef, a: ast.Arg) -> Reported:
        """Report an argument that a block does not take; the result is for ``raise``."""
        names = [p.name for p in b.params]
        note = [(b.name_span, f"`{b.name}` is defined here")]
        if a.name is not None:
            return self.log.fail(
                "B0205",
                f"the block `{b.name}` has no parameter `{a.name}`",
                a.span,
                "no such parameter",
                did_you_mean(a.name, names),
                note,
            )
        takes = f"{len(names)} argument{'s' * (len(names) != 1)}" if names else "no arguments"
        return self.log.fail(
            "B0406",
            f"the block `{b.name}` takes {takes}",
            a.span,
            "one too many",
            "remove it, or add a `;` before it if it starts another statement",
            note,
        )

    def layer(self, s: ast.Stmt, scope: Scope, flow: _Flow, inside: str) -> Layer:
        """One layer and its body, with types; ``flow`` then has its output.  Raises Reported."""
        d = self.tables.layers[s.name]
        self.place(d, s, flow, inside)
        self.numbers[d.name] += 1
        if s.body is None and d.role in BODIES or s.body == ():
            raise self.log.fail(
                "B0408", f"`{d.name}` needs a body of layers", s.header, help=f"write `{d.name} {{ ... }}`"
            )
        if d.role not in BODIES:
            self.binder.no_body(s)
        sub = _Flow(flow.type, flow.guess, flow.source, flow.bare)
        name, values, inner = self.parts(d, s, scope, sub)
        given = self.settle(d, name, values, flow)
        call = Call(d.name, tuple((p.name, values[p.name]) for p in d.params), s.header)
        taken = self.takes(d, s, given, flow)
        try:
            out = d.infer(taken, call, inner)
        except ShapeError as e:
            flow.guess = flow.guess or (bool(inner) and sub.guess)
            raise self.shape(flow, e.code, e.message, s.header, e.label, e.help) from None
        self.warn_bare(d, s, call, taken, out, flow)
        flow.type, flow.source = out, (d.name, s.header)
        flow.guess = flow.guess or (bool(inner) and sub.guess)
        return Layer(d.name, name, call, given, out, s.header, inner)

    def parts(
        self, d: LayerDef, s: ast.Stmt, scope: Scope, sub: _Flow
    ) -> tuple[str, dict[str, Any], tuple[Layer, ...]]:
        """A layer's name, arguments and body; ``sub``: what flows into the body.  Raises Reported, when the body is
        looked at too.
        """
        own = any(p.name == "name" for p in d.params)
        args = self.binder.resolve_args((a for a in s.args if own or a.name != "name"), scope)
        name = f"{d.name}{self.numbers[d.name]}"
        for a in s.args:
            if a.name == "name" and not own:
                name = self.explicit(a, scope)
        values: dict[str, Any] | None
        try:
            values = self.binder.bind(d.name, d.params, args, s.header, scope)
        except Stop:
            raise
        except Reported:
            values = None
        inner = tuple(self.body(s.body, Scope(scope), sub, d.name)) if s.body else ()
        if values is None:
            raise Reported
        return name, values, inner

    def settle(self, d: LayerDef, name: str, values: dict[str, Any], flow: _Flow) -> TensorType:
        """Put into ``values`` what the spec leaves open and others decide: given widths, the rule, the form of the
        data.  Returns the type that the layer is given.
        """
        if name in self.widths and "units" in values:
            values["units"] = self.widths[name]
        for p in d.params:
            if values[p.name] is None and self.rule is not None:
                values[p.name] = self.decide(d, p, self.rule)
        if d.role != "input":
            return flow.type
        given = next((v for v in values.values() if isinstance(v, TensorType)), flow.type)
        flow.guess = False
        for p in d.params:
            if p.type == "encoder" and (new := settled(values[p.name], given)) != values[p.name]:
                self.log.chosen += [
                    f"{k} = {v} of `{new.name}`: the data is {given.kind}"
                    for (k, v), (_, old) in zip(new.args, values[p.name].args, strict=True)
                    if v != old
                ]
                values[p.name] = new
        return given

    def decide(self, d: LayerDef, p: Param, rule: Call) -> Any:
        """What the rule sets a parameter to that the spec leaves open; None where it has no say."""
        value = rule_of(rule, self.tables.rules).decides(d.name, p)
        if value is not None and p.choices and value not in p.choices:
            raise InternalError(f"rule {rule.name} sets {d.name}.{p.name} to {value!r}")
        return value

    def explicit(self, a: ast.Arg, scope: Scope) -> str:
        """The name that a spec gives to a layer.  Raises Reported for one that is taken."""
        v = self.binder.resolve(a.value, scope)
        if not isinstance(v, ast.Name):
            raise self.log.fail(
                "B0401",
                f"the name of a layer must be a name, got {describe(v)}",
                v.span,
                help="write e.g. `name = fc1`",
            )
        kind = v.id.rstrip("0123456789")
        if kind != v.id and kind in self.tables.layers:
            raise self.log.fail(
                "B0209",
                f"the name `{v.id}` is kept for layers without a name of their own",
                v.span,
                help=f"choose another name, e.g. `my_{v.id}`",
            )
        if v.id in self.named:
            again = self.named[v.id] == v.span
            help = "in a block or `repeat`, leave the name out" if again else "choose another name"
            raise self.log.fail(
                "B0209",
                f"two layers are named `{v.id}`",
                v.span,
                help=help,
                notes=[] if again else [(self.named[v.id], "first used here")],
            )
        self.named[v.id] = v.span
        return v.id

    def place(self, d: LayerDef, s: ast.Stmt, flow: _Flow, inside: str) -> None:
        """input first and once, loss last and once, branches in containers.  Raises Reported."""
        if d.role == "branch" and (not inside or self.tables.layers[inside].role != "container"):
            can = [f"`{n}`" for n, x in self.tables.layers.items() if x.role == "container"]
            raise self.log.fail(
                "B0316",
                f"`{d.name}` stands at the start of the body of {' or '.join(can)}",
                ast.head(s),
                help="write e.g. `residual { shortcut { ... } ... }`",
            )
        if not inside:
            self.place_outside(d, s)
        elif d.role in ("input", "loss"):
            code = "B0308" if d.role == "input" else "B0309"
            raise self.log.fail(
                code,
                f"`{d.name}` cannot stand inside `{inside}`",
                ast.head(s),
                help="move it into the network itself",
            )

    def place_outside(self, d: LayerDef, s: ast.Stmt) -> None:
        """As :meth:`place`, of a layer of the network itself."""
        before, self.started = self.started, True
        if not before and d.role != "input":
            first = next((n for n, x in self.tables.layers.items() if x.role == "input"), "input")
            self.log.add(
                "B0308",
                f"the first layer of a network must be `{first}`",
                s.header,
                "the first layer",
                f"add e.g. `{first} u8[28, 28];` before this line",
            )
        elif before and d.role == "input":
            raise self.log.fail(
                "B0308", f"`{d.name}` must be the first layer, and there is only one", s.header, help="remove it"
            )
        elif self.loss_span:
            raise self.log.fail(
                "B0309",
                f"no layer can follow the loss, but `{d.name}` does",
                s.header,
                "after the loss",
                "move the loss to the end",
                [(self.loss_span, "the loss is here")],
            )
        if d.role == "loss":
            self.loss_span = s.header

    def takes(self, d: LayerDef, s: ast.Stmt, t: TensorType, flow: _Flow) -> TensorType:
        """The type that layer ``d`` takes in, as far as its record says what it can take."""
        if t.kind not in d.input_kinds:
            *most, last = d.input_kinds
            kinds = f"{', '.join(most)} or {last}" if most else last
            made = "write it behind a layer that makes one of them, or encode the data: `input ... median;`"
            raise self.shape(
                flow,
                "B0302",
                f"`{d.name}` takes {kinds} values, got {t}",
                s.header,
                f"input here is {t}",
                "add `sign;` before this line" if t.kind == "real" and "bit" in d.input_kinds else made,
            )
        if d.flat_input and len(t.shape) != 1:
            failed = self.shape(
                flow,
                "B0301",
                f"`{d.name}` needs a flat input, got {t}",
                s.header,
                f"input here is {t}",
                "add `flatten;` before this line",
            )
            if flow.guess:
                raise failed
            return TensorType(t.kind, (t.elements,))
        return t

    def shape(self, flow: _Flow, code: str, message: str, span: Span, label: str = "", help: str = "") -> Reported:
        """Report a mistake of types, unless they are a guess by now; the result is for ``raise``."""
        if flow.guess:
            return Reported()
        notes = [(flow.source[1], f"`{flow.source[0]}` gives {flow.type}")] if flow.source else []
        return self.log.fail(code, message, span, label, help, notes)

    def warn_bare(self, d: LayerDef, s: ast.Stmt, args: Call, t: TensorType, out: TensorType, flow: _Flow) -> None:
        """Warn where binary weights feed a sign and nothing normalises between (B0310)."""
        if self.rule is not None and not self.tables.rules[self.rule.name].impl.needs_normalisation:
            return
        if d.binary(args):
            flow.bare = s.header
        elif d.normalises or d.binary_weights:
            flow.bare = None
        elif flow.bare is not None and out.kind == "bit" and t.kind != "bit":
            names = [n for n, x in self.tables.layers.items() if x.normalises]
            self.log.add(
                "B0310",
                f"`{d.name}` takes the output of binary weights that nothing has normalised",
                s.header,
                "sums of bits are large, so few gradients pass",
                f"add `{names[0]};` before this line" if names else "",
                [(flow.bare, "binary weights here")],
                "warning",
            )
            flow.bare = None
