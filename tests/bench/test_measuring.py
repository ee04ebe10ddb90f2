"""What is counted as a server's CPU time."""

import subprocess
import sys

from bench._measuring import cpu_of

_BURN = "import time\nwhile time.process_time() < 0.3: pass"
_PARENT = f"""
import subprocess, sys
print("ready", flush=True)
sys.stdin.readline()
subprocess.run([sys.executable, "-c", {_BURN!r}])
print("over", flush=True)
sys.stdin.readline()
"""


def test_a_child_that_ended_in_the_middle_is_counted_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        cpu = cpu_of(lambda: [parent.pid])
        assert parent.stdout.readline() == "ready\n"
        before = cpu()
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "over\n"
        assert cpu() - before > 0.25
        parent.stdin.close()
