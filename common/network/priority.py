"""Which threads give way when there is more to compute than processors."""

import os
import sys
import threading

NICENESS = 10


def stand_back() -> None:
    """Let whatever else wants the processor have it. On Linux every thread has a niceness of its own, and those that
    ONNX Runtime starts from here inherit it.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
