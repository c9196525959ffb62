"""Triton's interpreter at thrice its speed, for the tests: what it finds out anew at every call is found out once.

``quicken()`` does that for this process; ``quick_triton.py PROGRAM ARGS...`` runs a generated trainer so.  No value
that a kernel computes depends on it:

- a launch changes ``triton.language`` as the first one did, and what it calls finds that done;
- the type of a block, and what a tensor has of its type, is made once;
- a function that equals one of another module, as all of ``num`` do, is rewritten once;
- sums in 64 bits, from which Triton tells of an overflow where it debugs, are left out where it does not.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

PATCH, REWRITE, BLOCK = interpreter._patch_lang, interpreter.FunctionRewriter.rewrite_ast, tl.block_type.__init__
TENSOR, KIND = tl.tensor.__init__, interpreter._get_np_dtype
CHANGES: list[tuple[Any, str, Any]] = []  # object, name, value: what the first launch set
REWRITTEN: dict[CodeType, CodeType] = {}
BLOCKS: dict[tuple[Any, ...], dict[str, Any]] = {}
KINDS: dict[str, np.dtype] = {}


def quicken() -> None:
    interpreter._patch_lang = patched
    interpreter.FunctionRewriter.rewrite_ast = rewritten
    interpreter.FunctionRewriter._get_jit_fn_file_line = lambda self: (self.fn.__code__.co_filename, 1)
    tl.block_type.__init__, tl.tensor.__init__ = block, tensor
    interpreter._get_np_dtype = kind
    options = interpreter.interpreter_builder.options
    interpreter.interpreter_builder.options = replace(options, sanitize_overflow=options.debug)


def patched(fn: Any) -> Any:
    """The changes, to be taken back by who began: within a launch there are none left."""
    if not CHANGES:
        scope = PATCH(fn)
        CHANGES.extend((what, name, vars(what)[name]) for what, name, _ in scope._changes)
        return scope
    scope = interpreter._LangPatchScope()
    what, name, value = CHANGES[0]
    if vars(what).get(name) is not value:
        for change in CHANGES:
            scope.set_attr(*change)
    return scope


def rewritten(self: Any) -> Any:
    """What the interpreter runs for a function: in its own module, by the code of the first that is equal."""
    fn = self.fn
    if fn.__code__ not in REWRITTEN:
        REWRITTEN[fn.__code__] = (new := REWRITE(self)).__code__
        return new
    for name, value in vars(interpreter).items():
        fn.__globals__.setdefault(name, value)
    new = FunctionType(REWRITTEN[fn.__code__], fn.__globals__, fn.__name__, fn.__defaults__)
    new.__annotations__ = fn.__annotations__
    return new


def block(self: Any, element_ty: Any, shape: Any) -> None:
    key = element_ty.name, *(getattr(n, "value", n) for n in shape)
    if key not in BLOCKS:
        BLOCK(self, element_ty, shape)
        BLOCKS[key] = vars(self)
    self.__dict__ = BLOCKS[key]


def tensor(self: Any, handle: Any, type: Any) -> None:
    known = vars(type).get("of_tensor")
    if known is None:
        TENSOR(self, handle, type)
        type.of_tensor = {"shape": self.shape, "numel": self.numel, "dtype": self.dtype, "type": type}
    else:
        self.__dict__ = {"handle": handle, **known}


def kind(dtype: Any) -> np.dtype:
    name = dtype.scalar.name
    if name not in KINDS:
        KINDS[name] = KIND(dtype)
    return KINDS[name]


if __name__ == "__main__":
    quicken()
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")
