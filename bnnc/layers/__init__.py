"""Built-in layers: one file a family, forward ops, shape rule and (where the paper gives one) backward."""

from . import act, dense, dropout, image, io, loss, norm, residual, rnn, tokens  # noqa: F401
