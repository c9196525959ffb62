"""Codes: what each error code means, at length, for ``bnnc explain CODE``.

One record a code: a title, an explanation, a spec with the mistake and the same spec put right.  The tests run both:
the first must give exactly this code and the second none, so the examples cannot rot.

Ranges: B01xx syntax, B02xx names, B03xx shapes, B04xx types and values, B05xx rules, B06xx memory, B07xx target,
B08xx data files, B09xx bnnc itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """``failing`` and ``fixed`` are whole specs; both are empty where a spec alone cannot show the mistake."""

    code: str
    title: str
    text: str
    failing: str = ""
    fixed: str = ""
    warning: bool = False


_NET = "network tiny { input u8[9]; dense 4; batchnorm; loss; }\n"


def _net(*lines: str) -> str:
    return "network tiny {\n" + "".join(f"  {x}\n" for x in lines) + "}\n"


_START, _END = ("input u8[9];",), ("dense 4;", "batchnorm;", "loss;")


def _mid(*lines: str) -> str:
    return _net(*_START, *lines, *_END)


def _int(rule: str, width: int, batch: int = 100) -> str:
    layers = _net("input bit[9];", f"dense {width};", "sign;", "dense 45;", "sign;", "dense 4;", "loss;")
    return f"{layers}rule {rule};\ntrain {{ batch = {batch}; }}\n"


def _sequence(steps: int, columns: int) -> str:
    layers = _net(
        f"input f32[{steps}, {columns}] thermometer(8);", "rnn 255;", "dense 255;", "sign;", "dense 4;", "loss;"
    )
    return f"{layers}rule bep;\ntrain {{ batch = 100; }}\n"


_ALL = (
    Code(
        "B0101",
        "something is missing or does not belong here",
        "The text cannot be read at this place.  Most often the `;` of the statement before is missing: every "
        "statement ends with `;` or has a body in braces.",
        _net("input u8[9];", "dense 4;", "loss"),
        _net("input u8[9];", "dense 4;", "loss;"),
    ),
    Code(
        "B0102",
        "a bracket is never closed",
        "A `{`, `(` or `[` has no partner.  For a `{` the place shown is the innermost one that stays open, or, "
        "where the indentation of a later `}` gives it away, the one that the `}` was probably meant for.",
        "network tiny {\n  input u8[9];\n  loss;\n",
        "network tiny {\n  input u8[9];\n  loss;\n}\n",
    ),
    Code(
        "B0103",
        "a closing bracket without an opening one",
        "Remove it, or add the opening bracket it belongs to.",
        _NET + "}\n",
        _NET,
    ),
    Code(
        "B0104",
        "a string without its closing quote",
        "A string ends on the line it starts on.",
        _NET + 'data { train = idx("images", "labels); }\n',
        _NET + 'data { train = idx("images", "labels"); }\n',
    ),
    Code(
        "B0105",
        "a number with a unit that does not exist",
        "A number may end in `%` or in a unit of size: B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of "
        "1024).  Nothing else may touch it, and a size must be a whole number of bytes.",
        _NET + "train { holdout = 10pc; }\n",
        _NET + "train { holdout = 10%; }\n",
    ),
    Code(
        "B0106",
        "a character that has no meaning here",
        "Outside strings and comments a spec consists of names, numbers and the signs ; , = + - * / % ( ) [ ] { }. "
        " Comments start with `#`, strings stand in double quotes.",
        "// a comment\n" + _NET,
        "# a comment\n" + _NET,
    ),
    Code(
        "B0107",
        "too deep",
        "Brackets and chains of operators may nest 64 deep.  Move a part into a `let` or a `block`.",
        "let a = " + "(" * 70 + "1" + ")" * 70 + ";\n" + _NET,
        "let a = 1;\n" + _NET,
    ),
    Code(
        "B0108",
        "a number that is too large or too long",
        "Numbers must stay below 2^63 and be at most 40 characters long.",
        "let a = 1e99;\n" + _NET,
        "let a = 1e9;\n" + _NET,
    ),
    Code(
        "B0109",
        "a string with a wrong character or escape",
        'Within a string only \\\\ and \\" are escapes, and control characters cannot stand in one.',
        _NET + 'data { train = idx("a\\n", "b"); }\n',
        _NET + 'data { train = idx("a", "b"); }\n',
    ),
    Code(
        "B0110",
        "arithmetic without parentheses",
        "Arguments of a statement are separated by blanks, so `dense n - 1` could be read in two ways.  Put the "
        "arithmetic in parentheses; a negative argument after another one needs a comma before it.",
        "let n = 5;\n" + _mid("dense n - 1;"),
        "let n = 5;\n" + _mid("dense (n - 1);"),
    ),
    Code(
        "B0201",
        "a name that is not defined",
        "Where a number is expected, a name must come from a `let` or be a parameter of the block around it.",
        "let width = 16;\n" + _mid("dense widht;", "batchnorm;", "sign;"),
        "let width = 16;\n" + _mid("dense width;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0202",
        "a layer that does not exist",
        "A statement inside `network` must be a layer, a block of this spec, `repeat` or `let`.",
        _mid("dens 16;", "batchnorm;", "sign;"),
        _mid("dense 16;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0203",
        "defined twice",
        "A name is bound once in a list of statements, a section such as `train` is given once, and a block cannot "
        "have the name of a layer.  An inner `let` may hide an outer one.",
        "let n = 1;\nlet n = 2;\n" + _NET,
        "let n = 2;\n" + _NET,
    ),
    Code(
        "B0204",
        "a rule, optimiser, schedule, encoder or data source that does not exist",
        "The message lists the nearest name, or all there are.",
        "rule standart;\n" + _NET,
        "rule standard;\n" + _NET,
    ),
    Code(
        "B0205",
        "a parameter or setting that does not exist",
        "Arguments with a name, and the settings in `train` and `data`, must be among those that the layer, rule "
        "or section has.",
        _NET + "train { epoch = 5; }\n",
        _NET + "train { epochs = 5; }\n",
    ),
    Code(
        "B0206",
        "a statement in the wrong place",
        "At the top level stand `let`, `block`, `network`, `rule`, `train`, `allow` and `data`; layers stand in a"
        " network or block; settings in `train`, `allow` and `data`.",
        "batch = 10;\n" + _NET,
        "train { batch = 10; }\n" + _NET,
    ),
    Code(
        "B0207",
        "a spec needs one network, with a name",
        "The name becomes the name of the program.",
        "rule standard;\n",
        "rule standard;\n" + _NET,
    ),
    Code(
        "B0208",
        "a block that uses itself",
        "Blocks are copied in place of their use, so a block that contains itself would have no end.  To have "
        "layers several times, use `repeat`.",
        "block a { sign; a; }\n" + _mid("a;"),
        "block a { sign; }\n" + _mid("repeat 2 { a; }"),
    ),
    Code(
        "B0209",
        "a name that two layers share",
        "`name = ...` on a layer must be unique in the network.  Names such as `dense1` are kept for layers "
        "without a name of their own.",
        _mid("dense 9 name = fc;", "batchnorm;", "sign;", "dense 9 name = fc;", "batchnorm;", "sign;"),
        _mid("dense 9 name = fc;", "batchnorm;", "sign;", "dense 9 name = fd;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0210",
        "used before its definition",
        "A `let` can use the names above it only.",
        "let a = b * 2;\nlet b = 3;\n" + _NET,
        "let b = 3;\nlet a = b * 2;\n" + _NET,
    ),
    Code(
        "B0301",
        "a layer that needs a flat input",
        "The layer works on one axis but its input has several, such as [28, 28].  Add `flatten;` before it.",
        _net("input u8[28, 28];", *_END),
        _net("input u8[28, 28];", "flatten;", *_END),
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
        _net("input u16[9];", *_END),
        _net("input u8[9];", *_END),
    ),
    Code(
        "B0304",
        "an encoder that does not fit the data",
        "Bits are bits already and need no encoder, `pad_odd` takes nothing but bits, and `lengths = on` needs"
        " sequences: f32 data of two axes, steps and columns.",
        _net("input bit[9] sign;", *_END),
        _net("input bit[9];", *_END),
    ),
    Code(
        "B0305",
        "a body that changes the shape",
        "The layer adds its input to the output of its body, so both must have the same shape.  Where the body changes"
        " it, a `shortcut` at its start brings the input into that shape.",
        _mid("residual { dense 5; batchnorm; }"),
        _mid("residual { dense 9; batchnorm; }"),
    ),
    Code(
        "B0306",
        "a body that ends in bits",
        "The layer adds real values; a body that ends in bits would lose them.  Start the body with `sign;` instead.",
        _mid("residual { dense 9; batchnorm; sign; }"),
        _mid("residual { sign; dense 9; batchnorm; }"),
    ),
    Code(
        "B0307",
        "too large",
        "A network has at most 1000 layers, a sample at most 8 axes and 2^31 elements, and a sum of whole numbers fits"
        " 32 bits.",
        _mid("repeat 9999 { sign; sign; }"),
        _mid("repeat 9 { sign; sign; }"),
    ),
    Code(
        "B0308",
        "the input is not the first layer",
        "A network starts with its only `input`, outside of any other layer.",
        _net(*_END),
        _net("input u8[9];", *_END),
    ),
    Code(
        "B0309",
        "the loss is not the last layer",
        "A network ends with its only `loss`, outside of any other layer.",
        _net("input u8[9];", "dense 4;", "batchnorm;"),
        _net("input u8[9];", *_END),
    ),
    Code(
        "B0310",
        "binary weights without normalisation (a warning)",
        "The output of a layer with binary weights is a sum of many values of the same size.  Nearly all of such "
        "sums lie outside of [-1, 1], where the gradient of `sign` is 0, so hardly anything is learnt without a "
        "normalisation.",
        _mid("dense 16;", "sign;"),
        _mid("dense 16;", "batchnorm;", "sign;"),
        warning=True,
    ),
    Code(
        "B0311",
        "a recurrent layer without a sequence, or a horizon beyond its start",
        "`rnn` reads a sequence: its input has the two axes [steps, features].  Errors can go back at most as many"
        " steps as there are.",
        "rule bep;\n" + _net("input bit[8];", "rnn 15;", "dense 3;", "loss;"),
        "rule bep;\n" + _net("input bit[2, 4];", "rnn 15;", "dense 3;", "loss;"),
    ),
    Code(
        "B0312",
        "one-hot columns that do not fit the sample",
        "`onehot` lists indices on the last axis of a sample, each once; `categories` says for each of them how many "
        "different values it may hold.",
        _net("input f32[9] median(onehot = [9], categories = [4]);", *_END),
        _net("input f32[9] median(onehot = [8], categories = [4]);", *_END),
    ),
    Code(
        "B0313",
        "a layer of images without an image",
        "The layer works on images: its input has the three axes [height, width, channels].",
        _net("input u8[9];", "conv 4;", "batchnorm;", "sign;", "flatten;", *_END),
        _net("input u8[3, 3, 1];", "conv 4;", "batchnorm;", "sign;", "flatten;", *_END),
    ),
    Code(
        "B0314",
        "a window, padding or number of groups that does not fit",
        "A window must fit into the image with its padding, a padding be smaller than the window, and the number of"
        " groups divide the channels before and after the layer.",
        _net("input u8[2, 2, 1];", "conv 4;", "batchnorm;", "sign;", "flatten;", *_END),
        _net("input u8[2, 2, 1];", "conv 4 padding = same;", "batchnorm;", "sign;", "flatten;", *_END),
    ),
    Code(
        "B0315",
        "an option that is not for these weights",
        "`bias` is for layers with `weights = real`: behind binary weights a `batchnorm` has the shift.  `scale` is for"
        " binary weights: real ones have a size of their own.",
        _mid("dense 9 bias = on;", "batchnorm;", "sign;"),
        _mid("dense 9 weights = real bias = on;", "sign;"),
    ),
    Code(
        "B0316",
        "a shortcut in the wrong place",
        "A `shortcut` stands at the start of a residual's body.  What its own body makes of the residual's input is"
        " added to what the rest of the residual's body makes of it.",
        _mid("shortcut { dense 9; batchnorm; }", "sign;"),
        _mid("residual { shortcut { dense 7; batchnorm; } sign; dense 7; batchnorm; }", "sign;"),
    ),
    Code(
        "B0401",
        "a value of the wrong type",
        "The message says what is expected and what was given.",
        _mid("dense 2.5;", "batchnorm;", "sign;"),
        _mid("dense 2;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0402",
        "a value out of bounds",
        "The message names the bound.",
        _NET + "train { batch = 0; }\n",
        _NET + "train { batch = 10; }\n",
    ),
    Code(
        "B0403",
        "a value that is not among the choices",
        "The message lists the choices.",
        _mid("dense 9;", "batchnorm l3;", "sign;"),
        _mid("dense 9;", "batchnorm l1;", "sign;"),
    ),
    Code(
        "B0404",
        "an argument is missing",
        "The parameter has no default, so it must be given.",
        _mid("dense;", "batchnorm;", "sign;"),
        _mid("dense 9;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0405",
        "given twice",
        "A parameter or setting takes one value.  An argument without a name counts too.",
        _NET + "train { batch = 10; batch = 20; }\n",
        _NET + "train { batch = 20; }\n",
    ),
    Code(
        "B0406",
        "too many arguments",
        "There are more arguments without a name than there are parameters for them.  If the argument is on a line "
        "of its own, the `;` of the line before may be missing.",
        _mid("dense 9", "batchnorm;", "sign;"),
        _mid("dense 9;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0407",
        "arithmetic that has no result",
        "Division by zero, a result beyond 2^63, or an operand that is no number.",
        "let a = 1 / 0;\n" + _NET,
        "let a = 1 / 2;\n" + _NET,
    ),
    Code(
        "B0408",
        "a body is missing or does not belong here",
        "`network`, `block`, `repeat`, `train`, `data` and layers that contain layers need a body in braces; "
        "nothing else takes one.",
        _mid("repeat 3;"),
        _mid("repeat 3 { sign; }"),
    ),
    Code(
        "B0409",
        "settings that contradict each other",
        "The schedule `plateau` watches the accuracy on training samples that are kept apart, so some must be.",
        _NET + "train { schedule = plateau; holdout = 0; }\n",
        _NET + "train { schedule = plateau; holdout = 10%; }\n",
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
        _int("bep", 44),
        _int("bep", 45),
        warning=True,
    ),
    Code(
        "B0505",
        "a batch too large for the spread of the integer weights (a warning)",
        "In one step a neuron can win for many samples of a batch, and each moves its weights by 2.  Where the batch is"
        " more than twice the deviation of the initial weights, a step can rewrite a whole layer.",
        _int("bep(bits = 5)", 45),
        _int("bep(bits = 8)", 45),
        warning=True,
    ),
    Code(
        "B0506",
        "reinforcement too strong for the batch (a warning)",
        "Reinforcement moves weights away from 0 once a step, however many samples that step has: with small batches it"
        " acts more often in an epoch.  Its published strength, 0.5, is for batches of 100; 0.005 times the batch is as"
        " strong.",
        _int("bep", 45, 10),
        _int("bep(reinforce = 0.05)", 45, 10),
        warning=True,
    ),
    Code(
        "B0507",
        "every gate is shut (a warning)",
        "An error passes through a neuron whose sum is at most `nu` times its fan-in.  Sums of an odd number of bits"
        " are at least 1, so below that nothing passes and the layers below learn from no error.",
        _int("bep(nu = 0.01)", 45),
        _int("bep(nu = 0.1)", 45),
        warning=True,
    ),
    Code(
        "B0508",
        "one output",
        "The best of one class is always that class.  Give the last layer a unit for each class, or use a rule that"
        " reads the sign of one output as label 0 or 1.",
        _net("input u8[9];", "dense 1;", "batchnorm;", "loss;"),
        _net("input u8[9];", *_END),
    ),
    Code(
        "B0509",
        "a sequence of many steps (a warning)",
        "In a recurrent layer of bits each step halves, roughly, what the state still says of the steps before, and so"
        " it is with the errors on their way back.  Published results on Sequential MNIST end at 28 steps.  Put several"
        " steps side by side into one: the last axis gets longer, nothing is lost.",
        _sequence(48, 4),
        _sequence(12, 16),
        warning=True,
    ),
    Code(
        "B0510",
        "a setting that the rule does not read (a warning)",
        "A rule with whole numbers for weights has no gradients to follow and no learning rate to change.  The setting"
        " stays valid, so that one spec can be trained under several rules.",
        _int("bep", 45).replace("train {", "train { optimizer = sgd;"),
        _int("bep", 45),
        warning=True,
    ),
    Code(
        "B0511",
        "a batch from which hardly anything is learnt (a warning)",
        "A normalisation over one or two values of a channel gives nearly the same result whatever the values are, so"
        " no gradient to speak of passes it.  A dense layer's channel has one value a sample, a convolution's one a"
        " pixel of each; with `microbatch` a part of the batch counts.",
        _NET + "train { batch = 2; }\n",
        _NET + "train { batch = 4; }\n",
        warning=True,
    ),
    Code(
        "B0601",
        "the plan needs more memory than there is",
        "The total of the plan exceeds `--ram`.  The message names the step at which most memory is in use, the buffers"
        " that make it, and ways to make them smaller with the bytes that each saves.",
    ),
    Code("B0602", "not a size", "A size is a whole number of bytes, or a number with a unit: 512KiB, 1.5MiB, 300kB."),
    Code(
        "B0603",
        "a network that the published accounting does not cover",
        "The published memory figures are for chains of dense layers and convolutions, trained with one of three"
        " optimisers, and for networks with real layers or residuals, trained with Adam.",
    ),
    Code(
        "B0604",
        "an accounting that needs the number of training samples",
        "The accounting published for this rule counts the training data.  bnnc counts the samples in the files that"
        " the spec names, beside the spec or in `--data DIR`; where it cannot, `--samples N` says how many there are.",
    ),
    Code(
        "B0605",
        "widths that cannot be scaled into the memory that there is",
        "With `--ram`, `bnnc compare` scales all hidden layers by one factor to the largest network whose plan fits.",
    ),
    Code(
        "B0701",
        "a product that the backend cannot compute",
        "The backend has a kernel for each combination of operand types that the built-in rules and layers make.  A new"
        " rule or layer made another one.",
    ),
    Code(
        "B0702",
        "a layer or an input that is too wide",
        "Kernels lay some operands out on the stack of each thread: the bit planes of a u8 sample, the units of a "
        "group, the samples of an update.  That bounds their size on every target; the message says which bound.",
    ),
    Code("B0703", "an environment variable that means nothing", "The message lists the values that it can have."),
    Code(
        "B0704",
        "a number of threads out of bounds",
        "A program can be compiled for 1 to 64 threads; without an operating system for one.",
    ),
    Code("B0705", "a target that does not exist", "`bnnc targets` lists all there are."),
    Code(
        "B0706",
        "no C compiler",
        "Install one, as the message says, or name one in the environment variable BNNC_CC, with its options for the"
        ' machine.  For every Raspberry Pi `pip install "bnnc[arm]"` is enough: it brings zig, which compiles C for all'
        " of them.  `bnnc targets` lists what is installed.",
    ),
    Code(
        "B0707",
        "the C compiler failed",
        "The message holds the command and the compiler's first complaints.  If the source was not edited by hand, this"
        " is a mistake in bnnc, or a compiler that it does not know.  BNNC_CC names another one, BNNC_CFLAGS gives it"
        " more options.",
    ),
    Code(
        "B0708",
        "a folder that holds no source written by bnnc",
        "A program is built from the C files and the NAME.plan.json beside them, as `bnnc compile --source` writes"
        " them.",
    ),
    Code(
        "B0709",
        "a program that cannot be brought to another machine",
        "`bnnc deploy` prints scp and ssh commands, and runs them with --run.  The host is USER@HOST; names that a"
        " shell there would take apart are refused.  Where a command fails, try it by hand: the host must be up and let"
        " you in.",
    ),
    Code(
        "B0710",
        "a network that is too large for a C program",
        "A program's memory is one static array, and its code counts bytes and elements in 31 bits.  Planning has no"
        " such limit.",
    ),
    Code(
        "B0711",
        "Triton is missing, or of another version",
        "GPU targets compile their kernels with one version of Triton: `pip install 'bnnc[gpu]'`.",
    ),
    Code(
        "B0712",
        "a GPU kernel needs memory that no plan counts",
        "The compiler ran out of registers, or the kernel wants scratch memory: both would be device memory beside the"
        " arena.",
    ),
    Code(
        "B0713",
        "a generated Python program was edited and is no Python any more",
        "Write it again with `bnnc compile FILE --target triton --source DIR`, or mend the line that the message"
        " names.",
    ),
    Code(
        "B0714",
        "no GPU that a program can use",
        "A program for target triton runs on an NVIDIA GPU of compute capability 8.0 or more, with torch for CUDA.",
    ),
    Code(
        "B0715",
        "a program without an operating system, and without data",
        "`bnnc compile --target cortex-m` puts the samples into flash.  They come from the files that the spec's `data`"
        " names, beside the spec, and must fit there.  With --emit-only they are left out where they are missing: a"
        " firmware brings its own.",
    ),
    Code("B0801", "a data file cannot be read or written", "The message names the file and the reason."),
    Code("B0802", "a data file is damaged or of another format", "The message says what was expected and found."),
    Code(
        "B0803",
        "labels that do not fit",
        "There is one label a sample, a whole number from 0 to 255; of a CSV also a name.  Real numbers are no classes:"
        " is it another column that holds the labels?  `bnnc data pack --label COLUMN` says which.",
    ),
    Code("B0804", "samples that do not fit", "Samples are finite numbers, all of one shape."),
    Code("B0805", "data sources that do not fit together", "The message lists what can be given."),
    Code(
        "B0806",
        "weights that do not fit",
        "The arrays of another network: a name is missing or unknown, or a shape differs.",
    ),
    Code(
        "B0807",
        "checkpoints that cannot be used",
        "They belong to another network, rule, batch size or seed, are damaged, or cannot be written.",
    ),
    Code(
        "B0808",
        "sequences that all end alike (a warning)",
        "A recurrent layer gives its last state.  Where most samples end with the same step, mostly because short"
        " sequences are filled up, that step acts on all of them as a strong bias, and the last state says little about"
        " the sample.  Give f32 samples in which the steps that do not exist are NaN, and write `lengths = on` in the"
        " encoder; or fill up in front.",
        warning=True,
    ),
    Code("B0901", "the trainer stopped", "The message is the trainer's own, and so is the exit code."),
    Code("B0902", "a spec that cannot be read", "The message names the file and the reason."),
    Code("B0903", "a file that cannot be written", "The message names the file and the reason."),
    Code("B0904", "no such code", "Codes are the B and four digits at the start of each message."),
    Code(
        "B0905",
        "an experiment that cannot be made",
        "`bnnc compare` and `bnnc sweep` need at least one network that can be trained, test samples and an epoch, and"
        " settings as NAME=VALUE,VALUE,...",
    ),
    Code(
        "B0906",
        "a folder with other results",
        "Runs that ended are kept as lines of runs.jsonl in the output folder.  This file holds something else.",
    ),
    Code("B0907", "no such name", "`bnnc describe` lists every name of the language."),
    Code("B0908", "no such buffer", "`bnnc plan FILE --all` lists the buffers of a plan."),
)

CODES: dict[str, Code] = {c.code: c for c in _ALL}


def explain(code: str) -> str | None:
    """The long text of ``code`` (any case), with its two examples; None when there is no such code."""
    c = CODES.get(code.upper())
    if c is None:
        return None
    out = [f"{c.code}: {c.title}", "", c.text]
    for heading, example in (("Wrong:", c.failing), ("Right:", c.fixed)):
        if example:
            out += ["", heading, "", *("    " + line for line in example.rstrip("\n").split("\n"))]
    return "\n".join(out) + "\n"
