"""Why does it cost so much to call Python from the engine's thread? Because it has no state there.

Bytewax's worker is a thread of its own making. At each call into Python such a thread is given a
state, with a stack that is mapped, and both are thrown away after it: two system calls and two page
faults for each step that each event takes. ("Non-Python created threads" in Python's C API.) A
state that is held once is found again by each later call.
"""

import ctypes


def hold_state() -> None:
    """Hold this thread's Python state as long as the process lives; called from within a call."""
    ctypes.pythonapi.PyGILState_Ensure()
