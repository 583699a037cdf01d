"""ONNX Runtime from PyPI, as its users run it: all graph optimizations, one pool of threads."""

import time
from pathlib import Path

import numpy as np
import onnxruntime


def session(model: Path, threads: int = 4) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Within a run its threads spin, as by default; after a run they would burn the other side's cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def outputs(model: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    opened = session(model)
    names = [each.name for each in opened.get_outputs()]
    return dict(zip(names, opened.run(names, feeds), strict=True))


class Server:
    """The counterpart of `ours.Server`, in this process."""

    def __init__(self, model: Path, threads: int, feeds: dict[str, np.ndarray]) -> None:
        start = time.perf_counter()
        self.session = session(model, threads)
        self.load_ms = (time.perf_counter() - start) * 1e3
        self.feeds = feeds

    def times_us(self, runs: int) -> list[float]:
        times = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self.session.run(None, self.feeds)
            times.append((time.perf_counter_ns() - start) / 1e3)
        return times
