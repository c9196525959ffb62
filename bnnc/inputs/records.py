"""Registered encoders and data sources: names and parameters only; the trainer's C runtime executes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model import TensorType
from ..registry import About, Named, Param, encoders, sources
from .encode import KINDS, PER, Encoding


def _encoding(how: str) -> Callable[[dict[str, Any], TensorType], Encoding]:
    """Arguments are Encoding's fields; an argument ``kind`` replaces ``how``."""
    return lambda args, t: Encoding(args.pop("kind", how), t.kind, t.shape, **args)


_PAD = Param("pad_odd", "bool", False, "add one constant +1 where the number of bits on the last axis is even")
_COLUMNS = (
    Param(
        "onehot", "ints", (), "indices on the last axis of columns that hold categories: one bit a category", minimum=0
    ),
    Param(
        "categories", "ints", (), "how many different values each of these columns may hold", minimum=1, maximum=65536
    ),
    _PAD,
    Param(
        "lengths",
        "bool",
        False,
        "f32[steps, columns] only: steps that are all NaN at the end do not exist; the others move to "
        "the end, and a last bit of each step says whether it exists",
    ),
)


def _encoded(data: str) -> str:
    return f"network tiny {{ input {data}; dense 8; batchnorm; sign; dense 4; batchnorm; loss; }}\n"


encoders.add(
    Named(
        "scale",
        "map u8 0..255 linearly to [-1, 1]; f32 is taken as it is",
        (),
        about=About(
            formula="u8: x = (2 u - 255) / 255;  f32: x = v;  bit: as it is",
            source="a definition of bnnc",
            takes="u8, f32 or bit",
            gives="what it takes",
            example=_encoded("u8[9] scale"),
        ),
    )
)
encoders.add(
    Named(
        "sign",
        "one bit an element: +1 where the value is at least `threshold`",
        (Param("threshold", "float", 128.0, "in units of the data", positional=True), _PAD),
        _encoding("sign"),
        About(
            formula="bit = +1 where v >= threshold, else -1",
            source="a definition of bnnc",
            takes="u8 or f32",
            gives="bit, one an element",
            example=_encoded("u8[9] sign(threshold = 100)"),
        ),
    )
)
encoders.add(
    Named(
        "median",
        "one bit an element: +1 above the median of the training samples",
        (
            Param(
                "per",
                "name",
                None,
                "which values share a median: all (of u8 data, unless it is given), those of one index on the last "
                "axis, those of one element (of f32 data)",
                PER,
                otherwise="global for u8 data, column for f32",
            ),
            *_COLUMNS,
        ),
        _encoding("median"),
        About(
            formula="bit = +1 where v > the median of the training samples' values",
            source="the experiments of 2412.00119",
            takes="u8 or f32",
            gives="bit, one an element",
            example=_encoded("f32[9] median(per = column)"),
        ),
    )
)
encoders.add(
    Named(
        "thermometer",
        "`bits` bits an element: +1 where it reaches a fitted threshold",
        (
            Param("bits", "int", doc="thresholds per element", minimum=1, maximum=1024, positional=True),
            Param(
                "kind",
                "name",
                "quantile",
                "thresholds at equal shares of the values, of their range, or of a normal distribution",
                KINDS,
            ),
            Param(
                "per",
                "name",
                "column",
                "which values share thresholds: all, those of one index on the last axis, those of one element",
                PER,
            ),
            *_COLUMNS,
        ),
        _encoding(""),
        About(
            formula="bit k = +1 where v >= threshold k, k = 1 .. bits, of n training values:\n"
            "quantile   the sorted values' number k (n - 1) // (bits + 1)\n"
            "uniform    min + k (max - min) / (bits + 1)\n"
            "gauss      mean + deviation * (the normal quantile k / (bits + 1))",
            source="2512.04189, table 3 and the encoders of its tasks",
            takes="u8 or f32",
            gives="bit, `bits` an element, side by side on the last axis",
            example=_encoded("f32[9] thermometer(8, kind = quantile)"),
        ),
    )
)
encoders.add(
    Named(
        "pad_odd",
        "bit data, and a constant +1 where the last axis is even",
        (),
        lambda args, t: Encoding("pad", t.kind, t.shape, pad_odd=True),
        About(
            formula="[x, +1] where the number of bits on the last axis is even, else x;\nso no sum of the bits is 0",
            source="a definition of bnnc",
            takes="bit",
            gives="bit",
            example=_encoded("bit[8] pad_odd"),
        ),
    )
)


def _read(source: str) -> str:
    layers = "input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss;"
    return f"network tiny {{ {layers} }}\ndata {{ train = {source}; }}\n"


_FILES = (
    Param("images", "str", doc="file with the samples", positional=True),
    Param("labels", "str", doc="file with the labels", positional=True),
)
sources.add(
    Named(
        "idx",
        "the MNIST family's format, plain or .gz, in two files",
        _FILES,
        about=About(
            formula="0, 0, type, axes (a byte each); sizes (u32, big endian); values",
            source="the MNIST database, LeCun, Cortes and Burges",
            gives="samples u8, labels u8",
            example=_read('idx("train-images.gz", "train-labels.gz")'),
        ),
    )
)
sources.add(
    Named(
        "npy",
        "NumPy .npy arrays: samples (n, ...) u8 or f32, labels (n,) u8",
        _FILES,
        about=About(
            formula="as `numpy.save` writes them: little endian, in C order",
            source="numpy.lib.format",
            gives="samples u8 or f32, labels u8",
            example=_read('npy("x.npy", "y.npy")'),
        ),
    )
)
sources.add(
    Named(
        "cifar10",
        "CIFAR-10's own binary format, labels included",
        (Param("file", "str", doc="a .bin file of records of 3073 bytes; several joined are one", positional=True),),
        about=About(
            formula="a record: label (a byte), 1024 red, 1024 green, 1024 blue values, row by row",
            source="the CIFAR-10 data set, binary version, Krizhevsky",
            gives="samples u8[32, 32, 3], labels u8",
            example="network tiny {\n  input u8[32, 32, 3];\n  conv 8 stride = 2;\n  batchnorm;\n  sign;\n  flatten;\n"
            '  dense 10;\n  batchnorm;\n  loss;\n}\ndata { train = cifar10("data_batch_1.bin"); }\n',
        ),
    )
)
sources.add(
    Named(
        "bnnd",
        "bnnc's packed format, written by `bnnc data pack`, in one file",
        (Param("file", "str", doc="the .bnnd file", positional=True),),
        about=About(
            formula="a header of 96 bytes, then records: a sample u8, bit or f32, and its label",
            source="bnnc, data.py",
            gives="samples u8, bit or f32, labels u8; training samples, then the test samples",
            example=_read('bnnd("train.bnnd")'),
        ),
    )
)
