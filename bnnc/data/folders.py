"""Folders of images or recordings, a folder for each class, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .readers import Source, fail, guard, images_in, read_images
from .sound import SOUNDS, read_sounds


def read_folder(
    path: Source, names: Sequence[str] | None = None, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images or recordings in folders that are named as their classes, FOLDER/CLASS/IMAGE: images all of one size, or
    scaled to ``size`` (height, width), recordings of ``size[0]`` steps; other files are left out.

    Classes are numbered in sorted order unless ``names`` fixes them.  Returns x (n, height, width, 1 or 3) u8, 3 if any
    image has colours, or (n, steps, bands) f32; y (n,) u8; and the class names.  Images need Pillow.  Raises BnncError.
    """
    with guard(path, "folder"):
        folders = [c for c in sorted(Path(path).iterdir()) if c.is_dir()]
        heard = not any(map(images_in, folders))
        found = {c.name: images_in(c, SOUNDS) if heard else images_in(c) for c in folders}
    classes = tuple(names) if names else tuple(c for c, files in found.items() if files)
    for name, files in found.items():
        if files and name not in classes:
            raise fail(
                "B0803",
                path,
                f"class `{name}` is not in the training folder",
                "use the same class names in both folders",
            )
    y = [classes.index(name) for name, files in found.items() for _ in files]
    files = [file for of_class in found.values() for file in of_class]
    if not files:
        reason = "no images or recordings in folders that are named as their classes"
        raise fail("B0804", path, reason, "FOLDER/CLASS/IMAGE.png, or FOLDER/CLASS/RECORDING.wav")
    x = read_sounds(files, size[0] if size else 0) if heard else read_images(files, size)
    if len(classes) > 256:
        raise fail("B0803", path, f"{len(classes)} classes, at most 256 have a label", "leave classes out")
    return x, np.array(y, np.uint8), classes
