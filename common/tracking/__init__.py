"""Which detections in one camera's frames are the same object: NumPy and SciPy's assignment, no clock and no state of
its own. The cloud feeds it with results, the benches with what they detect.
"""

from common.tracking.tracker import FAINT, SURE, Seen, State, Step, step
from common.tracking.written import as_values, from_values

__all__ = ["FAINT", "SURE", "Seen", "State", "Step", "as_values", "from_values", "step"]
