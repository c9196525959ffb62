"""Prints the result of a training log (``--log``), and fails when it misses the example's goals."""

import json
import sys
from pathlib import Path

GOAL, SPARE = 0.96, 256 * 1024  # test accuracy; bytes that the prediction may lie above the measurement

end = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()][-1]
accuracy, predicted, measured = end["best_test_acc"], end["memory_predicted"], end["memory_measured"]
print(f"test accuracy {100 * accuracy:.2f} % (goal {100 * GOAL:.0f} %) in {end['seconds']:.0f} s of training")
print(f"memory of the whole process: predicted {predicted:,} bytes, measured {measured:,} bytes")
if accuracy < GOAL or (measured and not measured <= predicted <= measured + SPARE):
    sys.exit("the example misses its goals")
