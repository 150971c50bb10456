"""What the machine says of itself, asked of a machine that the test has made."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux does it")

# --- priority

PRIORITIES = """
import json, os, sys
from tabby_lsp.processes import machine
machine.lowest_priority(own_session=sys.argv[1] == "own")
group = open("/proc/self/autogroup").read() if os.path.exists("/proc/self/autogroup") else ""
print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.getsid(0) == os.getpid(), group]))
"""


@linux
@pytest.mark.parametrize(("argument", "leads"), [("own", False), ("shared", False), ("shared", True)])
def test_the_lowest_priority_is_that_of_a_session_if_it_is_ones_own(argument: str, leads: bool) -> None:
    command = [sys.executable, "-c", PRIORITIES, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=leads)
    nice, scheduler, own, group = json.loads(done.stdout)
    assert (nice, scheduler) == (19, os.SCHED_IDLE)
    assert own == (leads or argument == "own")
    if group:
        assert group.strip().endswith("nice 19") == own, "another's session stays as it is"
