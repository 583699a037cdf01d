"""Fills skeletons: `fill.py SKELETON -o OUT.onnx`, or `fill.py --all FOLDER` for the whole corpus."""

import argparse
from pathlib import Path

import onnx

import skeleton

CORPUS = Path(__file__).resolve().parent.parent


def fill_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: whoever reads `target` meanwhile sees the old file or the new one.
    partial = target.with_suffix(".partial")
    onnx.save(skeleton.fill(skeleton.load(str(source))), str(partial))
    partial.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("skeleton", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="fill every model of the corpus into FOLDER")
    arguments = parser.parse_args()
    if arguments.all:
        for source in [*sorted(CORPUS.glob("*.onnx")), *sorted(CORPUS.glob("torchscript/*.onnx"))]:
            target = arguments.all / source.relative_to(CORPUS)
            fill_file(source, target)
            print(f"{target}: {target.stat().st_size:,} bytes")
    elif arguments.skeleton and arguments.output:
        fill_file(arguments.skeleton, arguments.output)
    else:
        parser.error("give SKELETON and -o, or --all FOLDER")


if __name__ == "__main__":
    main()
