"""Times one piece of work on this project and, where given, on Detectron2, in turn.

A benchmark is a module with *cases*: functions that get settings, prepare, and return the function
to be timed, which returns its outputs. Two processes that live as long as the benchmark, one per
interpreter, prepare the same case; then they run it one after the other, pair by pair, so that a
machine whose speed drifts treats both alike. The ratio is the median over the pairs of the time of
Detectron2 by ours; the outputs of the first, untimed run are compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

Timed = Callable[[], float]


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--reference-python",
        metavar="PATH",
        help="interpreter that imports the Detectron2 to compare with; none: our times alone",
    )
    parser.add_argument("--pairs", type=int, default=7, help="timed runs of each (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="of the process and its children together: other work on the machine counts less",
    )
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one run: does it work?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What counts as equal outputs."""

    relative: float = 0.0
    """Of float arrays: largest difference by largest value."""
    fraction: float = 0.0
    """Of integer and bool arrays: share of elements that may differ."""
    levels: int = 0
    """Of integer arrays: the difference up to which elements count as equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A function of a benchmark's module and what it is called with."""

    name: str
    function: str
    """Called with ``settings``; returns the function to time."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference_function: str | None = None
    """What Detectron2 runs instead, where its names differ."""
    tolerance: Tolerance = Tolerance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table; times are medians in seconds."""

    name: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    """Time of theirs by time of ours: above 1, ours is faster."""
    outputs: str = "not compared"

    def line(self) -> str:
        """The result as a line of the table."""
        text = f"{self.name:<44} ours {_milliseconds(self.ours)}"
        if self.theirs is None or self.ratio is None:
            return text
        theirs = _milliseconds(self.theirs)
        return f"{text}   theirs {theirs}   ratio {self.ratio:6.2f}   outputs {self.outputs}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:10.2f} ms"


def compare(script: str, cases: Sequence[Case], args: argparse.Namespace) -> list[Result]:
    """Runs the cases of the module ``script``; prints a line each, writes JSON if asked."""
    results = []
    for case in cases:
        with Worker(sys.executable, args.threads, args.processor_time) as ours:
            output = ours.prepare(script, case.function, case.settings)
            if args.reference_python is None:
                result = measure(case.name, ours.run, None, args)
            else:
                with Worker(args.reference_python, args.threads, args.processor_time) as theirs:
                    function = case.reference_function or case.function
                    expected = theirs.prepare(script, function, case.settings)
                    outputs = describe_difference(output, expected, case.tolerance)
                    result = measure(case.name, ours.run, theirs.run, args, outputs)
        print(result.line(), flush=True)
        results.append(result)
    write_results(results, args)
    return results


def measure(
    name: str,
    ours: Timed,
    theirs: Timed | None,
    args: argparse.Namespace,
    outputs: str = "not compared",
) -> Result:
    """Alternates both, each of which returns the seconds that it took."""
    pairs = 1 if args.quick else args.pairs
    if theirs is None:
        return Result(name=name, ours=statistics.median(ours() for _ in range(pairs)))
    times = []
    for number in range(pairs):
        # Who goes second finds warmer caches and a hotter processor; so take turns.
        if number % 2:
            second = theirs()
            times.append((ours(), second))
        else:
            times.append((ours(), theirs()))
    return Result(
        name=name,
        ours=statistics.median(own for own, _ in times),
        theirs=statistics.median(other for _, other in times),
        ratio=statistics.median(other / own for own, other in times),
        outputs=outputs,
    )


def write_results(results: Sequence[Result], args: argparse.Namespace) -> None:
    """Writes ``--json``, if given: the machine and the results."""
    if args.json is None:
        return
    content = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "threads": args.threads,
        "pairs": 1 if args.quick else args.pairs,
        "results": [asdict(result) for result in results],
    }
    args.json.write_text(json.dumps(content, indent=1) + "\n")


def describe_difference(ours: Any, theirs: Any, tolerance: Tolerance) -> str:
    """Says "equal", or the difference within the tolerance, or, loudly, the one beyond it."""
    worst = 0.0
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in ours or key not in theirs:
            return f"DIFFER: {key} is missing on one side"
        a, b = np.asarray(ours[key]), np.asarray(theirs[key])
        if a.shape != b.shape:
            return f"DIFFER: {key} {a.shape} and {b.shape}"
        is_float = np.issubdtype(b.dtype, np.floating)
        difference = _relative(a, b) if is_float else _share(a, b, tolerance.levels)
        if not difference <= (tolerance.relative if is_float else tolerance.fraction):
            return f"DIFFER: {key} by {difference:.2g}"
        worst = max(worst, difference)
    return "equal" if worst == 0 else f"equal to {worst:.1g}"


def _share(a: np.ndarray, b: np.ndarray, levels: int) -> float:
    if not a.size:
        return 0.0
    if not levels:  # text, too
        return float(np.mean(a != b))
    return float(np.mean(np.abs(a.astype(np.int64) - b.astype(np.int64)) > levels))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    scale = np.abs(b).max(initial=0.0) or 1.0
    return float(np.abs(a.astype(np.float64) - b).max(initial=0.0) / scale)


class Worker:
    """A process of another interpreter, or of this one, that prepares and runs cases."""

    def __init__(self, python: str, threads: int, processor_time: bool = False) -> None:
        self._python, self._threads, self._processor_time = python, threads, processor_time

    def __enter__(self) -> Worker:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [self._python, __file__, *(["--processor-time"] if self._processor_time else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environment(self._threads),
            cwd=self._folder.name,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def prepare(self, script: str, function: str, settings: Mapping[str, Any]) -> Any:
        """Prepares a case and runs it once; returns its outputs."""
        return self._ask((script, function, dict(settings), self._threads))

    def run(self) -> float:
        """Runs the prepared case; returns the seconds that it took."""
        return self._ask(None)

    def _ask(self, request: Any) -> Any:
        pipe = self._process
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        pickle.dump(request, pipe.stdin)
        pipe.stdin.flush()
        try:
            return pickle.load(pipe.stdout)
        except EOFError:
            raise RuntimeError(f"The benchmark failed in {self._python}; see above.") from None


def clean_environment(threads: int) -> dict[str, str]:
    """The environment without paths to Python code, and with a bound on threads."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**environment, **dict.fromkeys(names, str(threads))}


def _processor_seconds() -> float:
    """Of this process and all of its children, those that still run as well."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for child in multiprocessing.active_children():
        # After the name in brackets: state, parent, ...; user and system time are 14 and 15.
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _serve(requests: IO[bytes], answers: IO[bytes], clock: Callable[[], float]) -> None:
    """The worker's side: (script, function, settings, threads) prepares, None runs."""
    run: Callable[[], Any] | None = None
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        if request is None:
            assert run is not None
            start = clock()
            run()
            answer: Any = clock() - start
        else:
            run = _prepared(*request)
            answer = run()
        pickle.dump(answer, answers)
        answers.flush()


def _prepared(
    script: str, function: str, settings: dict[str, Any], threads: int
) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    spec = importlib.util.spec_from_file_location("benchmark", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)(**settings)


if __name__ == "__main__":
    # What the work prints must not end up among the answers.
    own_output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = sys.argv[1:] == ["--processor-time"]
    _serve(sys.stdin.buffer, own_output, _processor_seconds if asked else time.perf_counter)
