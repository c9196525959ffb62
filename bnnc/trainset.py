"""Registered schedules, encoders and data sources: names and parameters only; the trainer's C runtime executes them."""

from __future__ import annotations

from .registry import Named, Param, encoders, schedules, sources

schedules.add(Named("constant", "the learning rate never changes", ()))
schedules.add(Named("step", "multiply the rate by `factor` every `every` epochs", (
    Param("every", "int", 10, "epochs between two drops", minimum=1, positional=True),
    Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
)))
schedules.add(Named("cosine", "half a cosine from the optimiser's rate down to `final` times it, over all epochs", (
    Param("final", "float", 0.0, "share of the rate that is left at the end", minimum=0, maximum=1, positional=True),
)))
schedules.add(Named("plateau", "multiply the rate by `factor` when the accuracy on the held-out part of the training set "
                    "has not improved for `patience` epochs (never looks at the test set)", (
    Param("patience", "int", 10, "epochs without improvement", minimum=1, positional=True),
    Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
)))

encoders.add(Named("scale", "map u8 0..255 linearly to [-1, 1]; f32 is taken as it is", ()))
encoders.add(Named("sign", "one bit per element: +1 where the value is at least `threshold`, else -1", (
    Param("threshold", "float", 128.0, "in units of the data", positional=True),
)))

_FILES = (
    Param("images", "str", doc="file with the samples", positional=True),
    Param("labels", "str", doc="file with the labels", positional=True),
)
sources.add(Named("idx", "the MNIST family's format, plain or .gz: one file of samples, one of labels", _FILES))
sources.add(Named("npy", "NumPy .npy arrays: samples (n, ...) u8 or f32, labels (n,) u8", _FILES))
sources.add(Named("bnnd", "bnnc's packed format, written by `bnnc data pack`: samples and labels in one file",
                  (Param("file", "str", doc="the .bnnd file", positional=True),)))
