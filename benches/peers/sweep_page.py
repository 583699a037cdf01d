"""The sweep's rows as a page of the book."""

import re
from collections import Counter, defaultdict

FAMILIES = {
    "cnn": "Convolutional networks",
    "rnn": "Recurrent vision networks",
    "vit": "Vision transformers",
    "segmentation": "Segmentation",
    "detection": "Detection",
    "video": "Video",
    "encoder": "Text encoders",
    "decoder": "Text decoders",
    "encoder-decoder": "Encoder-decoders",
    "audio": "Audio",
}
# Operators that a rule would have taken in, had it seen its pattern.
LEFT = ["Erf", "BatchNormalization", "Softmax"]
# Why a model that does not pass does not, found by hand.
CAUSES = {
    "ssdlite320_mobilenet_v3_large": "its boxes are sorted by scores that lie within one rounding of each other: boxes change "
    "places, also between onnxruntime with and without its optimizations; on the sweep's own image both agree",
    "led": "its traced chunks take a sequence of 11 alone although the file calls it dynamic, and verification draws 16, 4 and "
    "1: `--dim seq=11` optimizes it",
}
NORMS = ["LayerNormalization", "RMSNormalization", "fused NormLinear", "fused SkipLayerNorm"]


def fused(row: dict, *names: str) -> int:
    return sum(row["after"].get(name, 0) for name in names)


def norms(row: dict) -> int:
    return fused(row, *NORMS)


def attention(row: dict) -> str:
    """Attention operators of attention blocks; a softmax that is not attention's is not a block."""
    found, left = fused(row, "fused Attention", "Attention"), row["after"].get("Softmax", 0)
    return str(found) if found and not left else f"{found} + {left} softmax" if left else ""


def left(row: dict) -> str:
    return ", ".join(f"{row['after'][name]} {name}" for name in LEFT if row["after"].get(name))


def no_kernel(row: dict) -> str:
    shares = row["without_kernel"].items()
    told = [f"{name} {share:.0%}" if share >= 0.005 else name for name, share in shares]
    return ", ".join([*told, "sizes decided by data"] if row["in_segments"] else told)


def line(row: dict) -> str:
    start = f"| {row['name']} | {row['exporter']}{'' if row['dynamic'] else ', fixed sizes'} |"
    if row["stage"] != "passed":
        return f"{start} {row['stage']}: {row['reason'].replace('|', '/')} | | | | | | |"
    before, after = row["nodes"]
    ratio = row["seconds"] / row["peer_seconds"]
    error = max(row["executor_error"], row["file_error"])
    gemms = fused(row, "fused Linear", "fused NormLinear", "fused Conv")
    return (
        f"{start} {before} → {after} | {attention(row)} | {norms(row) or ''} | {gemms} | {left(row)} | {no_kernel(row)} "
        f"| {error:.0e} | {ratio:.2f} |"
    )


HEADER = (
    "| model | exporter | nodes | attention | norms | Linear, Conv | left over | without a kernel, share of time | error "
    "| time |\n|---|---|---|---|---|---|---|---|---|---|"
)


def summary(rows: list[dict], refused: list[dict]) -> list[str]:
    runnable = [row for row in rows if row["stage"] != "onnxruntime"]
    passed = [row for row in runnable if row["stage"] == "passed"]
    names = {row["name"] for row in runnable}
    steps, slow = (sum(row[key] for row in passed) for key in ("steps", "steps_without_kernel"))
    share = len(passed) / max(len(runnable), 1)
    ratio = sorted(row["seconds"] / row["peer_seconds"] for row in passed)
    return [
        f"**{len(passed)} of {len(runnable)} exports ({share:.1%}) of {len(names)} architectures pass**: imported, optimized, "
        "verified, run, and in agreement with onnxruntime.",
        "",
        f"Nodes: {sum(r['nodes'][0] for r in passed):,} → {sum(r['nodes'][1] for r in passed):,}. Steps without a kernel: "
        f"{slow} of {steps:,}. Median of time ours/theirs, one thread, tiny models: {ratio[len(ratio) // 2]:.2f}."
        if ratio
        else "",
        "",
        f"{len(refused)} exports failed in the exporter and are not counted; "
        f"{sum(row['stage'] == 'onnxruntime' for row in rows)} do not run in onnxruntime.",
    ]


def kernels(rows: list[dict]) -> list[str]:
    models: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name in row.get("without_kernel", {}):
            models[name].add(row["name"])
    counted = Counter({name: len(found) for name, found in models.items()})
    told = [f"| {name} | {count} | {', '.join(sorted(models[name])[:6])} |" for name, count in counted.most_common()]
    return ["| operator | architectures | among them |", "|---|---|---|", *told]


def page(rows: list[dict], refused: list[dict]) -> str:
    rows = sorted(rows, key=lambda row: (row["name"], row["exporter"]))
    parts = [
        "# The sweep",
        "",
        "Small configurations of architectures from torchvision, timm and transformers, exported by both of torch's exporters, "
        "with seeded weights and, where the exporter can, dynamic batch and sequence.",
        "",
        "    pip install -r corpus/export/requirements.txt",
        "    python corpus/export/sweep.py          # exports into corpus/sweep, resumable",
        "    cargo build --release",
        "    python benches/peers/sweep.py          # writes this page",
        "",
        *summary(rows, refused),
        "",
        "A model passes when `optimize` writes it (in f32, verified against the reference where inputs that suit it can be drawn), our executor and onnxruntime run "
        "the result, and every output of both has cosine ≥ 0.99999 with onnxruntime's answer to the *original* file on the "
        "same inputs. The error is the largest of any output, against its largest magnitude. Attention, norms and "
        "Linear/Conv count fused operators of the result; time is the executor's against onnxruntime's on the original, and "
        "mostly overhead at these sizes.",
    ]
    for family, title in FAMILIES.items():
        found = [row for row in rows if row["family"] == family and row["stage"] == "passed"]
        if found:
            parts += ["", f"## {title}", "", HEADER, *map(line, found)]
    failed = [row for row in rows if row["stage"] not in ("passed", "onnxruntime")]
    if failed:
        parts += ["", "## Not through", "", "| model | exporter | stage | message | cause |", "|---|---|---|---|---|"]
        parts += [
            f"| {r['name']} | {r['exporter']} | {r['stage']} | {cell(r['reason'])} | {CAUSES.get(r['name'], '')} |"
            for r in failed
        ]
    parts += ["", "## Without a kernel", "", "Operators that ran as reference evaluation.", "", *kernels(rows)]
    parts += ["", "## Not counted", "", "| model | exporter | reason |", "|---|---|---|"]
    parts += [f"| {r['name']} | {r['exporter']} | {cell(r['reason'])} |" for r in refused]
    parts += [
        f"| {r['name']} | {r['exporter']} | onnxruntime: {cell(r['reason'])} |"
        for r in rows
        if r["stage"] == "onnxruntime"
    ]
    return "\n".join(parts) + "\n"


def cell(text: str) -> str:
    text = re.sub(r"\x1b?\[\d+m", "", text)
    return text.replace("|", "/").replace("<", "&lt;")[:200]
