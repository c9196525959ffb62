"""Makes digits.bnnd in the current folder from scikit-learn's digits: 1437 training and 360 test images, 8x8, grey
0..16.

pip install scikit-learn && python prepare.py
"""

from __future__ import annotations

import numpy as np

from bnnc.data import Dataset, write_bnnd

TEST = 360


def main() -> None:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise SystemExit("scikit-learn is not installed\nhint: pip install scikit-learn") from None
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8)
    write_bnnd("digits.bnnd", Dataset(x, y, classes=10, n_test=TEST))
    print(f"digits.bnnd: {len(y) - TEST} training and {TEST} test images")


if __name__ == "__main__":
    main()
