"""An encoder alone, as `bnnc data pack --encode` takes it, in the words of a spec."""

from __future__ import annotations

from ..builtin import tables
from ..diag import BnncError
from ..inputs.encode import Encoding, encoding
from ..model import TensorType
from ..registry import ShapeError
from .bind import Binder, Log, Reported, Scope
from .parse import parse_value


def parse_encoder(text: str, tensor: TensorType) -> Encoding | None:
    """An encoder as a spec writes it, ``thermometer(4)``, or ``none``, for samples of a type.  Raises BnncError (exit
    code 5).
    """
    log, file = Log(), "--encode"
    try:
        known = tables()
        binder = Binder(known, log)
        expression = binder.resolve(parse_value("scale" if text.strip() == "none" else text, file), Scope())
        return encoding(binder.call(known.encoders, "encode", expression, Scope()), tensor)
    except BnncError as e:
        e.exit_code = 5
        raise
    except Reported:
        raise BnncError(log.errors, {file: text}, exit_code=5) from None
    except ShapeError as e:
        log.add(e.code, e.message, expression.span, e.label, e.help)
        raise BnncError(log.errors, {file: text}, exit_code=5) from None
