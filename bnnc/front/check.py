"""Check: Ast -> Model.  Every name is looked up, every argument typed, every shape known, every default filled in.

Promise: a Model leaves only when nothing is wrong, and then every name, shape, type and default in it is concrete.
Otherwise one BnncError holds every mistake that is not the consequence of another, sorted by position.  After a wrong
layer the types are a guess, so complaints about shapes stop there while those about names and values go on.
The layers are ``check_layers``'s half of the work, values and arguments are ``bind``'s.

Non-goals: memory, targets, and what a learning rule does with the layers (``lower``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import builtin, plugins
from ..diag import NOWHERE, BnncError, InternalError, Span, by_position, did_you_mean
from ..inputs.augment import of_model
from ..model import Call, Data, Layer, Model, verify_model
from ..registry import REQUIRED, Param, ShapeError, Tables, rule_of
from . import ast
from .bind import Binder, Log, Reported, Scope
from .network import Expander
from .parse import parse_value
from .sections import ALLOW, DATA, REPEAT, RULE, SECTIONS, TRAIN
from .values import one_of

if TYPE_CHECKING:
    from ..rules.base import Rule


def _names(params: Iterable[Param]) -> list[str]:
    return [p.name for p in params]


@dataclass(frozen=True)
class Starved:
    """A layer that sees fewer rows of each channel in a step than anything can be learnt from."""

    layer: Layer
    rows: int
    least: int
    samples: int  # the least that a part of a batch must hold

    @property
    def text(self) -> str:
        """The layer and how little it would see, in words."""
        number = "one value" if self.rows == 1 else f"{self.rows} values"
        return (
            f"`{self.layer.name}` would see {number} of each channel in a step, "
            f"and from fewer than {self.least} hardly anything is learnt"
        )


def starved(model: Model, tables: Tables | None = None) -> Starved | None:
    """The layer that would want most samples more than it sees, as the rule trains the model; None where all see
    enough.
    """
    tables = tables or builtin.tables()
    rule, found = rule_of(model.rule, tables.rules), []
    layers = [(layer, rule.layers.get(layer.kind) or tables.layers[layer.kind]) for layer in rule.rewrite(model).walk()]
    images = any(d.images for _, d in layers)
    for layer, d in layers:
        pixels = layer.input.elements // layer.input.shape[-1] if images else 1
        if model.part * pixels < d.least_rows:
            found.append(Starved(layer, model.part * pixels, d.least_rows, -(-d.least_rows // pixels)))
    return max(found, key=lambda s: s.samples, default=None)


def ignored(model: Model, tables: Tables | None = None) -> dict[str, tuple[str, str]]:
    """Settings of `train` that the model's rule does not read: (reason, help)."""
    rule = rule_of(model.rule, (tables or builtin.tables()).rules)
    return {name: (reason, help) for name, reason, help in rule.ignores(model)}


class _Checker:
    def __init__(
        self, text: str, path: str, overrides: Mapping[str, Any], tables: Tables, widths: Mapping[str, int]
    ) -> None:
        self.text, self.path, self.tables = text, path, tables
        self.log = Log()
        self.binder = Binder(tables, self.log)
        self.sources = {path: text}
        self.settings: dict[str, ast.Value] = {}
        self.lets: dict[str, ast.Value] = {}
        self.overrides, self.widths = overrides, widths
        self.top = Scope()
        self.blocks: dict[str, ast.BlockDef] = {}
        self.sections: dict[str, ast.Stmt] = {}

    # --- the top level ------------------------------------------------------------------------------------------

    def override(self, items: Iterable[ast.Item]) -> None:
        """Parse what the command line or Python gives in the place of settings and `let`s."""
        lets = {x.name for x in items if isinstance(x, ast.Let)}
        for key, given in self.overrides.items():
            file = f"--{key}"
            shown = str(given).lower() if isinstance(given, bool) else str(given)
            self.sources[file] = shown
            try:
                value = parse_value(shown, file)
            except BnncError as e:
                self.log.diagnostics += e.diagnostics
                continue
            known = ["rule", *_names(TRAIN)]
            if key in known:
                self.settings[key] = value
            elif key in lets:
                self.lets[key] = value
            else:
                self.log.add(
                    "B0205",
                    f"there is no setting or `let` named `{key}`",
                    Span(file, 0, len(shown)),
                    help=did_you_mean(key, [*known, *lets]) or f"the settings are {', '.join(known)}",
                )

    def collect(self, items: tuple[ast.Item, ...]) -> None:
        """Bind the `let`s, and find blocks and sections; reports what may not stand at the top level."""
        lets = [x for x in items if isinstance(x, ast.Let)]
        self.top.later = {x.name: x.name_span for x in reversed(lets)}
        for x in lets:
            self.binder.let(x, self.top, self.lets.get(x.name, x.value))
        for item in items:
            match item:
                case ast.BlockDef():
                    self.define_block(item)
                case ast.Setting():
                    inside = [s for s, params in (("train", TRAIN), ("data", DATA)) if item.name in _names(params)]
                    self.log.add(
                        "B0206",
                        f"`{item.name} = ...` cannot stand at the top level",
                        ast.head(item),
                        help=(f"move it into `{inside[0]} {{ ... }}`" if inside else f"write `let {item.name} = ...;`"),
                    )
                case ast.Stmt():
                    self.section(item)

    def define_block(self, b: ast.BlockDef) -> None:
        """Take a block in; reports a name that is taken, and parameters of one name."""
        if b.name in self.blocks:
            self.log.add(
                "B0203",
                f"the block `{b.name}` is defined twice",
                b.name_span,
                "second definition",
                "choose another name",
                [(self.blocks[b.name].name_span, "first defined here")],
            )
        elif b.name in self.tables.layers or b.name == REPEAT:
            self.log.add(
                "B0203",
                f"`{b.name}` is a built-in layer, so no block can have that name",
                b.name_span,
                help=f"choose another name, e.g. `my_{b.name}`",
            )
        else:
            self.blocks[b.name] = b
        seen: dict[str, Span] = {}
        for p in b.params:
            if p.name in seen:
                self.log.add(
                    "B0203",
                    f"the parameter `{p.name}` is defined twice",
                    p.span,
                    help="choose another name",
                    notes=[(seen[p.name], "first defined here")],
                )
            seen.setdefault(p.name, p.span)

    def section(self, s: ast.Stmt) -> None:
        """Take a section in; reports one that is unknown, or given twice."""
        if s.name not in SECTIONS:
            place = "layers stand inside `network`" if s.name in self.tables.layers or s.name in self.blocks else ""
            help = place and "move it into `network NAME { ... }`"
            self.log.add(
                "B0206",
                f"`{s.name}` cannot stand at the top level",
                ast.head(s),
                place,
                help
                or did_you_mean(s.name, [*SECTIONS, "let", "block"])
                or "a spec consists of `let`, `block`, `network`, `rule`, `train`, `allow` and `data`",
            )
        elif s.name in self.sections:
            self.log.add(
                "B0203",
                f"`{s.name}` is given twice",
                ast.head(s),
                "second one",
                "keep one of the two",
                [(ast.head(self.sections[s.name]), "first given here")],
            )
        else:
            self.sections[s.name] = s

    def check_rule(self) -> Call | None:
        """The rule with its arguments, what the command line gives first; None where a mistake was reported."""
        s = self.sections.get("rule")
        if "rule" in self.settings:
            s = ast.Stmt("rule", (ast.Arg(None, given := self.settings["rule"], given.span),), None, given.span)
        if s is None:
            return self.binder.default(RULE)
        try:
            self.binder.no_body(s)
            args = self.binder.resolve_args(s.args, self.top)
            if len(args) == 2 and args[1].name:
                name, state = (self.text[a.span.start : a.span.end] for a in args)
                raise self.log.fail(
                    "B0406",
                    "the arguments of a rule stand in parentheses",
                    args[1].span,
                    help=f"write `rule {name}({state});`",
                )
            required = replace(RULE, default=REQUIRED)
            return self.binder.bind("rule", (required,), args, s.header, self.top)["rule"]
        except Reported:
            return None

    def assignments(self, name: str, params: tuple[Param, ...]) -> dict[str, Any] | None:
        """The settings of the section ``name``; None when something is wrong with them."""
        s = self.sections.get(name)
        before = len(self.log.errors)
        args = self.inside(s) if s is not None else []
        try:
            for key in (k for k in _names(params) if k in self.settings):
                given = self.settings[key]
                args.append(ast.Arg(key, self.binder.resolve(given, self.top), given.span))
            values = self.binder.bind(name, params, args, s.header if s else NOWHERE, self.top, "setting")
        except Reported:
            return None
        return values if len(self.log.errors) == before else None

    def inside(self, s: ast.Stmt) -> list[ast.Arg]:
        """The settings that stand in a section and that the command line does not replace."""
        if s.args:
            self.log.add("B0406", f"`{s.name}` takes no arguments", s.args[0].span, help=f"write `{s.name} {{ ... }}`")
        if s.body is None:
            self.log.add("B0408", f"`{s.name}` needs a body", s.header, help=f"write `{s.name} {{ ... }}`")
        args: list[ast.Arg] = []
        scope = Scope(self.top)
        for item in s.body or ():
            try:
                match item:
                    case ast.Let():
                        self.binder.let(item, scope, item.value)
                    case ast.Setting():
                        if item.name not in self.settings:
                            args.append(ast.Arg(item.name, self.binder.resolve(item.value, scope), item.span))
                    case _:
                        self.no_setting(s.name, item)
            except Reported:
                continue
        return args

    def no_setting(self, section: str, item: ast.Stmt | ast.BlockDef) -> None:
        """Report a statement where settings stand."""
        one = item.args[0].span if isinstance(item, ast.Stmt) and len(item.args) == 1 else None
        wrote = self.text[one.start : one.end] if one else "..."
        self.log.add(
            "B0206",
            f"`{section}` holds settings, not statements",
            item.span,
            f"expected `{item.name} = ...;`",
            f"write `{item.name} = {wrote};`",
        )

    def allowed(self) -> tuple[tuple[str, Any, str], ...]:
        """The settings of `allow` and how they are written: what `--ram` may put in the place of what the spec says."""
        s = self.sections.get("allow")
        found = []
        for item in s.body or () if s else ():
            if not isinstance(item, ast.Setting) or item.name not in _names(ALLOW):
                self.log.add(
                    "B0206",
                    "`allow` holds settings that `--ram` may take",
                    item.span,
                    "not one of those",
                    f"write {' or '.join(f'`{n} = ...;`' for n in _names(ALLOW))}",
                )
                continue
            try:
                given = ast.Arg(item.name, self.binder.resolve(item.value, self.top), item.span)
                params = tuple(p for p in ALLOW if p.name == item.name)
                value = self.binder.bind("allow", params, [given], item.span, self.top, "setting")[item.name]
                found.append((item.name, value, self.text[item.value.span.start : item.value.span.end]))
            except Reported:
                continue
        if s is not None and (s.args or s.body is None):
            self.log.add(
                "B0408", "`allow` needs a body and no arguments", s.header, help="write `allow { recompute = on; }`"
            )
        return tuple(found)

    # --- the whole ----------------------------------------------------------------------------------------------

    def fail_if_wrong(self) -> None:
        """Raises BnncError with all mistakes found so far, in the order of the text."""
        if self.log.errors:
            raise BnncError(by_position(self.log.diagnostics), dict(self.sources))

    def at(self, offset: int, length: int = 0) -> Span:
        """The span of ``length`` characters from an offset of the text on."""
        line, col = self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)
        return Span(self.path, offset, offset + length, line, col)

    def network(self, rule: Call | None) -> tuple[str, tuple[Layer, ...]]:
        """The network's name and its layers, blocks and `repeat`s unfolded; reports a text without one."""
        s = self.sections.get("network")
        if s is None:
            if not any(d.code == "B0206" for d in self.log.diagnostics):  # a misspelt `network` is one mistake
                end = self.at(len(self.text))
                self.log.add("B0207", "the spec has no network", end, help="add `network NAME { ... }`")
            return "", ()
        expander = Expander(self.tables, self.log, self.binder, self.top, self.blocks, rule, _names(TRAIN), self.widths)
        return expander.network(s, self.at(s.span.end - 1, 1))

    def one_output(self, model: Model) -> None:
        """A last layer of one unit is for rules that read its sign as one of two labels."""
        if model.layers[-1].input.elements == 1 and not self.rule(model).binary_labels:
            trained = [layer for layer in model.layers[:-1] if self.tables.layers[layer.kind].binary_weights]
            sources = trained or model.layers[-1:]
            rules = [name for name, rule in self.tables.rules.items() if rule.impl.binary_labels]
            self.log.add(
                "B0508",
                "one output can tell no classes apart with this rule",
                sources[-1].span,
                "one unit",
                f"write `{sources[-1].kind} 2;` for labels 0 and 1"
                + (f", or use the rule {one_of(rules)}" if rules else ""),
                [(model.rule.span, f"because of `{model.rule.name}`")],
            )

    def given(self, name: str, section: str = "train") -> list[Span]:
        """Where a setting is given: on the command line, or else in its section."""
        if section == "train" and name in self.settings:
            return [self.settings[name].span]
        s = self.sections.get(section)
        return [x.span for x in (s.body or () if s else ()) if isinstance(x, ast.Setting) and x.name == name]

    def warn_starved(self, model: Model) -> None:
        """Warn of a batch from which a layer can learn hardly anything."""
        if (found := starved(model, self.tables)) is None:
            return
        parts = model.microbatch
        notes = [
            (span, "a part of a batch counts" if parts > 1 else "because of this")
            for span in (*self.given("batch"), *self.given("microbatch"))
        ]
        self.log.add(
            "B0511",
            found.text,
            found.layer.span,
            notes=notes,
            severity="warning",
            help=(
                f"set `batch = {found.samples * parts};` or more"
                + (f", or fewer than {parts} parts" if parts > 1 else "")
            ),
        )

    def warn_ignored(self, model: Model) -> None:
        """Warn of settings that the rule does not read, where they are written."""
        for name, (reason, help) in ignored(model, self.tables).items():
            for span in (*self.given(name), *self.given(name, "allow")):
                self.log.add(
                    "B0510",
                    f"the rule `{model.rule.name}` ignores `{name}`: {reason}",
                    span,
                    help=help,
                    severity="warning",
                    notes=[(model.rule.span, "the rule is here")],
                )

    def rule(self, model: Model) -> Rule:
        """The record of the model's rule."""
        return rule_of(model.rule, self.tables.rules)

    def fits_rule(self, model: Model) -> None:
        """What the rule and the optimiser cannot train."""
        for call, validate in (
            (model.rule, self.rule(model).validate),
            (model.optimizer, self.tables.optimizers[model.optimizer.name].impl.validate),
        ):
            for name, message, help in validate(model):
                span = self.span_of(model, name, call)
                self.log.add("B0501", message, span, help=help, notes=[(call.span, f"because of `{call.name}`")])
        for layer in model.walk():
            if self.tables.layers[layer.kind].forward is None and layer.kind not in self.rule(model).layers:
                can = [name for name, rule in self.tables.rules.items() if layer.kind in rule.impl.layers]
                self.log.add(
                    "B0501",
                    f"the rule `{model.rule.name}` cannot train `{layer.kind}`",
                    layer.span,
                    help=f"use `rule {' or '.join(can)};`" if can else "",
                    notes=[(model.rule.span, "the rule is here")],
                )
        self.one_output(model)
        for code, message, help in self.rule(model).weighs(model):
            self.log.add(code, message, next(iter(self.given("class_weights")), NOWHERE), help=help)

    def fits_batch(self, model: Model) -> None:
        """A batch has so many equal parts, and the rule takes parts."""
        if self.rule(model).backward is not None and model.microbatch > 1:
            message, help = f"the rule `{model.rule.name}` takes whole batches", "leave `microbatch` out"
        elif model.batch % model.microbatch:
            message = f"a batch of {model.batch} has no {model.microbatch} equal parts"
            help = "choose a number that divides the batch"
        else:
            return
        span = self.sections["train"].header if "train" in self.sections else NOWHERE
        self.log.add("B0409", message, span, help=help)

    def fits_data(self, model: Model) -> None:
        """What `augment` does is for samples like those of the input."""
        try:
            of_model(model)
        except ShapeError as e:
            notes = [(model.layers[0].span, "the samples are these")]
            self.log.add(e.code, e.message, model.augment[0].span, help=e.help, notes=notes)

    def warnings(self, model: Model) -> None:
        """What trains badly, and settings that nobody reads."""
        for code, name, message, help in self.rule(model).warnings(model):
            self.log.add(code, message, self.span_of(model, name, model.rule), help=help, severity="warning")
        self.warn_starved(model)
        self.warn_ignored(model)

    def span_of(self, model: Model, layer: str, otherwise: Call) -> Span:
        """Where a layer stands; of no layer, where ``otherwise`` does."""
        return next((x.span for x in model.walk() if x.name == layer), otherwise.span)

    def settle_holdout(self, train: dict[str, Any]) -> None:
        """What watches samples that are held out has a tenth, unless the spec says otherwise."""
        watches = [(s, train[s]) for s, name in (("schedule", "plateau"), ("stop", "early")) if train[s].name == name]
        if train["holdout"] is None:
            train["holdout"] = 0.1 if watches else 0.0
        for setting, call in watches if train["holdout"] == 0 else ():
            self.log.add(
                "B0409",
                f"`{setting} = {call.name}` needs held-out samples to watch",
                call.span,
                help="set `holdout` above 0, e.g. `holdout = 10%;`",
            )

    def settle_rule(self, model: Model) -> Model:
        """Arguments of the rule that the spec leaves open and the network decides."""
        for argument, value, why in self.rule(model).settle(model):
            self.log.chosen.append(f"{argument} = {value} of `{model.rule.name}`: {why}")
            model = replace(model, rule=model.rule.with_(**{argument: value}))
        return model

    def collect_model(self) -> Model:
        """The Model that the sections make, each right in itself."""
        rule = self.check_rule()
        name, layers = self.network(rule)
        train = self.assignments("train", TRAIN)
        data = self.assignments("data", DATA)
        if train is not None:
            self.settle_holdout(train)
        allow = self.allowed()
        self.fail_if_wrong()
        if rule is None or train is None or data is None:
            raise InternalError("check found a mistake and did not report it")
        sources = Data(**data)
        return Model(name, layers, rule, data=sources, allow=allow, source=self.text, file=self.path, **train)

    def run(self, file: ast.File) -> Model:
        """The Model of a text.  Raises BnncError."""
        self.override(file.items)
        self.collect(file.items)
        model = self.settle_rule(self.collect_model())
        self.fits_batch(model)
        self.fits_data(model)
        self.fits_rule(model)
        self.fail_if_wrong()
        self.warnings(model)
        verify_model(model)
        said = tuple(by_position(self.log.diagnostics))
        return replace(model, warnings=said, chosen=tuple(self.log.chosen), plugins=plugins.used(model.named()))


def check(
    file: ast.File,
    text: str = "",
    path: str = "<text>",
    overrides: Mapping[str, Any] | None = None,
    tables: Tables | None = None,
    widths: Mapping[str, int] | None = None,
) -> Model:
    """The Model of ``file``, or BnncError with every mistake.

    ``overrides`` replaces settings (``batch``, ``rule``, ...) and top-level ``let`` values by name, before anything is
    checked; values may be numbers or texts such as ``"edge(state = f32)"``.  ``widths`` replaces the ``units`` of
    layers by their names (``dense1``).  ``tables`` is the registry to use.
    """
    return _Checker(text, path, overrides or {}, tables or builtin.tables(), widths or {}).run(file)
