"""A process that is writing: it may be killed, and what it leaves looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def start_writing(path: Path) -> subprocess.Popen[str]:
    """A process that has begun to write ``path`` and goes no further."""
    program = (
        "import pathlib, sys, time\n"
        "from seg_projects.files import open_atomically\n"
        "with open_atomically(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process
