"""Checks the committed corpus: `check.py [NAME…]`. Hashes, sizes, paths, and a run of every filled model."""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import manifest
import samples
import skeleton

CORPUS = Path(__file__).resolve().parent.parent
FILE_BYTES, CORPUS_BYTES = 1_500_000, 15_000_000


def check_file(entry: dict) -> None:
    data = (CORPUS / entry["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"], "the hash is not the manifest's"
    assert len(data) <= FILE_BYTES, f"{len(data):,} bytes are too many for git"
    assert not (leak := manifest.MACHINE_PATH.search(data)), f"holds a path: {leak.group()!r}"


def check_run(entry: dict) -> str:
    """Runs the filled model on two inputs: outputs are finite, vary, and depend on the input."""
    model = skeleton.fill(skeleton.load(str(CORPUS / entry["file"])))
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    first, second = (session.run(None, samples.feeds(entry, generator)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.isfinite(one).all(), "an output is not finite"
        assert one.std() > 0.05, "an output is all but constant"
        assert np.abs(one - other).max() > 0.01 * one.std(), "an output does not depend on the input"
    return " ".join(f"{list(each.shape)} std {each.std():.3g}" for each in first)


def check_digits(entry: dict) -> str:
    session = onnxruntime.InferenceSession(str(CORPUS / entry["file"]), providers=["CPUExecutionProvider"])
    images, labels = (np.load(CORPUS / f"digits_test_{part}.npy") for part in ("images", "labels"))
    accuracy = (session.run(None, {"image": images})[0].argmax(axis=1) == labels).mean()
    assert accuracy >= 0.97, f"accuracy is only {accuracy:.2%}"
    return f" accuracy {accuracy:.2%} of {len(labels)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    listed = manifest.entries()
    for entry in listed:
        if names and entry["name"] not in names:
            continue
        check_file(entry)
        report = check_run(entry) + (check_digits(entry) if entry["name"].startswith("digits") else "")
        print(f"{entry['file']}: {report}", flush=True)
    found = {str(path.relative_to(CORPUS)) for path in [*CORPUS.glob("*.onnx"), *CORPUS.glob("torchscript/*.onnx")]}
    assert found == {entry["file"] for entry in listed}, "files and manifest differ"
    total = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file() and "filled" not in path.parts)
    assert total <= CORPUS_BYTES, f"the corpus has {total:,} bytes"
    print(f"{len(found)} files, {total:,} bytes")


if __name__ == "__main__":
    main()
