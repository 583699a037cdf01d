"""Exports decoders with caches, as users and optimum write them: `decoders.py [NAME…] [--exporter …] [--out FOLDER]`.

Small seeded models with past_key_values in and present out. Encoder-decoders come in three forms: `first` makes the
cache, `past` reads it, and `merged` is both under an If on `use_cache_branch`, as optimum merges them.
`benches/peers/decoders.py` runs what lies in the folder.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "decoders"
EXPORTERS = ["torchscript", "dynamo"]
LAYERS, WIDTH, HEADS, VOCABULARY, CONTEXT = 2, 64, 4, 128, 256
DEPTH = WIDTH // HEADS
REASON = 300


@dataclass(frozen=True)
class Family:
    """A decoder of transformers: its configuration and model, what it reads besides tokens, heads of its cache."""

    config: str
    model: str
    options: dict
    kv_heads: int = HEADS
    crosses: bool = False
    # Inputs besides tokens and cache.
    extras: tuple[str, ...] = ("attention_mask",)


BASE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": VOCABULARY,
}
ROPE = {**BASE, "intermediate_size": 2 * WIDTH, "max_position_embeddings": CONTEXT}
GROUPED = {**ROPE, "num_key_value_heads": 2}
SEQ2SEQ = {
    "d_model": WIDTH,
    "encoder_layers": 1,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
}
T5 = {
    "d_model": WIDTH,
    "d_kv": DEPTH,
    "d_ff": 2 * WIDTH,
    "num_layers": 1,
    "num_decoder_layers": LAYERS,
    "num_heads": HEADS,
    "vocab_size": VOCABULARY,
}
WHISPER = {k: v for k, v in SEQ2SEQ.items() if k != "max_position_embeddings"} | {
    "max_target_positions": CONTEXT,
    "max_source_positions": 64,
    "num_mel_bins": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
GPT2 = {
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": CONTEXT,
    "vocab_size": VOCABULARY,
}
OPT = {
    **BASE,
    "ffn_dim": 2 * WIDTH,
    "max_position_embeddings": CONTEXT,
    "word_embed_proj_dim": WIDTH,
}
POSITIONS = ("attention_mask", "position_ids")

FAMILIES = {
    "gpt2": Family("GPT2Config", "GPT2LMHeadModel", GPT2, extras=POSITIONS),
    "llama": Family(
        "LlamaConfig", "LlamaForCausalLM", GROUPED, kv_heads=2, extras=POSITIONS
    ),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", GROUPED, kv_heads=2),
    "qwen3": Family(
        "Qwen3Config",
        "Qwen3ForCausalLM",
        {**GROUPED, "head_dim": DEPTH},
        kv_heads=2,
        extras=POSITIONS,
    ),
    "gemma": Family(
        "GemmaConfig", "GemmaForCausalLM", {**GROUPED, "head_dim": DEPTH}, kv_heads=2
    ),
    "gpt_neox": Family(
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {**ROPE, "rotary_pct": 0.5},
        extras=POSITIONS,
    ),
    "opt": Family("OPTConfig", "OPTForCausalLM", OPT),
    "phi": Family(
        "PhiConfig", "PhiForCausalLM", ROPE, extras=("attention_mask", "cache_position")
    ),
    "bart": Family(
        "BartConfig",
        "BartForConditionalGeneration",
        SEQ2SEQ,
        crosses=True,
        extras=("encoder_attention_mask",),
    ),
    "marian": Family(
        "MarianConfig",
        "MarianMTModel",
        {**SEQ2SEQ, "pad_token_id": 0, "decoder_start_token_id": 0},
        crosses=True,
        extras=("encoder_attention_mask",),
    ),
    "t5": Family(
        "T5Config",
        "T5ForConditionalGeneration",
        T5,
        crosses=True,
        extras=("encoder_attention_mask",),
    ),
    "whisper": Family(
        "WhisperConfig",
        "WhisperForConditionalGeneration",
        WHISPER,
        crosses=True,
        extras=(),
    ),
}
FORMS = {False: ("past",), True: ("first", "past", "merged")}


def parts(family: Family, side: str) -> list[str]:
    """Names of the cache's tensors of one side (`decoder`, `encoder`, or `` where there is one side only)."""
    middle = f"{side}." if side else ""
    return [
        f"{layer}.{middle}{what}"
        for layer in range(LAYERS)
        for what in ("key", "value")
    ]


def inputs(family: Family, form: str) -> list[tuple[str, tuple, str]]:
    """Name, dims and kind of every input."""
    total = "past_sequence_length + sequence_length"
    all_tokens = ("batch_size", total if form == "past" else "sequence_length")
    known = {
        "attention_mask": (all_tokens, "ones"),
        "position_ids": (("batch_size", "sequence_length"), "positions"),
        "cache_position": (("sequence_length",), "positions"),
        "encoder_attention_mask": (("batch_size", "encoder_sequence_length"), "ones"),
    }
    given = [("input_ids", ("batch_size", "sequence_length"), "ids")]
    given += [(name, *known[name]) for name in family.extras]
    if family.crosses:
        given.append(
            (
                "encoder_hidden_states",
                ("batch_size", "encoder_sequence_length", WIDTH),
                "normal",
            )
        )
    if form == "past":
        own = ("batch_size", family.kv_heads, "past_sequence_length", DEPTH)
        cross = ("batch_size", family.kv_heads, "encoder_sequence_length", DEPTH)
        sides = (
            [("decoder", own), ("encoder", cross)] if family.crosses else [("", own)]
        )
        given += [
            (f"past_key_values.{part}", dims, "normal")
            for side, dims in sides
            for part in parts(family, side)
        ]
    return given


def outputs(family: Family, form: str) -> list[str]:
    if not family.crosses:
        return ["logits", *(f"present.{part}" for part in parts(family, ""))]
    sides = ["decoder", "encoder"] if form == "first" else ["decoder"]
    return [
        "logits",
        *(f"present.{part}" for side in sides for part in parts(family, side)),
    ]


def wrapped(family: Family, form: str):
    import torch
    import transformers
    from torch import nn
    from transformers import DynamicCache, EncoderDecoderCache

    names = [name for name, _, _ in inputs(family, form)]

    def cache(values: list) -> DynamicCache:
        return DynamicCache(list(zip(values[::2], values[1::2], strict=True)))

    def tensors(cache: DynamicCache) -> list:
        return [each for layer in cache.layers for each in (layer.keys, layer.values)]

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = getattr(transformers, family.config)(**family.options)
            config._attn_implementation = "eager" if form == "eager" else "sdpa"
            torch.manual_seed(0)
            self.lm = getattr(transformers, family.model)(config).eval()

        def forward(self, *values):
            given = dict(zip(names, values, strict=True))
            past = [value for name, value in given.items() if name.startswith("past")]
            given = {
                name: value
                for name, value in given.items()
                if not name.startswith("past")
            }
            if not family.crosses:
                found = self.lm(**given, past_key_values=cache(past), use_cache=True)
                return found.logits, *tensors(found.past_key_values)
            given["decoder_input_ids"] = given.pop("input_ids")
            if "encoder_attention_mask" in given:
                given["attention_mask"] = given.pop("encoder_attention_mask")
            given["encoder_outputs"] = (given.pop("encoder_hidden_states"),)
            half = len(past) // 2
            both = (
                [cache(past[:half]), cache(past[half:])]
                if past
                else [DynamicCache(), DynamicCache()]
            )
            found = self.lm(
                **given, past_key_values=EncoderDecoderCache(*both), use_cache=True
            )
            after = found.past_key_values
            own = tensors(after.self_attention_cache)
            return (
                found.logits,
                *own,
                *(() if past else tensors(after.cross_attention_cache)),
            )

    return Step().eval()


def sample(dims: tuple, kind: str):
    import torch

    sizes = {
        "batch_size": 2,
        "sequence_length": 3,
        "past_sequence_length": 5,
        "encoder_sequence_length": 7,
    }
    shape = [
        d if isinstance(d, int) else sum(sizes[p] for p in d.split(" + ")) for d in dims
    ]
    if kind == "ids":
        return torch.randint(3, VOCABULARY, shape)
    if kind == "ones":
        return torch.ones(shape, dtype=torch.int64)
    if kind == "positions":
        return (5 + torch.arange(shape[-1])).expand(shape).contiguous()
    return torch.randn(shape)


def export(name: str, form: str, exporter: str, path: Path) -> None:
    import torch

    torch.manual_seed(1)
    family = FAMILIES[name]
    given = inputs(family, form)
    model = wrapped(family, form)
    arguments = tuple(sample(dims, kind) for _, dims, kind in given)
    names = [each for each, _, _ in given]
    axes = [
        {i: d for i, d in enumerate(dims) if isinstance(d, str)} for _, dims, _ in given
    ]
    if exporter == "torchscript":
        out_axes = {each: {0: "batch_size"} for each in outputs(family, form)}
        torch.onnx.export(
            model, arguments, str(path), dynamo=False, opset_version=17, input_names=names,
            output_names=outputs(family, form), dynamic_axes=dict(zip(names, axes, strict=True)) | out_axes,
        )  # fmt: skip
        return
    auto = [{i: torch.export.Dim.DYNAMIC for i in each} for each in axes]
    program = torch.onnx.export(
        model, arguments, dynamo=True, opset_version=20, input_names=names,
        output_names=outputs(family, form), dynamic_shapes=(tuple(auto),), verbose=False,
    )  # fmt: skip
    # The exporter names its own symbols; users see what they asked for.
    program.save(str(path))


def merge(first: Path, past: Path, path: Path) -> None:
    """Both under an If, as optimum's merge_decoders writes it: weights outside, inputs and outputs of either."""
    import onnx
    from onnx import TensorProto, helper

    whole = {"no_past": onnx.load(first), "with_past": onnx.load(past)}
    shared: dict[bytes, str] = {}
    initializers, branches = [], {}
    for prefix, model in whole.items():
        rename = {}
        for tensor in model.graph.initializer:
            key = tensor.raw_data + repr((list(tensor.dims), tensor.data_type)).encode()
            if tensor.raw_data and key in shared:
                rename[tensor.name] = shared[key]
                continue
            rename[tensor.name] = shared[key] = f"{prefix}.{tensor.name}"
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = rename[tensor.name]
            initializers.append(copy)
        outer = {value.name for value in model.graph.input}

        def renamed(graph, rename=rename, outer=outer, prefix=prefix) -> None:
            for node in graph.node:
                node.input[:] = [
                    rename.get(n, n if n in outer or not n else f"{prefix}/{n}")
                    for n in node.input
                ]
                node.output[:] = [n and f"{prefix}/{n}" for n in node.output]
                node.name = f"{prefix}/{node.name}"
                for attribute in node.attribute:
                    if attribute.HasField("g"):
                        renamed(attribute.g)
            for value in graph.output:
                value.name = f"{prefix}/{value.name}"

        renamed(model.graph)
        branches[prefix] = model.graph
    names = [
        value.name.removeprefix("no_past/") for value in branches["no_past"].output
    ]
    past_names = {
        value.name.removeprefix("with_past/") for value in branches["with_past"].output
    }
    bodies = []
    for prefix, graph in (
        ("with_past", branches["with_past"]),
        ("no_past", branches["no_past"]),
    ):
        nodes = list(graph.node)
        results = {value.name: value for value in graph.output}
        ordered = []
        for name in names:
            own = f"{prefix}/{name}"
            if own not in results:
                # What optimum gives where this branch makes no cross cache: nothing.
                empty = helper.make_tensor(
                    f"{own}_empty", TensorProto.FLOAT, [0, HEADS, 1, DEPTH], []
                )
                nodes.append(
                    helper.make_node("Constant", [], [own], value=empty, name=own)
                )
                results[own] = helper.make_tensor_value_info(
                    own, TensorProto.FLOAT, [0, HEADS, 1, DEPTH]
                )
            ordered.append(results[own])
        bodies.append(helper.make_graph(nodes, prefix, [], ordered))
    assert past_names <= set(names)
    switch = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    choose = helper.make_node(
        "If",
        ["use_cache_branch"],
        names,
        then_branch=bodies[0],
        else_branch=bodies[1],
        name="optimum::if",
    )
    seen = {
        value.name: value for model in whole.values() for value in model.graph.input
    }

    def free(name: str, like) -> onnx.ValueInfoProto:
        dims = len(like.type.tensor_type.shape.dim)
        what = [f"{name}_dim_{i}" for i in range(dims)]
        known = {"logits": ["batch_size", "decoder_sequence_length", VOCABULARY]}
        if name.startswith("present"):
            what = [
                "batch_size",
                HEADS,
                "encoder_sequence_length_out"
                if "encoder" in name
                else "past_decoder_sequence_length + 1",
                DEPTH,
            ]
        return helper.make_tensor_value_info(
            name, TensorProto.FLOAT, known.get(name, what)
        )

    results = [
        free(name, value)
        for name, value in zip(names, branches["no_past"].output, strict=True)
    ]
    graph = helper.make_graph(
        [choose], "merged", [*seen.values(), switch], results, initializers
    )
    opsets = {
        o.domain: o.version for model in whole.values() for o in model.opset_import
    }
    imports = [
        helper.make_opsetid(domain, version) for domain, version in opsets.items()
    ]
    functions = {
        (f.domain, f.name): f for model in whole.values() for f in model.functions
    }
    merged = helper.make_model(
        graph, opset_imports=imports, functions=list(functions.values()), ir_version=9
    )
    onnx.checker.check_model(merged)
    onnx.save(merged, path)


def one(name: str, form: str, exporter: str, out: Path) -> None:
    path = out / f"{name}.{form}.{exporter}.onnx"
    if form == "merged":
        merge(
            *(out / f"{name}.{each}.{exporter}.onnx" for each in ("first", "past")),
            path,
        )
    else:
        export(name, form, exporter, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--exporter", choices=EXPORTERS)
    parser.add_argument("--form")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.form:
        one(arguments.names[0], arguments.form, arguments.exporter, arguments.out)
        return
    failed = {}
    for name in arguments.names or FAMILIES:
        for exporter in [arguments.exporter] if arguments.exporter else EXPORTERS:
            for form in FORMS[FAMILIES[name].crosses]:
                stem = f"{name}.{form}.{exporter}"
                if (arguments.out / f"{stem}.onnx").exists():
                    continue
                command = [
                    sys.executable,
                    __file__,
                    name,
                    "--exporter",
                    exporter,
                    "--form",
                    form,
                    "--out",
                    arguments.out,
                ]
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=600, check=False
                )
                if done.returncode:
                    failed[stem] = done.stderr.strip()[-REASON:]
                print(stem, "failed" if done.returncode else "ok", flush=True)
    if failed:
        (arguments.out / "failed.json").write_text(json.dumps(failed, indent=1))


if __name__ == "__main__":
    main()
