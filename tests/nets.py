"""The networks that the tests of kernels, of memory and of the GPU share, and what each table of them is for."""

from __future__ import annotations

from pathlib import Path

from helpers import sequence_spec, spec

MNIST = Path(__file__).parents[1] / "examples" / "mnist_mlp"

# -- dense and recurrent ----------------------------------------------------------------------------------------------


def weighed(text: str, *weights: float) -> str:
    """With class weights."""
    return text.replace("train {", f"train {{ class_weights = {list(weights)};")


# Each rule, optimiser, normalisation, surrogate, loss, kind of input, and the boundary shapes of the skeletons.
DENSE: dict[str, str] = {
    # rules, optimisers and where their state lives
    "edge-adam-keep": spec((70, 33, 17, 10), batch=37),
    "edge-adam-elide": spec((70, 33, 10), optimizer="adam(v = elide)", batch=37),
    "edge-adam-decay": spec((33, 17, 10), optimizer="adam(decay = 1e-3)", batch=19),
    "edge-sgd": spec((70, 33, 10), optimizer="sgd", batch=37),
    "edge-sgd-plain": spec((70, 33, 10), optimizer="sgd(momentum = 0)", batch=37),
    "edge-bop": spec((70, 33, 10), optimizer="bop(tau = 0.05, gamma = 0.4)", batch=37),
    "edge-f32-state": spec((33, 17, 10), rule="edge(state = f32)", batch=37),
    "edge-i8-state": spec((70, 33, 10), rule="edge(state = i8)", optimizer="adam(v = elide)", batch=37),
    "edge-i8-both": spec((70, 33, 10), rule="edge(gradient = i8, state = i8)", optimizer="adam(v = elide)", batch=37),
    "edge-i8-state-sgd": spec((33, 17, 10), rule="edge(state = i8, clip_at = 0.5)", optimizer="sgd(lr = 1)", batch=37),
    "edge-i8-state-sgd-plain": spec((33, 17, 1, 10), rule="edge(state = i8)", optimizer="sgd(momentum = 0)", batch=19),
    "edge-i8-state-bop": spec((70, 33, 10), rule="edge(state = i8)", optimizer="bop", batch=37),
    "edge-i8-state-bop-fast": spec((33, 17, 10), rule="edge(state = i8)", optimizer="bop(0.05, 0.4)", batch=19),
    "edge-clip-off": spec((33, 17, 10), rule="edge(clip = off)", optimizer="sgd(lr = 1)", batch=37),
    "standard-adam": spec((70, 33, 17, 10), rule="standard", batch=37),
    "standard-sgd": spec((33, 17, 10), rule="standard", optimizer="sgd", batch=37),
    "standard-sgd-plain": spec((33, 17, 10), rule="standard", optimizer="sgd(momentum = 0)", batch=37),
    "standard-bop": spec((33, 17, 10), rule="standard", optimizer="bop(tau = 0.001, gamma = 0.4)", batch=37),
    "standard-f16-state": spec((33, 17, 10), rule="standard(state = f16)", batch=37),
    "standard-clip-off": spec((33, 17, 10), rule="standard(clip = off)", optimizer="sgd(lr = 1)", batch=37),
    "edge-class-weights": weighed(spec((33, 17, 3), batch=19), 1, 0.1, 3),
    # gradients in whole numbers
    "edge-i8": spec((70, 33, 17, 10), rule="edge(gradient = i8)", batch=37),
    "edge-i8-nearest": spec((70, 33, 17, 10), rule="edge(gradient = i8, rounding = nearest)", kind="bit", batch=37),
    "edge-i8-long-sums": spec((140, 150, 3), rule="edge(gradient = i8)", kind="f32", batch=300),
    "edge-i8-wide": spec((33, 270, 265, 10), rule="edge(gradient = i8)", kind="sign", batch=35),
    "edge-i8-no-norms": spec(
        (33, 17, 5),
        rule="edge(gradient = i8)",
        optimizer="bop",
        batch=9,
        body="  dense 17; sign; dense 9 scale = mean;\n",
    ),
    "edge-i8-residual": spec(
        (33, 17, 10),
        rule="edge(gradient = i8, state = f32)",
        batch=19,
        body="  dense 17; batchnorm scale = on;\n  residual { sign; dense 17; batchnorm scale = on; }\n  sign;\n",
    ),
    "edge-i8-turned": spec((70, 33, 48, 32, 10), rule="edge(gradient = i8)", batch=37),
    "edge-i8-class-weights": weighed(spec((33, 17, 4), rule="edge(gradient = i8)", batch=19), 2, 2, 0, 0.5),
    "edge-i8-batch-1": spec((33, 17, 1, 10), rule="edge(gradient = i8)", batch=1),
    "dfa-i8": spec((33, 17, 17, 10), rule="dfa(numerics = edge(gradient = i8))", batch=19),
    # normalisations, surrogates, losses
    "standard-l1": spec((33, 17, 10), rule="standard", norm="l1", batch=37),
    "standard-bnn": spec((33, 17, 10), rule="standard", norm="bnn", batch=37),
    "standard-quadratic": spec((33, 17, 10), rule="standard", surrogate="quadratic", batch=37),
    "standard-identity": spec((33, 17, 10), rule="standard", surrogate="identity", batch=37),
    "edge-identity": spec((33, 17, 10), surrogate="identity", batch=37),
    "standard-hinge": spec((33, 17, 10), rule="standard", loss="squared_hinge", batch=37),
    "edge-hinge": spec((33, 17, 10), loss="squared_hinge", batch=37),
    "standard-residual": spec(
        (33, 17, 10),
        rule="standard",
        batch=19,
        body="  dense 17; batchnorm;\n"
        "  residual { sign; dense 17; batchnorm; }\n  residual { sign; dense 17; batchnorm; }\n  sign;\n",
    ),
    # rules that send no gradient through weights
    "dfa": spec((70, 33, 17, 10), rule="dfa", batch=37),
    "dfa-sign": spec((33, 17, 10), rule="dfa(error = sign, numerics = edge)", batch=19),
    "dfa-normal": spec((33, 40, 17, 10), rule="dfa(feedback = normal, numerics = edge)", batch=19),
    "dfa-sign-uniform": spec((33, 17, 10), rule="dfa(error = sign, feedback = uniform)", batch=19),
    "drtp": spec((70, 33, 17, 10), rule="drtp(numerics = edge)", optimizer="adam(v = elide)", batch=37),
    "hsic": spec((33, 40, 17, 10), rule="hsic", batch=21),
    "hsic-bottleneck": spec((33, 17, 17, 3), rule="hsic(kind = bottleneck, ridge = 0.1)", batch=21),
    "hsic-edge": spec((33, 17, 17, 3), rule="hsic(numerics = edge)", optimizer="bop", batch=37),
    "sigprop-tl": spec((33, 40, 17, 10), rule="sigprop_tl", batch=21),
    "sigprop": spec((33, 40, 17, 10), rule="sigprop", batch=21),
    "sigprop-edge": spec((33, 17, 10), rule="sigprop(numerics = edge)", kind="bit", batch=19),
    "sigprop-tl-edge": spec((33, 17, 10), rule="sigprop_tl(compat = off, numerics = edge)", kind="bit", batch=19),
    "hsic-residual": spec(
        (33, 17, 10),
        rule="hsic",
        batch=19,
        body="  dense 17; batchnorm;\n  residual { sign; dense 17; batchnorm; }\n  sign;\n",
    ),
    # rules without floats
    "bep": spec((70, 33, 15, 9, 3), kind="bit", rule="bep", batch=37),
    "bep-small-words": spec((33, 15, 9, 3), kind="sign", rule="bep(bits = 5, group = 3, tie = keep)", batch=33),
    "bep-wide": spec((256, 135, 75, 10), kind="bit", rule="bep", batch=100),
    "bep-nine-words": spec((257, 15, 3), kind="bit", rule="bep", batch=9),
    "bep-width-1": spec((33, 1, 5, 2), kind="bit", rule="bep(bits = 8)", batch=1),
    "local-one-class": spec((31, 9, 1), kind="bit", rule="local(group = 1)", batch=22),
    "bep-batch-1": spec((1, 1, 1, 2), kind="bit", rule="bep", batch=1),
    "bep-long-sums": spec((2100, 6, 1100, 3), kind="bit", rule="bep(group = 2, bits = 16)", batch=70),
    "local": spec((70, 33, 15, 9, 3), kind="bit", rule="local", batch=37),
    "local-no-reinforcement": spec((31, 21, 15, 4), kind="bit", rule="local(reinforce = 0, bits = 8)", batch=10),
    "bep-group-list": spec(
        (70, 48, 15, 9, 3), kind="bit", rule="bep(group = [16, 0, 3], classifier = random)", batch=37
    ),
    "local-bef": spec((40, 33, 15, 12), kind="bit", rule="local(classifier = bef(alpha = 3, trials = 5))", batch=20),
    "local-freeze-first": spec((40, 33, 15, 3), kind="bit", rule="local(freeze_first = on)", batch=20),
    "local-one-output": spec((37, 33, 15, 1), kind="bit", rule="local(bits = 8)", batch=33),
    "sign-twice": spec(
        (33, 17, 5), batch=9, body="  dense 17; batchnorm; sign; residual { sign; dense 17; batchnorm; } sign;\n"
    ),
    "local-batch-of-one": spec((3, 33, 33, 33, 1), kind="bit", rule="local(group = 0, bits = 4)", batch=1),
    "local-one-output-deep": spec((40, 33, 48, 15, 1), kind="bit", rule="local(group = 3, r = 0.5)", batch=20),
    # through time
    "rnn": sequence_spec(5, 9, 21, 33, 3, "dense 15; sign;", batch=7),
    "rnn-no-expansion": sequence_spec(3, 40, 35, 0, 4, batch=9, rule="bep(bits = 8, tie = plus, group = 5)"),
    "rnn-horizon": sequence_spec(6, 5, 33, 17, 2, "dense 9; sign;", batch=5, rule="bep(nu = 0.3)", horizon=2),
    "rnn-one-step": sequence_spec(1, 33, 15, 31, 3, batch=4),
    "rnn-batch-1": sequence_spec(4, 3, 1, 1, 2, batch=1, rule="bep(nu = 1)"),
    "rnn-wide": sequence_spec(4, 32, 135, 65, 10, "dense 75; sign;", batch=33),
    # inputs
    "edge-f32-input": spec((70, 33, 10), kind="f32", batch=37),
    "edge-bit-input": spec((70, 33, 10), kind="bit", batch=37),
    "edge-sign-encoder": spec((70, 33, 10), kind="sign", batch=37),
    "standard-f32-input": spec((70, 33, 10), kind="f32", rule="standard", batch=37),
    "standard-bit-input": spec((33, 17, 10), kind="bit", rule="standard", batch=37),
    # boundary shapes: widths 1, K not a multiple of 32, N = 10, 17, 33, batch 1, 33, 100, whole tiles
    "edge-width-1": spec((5, 1, 1, 2), batch=3),
    "standard-width-1": spec((1, 1, 2), rule="standard", kind="f32", batch=3),
    "edge-fan-in-1": spec((1, 2), batch=1),
    "bop-fan-in-1": spec((1, 1, 2), rule="standard", optimizer="bop", batch=2),
    "edge-batch-1": spec((33, 17, 10), batch=1),
    "standard-batch-1": spec((33, 17, 10), rule="standard", batch=1),
    "edge-batch-33": spec((65, 33, 10), batch=33),
    "edge-batch-100": spec((31, 33, 10), batch=100),
    "edge-long-sums": spec((140, 35, 3), batch=300),  # more rows and terms than one block or chunk of any skeleton
    "edge-wide-first": spec((300, 3), kind="f32", batch=6),
    "edge-whole-tiles": spec((64, 32, 16), kind="bit", batch=32),
    "standard-wide": spec((130, 130, 10), rule="standard", kind="f32", batch=16),
    "edge-two-classes": spec((33, 17, 2), batch=18),
}
# Of them: compiled for every instruction set by the fast tests, too.
EVERY_LEVEL = (
    "edge-adam-keep",
    "edge-i8",
    "edge-i8-turned",
    "standard-residual",
    "standard-f32-input",
    "bep",
    "local-one-output-deep",
    "rnn",
    "edge-i8-state",
)
# Of them: also with fusion, sinking and simplification off.
UNFUSED = (
    "edge-adam-keep",
    "edge-i8",
    "standard-adam",
    "edge-bop",
    "standard-quadratic",
    "bep",
    "local-one-output-deep",
    "rnn",
    "rnn-horizon",
    "edge-i8-state",
    "edge-i8-state-bop-fast",
)
# Of them: fed with NaN, infinities, -0.0 and constant columns.
SPECIAL = (
    "edge-f32-input",
    "standard-f32-input",
    "edge-adam-keep",
    "standard-l1",
    "standard-width-1",
    "edge-sign-encoder",
)
# Of them: for the slow tier, since others that stay are close.
LATER = (
    "edge-sgd-plain",
    "edge-i8-state-sgd-plain",
    "edge-i8-state-bop-fast",
    "edge-f32-state",
    "standard-sgd-plain",
    "standard-f16-state",
    "standard-clip-off",
    "standard-identity",
    "edge-identity",
    "edge-hinge",
    "bep-small-words",
    "bep-nine-words",
    "bep-long-sums",
    "local-no-reinforcement",
    "local-freeze-first",
    "dfa-sign",
    "dfa-sign-uniform",
    "hsic-bottleneck",
    "hsic-edge",
    "sigprop-edge",
    "sigprop-tl-edge",
    "rnn-one-step",
    "rnn-wide",
    "standard-bit-input",
    "standard-batch-1",
    "edge-batch-33",
    "edge-long-sums",
    "standard-wide",
)
# As C only in the slow tier: each is a network of the fast tier with one thing more, less or larger.
LATER_IN_C = (
    *LATER,
    *("edge-adam-keep", "edge-batch-100", "edge-clip-off", "edge-fan-in-1", "edge-whole-tiles"),
    *(
        "edge-i8",
        "edge-i8-batch-1",
        "edge-i8-class-weights",
        "edge-i8-nearest",
        "edge-i8-state",
        "edge-i8-state-bop",
        "edge-i8-state-sgd",
    ),
    *("standard-bnn", "standard-bop", "standard-hinge", "standard-l1", "standard-quadratic", "standard-sgd"),
    *("standard-width-1", "dfa-normal", "drtp", "hsic", "bep-batch-1", "bep-group-list", "rnn-batch-1"),
    *("rnn-no-expansion", "local-batch-of-one", "local-bef", "local-one-class", "local-one-output"),
)

# Few and small: kernels in Triton's interpreter.
TRITON_DENSE = {
    "edge": spec((33, 17, 5), batch=9),
    "i8": spec((33, 17, 9, 5), rule="edge(gradient = i8)", batch=9),
    "standard": spec((33, 17, 5), rule="standard", optimizer="sgd", batch=9),
    "bop": weighed(spec((33, 17, 5), kind="bit", optimizer="bop(tau = 0.05, gamma = 0.4)", batch=9), 0.5, 1, 1, 2, 3),
    "integer": spec((33, 15, 9, 3), kind="bit", rule="bep(bits = 5, group = 3)", batch=9),
    "local": spec((31, 15, 3), kind="bit", rule="local", batch=9),
    "i8-state": spec((33, 17, 5), rule="edge(state = i8)", optimizer="adam(v = elide)", batch=9),
    "real": spec(
        (33, 17, 5),
        batch=9,
        body=(
            "  dense 17 weights = real bias = on; batchnorm; relu;\n  dense 9 weights = real; batchnorm;"
            " sign clip = 1.25;\n  dense 9 scale = mean; batchnorm; sign;\n"
        ),
    ),
    "hsic": spec((33, 17, 9, 5), rule="hsic(numerics = edge)", batch=9),
    "numbers": spec(
        (33, 17, 5),
        batch=9,
        body="  dense 17; batchnorm scale = on;\n  dense 9; layernorm; dense 9; batchnorm; sign;\n",
    ),
    "dfa-sign": spec((33, 17, 9, 5), rule="dfa(error = sign)", batch=9),
    "dfa-normal": spec((33, 17, 9, 5), rule="dfa(feedback = normal, numerics = edge)", batch=9),
    "sigprop-tl": spec((33, 17, 9, 5), rule="sigprop_tl(compat = off)", batch=9),
    "sigprop": spec((33, 17, 9, 5), rule="sigprop(numerics = edge)", batch=9),
    "recurrent": sequence_spec(3, 5, 9, 7, 3, "dense 5; sign;", batch=5, horizon=2),
}
# Rules without floats; a step in Triton's interpreter takes seconds.
INTEGER = {
    **{n: TRITON_DENSE[n] for n in ("integer", "local", "recurrent")},
    **{n: DENSE[n] for n in ("bep-small-words", "local-no-reinforcement")},
    "group-list": spec((33, 32, 9, 3), kind="bit", rule="bep(group = [16, 3], classifier = random)", batch=9),
    "one-output-deep": spec((20, 15, 9, 1), kind="bit", rule="local(group = 3, r = 0.5)", batch=9),
    "no-expansion": sequence_spec(3, 10, 35, 0, 4, batch=5, rule="bep(bits = 8, tie = plus, group = 5)"),
}

# What is proved about the bytes of a program.
PROVED = {
    "edge": spec((70, 33, 17, 10), batch=37),
    "i8": spec((70, 33, 17, 10), rule="edge(gradient = i8)", batch=37),
    "standard": spec((33, 17, 10), rule="standard", kind="f32", batch=20),
    "bop": spec((33, 17, 10), optimizer="bop(tau = 0.0001, gamma = 0.5)", kind="bit", batch=20),
    "encoded": spec((66, 17, 10), kind="bit", batch=20).replace("bit[66]", "f32[33] thermometer(2)"),
    "images": (
        spec(
            (1, 10),
            batch=6,
            body="conv 20 padding = same; maxpool; batchnorm; sign; conv 33; batchnorm; sign; maxpool; flatten;",
        ).replace("u8[1]", "u8[8, 8, 3]")
    ),
    "i8-state": spec((70, 33, 17, 10), rule="edge(state = i8)", optimizer="adam(v = elide)", batch=37),
    "dfa": spec((70, 33, 17, 10), rule="dfa(numerics = edge)", batch=37),
    "drtp": spec((70, 33, 17, 10), rule="drtp(feedback = uniform)", batch=37),
    "hsic": spec((70, 33, 17, 10), rule="hsic(numerics = edge)", batch=37),
    "sigprop-tl": spec((70, 33, 17, 10), rule="sigprop_tl(numerics = edge)", batch=37),
    "sigprop": spec((70, 33, 17, 10), rule="sigprop(numerics = edge)", batch=37),
    "rnn": sequence_spec(6, 9, 35, 33, 3, "dense 15; sign;", batch=20),
    "rnn-lengths": sequence_spec(5, 4, 35, 33, 3, "dense 15; sign;", batch=20, encoder="thermometer(3, lengths = on)"),
}

# -- images -----------------------------------------------------------------------------------------------------------


def net(shape: str, *layers: str, kind: str = "u8", rule: str = "edge", optimizer: str = "adam", batch: int = 3) -> str:
    body = "".join(f"  {x};\n" for x in layers)
    return (
        f"network net {{\n  input {kind}[{shape}];\n{body}  flatten; dense 5; batchnorm;\n  loss;\n}}\nrule {rule};\n"
        f"train {{ batch = {batch}; optimizer = {optimizer}; }}\n"
    )


BN = "batchnorm; sign"
R = "weights = real"
POOL = "maxpool; batchnorm; sign"
I8 = "edge(gradient = i8)"
# Each geometry of windows, way to an input gradient, pool and grouping.
IMAGES: dict[str, str] = {
    "two": net("6, 5, 3", f"conv 33; {BN}", f"conv 35; {BN}"),
    "same": net("5, 6, 1", f"conv 32 padding = same; {BN}", f"conv 20 padding = same; {BN}"),
    "same-standard": net("5, 5, 3", f"conv 17 padding = same; {BN}", f"conv 9 padding = same; {BN}", rule="standard"),
    "plus": net("4, 4, 3", f"conv 7 pad = 1 fill = plus; {BN}", f"conv 40 pad = 1 fill = plus; {BN}", f"conv 3; {BN}"),
    "minus": net("4, 4, 3", f"conv 7 pad = 2 fill = minus; {BN}", f"conv 5 pad = 1 fill = minus; {BN}"),
    "stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 5 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
    ),
    "gaps": net("7, 7, 2", f"conv 6 kernel = 1 stride = 3; {BN}", f"conv 70 kernel = 1 stride = 2; {BN}"),
    "one-pixel": net("1, 1, 33", f"conv 34 kernel = 1; {BN}", f"conv 5 padding = same; {BN}", batch=7),
    "batch-1": net("5, 5, 3", f"conv 16; {BN}", f"conv 32; {BN}", batch=1),
    "bit-input": net("5, 4, 3", f"conv 18; {BN}", f"conv 4 kernel = 2; {BN}", kind="bit"),
    "wide": net("3, 3, 130", f"conv 150 kernel = 2; {BN}", f"conv 140 kernel = 2; {BN}", kind="bit", batch=5),
    "large-window": net("8, 8, 3", f"conv 4 kernel = 5; {BN}", f"conv 33 kernel = 4; {BN}", batch=2),
    "bop": net("5, 5, 3", f"conv 20; {BN}", f"conv 9; {BN}", optimizer="bop(tau = 0.001, gamma = 0.4)"),
    "i8-state": net(
        "5, 5, 3",
        f"conv 20 padding = same; {BN}",
        f"conv 9 scale = mean; {BN}",
        rule="edge(state = i8)",
        optimizer="adam(lr = 0.01, v = elide)",
    ),
    "i8-state-groups": net(
        "4, 4, 4", f"conv 20; {BN}", f"conv 10 groups = 5 kernel = 1; {BN}", rule="edge(state = i8)", optimizer="sgd"
    ),
    "sgd-bits-in-order": net(
        "4, 4, 33", f"conv 32 padding = same; {BN}", rule="standard", optimizer="sgd", kind="bit", batch=2
    ),
    # gradients of some rows of pixels at a time (back_band of backends/c/kernels/convolve.py), and of one pixel of many
    # images
    "bands": net(
        "9, 10, 3",
        f"conv 33 padding = same; {BN}",
        f"conv 35; {BN}",
        f"conv 17 kernel = 2; {BN}",
        f"conv 9 1; {BN}",
        batch=21,
    ),
    "bands-standard": net(
        "7, 18, 2", f"conv 40 padding = same; {BN}", f"conv 6 padding = same; {BN}; maxpool", rule="standard", batch=9
    ),
    # of bytes: two vectors of output channels at a time
    "bytes": net("5, 5, 3", f"conv 64; {BN}", batch=5),
    "i8-bytes-edges": net("4, 5, 2", f"conv 96 padding = same; {BN}", rule=I8, batch=2),
    "many-images": net("5, 6, 3", f"conv 20; {BN}", f"conv 35; {BN}", batch=19),
    "many-images-stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 37 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
        batch=33,
    ),
    # pools
    "pool-integers": net("6, 6, 3", "conv 20 padding = same; maxpool; " + BN, "conv 33 padding = same; maxpool; " + BN),
    "pool-bits": net("6, 7, 3", f"conv 20 padding = same; {BN}; maxpool", f"conv 33 padding = same; {BN}; maxpool"),
    "pool-overlap": net(
        "7, 7, 3",
        "conv 20 padding = same; maxpool 3 stride = 2; " + BN,
        f"conv 9 padding = same; {BN}; maxpool 3 stride = 2 padding = same",
        rule="standard",
    ),
    "pool-gaps": net(
        "7, 7, 3", f"conv 4 padding = same; {BN}; maxpool 2 stride = 3 pad = 1", f"conv 9 padding = same; {BN}"
    ),
    "pool-mean": net(
        "6, 6, 3", "conv 20 padding = same; avgpool; " + BN, f"conv 9 padding = same; {BN}; avgpool 3 stride = 1; sign"
    ),
    "pool-all": net(
        "4, 4, 3", f"conv 20; {BN}", "conv 33 padding = same; batchnorm; globalavgpool; sign", rule="standard"
    ),
    "residual": net(
        "5, 5, 3", "conv 20; batchnorm", "residual { sign; conv 20 padding = same; batchnorm; } sign", rule="standard"
    ),
    # windows that are no squares, and sequences
    "narrow": net(
        "7, 9, 2",
        f"conv 20 1 width = 3 padding = same; {BN}",
        f"conv 9 3 width = 1 stride = 2; {BN}",
        f"conv 6 2 width = 4 padding = same; {BN}",
        rule="standard",
    ),
    "line": net(
        "13, 3",
        f"conv1d 20 5 padding = same; maxpool1d; {BN}",
        "conv1d 9 4 stride = 2 pad = 1; batchnorm; globalavgpool1d; sign",
        kind="bit",
        batch=5,
    ),
    "line-i8": net(
        "12, 3",
        f"conv1d 20 5 pad = 2 fill = plus; {BN}; maxpool1d 3 stride = 2",
        "conv1d 9; batchnorm; avgpool1d; sign",
        rule=I8,
    ),
    # gradients in whole numbers
    "i8": net("6, 6, 3", f"conv 20 padding = same; {BN}", f"conv 33; {BN}; maxpool", f"conv 9 2; {BN}", rule=I8),
    "i8-bands": net(
        "9, 10, 3",
        f"conv 33 padding = same; {BN}",
        f"conv 35; {BN}",
        f"conv 9 1; {BN}",
        rule="edge(gradient = i8, rounding = nearest)",
        batch=21,
    ),
    "i8-edges": net(
        "7, 7, 3",
        f"conv 33 padding = same; {BN}",
        f"conv 35 padding = same; {BN}",
        f"conv 9 padding = same stride = 2; {BN}",
        rule=I8,
        batch=7,
    ),
    "i8-pool": net("6, 6, 3", f"conv 20 padding = same; {POOL}", f"conv 33 padding = same; {POOL}", rule=I8),
    "i8-many-images": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 37 kernel = 2 stride = 2 pad = 1 fill = minus; {BN}",
        rule=I8,
        batch=33,
    ),
    "i8-groups": net(
        "5, 6, 6",
        f"conv 9 groups = 3 pad = 1 fill = plus; {BN}; maxpool 3 stride = 2",
        f"conv 6 groups = 3 padding = same; {BN}",
        rule=I8,
    ),
    # rules that send no gradient through weights
    "dfa": net(
        "6, 6, 3", f"conv 20 padding = same; {BN}; maxpool", f"conv 9; {BN}", rule="dfa(numerics = edge)", batch=9
    ),
    "drtp": net(
        "6, 6, 3",
        "conv 20; batchnorm",
        "residual { sign; conv 20 padding = same; batchnorm; } sign",
        f"conv 9; {BN}",
        rule="drtp",
    ),
    "hsic": net(
        "5, 5, 3",
        "conv 20; batchnorm",
        "residual { sign; conv 20 padding = same; batchnorm; } sign",
        f"conv 9; {BN}",
        rule="hsic(numerics = edge)",
        batch=9,
    ),
    "sigprop": net(
        "5, 5, 3",
        "conv 20 padding = same; maxpool; batchnorm",
        "residual { sign; conv 20 padding = same; batchnorm; } sign",
        rule="sigprop(numerics = edge)",
        batch=7,
    ),
    "sigprop-tl": net(
        "5, 5, 3",
        "conv 20; batchnorm",
        "residual { sign; conv 20 padding = same; batchnorm; } sign",
        f"conv 9; {BN}; dropout 0.3; sign",
        rule="sigprop_tl(compat = off)",
    ),
    # groups
    "groups": net("5, 6, 6", f"conv 9 groups = 3; {BN}", f"conv 6 groups = 3 padding = same; {BN}"),
    "groups-wide": net(
        "4, 4, 4", f"conv 70 groups = 2 padding = same; {BN}", f"conv 66 groups = 2 pad = 1 fill = plus; {BN}", batch=2
    ),
    "depthwise": net(
        "5, 5, 3",
        f"conv 35 pad = 1; {BN}",
        f"conv 35 groups = 35 stride = 2 padding = same; {BN}",
        f"conv 70 groups = 35; {BN}",
    ),
    "groups-standard": net(
        "6, 5, 4",
        f"conv 8 groups = 4 pad = 1 fill = minus; {BN}",
        f"conv 20 2 stride = 2 groups = 4; {BN}",
        rule="standard",
        optimizer="sgd",
        batch=1,
    ),
    "groups-real": net(
        "5, 5, 3",
        "conv 18 groups = 3 padding = same weights = real; batchnorm; relu",
        f"conv 18 groups = 18 padding = same weights = real; {BN}",
        f"conv 33 groups = 3 weights = real; {BN}",
    ),
    "groups-bits": net("4, 4, 6", f"conv 12 groups = 3; {BN}", kind="bit", rule="standard"),
    "thinned": net(
        "4, 4, 3", "conv 20; batchnorm; relu; dropout 0.3; batchnorm; sign; dropout; sign", rule="standard", batch=5
    ),
}

# Real weights, and the residual networks of the examples, small.
STEM = f"conv 20 kernel = 3 stride = 2 padding = same {R}; batchnorm"
BLOCKS = f"""residual {{ sign ACT; conv 20 padding = same SCALE; batchnorm; }}
  residual {{
    shortcut {{ avgpool 3 stride = 2; conv 35 kernel = 1 {R}; batchnorm; }}
    sign ACT; conv 35 stride = 3 padding = same SCALE; batchnorm; }}
  """
RESNETE = net(
    "9, 9, 3",
    STEM,
    "relu; maxpool 3 stride = 2 padding = same; batchnorm",
    BLOCKS.replace("ACT", "clip = 1.25").replace("SCALE", "") + "relu; globalavgpool",
).replace("dense 5;", f"dense 5 {R};")
BIREAL = net(
    "9, 9, 3",
    STEM,
    "maxpool 3 stride = 2 padding = same",
    BLOCKS.replace("ACT", "quadratic").replace("SCALE", "scale = mean") + "globalavgpool",
    rule="standard",
)
REAL: dict[str, str] = {
    "u8": net("6, 5, 3", f"conv 33 {R}; {BN}", f"conv 35 {R}; {BN}"),
    "same": net(
        "5, 6, 1", f"conv 32 padding = same {R}; batchnorm; relu", f"conv 20 padding = same {R}; {BN}", rule="standard"
    ),
    "f32-input": net(
        "5, 5, 3", f"conv 17 padding = same {R}; batchnorm; relu", f"conv 48 pad = 1 {R}; {BN}", kind="f32"
    ),
    "plus": net(
        "4, 4, 3", f"conv 7 pad = 1 fill = plus {R}; {BN}", f"conv 40 pad = 1 fill = minus {R} bias = on; {BN}"
    ),
    "stride": net(
        "7, 8, 2",
        f"conv 6 stride = 2 padding = same {R}; batchnorm",
        f"conv 5 kernel = 2 stride = 2 pad = 1 {R}; {BN}",
        rule="standard",
    ),
    "gaps": net(
        "7, 7, 2",
        f"conv 6 kernel = 1 stride = 3 {R}; batchnorm",
        f"conv 70 kernel = 1 stride = 2 {R}; {BN}",
        rule="standard",
    ),
    "one-pixel": net(
        "1, 1, 33", f"conv 34 kernel = 1 {R}; batchnorm; relu", f"conv 5 padding = same {R}; {BN}", batch=7
    ),
    "batch-1": net("5, 5, 3", f"conv 16 {R}; batchnorm", f"conv 32 {R}; {BN}", batch=1),
    "bits": net("5, 4, 3", f"conv 18 {R}; {BN}", f"conv 4 kernel = 2 {R}; {BN}", kind="bit"),
    "wide": net(
        "2, 3, 130", f"conv 150 kernel = 2 {R}; batchnorm", f"conv 140 kernel = 1 {R}; {BN}", kind="bit", batch=2
    ),
    "large-window": net("9, 9, 3", f"conv 4 kernel = 7 {R}; batchnorm", f"conv 33 kernel = 3 {R}; {BN}", batch=2),
    "bop": net(
        "5, 5, 3", f"conv 20 {R}; {BN}", f"conv 9 scale = mean; {BN}", optimizer="bop(tau = 0.001, gamma = 0.4)"
    ),
    "dense": net(
        "4, 4, 3",
        f"conv 20; {BN}",
        "flatten",
        f"dense 33 {R} bias = on; batchnorm; relu",
        f"dense 40 {R}; {BN}",
        f"dense 70 {R}; {BN}",
        f"dense 9 scale = mean; {BN}",
    ),
    "dense-standard": net(
        "4, 4, 3", "flatten", f"dense 33 {R} bias = on; relu", f"dense 40 {R}; {BN}", rule="standard", kind="f32"
    ),
    # bits into real weights, and numbers into weights of bits
    "choices": net(
        "5, 5, 3",
        f"conv 18 padding = same; {BN}",
        f"conv 9 padding = same {R}; batchnorm; relu",
        f"conv 33 padding = same; {BN}; flatten",
        f"dense 35 {R}; batchnorm; relu; dense 9; {BN}",
        rule="dfa(numerics = edge)",
        optimizer="sgd(decay = 1e-3)",
        batch=5,
    ),
    "scale": net(
        "5, 5, 3",
        f"conv 20 scale = mean; {BN}",
        f"conv 9 scale = mean; {BN}",
        rule="standard(clip = off, clip_at = 1.25)",
    ),
    # binary weights of numbers, norms with factors
    "numbers": net(
        "5, 5, 3",
        "conv 18 padding = same bias = on; batchnorm scale = on",
        f"conv 33 kernel = 1; batchnorm; relu; conv 33 groups = 33 pad = 1 fill = plus; {BN}",
        "conv 9 stride = 2; layernorm; flatten; dense 17; layernorm scale = off; dense 9 bias = on; sign",
        kind="f32",
    ),
    "mixing": net(
        "6, 6, 3",
        f"conv 20 kernel = 2 stride = 2 {R} bias = on; tokens",
        "residual { layernorm; transpose; conv 33 1 bias = on; sign identity; conv 9 1; transpose; } "
        "residual { layernorm; conv 9 1; sign identity; conv 20 1 bias = on; } transpose; avgpool 1; globalavgpool",
        rule="standard",
    ),
    "numbers-bop": net(
        "4, 4, 2",
        "conv 18; layernorm",
        f"conv 20 groups = 2 padding = same scale = mean; {BN}; flatten; dense 9; batchnorm l1 scale = on",
        rule="standard",
        optimizer="bop(tau = 0.001, gamma = 0.4)",
    ),
    "resnete": RESNETE,
    "resnete-standard": RESNETE.replace("rule edge", "rule standard(clip_at = 1.25)"),
    "bireal": BIREAL,
    "i8-state": RESNETE.replace("rule edge", "rule edge(state = i8)").replace(
        "optimizer = adam", "optimizer = adam(v = elide)"
    ),
}

# Few and small: kernels in Triton's interpreter.
TRITON_QUICK_IMAGES = {
    "same": net(
        "3, 2, 1", f"conv 33 kernel = 2 padding = same; {BN}", f"conv 3 kernel = 2 padding = same; {BN}", batch=1
    ),
    "pool": net(
        "5, 5, 1",
        f"conv 6 kernel = 2; maxpool; {BN}",
        f"conv 3 kernel = 1; {BN}; maxpool 2 stride = 1",
        rule="standard",
        batch=2,
    ),
    "i8-state": net("3, 3, 2", f"conv 18 kernel = 2; {BN}", rule="edge(state = i8)", optimizer="sgd", batch=2),
    "groups": net("3, 3, 4", f"conv 6 kernel = 2 groups = 2; {BN}", f"conv 9 padding = same groups = 3; {BN}", batch=1),
    "real": net(
        "3, 4, 2", f"conv 5 kernel = 2 padding = same {R}; batchnorm; relu", f"conv 6 kernel = 2 {R}; {BN}", batch=2
    ),
}
SMALL_BLOCKS = f"""residual {{{{ sign {{0}}; conv 5 padding = same {{1}}; batchnorm; }}}}
  residual {{{{
    shortcut {{{{ avgpool 2; conv 9 kernel = 1 {R}; batchnorm; }}}}
    sign {{0}}; conv 9 stride = 2 padding = same {{1}}; batchnorm; }}}}
  """
# As IMAGES and REAL for Triton's interpreter: each loop of a kernel is run, few of them are long.
TRITON_IMAGES: dict[str, str] = {
    "line": net("9, 3", f"conv1d 6 3 padding = same; maxpool1d; {BN}", f"conv1d 5 2 weights = real; {BN}", batch=2),
    "narrow": net("4, 3, 2", f"conv 6 3 width = 1; {BN}", f"conv 5 1 width = 2; {BN}", batch=2),
    "mixing": net(
        "4, 4, 2",
        "conv 5 kernel = 2 stride = 2 weights = real; tokens",
        "residual { layernorm; transpose; conv 7 1 bias = on; sign identity; conv 4 1; transpose; } globalavgpool",
        batch=2,
    ),
    "valid": net("4, 4, 3", f"conv 33 kernel = 2; {BN}", f"conv 35 kernel = 2; {BN}", batch=2),
    "plus": net("3, 3, 3", f"conv 33 pad = 1 fill = plus; {BN}", f"conv 5 pad = 1 fill = plus; {BN}", batch=1),
    "minus": net(
        "3, 3, 3",
        f"conv 35 kernel = 2 pad = 1 fill = minus; {BN}",
        f"conv 5 kernel = 2 pad = 1 fill = minus; {BN}",
        batch=1,
    ),
    "stride": net(
        "5, 6, 2",
        f"conv 6 stride = 2 padding = same; {BN}",
        f"conv 5 kernel = 2 stride = 2 pad = 1; {BN}",
        rule="standard",
    ),
    "gaps": net("7, 7, 2", f"conv 6 kernel = 1 stride = 3; {BN}", f"conv 70 kernel = 1 stride = 2; {BN}"),
    "one-pixel": net("1, 1, 33", f"conv 34 kernel = 1; {BN}", f"conv 5 padding = same; {BN}", batch=7),
    "one-pixel-of-one": net(
        "1, 1, 3", f"conv 4 kernel = 1; {BN}", f"conv 5 padding = same fill = minus; {BN}", batch=1
    ),
    "bits": net("4, 3, 33", f"conv 18 kernel = 2; {BN}", f"conv 4 kernel = 2; {BN}", kind="bit", batch=2),
    "whole-words": net(
        "3, 3, 64", f"conv 32 kernel = 2 padding = same; {BN}", f"conv 3 kernel = 2; {BN}", kind="bit", batch=2
    ),
    "bop": net(
        "4, 4, 2",
        f"conv 20 kernel = 2; {BN}",
        f"conv 9 kernel = 2; {BN}",
        optimizer="bop(tau = 0.001, gamma = 0.4)",
        batch=2,
    ),
    "pool-integers": net("4, 4, 2", "conv 20 kernel = 2 padding = same; maxpool; " + BN, batch=2),
    "pool-bits": net(
        "4, 5, 2", f"conv 20 kernel = 2; {BN}; maxpool", f"conv 5 kernel = 2 padding = same; {BN}", batch=2
    ),
    "pool-overlap": net(
        "5, 5, 1",
        "conv 4 padding = same; maxpool 3 stride = 2; " + BN,
        f"conv 3 kernel = 2; maxpool 2 stride = 1 padding = same; {BN}",
        rule="standard",
        batch=2,
    ),
    "pool-gaps": net(
        "5, 5, 2", f"conv 4 padding = same; {BN}; maxpool 2 stride = 3 pad = 1", f"conv 3 kernel = 2; {BN}", batch=2
    ),
    "pool-mean": net(
        "4, 4, 2",
        "conv 6 kernel = 1; avgpool; " + BN,
        f"conv 5 padding = same; {BN}; avgpool 2 stride = 1; sign",
        batch=2,
    ),
    "pool-all": net(
        "3, 3, 2", f"conv 6 kernel = 2; {BN}", "conv 5 kernel = 1; batchnorm; globalavgpool; sign", rule="standard"
    ),
    "residual": net(
        "3, 3, 2",
        "conv 5 kernel = 1; batchnorm",
        "residual { sign; conv 5 padding = same; batchnorm; } sign",
        rule="standard",
        batch=2,
    ),
    "groups-bits": net(
        "3, 3, 66",
        f"conv 68 kernel = 2 groups = 2 pad = 1; {BN}",
        f"conv 4 kernel = 2 groups = 2; {BN}",
        kind="bit",
        rule="standard",
        batch=1,
    ),
    "groups-fill": net(
        "4, 4, 4",
        f"conv 8 groups = 4 pad = 1 fill = minus; {BN}",
        f"conv 12 2 stride = 2 groups = 4 pad = 1 fill = plus; {BN}",
        rule="standard",
        optimizer="sgd",
        batch=2,
    ),
    "depthwise": net(
        "4, 4, 3",
        f"conv 35 kernel = 2; {BN}",
        f"conv 35 groups = 35 stride = 2 padding = same; {BN}",
        f"conv 70 groups = 35 kernel = 1; {BN}",
        batch=2,
    ),
    "groups-real": net(
        "4, 4, 3",
        f"conv 6 groups = 3 padding = same {R}; batchnorm; relu",
        f"conv 6 groups = 6 padding = same {R}; {BN}",
        f"conv 33 groups = 3 kernel = 2 {R}; {BN}",
        batch=2,
    ),
    "groups-one-pixel": net(
        "1, 1, 33", f"conv 66 kernel = 1 groups = 33; {BN}", f"conv 6 groups = 3 padding = same {R}; {BN}", batch=1
    ),
    "real-fill": net(
        "3, 3, 3",
        f"conv 7 kernel = 2 pad = 1 fill = plus {R}; {BN}",
        f"conv 34 kernel = 2 pad = 1 fill = minus {R} bias = on; {BN}",
        batch=1,
    ),
    "real-stride": net(
        "5, 6, 2",
        f"conv 6 stride = 2 padding = same {R}; batchnorm",
        f"conv 5 kernel = 2 stride = 2 pad = 1 {R}; {BN}",
        rule="standard",
        batch=2,
    ),
    "real-input": net(
        "3, 3, 3", f"conv 17 padding = same {R}; batchnorm; relu", f"conv 5 pad = 1 {R}; {BN}", kind="f32", batch=2
    ),
    "real-bits": net("3, 3, 3", f"conv 18 kernel = 2 {R}; {BN}", f"conv 4 kernel = 2 {R}; {BN}", kind="bit", batch=2),
    "resnete": (
        net(
            "4, 4, 3",
            f"conv 5 padding = same {R}; batchnorm",
            "relu; maxpool 3 stride = 2 padding = same",
            "batchnorm",
            SMALL_BLOCKS.format("clip = 1.25", "") + "relu; globalavgpool",
            batch=2,
        ).replace("dense 5;", f"dense 5 {R};")
    ),
    "bireal": net(
        "4, 4, 3",
        f"conv 5 padding = same {R}; batchnorm",
        "maxpool 3 stride = 2 padding = same",
        SMALL_BLOCKS.format("quadratic", "scale = mean") + "globalavgpool",
        batch=2,
        rule="standard",
    ),
    "thinned": net(
        "3, 3, 2",
        "conv 5 kernel = 2; batchnorm; relu; dropout 0.3; batchnorm; sign; dropout; sign",
        rule="standard",
        batch=2,
    ),
}
# With tensor cores, and sums in two stages.
LARGE_DENSE = {
    "standard": spec((66, 65, 70, 10), rule="standard", kind="u8", optimizer="sgd", batch=167),
    "edge": spec((66, 65, 70, 10), kind="u8", batch=167),
    "whole": spec((66, 65, 70, 10), rule="edge(gradient = i8)", kind="u8", batch=167),
    "bep": spec((66, 65, 70, 10), rule="bep(group = 5)", kind="sign", optimizer="sgd", batch=167),
    "chunks": spec((40, 65, 33, 10), kind="bit", batch=256),
    "whole-chunks": spec((40, 65, 33, 10), rule="edge(gradient = i8)", kind="bit", batch=256),
}
LARGE_IMAGES = {
    "bits": net(
        "4, 4, 40", f"conv 33 padding = same; {BN}", f"conv 65 kernel = 2; {BN}", kind="bit", batch=5, optimizer="sgd"
    ),
    "chunks": net("4, 4, 40", f"conv 33 padding = same; {BN}", kind="bit", batch=32, optimizer="sgd"),
    "whole-chunks": net(
        "4, 4, 40",
        f"conv 33 padding = same; {BN}",
        f"conv 17 padding = same fill = minus; {BN}",
        kind="bit",
        batch=32,
        rule="edge(gradient = i8)",
        optimizer="sgd",
    ),
    "u8": net(
        "5, 5, 3",
        f"conv 17 padding = same fill = minus; {BN}",
        f"conv 32 padding = same fill = plus; maxpool; {BN}",
        batch=5,
        rule="standard",
        optimizer="sgd",
    ),
    "whole": net(
        "5, 5, 3",
        f"conv 17 padding = same fill = minus; {BN}",
        f"conv 16 padding = same; maxpool; {BN}",
        f"conv 64 kernel = 2 padding = same fill = plus; {BN}",
        batch=6,
        rule="edge(gradient = i8)",
        optimizer="sgd",
    ),
    "real": net(
        "4, 4, 17",
        f"conv 20 padding = same fill = plus {R}; batchnorm; relu",
        "conv 24 padding = same; batchnorm; relu",
        f"conv 33 kernel = 2 stride = 2 {R}; {BN}",
        f"conv 33 kernel = 1 groups = 33; {BN}",
        batch=5,
        rule="standard",
        optimizer="sgd",
    ),
}

# -- recompute = on --------------------------------------------------------------------------------------------------

# Loops over columns and over samples, and values that are made again.
STRIPS = {
    "columns": net("8, 8, 3", f"conv 64 padding = same; {BN}", f"conv 64 padding = same; {POOL}", batch=6),
    "rows": net(
        "8, 8, 3",
        f"conv 32 padding = same; {BN}",
        f"conv 192 padding = same; {BN}",
        f"conv 32 padding = same; {POOL}",
        batch=6,
    ),
    "elide": net(
        "8, 8, 1",
        f"conv 32; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 64; {BN}",
        optimizer="adam(v = elide)",
        batch=6,
    ),
    "statistics-apart": net(
        "8, 8, 3",
        f"conv 32 padding = same; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 64; {BN}; maxpool",
        rule="drtp(numerics = edge)",
        optimizer="adam(v = elide)",
        batch=6,
    ),
    "i8-state": net(
        "8, 8, 1",
        f"conv 32; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 64; {BN}",
        rule="edge(state = i8)",
        optimizer="adam(v = elide)",
        batch=6,
    ),
    # whole maxima between two loops over samples, sums that grow in them
    "i8": net(
        "8, 8, 3",
        f"conv 64 padding = same; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 32; {BN}",
        rule="edge(gradient = i8)",
        batch=6,
    ),
    "i8-both": net(
        "8, 8, 1",
        f"conv 32; {BN}",
        f"conv 64 padding = same; {BN}",
        f"conv 33; {BN}",
        rule="edge(gradient = i8, rounding = nearest, state = i8)",
        optimizer="adam(v = elide)",
        batch=6,
    ),
    "bop": net(
        "8, 8, 3",
        f"conv 64 padding = same; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 128 padding = same; {POOL}",
        optimizer="bop(tau = 0.001, gamma = 0.4)",
        batch=4,
    ),
    "standard": net(
        "8, 8, 3", f"conv 64 padding = same; {BN}", f"conv 64 padding = same; {POOL}", rule="standard", batch=4
    ),
    "real": net(
        "8, 8, 3",
        "conv 64 padding = same weights = real; batchnorm; relu",
        "conv 64 padding = same weights = real; batchnorm; relu",
        f"conv 32 padding = same weights = real; {POOL}",
        rule="standard",
        batch=4,
    ),
    "residual": net(
        "8, 8, 3",
        "conv 64 padding = same; batchnorm",
        "residual { shortcut { avgpool 2; conv 96 kernel = 1 weights = real; batchnorm; } sign; "
        "conv 96 stride = 2 padding = same; batchnorm; } sign",
        "residual { sign; conv 96 padding = same; batchnorm; } sign",
        batch=4,
    ),
    "odd-channels": net("6, 6, 3", f"conv 33 padding = same; {BN}", f"conv 50 padding = same; {BN}", batch=6),
    "pool-overlap": net(
        "9, 9, 3", f"conv 64 padding = same; maxpool 3 stride = 2; {BN}", f"conv 64; {BN}; maxpool", batch=6
    ),
    "integer": (
        """network net { input bit[65]; dense 64; sign; dense 64; sign; dense 64; sign; dense 10; loss; }
rule local; train { batch = 20; }
"""
    ),
}
# Without `recompute`: large enough for loops over samples, bits that are packed again or not stored
SPARED = {
    "drtp": net(
        "8, 8, 3",
        f"conv 64 padding = same; {BN}",
        f"conv 64 padding = same; {POOL}",
        f"conv 32; {BN}; maxpool",
        rule="drtp(numerics = edge)",
        batch=16,
    ),
    "dfa": net(
        "8, 8, 3",
        f"conv 64 padding = same; {BN}",
        f"conv 128 padding = same; {POOL}",
        rule="dfa(numerics = edge)",
        optimizer="bop(tau = 0.001, gamma = 0.4)",
        batch=16,
    ),
}
PROVED["spared"] = SPARED["drtp"]
PROVED["strips-i8"] = STRIPS["i8"].replace("train {", "train { recompute = on;")
# Steps in Triton's interpreter; strips of columns and of rows, of all forms of a convolution, and values made again
SMALL_STRIPS = {
    "both": net(
        "4, 4, 2", f"conv 8 kernel = 1; {BN}", f"conv 64 kernel = 1; {BN}", f"conv 8 kernel = 1; {POOL}", batch=4
    ),
    "windows": net(
        "4, 4, 2", f"conv 8 kernel = 1; {BN}", f"conv 64 kernel = 1; {POOL}", f"conv 8 kernel = 1; {BN}", batch=4
    ),
    "sums": net("5, 5, 1", f"conv 32 kernel = 2; {BN}", f"conv 32 kernel = 2; {BN}", kind="bit", rule=I8, batch=4),
}


def on(text: str) -> str:
    return text.replace("train {", "train { recompute = on;")


# -- programs that other machines run ---------------------------------------------------------------------------------

FLOAT = (MNIST / "mnist_mlp.bnn").read_text()
BYTES = """network bytes {
  input u8[19, 19, 3];
  conv 21 padding = same; batchnorm; sign; maxpool; flatten;
  dense 10; batchnorm; loss;
}
rule edge;
train { batch = 10; epochs = 1; seed = 1; }
"""
NUMBERS = BYTES.replace(
    "conv 21 padding = same; batchnorm; sign; maxpool; flatten;", "flatten; dense 35; batchnorm; sign;"
)

# -- what programs that only predict, and what is exported, are made of ------------------------------------------------

TRAINED = "network net {{ input {}; {} loss {}; }}\nrule {}; train {{ batch = 8; epochs = 2; }}\n"
THREE = "dense 40; batchnorm; sign; dense 33; batchnorm; sign; dense 4; batchnorm;"
PREDICTING = {
    "encoded": TRAINED.format("f32[9] thermometer(4)", THREE, "", "edge"),
    "numbers": TRAINED.format("u8[9]", THREE, "", "edge"),
    "hinge": TRAINED.format("u8[9] sign(threshold = 99)", THREE, "squared_hinge", "standard"),
    "sums": TRAINED.format("u8[9] sign(threshold = 99, pad_odd = on)", "dense 33; sign; dense 4;", "", "bep"),
    "images": TRAINED.format(
        "u8[8, 8, 3]",
        "conv 16 kernel = 3 padding = same; maxpool; batchnorm; sign; conv 20; batchnorm; sign; flatten; dense 4;"
        " batchnorm;",
        "",
        "edge",
    ),
    "strided": TRAINED.format(
        "u8[8, 8, 1] sign(threshold = 128)",
        "conv 12 kernel = 3 stride = 2 padding = same; batchnorm; sign; residual { conv 12 kernel = 3 padding = same;"
        " batchnorm; } sign; flatten; dense 4; batchnorm;",
        "",
        "standard",
    ),
    "series": TRAINED.format("f32[6, 3] thermometer(3, lengths = on, per = channel)", "rnn 33; dense 4;", "", "bep"),
    "classes": TRAINED.format("f32[9] median(onehot = [2], categories = [3])", "dense 16; sign; dense 4;", "", "local"),
}
