"""What ops and dtypes read like in C: tables of words."""

from __future__ import annotations

from bnnc.sched.expr import INFIX

from ..printing import Words

CTYPE = {
    "u8": "uint8_t",
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "f16": "uint16_t",
    "f32": "float",
    "bit": "uint32_t",
    "bool": "uint32_t",
}
OPERATORS = {op: f"({{}} {sign} {{}})" for op, sign in INFIX.items()}
WHOLE_OPERATORS = {op: text for op, text in OPERATORS.items() if op != "div"} | {
    "neg": "(-{})",
    "sign": "({} >= 0)",
    "shr": "({} >> {})",
}
CHOICES = {"max": "({0} > {1} ? {0} : {1})", "min": "({0} < {1} ? {0} : {1})"}
SCALAR = Words(
    real={
        **OPERATORS,
        **CHOICES,
        "neg": "(-{})",
        "sign": "({} >= 0.0f)",
        "abs": "__builtin_fabsf",
        "sqrt": "bnnc_sqrtf",
        "round": "bnnc_round",
        "exponent": "bnnc_exponent",
        "exp": "bnnc_exp",
        "log": "bnnc_log",
        "powi": "bnnc_powi",
    },
    whole={**WHOLE_OPERATORS, **CHOICES, "abs": "({0} < 0 ? -{0} : {0})", "pow2": "bnnc_pow2"},
)
VECTOR = Words(
    real={
        **OPERATORS,
        "sign": "({} >= 0.0f)",
        **{op: f"v{op}" for op in ("neg", "abs", "sqrt", "exp", "log", "max", "min", "powi", "round", "exponent")},
    },
    whole={**WHOLE_OPERATORS, **{op: f"v{op}i" for op in ("abs", "max", "min")}, "pow2": "vpow2"},
)
