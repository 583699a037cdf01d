#!/usr/bin/env python3
"""Runs cases by ONNX Runtime and compares as onnx's own runner does: peer.py FOLDER MODELS RESULTS [JOBS].

FOLDER is what generate.py wrote. MODELS is the folder that holds <group>/<name>/model.onnx: FOLDER/cases for the
originals, or where the runner exported its own. RESULTS receives `<group>/<name> TAB message`, the message empty where the
case passes. A case that takes the process down is a failure of that case and of no other.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.runner import Runner


def read(path, kind):
    data = path.read_bytes()
    field = kind.WhichOneof("value")
    if field == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if field == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.TensorProto.FromString(data)


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def feed(value):
    """An input as ONNX Runtime takes it: NumPy has no name for the types that ml_dtypes adds."""
    import onnxruntime

    if not isinstance(value, onnx.TensorProto):
        return value
    data = numpy_helper.to_array(value)
    if data.dtype.type.__module__ == "numpy":
        return data
    bits = 8 * data.dtype.itemsize
    if value.data_type in (onnx.TensorProto.BFLOAT16,) or 17 <= value.data_type <= 20:
        raw = data.view(np.uint16 if bits == 16 else np.uint8)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, value.data_type)
    return data


def fetch(value):
    """An output as NumPy holds it, in the types of ml_dtypes where there are no others."""
    kind = value.data_type() if hasattr(value, "data_type") else ""
    if hasattr(value, "element_type") and value.is_tensor():
        number = value.element_type()
        wanted = onnx.helper.tensor_dtype_to_np_dtype(number)
        data = value.numpy()
        return data.view(wanted) if data.dtype != wanted and data.dtype.itemsize == wanted.itemsize else data
    return value.numpy() if kind else value


def run(folder, models, case):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, 1, 1
    name = f"{case['group']}/{case['name']}"
    session = onnxruntime.InferenceSession(
        models / name / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(folder / "cases" / name / "model.onnx", load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    infos = [value for value in graph.input if value.name not in weights] or list(graph.input)
    for data in sorted((folder / "cases" / name).glob("test_data_set_*")):
        count = len(list(data.glob("input_*.pb")))
        infos = list(graph.input) if count > len(infos) else infos
        inputs = [read(data / f"input_{i}.pb", infos[i].type) for i in range(count)]
        feeds = {info.name: feed(value) for info, value in zip(infos, inputs)}
        wanted = [array(read(data / f"output_{i}.pb", info.type)) for i, info in enumerate(graph.output)]
        plain = all(not isinstance(value, onnxruntime.OrtValue) for value in feeds.values())
        names = [info.name for info in graph.output]
        if plain:
            found = session.run(names, feeds)
        else:
            make = lambda v: v if isinstance(v, onnxruntime.OrtValue) else onnxruntime.OrtValue.ortvalue_from_numpy(v)
            found = session.run_with_ort_values(names, {k: make(v) for k, v in feeds.items()})
            found = [fetch(value) for value in found]
        compare(case, wanted, found)


def compare(case, wanted, found):
    if case["random"]:
        assert [(w.shape, w.dtype) for w in wanted] == [(f.shape, f.dtype) for f in found], "another type or shape"
        return
    for index, (want, value) in enumerate(zip(wanted, found)):
        if (want is None) != (value is None):
            raise AssertionError(f"output {index}: only one of the two is absent")
        if want is not None:
            value = np.asarray(value, want.dtype) if np.isscalar(value) else value
            Runner.assert_similar_outputs([want], [value], case["rtol"], case["atol"])


def work(folder, models):
    """Runs the cases named on standard input, answering line by line."""
    cases = {f"{c['group']}/{c['name']}": c for c in json.loads((folder / "cases.json").read_text())}
    for line in sys.stdin:
        try:
            run(folder, models, cases[line.strip()])
            answer = ""
        except Exception as error:  # noqa: BLE001: whatever a case raises is its result
            answer = " ".join(str(error).split())[:300] or type(error).__name__
        print(f"\x1e{answer}", flush=True)


def worker(folder, models):
    command = [sys.executable, __file__, "--work", folder, models]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def ask(process, name):
    """The worker's answer, or None when it died. Lines without the mark are chatter of the runtime."""
    try:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for line in process.stdout:
        if "\x1e" in line:
            return line.rstrip("\n").split("\x1e", 1)[1]
    return None


def drive(folder, models, names):
    results, process = {}, worker(folder, models)
    for name in names:
        results[name] = ask(process, name)
        if results[name] is None:
            results[name] = f"the process died with code {process.wait()}"
            process = worker(folder, models)
    process.stdin.close()
    process.wait()
    return results


def main():
    from concurrent.futures import ThreadPoolExecutor

    folder, models, results = sys.argv[1:4]
    jobs = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    listed = json.loads((pathlib.Path(folder) / "cases.json").read_text())
    names = [f"{c['group']}/{c['name']}" for c in listed if c["excluded"] is None]
    names = [name for name in names if (pathlib.Path(models) / name / "model.onnx").exists()]
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda part: drive(folder, models, part), [names[job::jobs] for job in range(jobs)])
        found = {name: answer for part in parts for name, answer in part.items()}
    lines = [f"{name}\t{found[name]}\n" for name in sorted(found)]
    pathlib.Path(results).write_text("".join(lines))
    passed = sum(not answer for answer in found.values())
    print(f"onnxruntime passes {passed} of {len(found)} cases below {models}")


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        main()
