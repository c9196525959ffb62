"""Sections: what a spec consists of beside layers, rules and what else is registered, with the settings of each part.

``check`` reads specs by these records and ``describe`` prints them; the grammar knows only ``let`` and ``block``.
"""

from __future__ import annotations

from dataclasses import replace

from ..model import Call
from ..registry import About, Named, Param

TRAIN = (
    Param("optimizer", "call:optimizers", Call("adam"), "how weights follow their gradients"),
    Param("schedule", "call:schedules", Call("constant"), "how the learning rate changes"),
    Param("stop", "call:stops", Call("never"), "what ends training before `epochs`"),
    Param("batch", "int", 100, "samples in one step", minimum=1, maximum=65536),
    Param("epochs", "int", 10, "passes over the training samples", minimum=0, maximum=1_000_000),
    Param("seed", "int", 1, "what all random numbers follow from", minimum=0, maximum=2**32 - 1),
    Param(
        "holdout",
        "float",
        None,
        "share of the training samples kept apart",
        minimum=0,
        maximum=0.5,
        otherwise="0.1 with `schedule = plateau` or `stop = early`, else 0",
    ),
    Param(
        "microbatch",
        "int",
        1,
        "parts of a batch, trained one after the other; normalisation sees a part",
        minimum=1,
        maximum=65536,
    ),
    Param("augment", "calls:augments", (), "what is done to training samples, at random, each time"),
    Param(
        "sampling",
        "name",
        "shuffled",
        "which samples an epoch holds: each once, or as many of each class",
        ("shuffled", "balanced"),
    ),
    Param(
        "class_weights",
        "floats",
        (),
        "how much a sample of each class counts, what its loss's gradient is multiplied by; for rules that"
        " back-propagate (others: `sampling = balanced`)",
        minimum=0,
        maximum=100,
        otherwise="1 each",
    ),
    Param("recompute", "bool", False, "less memory, the same bits: make values strip by strip, some of them again"),
)
DATA = (
    Param("train", "call:sources", None, "where the training samples come from", otherwise="the program's `--train`"),
    Param("test", "call:sources", None, "where the test samples come from", otherwise="the program's `--test`"),
)
RULE = Param("rule", "call:rules", Call("standard"), "how the network learns", positional=True)
# what `--ram` may change, where the spec allows it
ALLOW = tuple(
    replace(p, positional=False)
    for p in (*TRAIN, RULE)
    if p.name in ("recompute", "microbatch", "optimizer", "batch", "rule")
)
COUNT = Param("count", "int", doc="how often the body is repeated", minimum=0, maximum=10_000, positional=True)
REPEAT = "repeat"
NET = "network tiny { input u8[9]; dense 4; batchnorm; loss; }\n"

SECTIONS = {
    s.name: s
    for s in (
        Named[None](
            "network",
            "the layers, from input to loss; a spec has one network",
            (Param("name", "name", doc="the network's name, and the program's", positional=True),),
            about=About(
                takes="layers, `repeat` and uses of blocks, in order; each layer takes what the one before gives.  A "
                "layer may have a name: `dense 256 name = first;`",
                example=NET,
            ),
        ),
        Named("rule", RULE.doc, (RULE,), about=About(example=NET + "rule edge(state = f32);\n")),
        Named[None](
            "train",
            "the settings of training",
            TRAIN,
            about=About(
                example="network tiny { input u8[3, 3]; flatten; dense 4; batchnorm; loss; }\n"
                "train {\n"
                "  optimizer = adam(lr = 3e-3);\n"
                "  schedule = plateau(patience = 5);\n"
                "  stop = early(patience = 20);\n"
                "  batch = 200;\n"
                "  epochs = 50;\n"
                "  seed = 7;\n"
                "  holdout = 10%;\n"
                "  microbatch = 2;\n"
                "  augment = [shift(1), flip];\n"
                "  sampling = balanced;\n"
                "  class_weights = [1, 1, 2, 0.5];\n"
                "  recompute = on;\n"
                "}\n"
            ),
        ),
        Named[None](
            "allow",
            "settings of `train`, and rules, that `--ram` may put in their place",
            tuple(replace(p, default=None, otherwise="what the spec says") for p in ALLOW),
            about=About(
                takes="each setting as often as there are values; the gentlest change that fits is taken",
                example=NET + "rule edge;\ntrain { batch = 64; }\n"
                "allow { recompute = on; microbatch = 4; optimizer = bop; rule = edge(gradient = i8); batch = 32; }\n",
            ),
        ),
        Named[None](
            "data",
            "where the samples are",
            DATA,
            about=About(
                takes="files that are looked for beside the spec, or in the program's `--data DIR`",
                example=NET + 'data { train = bnnd("train.bnnd"); test = npy("x.npy", "y.npy"); }\n',
            ),
        ),
    )
}

STATEMENTS = {
    s.name: s
    for s in (
        Named[None](
            "let",
            "a name for a value: `let NAME = VALUE;`, outside or in a body",
            (),
            about=About(
                takes="numbers, names, strings, lists, calls, and arithmetic (+ - * /) of numbers, in parentheses "
                "where it is an argument of a layer.  From Python, `with_` replaces those at the top",
                example="let width = 4;\nnetwork tiny { input u8[9]; dense (2 * width); batchnorm; loss; }\n",
            ),
        ),
        Named[None](
            "block",
            "layers under one name: `block NAME(parameter = value) { ... }`",
            (),
            about=About(
                takes="layers, `repeat` and uses of other blocks; used like a layer, its layers stand in its place",
                example="block hidden(width = 16) { dense width; batchnorm; sign; }\n"
                "network tiny { input u8[9]; hidden; hidden width = 8; dense 4; batchnorm; loss; }\n",
            ),
        ),
        Named[None](
            REPEAT,
            "its layers several times: `repeat 3 { ... }`, among layers",
            (COUNT,),
            about=About(
                example="network tiny {\n  input u8[9];\n  repeat 3 { dense 16; batchnorm; sign; }\n"
                "  dense 4;\n  batchnorm;\n  loss;\n}\n"
            ),
        ),
    )
}
