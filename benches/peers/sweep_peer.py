"""`sweep_peer.py MODEL INPUTS.npz OUTPUTS.npz RUNS`: one model in onnxruntime, as a process of its own.

A model that brings onnxruntime down must not take the sweep with it. The outputs go to the file in the model's order,
the median of the times of RUNS runs on one thread, in seconds, to stdout.
"""

import sys
from pathlib import Path

import numpy as np

import peer


def main() -> None:
    model, inputs, outputs, runs = sys.argv[1:]
    with np.load(inputs) as arrays:
        feeds = dict(arrays)
    # Exporters leave out inputs that nothing reads.
    server_inputs = {each.name for each in peer.session(Path(model), 1).get_inputs()}
    feeds = {name: value for name, value in feeds.items() if name in server_inputs}
    np.savez(outputs, **peer.outputs(Path(model), feeds))
    times = peer.Server(Path(model), 1, feeds).times_us(int(runs) + 2)[2:] if int(runs) else [0.0]
    print(float(np.median(times)) / 1e6)


if __name__ == "__main__":
    main()
