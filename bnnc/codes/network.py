"""What the checker says of a network: B03xx shapes, B04xx types and values, B05xx rules."""

from __future__ import annotations

from .code import Code
from .examples import END, NET, mid, net


def integer(rule: str, width: int, batch: int = 100) -> str:
    layers = net("input bit[9];", f"dense {width};", "sign;", "dense 45;", "sign;", "dense 4;", "loss;")
    return f"{layers}rule {rule};\ntrain {{ batch = {batch}; }}\n"


def sequence(steps: int, columns: int) -> str:
    layers = net(
        f"input f32[{steps}, {columns}] thermometer(8);", "rnn 255;", "dense 255;", "sign;", "dense 4;", "loss;"
    )
    return f"{layers}rule bep;\ntrain {{ batch = 100; }}\n"


CODES = (
    Code(
        "B0301",
        "a layer that needs a flat input",
        "The layer works on one axis but its input has several, such as [28, 28].  Add `flatten;` before it.",
        net("input u8[28, 28];", *END),
        net("input u8[28, 28];", "flatten;", *END),
    ),
    Code(
        "B0302",
        "a layer that cannot take this kind of value",
        "Values are u8 or f32 (data), bit (-1 or +1) or real (made by the network).  The layer cannot take the "
        "kind that the one before it gives.",
    ),
    Code(
        "B0303",
        "not a type of data",
        "Data is u8, f32 or bit, followed by the shape of one sample.",
        net("input u16[9];", *END),
        net("input u8[9];", *END),
    ),
    Code(
        "B0304",
        "an encoder that does not fit the data",
        "Bits are bits already and need no encoder, `pad_odd` takes nothing but bits, and `lengths = on` needs"
        " sequences: f32 data of two axes, steps and columns.",
        net("input bit[9] sign;", *END),
        net("input bit[9];", *END),
    ),
    Code(
        "B0305",
        "a body that changes the shape",
        "The layer adds its input to the output of its body, so both must have the same shape.  Where the body changes"
        " it, a `shortcut` at its start brings the input into that shape.",
        mid("residual { dense 5; batchnorm; }"),
        mid("residual { dense 9; batchnorm; }"),
    ),
    Code(
        "B0306",
        "a body that ends in bits",
        "The layer adds real values; a body that ends in bits would lose them.  Start the body with `sign;` instead.",
        mid("residual { dense 9; batchnorm; sign; }"),
        mid("residual { sign; dense 9; batchnorm; }"),
    ),
    Code(
        "B0307",
        "too large",
        "A network has at most 1000 layers, a sample at most 8 axes and 2^31 elements, and a sum of whole numbers fits"
        " 32 bits.",
        mid("repeat 9999 { sign; sign; }"),
        mid("repeat 9 { sign; sign; }"),
    ),
    Code(
        "B0308",
        "the input is not the first layer",
        "A network starts with its only `input`, outside of any other layer.",
        net(*END),
        net("input u8[9];", *END),
    ),
    Code(
        "B0309",
        "the loss is not the last layer",
        "A network ends with its only `loss`, outside of any other layer.",
        net("input u8[9];", "dense 4;", "batchnorm;"),
        net("input u8[9];", *END),
    ),
    Code(
        "B0310",
        "binary weights without normalisation (a warning)",
        "The output of a layer with binary weights is a sum of many values of the same size.  Nearly all of such "
        "sums lie outside of [-1, 1], where the gradient of `sign` is 0, so hardly anything is learnt without a "
        "normalisation.",
        mid("dense 16;", "sign;"),
        mid("dense 16;", "batchnorm;", "sign;"),
        warning=True,
    ),
    Code(
        "B0311",
        "a recurrent layer without a sequence, or a horizon beyond its start",
        "`rnn` reads a sequence: its input has the two axes [steps, features].  Errors can go back at most as many"
        " steps as there are.",
        "rule bep;\n" + net("input bit[8];", "rnn 15;", "dense 3;", "loss;"),
        "rule bep;\n" + net("input bit[2, 4];", "rnn 15;", "dense 3;", "loss;"),
    ),
    Code(
        "B0312",
        "one-hot columns that do not fit the sample",
        "`onehot` lists indices on the last axis of a sample, each once; `categories` says for each of them how many "
        "different values it may hold.",
        net("input f32[9] median(onehot = [9], categories = [4]);", *END),
        net("input f32[9] median(onehot = [8], categories = [4]);", *END),
    ),
    Code(
        "B0313",
        "a layer of images without an image, or of sequences without one",
        "The layer works on images: its input has the three axes [height, width, channels].  One whose name ends in"
        " `1d` works on sequences, with the two axes [steps, channels].",
        net("input u8[9];", "conv 4;", "batchnorm;", "sign;", "flatten;", *END),
        net("input u8[3, 3, 1];", "conv 4;", "batchnorm;", "sign;", "flatten;", *END),
    ),
    Code(
        "B0314",
        "a window, padding or number of groups that does not fit",
        "A window must fit into the image with its padding, a padding be smaller than the window, and the number of"
        " groups divide the channels before and after the layer.",
        net("input u8[2, 2, 1];", "conv 4;", "batchnorm;", "sign;", "flatten;", *END),
        net("input u8[2, 2, 1];", "conv 4 padding = same;", "batchnorm;", "sign;", "flatten;", *END),
    ),
    Code(
        "B0315",
        "an option that is not for these weights",
        "`scale` gives binary weights the mean size of their latent ones; real weights have a size of their own.",
        mid("dense 9 weights = real scale = mean;", "batchnorm;", "sign;"),
        mid("dense 9 scale = mean;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0316",
        "a shortcut in the wrong place",
        "A `shortcut` stands at the start of a residual's body.  What its own body makes of the residual's input is"
        " added to what the rest of the residual's body makes of it.",
        mid("shortcut { dense 9; batchnorm; }", "sign;"),
        mid("residual { shortcut { dense 7; batchnorm; } sign; dense 7; batchnorm; }", "sign;"),
    ),
    Code(
        "B0317",
        "an augmentation that does not fit the samples",
        "`shift` and `flip` are of images: the input's type has their rows and columns, as u8[28, 28].  `timeshift` is"
        " of sequences, [steps, channels].  `jitter` adds to real numbers, f32.  What is bits already has no pixels.",
        net("input u8[9];", *END) + "train { augment = flip; }\n",
        net("input u8[3, 3];", "flatten;", *END) + "train { augment = flip; }\n",
    ),
    Code(
        "B0401",
        "a value of the wrong type",
        "The message says what is expected and what was given.",
        mid("dense 2.5;", "batchnorm;", "sign;"),
        mid("dense 2;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0402",
        "a value out of bounds",
        "The message names the bound.",
        NET + "train { batch = 0; }\n",
        NET + "train { batch = 10; }\n",
    ),
    Code(
        "B0403",
        "a value that is not among the choices",
        "The message lists the choices.",
        mid("dense 9;", "batchnorm l3;", "sign;"),
        mid("dense 9;", "batchnorm l1;", "sign;"),
    ),
    Code(
        "B0404",
        "an argument is missing",
        "The parameter has no default, so it must be given.",
        mid("dense;", "batchnorm;", "sign;"),
        mid("dense 9;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0405",
        "given twice",
        "A parameter or setting takes one value.  An argument without a name counts too.",
        NET + "train { batch = 10; batch = 20; }\n",
        NET + "train { batch = 20; }\n",
    ),
    Code(
        "B0406",
        "too many arguments",
        "There are more arguments without a name than there are parameters for them.  If the argument is on a line "
        "of its own, the `;` of the line before may be missing.",
        mid("dense 9", "batchnorm;", "sign;"),
        mid("dense 9;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0407",
        "arithmetic that has no result",
        "Division by zero, a result beyond 2^63, or an operand that is no number.",
        "let a = 1 / 0;\n" + NET,
        "let a = 1 / 2;\n" + NET,
    ),
    Code(
        "B0408",
        "a body is missing or does not belong here",
        "`network`, `block`, `repeat`, `train`, `data` and layers that contain layers need a body in braces; "
        "nothing else takes one.",
        mid("repeat 3;"),
        mid("repeat 3 { sign; }"),
    ),
    Code(
        "B0409",
        "settings that contradict each other",
        "The schedule `plateau` watches the accuracy on training samples that are kept apart, so some must be.",
        NET + "train { schedule = plateau; holdout = 0; }\n",
        NET + "train { schedule = plateau; holdout = 10%; }\n",
    ),
    Code(
        "B0501", "the rule or optimiser cannot train this network", "The message says what it cannot deal with and why."
    ),
    Code(
        "B0503",
        "the rule promises to keep less than it needs",
        "A low-memory rule promises which types of values cross from the forward to the backward pass.  A layer of "
        "this network needs another value there, often a choice such as `quadratic` or `l2` that keeps real "
        "numbers.",
    ),
    Code(
        "B0504",
        "an even number of bits in a sum (a warning)",
        "A sum of an even number of bits can be 0, which counts as +1, so it leans to one side.  With odd widths, and"
        " one constant bit added to an even number of inputs, no sum is 0.",
        integer("bep", 44),
        integer("bep", 45),
        warning=True,
    ),
    Code(
        "B0505",
        "a batch too large for the spread of the integer weights (a warning)",
        "In one step a neuron can win for many samples of a batch, and each moves its weights by 2.  Where the batch is"
        " more than twice the deviation of the initial weights, a step can rewrite a whole layer.",
        integer("bep(bits = 5)", 45),
        integer("bep(bits = 8)", 45),
        warning=True,
    ),
    Code(
        "B0506",
        "reinforcement too strong for the batch (a warning)",
        "Reinforcement moves weights away from 0 once a step, however many samples that step has: with small batches it"
        " acts more often in an epoch.  Its published strength, 0.5, is for batches of 100; 0.005 times the batch is as"
        " strong.",
        integer("bep", 45, 10),
        integer("bep(reinforce = 0.05)", 45, 10),
        warning=True,
    ),
    Code(
        "B0507",
        "every gate is shut (a warning)",
        "An error passes through a neuron whose sum is at most `nu` times its fan-in.  Sums of an odd number of bits"
        " are at least 1, so below that nothing passes and the layers below learn from no error.",
        integer("bep(nu = 0.01)", 45),
        integer("bep(nu = 0.1)", 45),
        warning=True,
    ),
    Code(
        "B0508",
        "one output",
        "The best of one class is always that class.  Give the last layer a unit for each class, or use a rule that"
        " reads the sign of one output as label 0 or 1.",
        net("input u8[9];", "dense 1;", "batchnorm;", "loss;"),
        net("input u8[9];", *END),
    ),
    Code(
        "B0509",
        "a sequence of many steps (a warning)",
        "In a recurrent layer of bits each step halves, roughly, what the state still says of the steps before, and so"
        " it is with the errors on their way back.  Published results on Sequential MNIST end at 28 steps.  Put several"
        " steps side by side into one: the last axis gets longer, nothing is lost.",
        sequence(48, 4),
        sequence(12, 16),
        warning=True,
    ),
    Code(
        "B0510",
        "a setting that the rule does not read (a warning)",
        "A rule with whole numbers for weights has no gradients to follow and no learning rate to change.  The setting"
        " stays valid, so that one spec can be trained under several rules.",
        integer("bep", 45).replace("train {", "train { optimizer = sgd;"),
        integer("bep", 45),
        warning=True,
    ),
    Code(
        "B0511",
        "a batch from which hardly anything is learnt (a warning)",
        "A normalisation over one or two values of a channel gives nearly the same result whatever the values are, so"
        " no gradient to speak of passes it.  A dense layer's channel has one value a sample, a convolution's one a"
        " pixel of each; with `microbatch` a part of the batch counts.",
        NET + "train { batch = 2; }\n",
        NET + "train { batch = 4; }\n",
        warning=True,
    ),
)
