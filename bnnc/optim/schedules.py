"""Registered schedules, how the learning rate changes (the trainer computes it, once a step), and stops, when training
ends before `epochs`."""

from __future__ import annotations

from ..registry import About, Named, Param, schedules, stops


def _trained(schedule: str, setting: str = "schedule") -> str:
    layers = "input u8[9]; dense 8; batchnorm; sign; dense 4; batchnorm; loss;"
    return f"network tiny {{ {layers} }}\ntrain {{ {setting} = {schedule}; }}\n"


schedules.add(
    Named(
        "constant",
        "the learning rate never changes",
        (),
        about=About(formula="lr(t) = lr", source="a definition of bnnc", example=_trained("constant")),
    )
)
schedules.add(
    Named(
        "step",
        "multiply the rate by `factor` every `every` epochs",
        (
            Param("every", "int", 10, "epochs between two drops", minimum=1, positional=True),
            Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
        ),
        about=About(
            formula="lr(e) = lr factor^floor(e / every), in epoch e = 0, 1, ...",
            source="a definition of bnnc",
            example=_trained("step(every = 20, factor = 0.1)"),
        ),
    )
)
schedules.add(
    Named(
        "cosine",
        "half a cosine from the rate down to `final` times it",
        (
            Param(
                "final",
                "float",
                0.0,
                "share of the rate that is left at the end",
                minimum=0,
                maximum=1,
                positional=True,
            ),
        ),
        about=About(
            formula="lr(t) = lr (final + (1 - final) (1 + cos(pi (t - 1) / T)) / 2), t = 1 .. T",
            source="1608.03983, equation 5, without restarts; t counts steps",
            example=_trained("cosine(final = 0.01)"),
        ),
    )
)
schedules.add(
    Named(
        "plateau",
        "lower the rate when held-out samples stop getting better",
        (
            Param("patience", "int", 10, "epochs without improvement", minimum=1, positional=True),
            Param("factor", "float", 0.5, "what the rate is multiplied by", above=0, maximum=1, positional=True),
        ),
        about=About(
            formula="lr <- lr factor after each `patience` epochs in which the accuracy on the\n"
            "held-out part of the training samples was no better than before",
            source="1705.08292, the development-based schedule that 2102.04270 takes",
            takes="held-out samples (`holdout` in `train`); it never looks at the test samples",
            example=_trained("plateau(patience = 10, factor = 0.5)"),
        ),
    )
)
stops.add(
    Named(
        "never",
        "train for `epochs`",
        (),
        about=About(
            formula="the last epoch is `epochs`", source="a definition of bnnc", example=_trained("never", "stop")
        ),
    )
)
stops.add(
    Named(
        "early",
        "stop when held-out samples have not got better for some epochs",
        (Param("patience", "int", 5, "epochs without improvement", minimum=1, positional=True),),
        about=About(
            formula="the last epoch is the first one that is `patience` epochs behind the best,\n"
            "by the accuracy on the held-out part of the training samples",
            source="a definition of bnnc; Prechelt, Early Stopping - But When?, 1998, compares such criteria",
            takes="held-out samples (`holdout` in `train`).  Whatever stops a run with some, the network of its best "
            "epoch is kept, and `eval` and `predict` take that one",
            example=_trained("early(patience = 5)", "stop"),
        ),
    )
)
