"""Accuracy of a recurrent network on sequences of different lengths: how they are filled up, and how many steps one
step holds.

    python benchmarks/sequences.py FILE.npz --fill end,front --window 1,8

FILE has x_train, x_test [n, steps, columns] and y_train, y_test; a sequence ends where all the steps that follow are 0
in every column.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

import bnnc

SPEC = """network sequences {{ input {kind}[{steps}, {columns}] {encoder};
  rnn {units}, expand = {units}; dense {units}; sign;
  dense {classes}; loss; }} rule bep(reinforce = {reinforce}); train {{ batch = {batch}; epochs = {epochs}; }}"""


def filled(x: np.ndarray, fill: str) -> np.ndarray:
    """The samples with their missing steps at the ``end``, in ``front``, or as ``nan``."""
    exists = np.logical_or.accumulate((x != 0).any(axis=2)[:, ::-1], axis=1)[:, ::-1]
    if fill == "nan":
        return np.where(exists[:, :, None], x, np.nan).astype(np.float32)
    out = x.copy()
    for s, n in zip(out, exists.sum(axis=1), strict=True):
        s[:] = np.roll(s, len(s) - n, axis=0) if fill == "front" else s
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("file")
    p.add_argument("--fill", default="end,front,nan")
    p.add_argument("--window", default="1", help="steps side by side in one, for each of these")
    p.add_argument("--units", type=int, default=255)
    p.add_argument("--batch", type=int, default=100)
    p.add_argument("--epochs", type=int, default=10)
    a = p.parse_args()
    warnings.simplefilter("ignore")
    data = np.load(a.file)
    print("| steps missing | steps in one | steps | training % | test % |\n| --- | --- | --- | --- | --- |")
    for fill in a.fill.split(","):
        for window in map(int, a.window.split(",")):
            if fill == "nan" and window > 1:
                continue  # a step exists in part
            train, test = (filled(data[f"x_{s}"], fill) for s in ("train", "test"))
            steps = train.shape[1] // window
            train, test = (x[:, x.shape[1] - steps * window :].reshape(len(x), steps, -1) for x in (train, test))
            text = SPEC.format(
                kind="u8" if train.dtype == np.uint8 else "f32",
                steps=steps,
                columns=train.shape[2],
                units=a.units,
                encoder="thermometer(8, lengths = on)" if fill == "nan" else "thermometer(8)",
                batch=a.batch,
                classes=int(data["y_train"].max()) + 1,
                epochs=a.epochs,
                reinforce=min(0.5, 0.005 * a.batch),
            )
            last = bnnc.parse(text).compile().fit(train, data["y_train"], test, data["y_test"]).epochs[-1]
            print(
                f"| {fill} | {window} | {steps} | {100 * last.train_acc:.1f} | {100 * (last.test_acc or 0):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
