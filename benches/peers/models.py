"""The corpus as the comparisons see it: manifest entries, filled files, inputs."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "corpus"
sys.path.insert(0, str(CORPUS / "export"))

import fill  # noqa: E402  (these live beside the exporters, which own the formats)
import manifest  # noqa: E402
import samples  # noqa: E402

feeds, sizes_of = samples.feeds, samples.sizes_of
FILLED = CORPUS / "filled"


def entries(names: list[str], exporter: str | None = None) -> list[dict]:
    """Manifest entries of the named models, or of all; from one exporter, or from both."""
    listed = manifest.entries()
    if unknown := set(names) - {entry["name"] for entry in listed}:
        raise SystemExit(f"no such model in the corpus: {', '.join(sorted(unknown))}")
    found = [entry for entry in listed if not names or entry["name"] in names]
    return [entry for entry in found if exporter in (None, exporter_of(entry))]


def exporter_of(entry: dict) -> str:
    return "torchscript" if entry["file"].startswith("torchscript/") else "dynamo"


def filled(entry: dict) -> Path:
    """The model with its weights; made when it is missing or older than its skeleton."""
    source, target = CORPUS / entry["file"], FILLED / entry["file"]
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        fill.fill_file(source, target)
    return target
