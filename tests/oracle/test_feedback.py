"""Rules that send no gradient through weights: every gradient of a step against torch's autograd in f64
(``torch_nets.py``), and of `hsic` that against finite differences.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers import codes_of, plan, with_slow
from torch_nets import NETS, REAL_FEEDBACK, RULES, SPEC, Case, assert_gradients, assert_signs, hsic, torch

from bnnc.ir import interp
from bnnc.model import Call


@pytest.mark.parametrize("rule", with_slow(RULES, ("standard", "dfa(error = sign)", "hsic(gamma = 20)")))
@pytest.mark.parametrize("net", NETS)
def test_every_gradient_is_autograds(net: str, rule: str) -> None:
    case = Case(net, rule)
    case.gradients()
    assert_gradients(case, net)


KEPT = {n: layers.replace(" quadratic", "") for n, layers in NETS.items() if n not in ("real", "odd")}


@pytest.mark.parametrize("rule", ["edge", "dfa(numerics = edge)", "drtp(numerics = edge)", "hsic(numerics = edge)"])
@pytest.mark.parametrize("net", KEPT)
def test_signs_of_gradients_are_autograds(net: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numerics of edge, which keep no value for the quadratic surrogate."""
    monkeypatch.setitem(NETS, net, KEPT[net])
    case = Case(net, rule)
    case.gradients()
    assert_signs(case)


@pytest.mark.parametrize("rule", ["drtp", "hsic", "sigprop"])
def test_what_is_done_at_once_may_take_the_quadratic_surrogate(rule: str) -> None:
    text = SPEC.format(layers=NETS["choices"], rule="RULE(numerics = edge)")
    assert codes_of(text.replace("RULE", rule)) == []
    assert codes_of(text.replace("RULE", "dfa")) == codes_of(text.replace("RULE(numerics = edge)", "edge")) == ["B0503"]


@pytest.mark.parametrize("rule", REAL_FEEDBACK)
@pytest.mark.parametrize("net", ["convolutional", "mixing"])
def test_feedback_of_numbers(net: str, rule: str) -> None:
    case = Case(net, rule)
    fixed = [s for s in case.program.states if s.role == "fixed"]
    assert fixed and not {s.name for s in fixed} & {s for s, _ in case.program.updates}
    case.gradients()
    assert_gradients(case, net)


@pytest.mark.parametrize(("entries", "deviation", "most"), [("normal", 1.0, 6.0), ("uniform", 3**-0.5, 1.0)])
def test_feedback_is_of_the_distribution_that_it_says(entries: str, deviation: float, most: float) -> None:
    layers = "input u8[9]; dense 1001; batchnorm; sign; dense 10; batchnorm;"
    program = plan(SPEC.format(layers=layers, rule=f"dfa(feedback = {entries})")).trace.results["simplify"].train
    f = interp.init_states(program, 1)["dense2.feedback"]
    assert f.shape == (10, 1001) and np.abs(f).max() <= most
    assert abs(f.mean()) < 0.03 and f.std() == pytest.approx(deviation, rel=0.02)
    share = np.mean(np.abs(f) < deviation)  # 0.683 of a normal one
    assert share == pytest.approx(0.683 if entries == "normal" else deviation, abs=0.02)


@pytest.mark.parametrize("kind", ["cosine", "bottleneck"])
@pytest.mark.parametrize("shape", [(6, 9), (6, 4, 3, 3)], ids=["rows", "images"])
def test_the_dependence_has_the_gradient_that_it_says(shape: tuple[int, ...], kind: str) -> None:
    """The derivative of the reference, which the rule's closed form equals above, against finite differences."""
    rng = np.random.default_rng(1)
    z, data = (torch.tensor(rng.normal(0, 1, shape)) for _ in range(2))
    z.requires_grad_()
    hot = torch.eye(3).double()[[0, 1, 2, 0, 1, 0]]
    rule = Call("hsic", (("gamma", 20.0), ("kind", kind), ("sigma", 5.0), ("ridge", 1e-5)))
    hsic(z, data, hot, rule).backward()
    flat, got = z.detach().flatten(), z.grad.flatten()
    assert got.abs().max() > 1e-3
    for i in range(0, len(flat), 5):
        step = torch.zeros_like(flat)
        step[i] = 1e-5
        ends = [hsic((flat + s * step).view(shape), data, hot, rule).item() for s in (1, -1)]
        assert got[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("rule", ["dfa", "drtp", "hsic"])
def test_nothing_goes_down_through_weights(rule: str) -> None:
    """No op makes the gradient of what a layer with weights reads; the weights are not read going back."""
    program = Case("residual", rule).program
    weights = {s.name for s in program.states if s.name.endswith(".weight")}
    for op in program.ops:
        assert op.kind != "convolve_back" and not (op.phase == "backward" and weights & set(op.inputs)), op


@pytest.mark.parametrize("rule", ["drtp", "hsic"])
def test_a_block_is_done_before_the_next_one_begins(rule: str) -> None:
    """What one block's values are read for comes before the sums of the block after the next; of `dfa` all wait."""
    for name, alone in ((rule, True), ("dfa", False)):
        case = Case("convolutional", name)
        kernels = case.planned.placed.packed.train.kernels
        made = next(i for i, k in enumerate(kernels) if "dense1.y" in map(str, k.writes))
        last = max(i for i, k in enumerate(kernels) if any(str(n).startswith("sign1.") for n in k.reads))
        assert (last < made) == alone


@pytest.mark.parametrize("rule", ["dfa", "drtp", "hsic"])
def test_the_numerics_are_another_rules(rule: str) -> None:
    """With those of edge: f16 state and gradients, the norm that keeps bits, weight gradients of one size."""
    case = Case("dense", f"{rule}(numerics = edge)")
    program = case.program
    assert program.value["dense1.weight"].dtype == "f16"
    assert case.model.layers[2]["kind"] == "bnn"
    sizes = np.abs(case.new["dense2.weight.u"].astype(np.float64))
    assert len(np.unique(sizes)) == 1 and sizes.max() > 0
    betas = np.abs(case.new["batchnorm1.beta.u"]).max()
    plain = np.abs(Case("dense", f"{rule}(numerics = edge(state = f32))").new["batchnorm1.beta.u"]).max()
    assert betas == pytest.approx(plain, rel=1e-2)  # the loss scale is divided out


def test_what_cannot_be_trained() -> None:
    """hsic compares all samples of a batch; sums over more than 8192 samples leave f16."""

    def codes(rule: str, batch: str) -> list[str]:
        return codes_of(SPEC.format(layers=NETS["dense"], rule=rule).replace("batch = 8;", batch))

    assert codes("hsic", "batch = 8; microbatch = 2;") == ["B0501"]
    assert codes("drtp", "batch = 8; microbatch = 2;") == []
    assert codes("drtp(numerics = edge)", "batch = 8193;") == ["B0501"]
    assert codes("drtp", "batch = 8193;") == []
    assert codes("drtp(numerics = bep)", "batch = 8;") == ["B0204"]
