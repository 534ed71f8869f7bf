# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Runtimes in processes of their own that run alternating bursts: one that does not run is stopped, so that neither its
spinning threads nor its traffic in the caches disturb the others."""
import json
import signal
import subprocess
import sys
from pathlib import Path

# Of a burst, the first runs find cold caches.
COLD_RUNS = 2
MIN_RUNS = 3


class RuntimeFailed(Exception):
    """A runtime's process ended, or said what it should not; the message tells of which."""


def runs_of_burst(run_ms, count, budget_ms):
    """How many runs a burst has and how many of them are not counted: up to `count` within the time, at least some."""
    runs = max(MIN_RUNS, min(count, int(budget_ms / max(run_ms, 1e-3))))
    return runs, COLD_RUNS if runs > 2 * COLD_RUNS else 1


class Runtime:
    """One runtime with one model, stopped except while it is asked."""

    def __init__(self, setup, log, environment):
        self.name, self.times = setup["runtime"], []
        self._log = Path(log)
        with open(self._log, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("runtimes.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        try:
            self.facts = self._ask(setup)
        except BaseException:
            self.close()
            raise

    def _ask(self, request):
        """Sends a request, reads the answer, and stops the process again."""
        try:
            self._process.send_signal(signal.SIGCONT)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            code = self._process.wait()
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise RuntimeFailed(f"{self.name} ended with code {code}: {said[-1] if said else 'it said nothing'}")
        self._process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def warm_up(self, runs=2):
        """Runs that are not counted; returns the time of the last one."""
        return self._ask({"run": runs})["times_ms"][-1]

    def burst(self, runs, cold):
        self.times += self._ask({"run": runs})["times_ms"][cold:]

    def measure_memory(self, runs=2):
        self.facts.update(self._ask({"memory": runs}))

    def save(self, path):
        self._ask({"save": str(path)})

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def measure(setups, folder, environment, bursts, count, budget_ms):
    """Lets the runtimes run in turns. Returns {name: (times, facts, path of its outputs)}."""
    runtimes = []
    try:
        for setup in setups:
            runtimes.append(Runtime(setup, Path(folder) / f"{setup['runtime']}.log", environment))
        plans = [runs_of_burst(runtime.warm_up(), count, budget_ms) for runtime in runtimes]
        for _ in range(bursts):
            for runtime, plan in zip(runtimes, plans):
                runtime.burst(*plan)
        results = {}
        for runtime in runtimes:
            runtime.measure_memory()
            path = Path(folder) / f"{runtime.name}.npz"
            runtime.save(path)
            results[runtime.name] = (runtime.times, runtime.facts, path)
        return results
    finally:
        for runtime in runtimes:
            runtime.close()
