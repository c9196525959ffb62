"""What the parser and the binder say of a text: B01xx syntax, B02xx names."""

from __future__ import annotations

from .code import Code
from .examples import NET, mid, net

CODES = (
    Code(
        "B0101",
        "something is missing or does not belong here",
        "The text cannot be read at this place.  Most often the `;` of the statement before is missing: every "
        "statement ends with `;` or has a body in braces.",
        net("input u8[9];", "dense 4;", "loss"),
        net("input u8[9];", "dense 4;", "loss;"),
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
        NET + "}\n",
        NET,
    ),
    Code(
        "B0104",
        "a string without its closing quote",
        "A string ends on the line it starts on.",
        NET + 'data { train = idx("images", "labels); }\n',
        NET + 'data { train = idx("images", "labels"); }\n',
    ),
    Code(
        "B0105",
        "a number with a unit that does not exist",
        "A number may end in `%` or in a unit of size: B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of "
        "1024).  Nothing else may touch it, and a size must be a whole number of bytes.",
        NET + "train { holdout = 10pc; }\n",
        NET + "train { holdout = 10%; }\n",
    ),
    Code(
        "B0106",
        "a character that has no meaning here",
        "Outside strings and comments a spec consists of names, numbers and the signs ; , = + - * / % ( ) [ ] { }. "
        " Comments start with `#`, strings stand in double quotes.",
        "// a comment\n" + NET,
        "# a comment\n" + NET,
    ),
    Code(
        "B0107",
        "too deep",
        "Brackets and chains of operators may nest 64 deep.  Move a part into a `let` or a `block`.",
        "let a = " + "(" * 70 + "1" + ")" * 70 + ";\n" + NET,
        "let a = 1;\n" + NET,
    ),
    Code(
        "B0108",
        "a number that is too large or too long",
        "Numbers must stay below 2^63 and be at most 40 characters long.",
        "let a = 1e99;\n" + NET,
        "let a = 1e9;\n" + NET,
    ),
    Code(
        "B0109",
        "a string with a wrong character or escape",
        'Within a string only \\\\ and \\" are escapes, and control characters cannot stand in one.',
        NET + 'data { train = idx("a\\n", "b"); }\n',
        NET + 'data { train = idx("a", "b"); }\n',
    ),
    Code(
        "B0110",
        "arithmetic without parentheses",
        "Arguments of a statement are separated by blanks, so `dense n - 1` could be read in two ways.  Put the "
        "arithmetic in parentheses; a negative argument after another one needs a comma before it.",
        "let n = 5;\n" + mid("dense n - 1;"),
        "let n = 5;\n" + mid("dense (n - 1);"),
    ),
    Code(
        "B0201",
        "a name that is not defined",
        "Where a number is expected, a name must come from a `let` or be a parameter of the block around it.",
        "let width = 16;\n" + mid("dense widht;", "batchnorm;", "sign;"),
        "let width = 16;\n" + mid("dense width;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0202",
        "a layer that does not exist",
        "A statement inside `network` must be a layer, a block of this spec, `repeat` or `let`.",
        mid("dens 16;", "batchnorm;", "sign;"),
        mid("dense 16;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0203",
        "defined twice",
        "A name is bound once in a list of statements, a section such as `train` is given once, and a block cannot "
        "have the name of a layer.  An inner `let` may hide an outer one.",
        "let n = 1;\nlet n = 2;\n" + NET,
        "let n = 2;\n" + NET,
    ),
    Code(
        "B0204",
        "a rule, optimiser, schedule, encoder or data source that does not exist",
        "The message lists the nearest name, or all there are.",
        "rule standart;\n" + NET,
        "rule standard;\n" + NET,
    ),
    Code(
        "B0205",
        "a parameter or setting that does not exist",
        "Arguments with a name, and the settings in `train` and `data`, must be among those that the layer, rule "
        "or section has.",
        NET + "train { epoch = 5; }\n",
        NET + "train { epochs = 5; }\n",
    ),
    Code(
        "B0206",
        "a statement in the wrong place",
        "At the top level stand `let`, `block`, `network`, `rule`, `train`, `allow` and `data`; layers stand in a"
        " network or block; settings in `train`, `allow` and `data`.",
        "batch = 10;\n" + NET,
        "train { batch = 10; }\n" + NET,
    ),
    Code(
        "B0207",
        "a spec needs one network, with a name",
        "The name becomes the name of the program.",
        "rule standard;\n",
        "rule standard;\n" + NET,
    ),
    Code(
        "B0208",
        "a block that uses itself",
        "Blocks are copied in place of their use, so a block that contains itself would have no end.  To have "
        "layers several times, use `repeat`.",
        "block a { sign; a; }\n" + mid("a;"),
        "block a { sign; }\n" + mid("repeat 2 { a; }"),
    ),
    Code(
        "B0209",
        "a name that two layers share",
        "`name = ...` on a layer must be unique in the network.  Names such as `dense1` are kept for layers "
        "without a name of their own.",
        mid("dense 9 name = fc;", "batchnorm;", "sign;", "dense 9 name = fc;", "batchnorm;", "sign;"),
        mid("dense 9 name = fc;", "batchnorm;", "sign;", "dense 9 name = fd;", "batchnorm;", "sign;"),
    ),
    Code(
        "B0210",
        "used before its definition",
        "A `let` can use the names above it only.",
        "let a = b * 2;\nlet b = 3;\n" + NET,
        "let b = 3;\nlet a = b * 2;\n" + NET,
    ),
)
