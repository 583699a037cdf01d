"""Cases of com.microsoft operators with what ONNX Runtime computes for them: corpus/microsoft/*.onnx.

Each file is a model of one node. Its inputs are graph inputs; the initializers `feed/<input>` hold values for them and
`expect/<output>` what ONNX Runtime gave. Tests evaluate the model by the reference, optimized and on kernels, and
compare. Everything is seeded: `python corpus/export/microsoft.py` writes the same bytes again, given the same
onnxruntime (the version is in each file's doc string).
"""

import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FOLDER = pathlib.Path(__file__).parents[1] / "microsoft"
MS = "com.microsoft"
OPSETS = [helper.make_opsetid("", 20), helper.make_opsetid(MS, 1)]


class Draw:
    """Small seeded arrays."""

    def __init__(self, name):
        self.rng = np.random.default_rng(sum(name.encode()))

    def f(self, *shape, scale=1.0):
        return (self.rng.normal(size=shape) * scale).astype(np.float32)

    def u8(self, *shape, low=0, high=256):
        return self.rng.integers(low, high, shape).astype(np.uint8)

    def i8(self, *shape, low=-128, high=128):
        return self.rng.integers(low, high, shape).astype(np.int8)

    def i32(self, *shape, low=0, high=2):
        return self.rng.integers(low, high, shape).astype(np.int32)

    def scales(self, *shape):
        return (self.rng.random(shape) * 0.02 + 0.005).astype(np.float32)


CASES = {}


def case(make):
    """Registers a function that gives op, inputs (name -> array or None), output count, attributes."""
    CASES[make.__name__] = make
    return make


def scalar(value, dtype):
    return np.asarray(value, dtype)


def build(name, op, feeds, outputs, attrs, domain=MS, opsets=OPSETS):
    present = {key: value for key, value in feeds.items() if value is not None}
    inputs = [
        helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
        for key, value in present.items()
    ]
    names = [key if value is not None else "" for key, value in feeds.items()]
    while names and names[-1] == "":
        names.pop()
    results = outputs if isinstance(outputs, list) else [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, name=op, domain=domain, **attrs)
    values = [helper.make_value_info(r, onnx.TypeProto()) for r in results if r]
    graph = helper.make_graph([node], name, inputs, values)
    graph.doc_string = f"onnxruntime {ort.__version__}"
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, present)
    for value, array in zip(graph.output, found):
        value.CopyFrom(
            helper.make_tensor_value_info(
                value.name, helper.np_dtype_to_tensor_dtype(array.dtype), list(array.shape)
            )
        )
    stored = [(f"feed/{key}", value) for key, value in present.items()]
    stored += [(f"expect/{value.name}", array) for value, array in zip(graph.output, found)]
    graph.initializer.extend(numpy_helper.from_array(np.array(a, order="C"), k) for k, a in stored)
    model.graph.CopyFrom(graph)
    return model


# Activations, norms, products.


@case
def gelu(d):
    return "Gelu", {"x": d.f(2, 5, scale=2)}, 1, {}


@case
def bias_gelu(d):
    return "BiasGelu", {"x": d.f(2, 3, 5), "bias": d.f(5)}, 1, {}


@case
def fast_gelu(d):
    return "FastGelu", {"x": d.f(2, 3, 5), "bias": d.f(5)}, 1, {}


@case
def quick_gelu(d):
    return "QuickGelu", {"x": d.f(2, 3, 5)}, 1, {"alpha": 1.3}


@case
def skip_layer_norm(d):
    feeds = {"x": d.f(2, 3, 8), "skip": d.f(2, 3, 8), "gamma": d.f(8), "beta": d.f(8), "bias": d.f(8)}
    return "SkipLayerNormalization", feeds, ["y", "", "", "sum"], {"epsilon": 1e-5}


@case
def skip_layer_norm_broadcast(d):
    feeds = {"x": d.f(2, 3, 8), "skip": d.f(3, 8), "gamma": d.f(8)}
    return "SkipLayerNormalization", feeds, 1, {"epsilon": 1e-5}


@case
def skip_rms_norm(d):
    feeds = {"x": d.f(2, 3, 8), "skip": d.f(2, 3, 8), "gamma": d.f(8), "bias": d.f(8)}
    return "SkipSimplifiedLayerNormalization", feeds, ["y", "", "", "sum"], {"epsilon": 1e-6}


@case
def rms_norm(d):
    return ("SimplifiedLayerNormalization", {"x": d.f(2, 3, 8), "scale": d.f(8)}, 1,
            {"axis": -1, "epsilon": 1e-6, "stash_type": 1}, "")


def embed(d, **more):
    feeds = {
        "input_ids": d.i32(2, 4, high=10), "segment_ids": d.i32(2, 4), "word": d.f(10, 8), "position": d.f(6, 8),
        "segment": d.f(2, 8), "gamma": d.f(8), "beta": d.f(8), "mask": None, "position_ids": None,
    }
    feeds.update(more)
    return feeds


@case
def embed_layer_norm(d):
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.int32)
    return "EmbedLayerNormalization", embed(d, mask=mask), 3, {"epsilon": 1e-12, "mask_index_type": 1}


@case
def embed_layer_norm_positions(d):
    feeds = embed(d, segment_ids=None, segment=None, position_ids=d.i32(2, 4, high=6))
    return "EmbedLayerNormalization", feeds, 2, {"epsilon": 1e-6}


@case
def qembed_layer_norm(d):
    word, position, segment = d.u8(10, 8), d.u8(6, 8), d.u8(2, 8)
    feeds = {
        "input_ids": d.i32(2, 4, high=10), "segment_ids": d.i32(2, 4), "word": word, "position": position,
        "segment": segment, "gamma": d.u8(8), "beta": d.u8(8), "mask": np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.int32),
    }
    operands = ["word", "position", "segment", "gamma", "beta"]
    feeds |= {f"{name}_scale": f32(0.01 + 0.005 * i) for i, name in enumerate(operands)}
    feeds |= {f"{name}_zero": u8(110 + 5 * i) for i, name in enumerate(operands)}
    return "QEmbedLayerNormalization", feeds, 2, {"epsilon": 1e-6}


@case
def fused_matmul(d):
    return "FusedMatMul", {"a": d.f(2, 4, 3), "b": d.f(2, 5, 4)}, 1, {"transA": 1, "transB": 1, "alpha": 0.3}


@case
def fused_matmul_batch(d):
    attrs = {"transBatchA": 1, "transBatchB": 1, "transA": 0, "transB": 0, "alpha": 1.0}
    return "FusedMatMul", {"a": d.f(3, 2, 4), "b": d.f(4, 2, 5)}, 1, attrs


@case
def fused_matmul_batch_trans(d):
    attrs = {"transBatchA": 1, "transBatchB": 1, "transA": 1, "transB": 1, "alpha": 2.0}
    return "FusedMatMul", {"a": d.f(4, 2, 3), "b": d.f(5, 2, 4)}, 1, attrs


@case
def fused_matmul_vector(d):
    return "FusedMatMul", {"a": d.f(4), "b": d.f(4, 5)}, 1, {"transA": 1, "alpha": 0.5}


@case
def fused_gemm(d):
    attrs = {"transB": 1, "alpha": 0.5, "beta": 2.0, "activation": "LeakyRelu", "activation_alpha": 0.2}
    return "FusedGemm", {"a": d.f(3, 4), "b": d.f(5, 4), "c": d.f(5)}, 1, attrs


@case
def fused_conv(d):
    attrs = {"activation": "Clip", "activation_params": [-0.5, 0.8], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    feeds = {"x": d.f(1, 3, 5, 5), "w": d.f(4, 3, 3, 3, scale=0.3), "b": d.f(4)}
    return "FusedConv", feeds, 1, attrs


@case
def fused_conv_residual(d):
    feeds = {"x": d.f(1, 3, 4, 4), "w": d.f(4, 3, 1, 1), "b": d.f(4), "z": d.f(1, 4, 4, 4)}
    return "FusedConv", feeds, 1, {"activation": "Relu"}


# Attention.


def attention(d, **more):
    feeds = {"input": d.f(2, 3, 8), "weights": d.f(8, 24, scale=0.4), "bias": d.f(24), "mask": None, "past": None,
             "attention_bias": None}
    feeds.update(more)
    return feeds


@case
def attention_plain(d):
    return "Attention", attention(d), 1, {"num_heads": 2}


@case
def attention_raw_mask(d):
    return "Attention", attention(d, mask=np.array([[1, 1, 0], [1, 0, 0]], np.int32)), 1, {"num_heads": 2}


@case
def attention_all_hidden(d):
    mask = np.array([[0, 0, 0], [1, 0, 0]], np.int32)
    return "Attention", attention(d, mask=mask), 1, {"num_heads": 2, "unidirectional": 1}


@case
def attention_ends(d):
    return "Attention", attention(d, mask=np.array([2, 3], np.int32)), 1, {"num_heads": 2, "mask_filter_value": -3.4e38}


@case
def attention_ends_and_starts(d):
    return "Attention", attention(d, mask=np.array([3, 2, 1, 0], np.int32)), 1, {"num_heads": 4}


@case
def attention_rows(d):
    mask = np.tril(np.ones((3, 3), np.int32))[None].repeat(2, 0)
    return "Attention", attention(d, mask=mask), 1, {"num_heads": 2, "scale": 0.3}


@case
def attention_past(d):
    feeds = attention(d, past=d.f(2, 2, 2, 4, 4), mask=np.array([[1] * 7, [0, 0] + [1] * 5], np.int32))
    return "Attention", feeds, 2, {"num_heads": 2, "unidirectional": 1}


@case
def attention_bias(d):
    return "Attention", attention(d, attention_bias=d.f(1, 2, 3, 3)), 1, {"num_heads": 2}


@case
def attention_widths(d):
    feeds = attention(d, weights=d.f(8, 28, scale=0.4), bias=d.f(28))
    return "Attention", feeds, 1, {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 12]}


@case
def qattention(d):
    feeds = {
        "input": d.u8(2, 3, 8), "weight": d.i8(8, 24), "bias": d.f(24), "input_scale": scalar(0.01, np.float32),
        "weight_scale": d.scales(24), "mask": np.array([[1, 1, 0], [1, 0, 0]], np.int32),
        "input_zero": scalar(120, np.uint8), "weight_zero": np.zeros(24, np.int8), "past": None,
    }
    return "QAttention", feeds, 1, {"num_heads": 2}


@case
def qattention_past(d):
    feeds = {
        "input": d.u8(2, 3, 8), "weight": d.i8(8, 24), "bias": d.f(24), "input_scale": scalar(0.01, np.float32),
        "weight_scale": scalar(0.01, np.float32), "mask": None, "input_zero": scalar(120, np.uint8),
        "weight_zero": scalar(0, np.int8), "past": d.f(2, 2, 2, 1, 4),
    }
    return "QAttention", feeds, 2, {"num_heads": 2, "unidirectional": 1}


def heads(d, **more):
    feeds = {"query": d.f(2, 3, 8), "key": d.f(2, 5, 8), "value": d.f(2, 5, 8), "bias": None, "mask": None,
             "attention_bias": None, "past_key": None, "past_value": None}
    feeds.update(more)
    return feeds


@case
def multi_head(d):
    return "MultiHeadAttention", heads(d, bias=d.f(24)), 1, {"num_heads": 2}


@case
def multi_head_ends(d):
    feeds = heads(d, mask=np.array([2, 5], np.int32))
    return "MultiHeadAttention", feeds, 1, {"num_heads": 2, "mask_filter_value": -1e9}


@case
def multi_head_raw_mask(d):
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], np.int32)
    feeds = heads(d, mask=mask, attention_bias=d.f(1, 1, 3, 5), value=d.f(2, 5, 12), bias=d.f(28))
    return "MultiHeadAttention", feeds, 1, {"num_heads": 2, "scale": 0.4}


@case
def multi_head_rows(d):
    return "MultiHeadAttention", heads(d, mask=d.i32(2, 3, 5)), 1, {"num_heads": 2}


@case
def multi_head_cross_cache(d):
    feeds = heads(d, key=d.f(2, 2, 5, 4), value=d.f(2, 2, 5, 4), bias=d.f(24))
    return "MultiHeadAttention", feeds, 1, {"num_heads": 2}


@case
def multi_head_past(d):
    feeds = heads(d, key=d.f(2, 3, 8), value=d.f(2, 3, 8), past_key=d.f(2, 2, 4, 4), past_value=d.f(2, 2, 4, 4),
                  bias=d.f(24))
    return "MultiHeadAttention", feeds, 3, {"num_heads": 2, "unidirectional": 1}


@case
def multi_head_causal(d):
    feeds = heads(d, key=d.f(2, 3, 8), value=d.f(2, 3, 8))
    return "MultiHeadAttention", feeds, 1, {"num_heads": 2, "unidirectional": 1}


def group(d, s, past, lengths, total, **more):
    feeds = {
        "query": d.f(2, s, 64), "key": d.f(2, s, 32), "value": d.f(2, s, 32),
        "past_key": d.f(2, 2, past, 16) if past else None, "past_value": d.f(2, 2, past, 16) if past else None,
        "seqlens_k": np.array(lengths, np.int32), "total": scalar(total, np.int32), "cos": None, "sin": None,
        "position_ids": None, "attention_bias": None, "head_sink": None,
    }
    feeds.update(more)
    return feeds


def angles(rows, half):
    at = np.outer(np.arange(rows), 10000.0 ** (-np.arange(half) / half))
    return {"cos": np.cos(at).astype(np.float32), "sin": np.sin(at).astype(np.float32)}


GROUP = {"num_heads": 4, "kv_num_heads": 2}


@case
def group_first(d):
    return "GroupQueryAttention", group(d, 4, 0, [3, 3], 4), 3, GROUP


@case
def group_first_padded(d):
    feeds = group(d, 4, 0, [1, 3], 4, **angles(8, 8))
    return "GroupQueryAttention", feeds, 3, {**GROUP, "do_rotary": 1}


@case
def group_step(d):
    feeds = group(d, 1, 5, [3, 5], 6, **angles(8, 8))
    return "GroupQueryAttention", feeds, 3, {**GROUP, "do_rotary": 1, "rotary_interleaved": 1}


@case
def group_step_large_cache(d):
    feeds = group(d, 1, 8, [2, 5], 6, **angles(8, 8))
    return "GroupQueryAttention", feeds, 3, {**GROUP, "do_rotary": 1, "softcap": 2.0}


@case
def group_window(d):
    return "GroupQueryAttention", group(d, 1, 5, [5, 5], 6), 3, {**GROUP, "local_window_size": 3, "scale": 0.2}


@case
def group_packed(d):
    feeds = group(d, 4, 0, [3, 3], 4, query=d.f(2, 4, 128), key=None, value=None, **angles(8, 8))
    return "GroupQueryAttention", feeds, 3, {**GROUP, "do_rotary": 1}


@case
def group_partly_turned(d):
    feeds = group(d, 1, 5, [5, 5], 6, query=d.f(2, 1, 128), key=d.f(2, 1, 64), value=d.f(2, 1, 64),
                  past_key=d.f(2, 2, 5, 32), past_value=d.f(2, 2, 5, 32), **angles(8, 8))
    return "GroupQueryAttention", feeds, 3, {**GROUP, "do_rotary": 1}


@case
def group_sink(d):
    feeds = group(d, 1, 5, [5, 5], 6, head_sink=d.f(4))
    return "GroupQueryAttention", feeds, 3, GROUP


@case
def group_smooth(d):
    return "GroupQueryAttention", group(d, 1, 5, [5, 5], 6), 3, {**GROUP, "smooth_softmax": 1}


@case
def group_bias(d):
    feeds = group(d, 3, 0, [2, 2], 3, attention_bias=d.f(2, 1, 3, 3))
    return "GroupQueryAttention", feeds, 3, GROUP


@case
def rotary(d):
    feeds = {"x": d.f(2, 3, 16), "position_ids": np.array([[0, 1, 2], [3, 4, 5]], np.int64), **angles(8, 4)}
    return "RotaryEmbedding", feeds, 1, {}


@case
def rotary_interleaved(d):
    feeds = {"x": d.f(2, 2, 3, 8), "position_ids": np.array([2], np.int64), **angles(8, 4)}
    return "RotaryEmbedding", feeds, 1, {"interleaved": 1, "scale": 2.0}


@case
def rotary_partly(d):
    feeds = {"x": d.f(2, 3, 16), "position_ids": np.array([1], np.int64), **angles(8, 2)}
    return "RotaryEmbedding", feeds, 1, {"rotary_embedding_dim": 4, "num_heads": 2}


# Quantized operators.


def nbits(d, n, k, block, bits, **more):
    blocks = -(-k // block)
    feeds = {"a": d.f(2, 3, k), "b": d.u8(n, blocks, block * bits // 8), "scales": d.scales(n, blocks),
             "zero_points": None, "g_idx": None, "bias": None}
    feeds.update(more)
    return feeds


@case
def nbits4(d):
    return "MatMulNBits", nbits(d, 5, 40, 16, 4), 1, {"N": 5, "K": 40, "block_size": 16, "bits": 4}


@case
def nbits4_zero_points(d):
    feeds = nbits(d, 5, 96, 32, 4, zero_points=d.u8(5, 2), bias=d.f(5))
    return "MatMulNBits", feeds, 1, {"N": 5, "K": 96, "block_size": 32, "bits": 4}


@case
def nbits4_float_zero_points(d):
    feeds = nbits(d, 5, 96, 32, 4, zero_points=d.f(5, 3, scale=4))
    return "MatMulNBits", feeds, 1, {"N": 5, "K": 96, "block_size": 32, "bits": 4}


@case
def nbits4_groups(d):
    # onnxruntime 1.31 leaves zero points beside g_idx out, against its documentation: none here.
    feeds = nbits(d, 4, 64, 32, 4, g_idx=d.i32(64))
    return "MatMulNBits", feeds, 1, {"N": 4, "K": 64, "block_size": 32, "bits": 4}


@case
def nbits8(d):
    feeds = nbits(d, 6, 64, 32, 8, zero_points=d.u8(6, 2))
    return "MatMulNBits", feeds, 1, {"N": 6, "K": 64, "block_size": 32, "bits": 8}


@case
def nbits2(d):
    feeds = nbits(d, 6, 96, 32, 2, zero_points=d.u8(6, 1))
    return "MatMulNBits", feeds, 1, {"N": 6, "K": 96, "block_size": 32, "bits": 2}


def u8(value):
    return scalar(value, np.uint8)


def i8(value):
    return scalar(value, np.int8)


def f32(value):
    return scalar(value, np.float32)


@case
def qlinear_add(d):
    feeds = {"a": d.u8(2, 3, 4), "as": f32(0.02), "az": u8(120), "b": d.u8(3, 1), "bs": f32(0.03), "bz": u8(90),
             "cs": f32(0.04), "cz": u8(110)}
    return "QLinearAdd", feeds, 1, {}


@case
def qlinear_add_signed(d):
    feeds = {"a": d.i8(2, 3), "as": f32(0.02), "az": i8(-3), "b": d.i8(3), "bs": f32(0.03), "bz": i8(9),
             "cs": f32(0.04), "cz": i8(11)}
    return "QLinearAdd", feeds, 1, {}


@case
def qlinear_mul(d):
    feeds = {"a": d.u8(2, 3, 4), "as": f32(0.02), "az": u8(120), "b": d.u8(2, 3, 4), "bs": f32(0.03), "bz": u8(90),
             "cs": f32(0.04), "cz": u8(110)}
    return "QLinearMul", feeds, 1, {}


@case
def qlinear_where(d):
    feeds = {"c": d.i32(2, 3).astype(bool), "x": d.u8(2, 3), "xs": f32(0.02), "xz": u8(120), "y": d.u8(2, 3),
             "ys": f32(0.03), "yz": u8(90), "zs": f32(0.04), "zz": u8(110)}
    return "QLinearWhere", feeds, 1, {}


@case
def qlinear_concat(d):
    feeds = {"ys": f32(0.04), "yz": u8(110), "a": d.u8(2, 3), "as": f32(0.02), "az": u8(120), "b": d.u8(2, 2),
             "bs": f32(0.03), "bz": u8(90)}
    return "QLinearConcat", feeds, 1, {"axis": 1}


@case
def qlinear_sigmoid(d):
    feeds = {"x": d.u8(2, 9), "xs": f32(0.04), "xz": u8(120), "ys": f32(1 / 255), "yz": u8(0)}
    return "QLinearSigmoid", feeds, 1, {}


@case
def qlinear_leaky_relu(d):
    feeds = {"x": d.i8(2, 9), "xs": f32(0.04), "xz": i8(5), "ys": f32(0.03), "yz": i8(-40)}
    return "QLinearLeakyRelu", feeds, 1, {"alpha": 0.2}


@case
def qlinear_softmax(d):
    feeds = {"x": d.u8(2, 3, 9), "xs": f32(0.02), "xz": u8(120), "ys": f32(1 / 256), "yz": u8(0)}
    return "QLinearSoftmax", feeds, 1, {"axis": -1, "opset": 13}


@case
def qlinear_softmax_flat(d):
    feeds = {"x": d.u8(2, 3, 4), "xs": f32(0.02), "xz": u8(120), "ys": f32(1 / 256), "yz": u8(0)}
    return "QLinearSoftmax", feeds, 1, {"axis": 1, "opset": 11}


def pool(d, *shape):
    return {"x": d.u8(*shape), "xs": f32(0.04), "xz": u8(120), "ys": f32(0.03), "yz": u8(100)}


@case
def qlinear_average_pool(d):
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1}
    return "QLinearAveragePool", pool(d, 1, 3, 6, 6), 1, attrs


@case
def qlinear_average_pool_last(d):
    attrs = {"kernel_shape": [2, 2], "ceil_mode": 1, "channels_last": 1, "strides": [2, 2]}
    return "QLinearAveragePool", pool(d, 1, 5, 5, 3), 1, attrs


@case
def qlinear_global_average_pool(d):
    return "QLinearGlobalAveragePool", pool(d, 2, 3, 4, 4), 1, {"channels_last": 0}


@case
def qlinear_global_average_pool_last(d):
    return "QLinearGlobalAveragePool", pool(d, 2, 4, 4, 3), 1, {"channels_last": 1}


@case
def qlinear_conv_last(d):
    feeds = {"x": d.u8(1, 5, 5, 3), "xs": f32(0.02), "xz": u8(120), "w": d.i8(4, 3, 3, 3), "ws": d.scales(4),
             "wz": np.zeros(4, np.int8), "ys": f32(0.05), "yz": u8(110), "b": d.i32(4, low=-500, high=500)}
    return "QLinearConv", feeds, 1, {"channels_last": 1, "pads": [1, 1, 1, 1]}


@case
def nhwc_max_pool(d):
    return "NhwcMaxPool", {"x": d.u8(1, 5, 5, 3)}, 1, {"kernel_shape": [3, 3], "strides": [2, 2]}


def qgemm_feeds(d):
    return {"a": d.u8(3, 8), "as": f32(0.02), "az": u8(110), "b": d.i8(5, 8), "bs": d.scales(5),
            "bz": np.zeros(5, np.int8), "c": d.i32(5, low=-900, high=900), "ys": None, "yz": None}


@case
def qgemm(d):
    feeds = {**qgemm_feeds(d), "ys": f32(0.03), "yz": u8(99)}
    return "QGemm", feeds, 1, {"transB": 1, "alpha": 1.0}


@case
def qgemm_float(d):
    return "QGemm", qgemm_feeds(d), 1, {"transB": 1, "alpha": 0.5}


@case
def dynamic_quantize_matmul(d):
    feeds = {"a": d.f(2, 3, 8), "b": d.i8(8, 5), "bs": d.scales(5), "bz": None, "bias": d.f(5)}
    return "DynamicQuantizeMatMul", feeds, 1, {}


@case
def dynamic_quantize_matmul_zero(d):
    feeds = {"a": d.f(3, 8, scale=5), "b": d.u8(8, 5), "bs": f32(0.02), "bz": u8(120), "bias": None}
    return "DynamicQuantizeMatMul", feeds, 1, {}


@case
def matmul_integer_to_float(d):
    feeds = {"a": d.u8(2, 3, 8), "b": d.i8(8, 5), "as": f32(0.02), "bs": d.scales(5), "az": u8(100),
             "bz": d.i8(5), "bias": d.f(5)}
    return "MatMulIntegerToFloat", feeds, 1, {}


def lstm(d, directions, scale, zero, **more):
    steps, batch, inputs, hidden = 5, 2, 6, 4
    state = (directions, batch, hidden)
    return {
        "x": d.f(steps, batch, inputs), "w": d.i8(directions, inputs, 4 * hidden),
        "r": d.i8(directions, hidden, 4 * hidden), "b": d.f(directions, 8 * hidden, scale=0.3), "lengths": None,
        "h": d.f(*state, scale=0.5), "c": d.f(*state, scale=0.5), "p": None,
        "ws": d.scales(*scale) / 2, "wz": zero, "rs": d.scales(*scale) / 2, "rz": zero,
    } | more


@case
def dynamic_quantize_lstm(d):
    return "DynamicQuantizeLSTM", lstm(d, 1, [1], d.i8(1, low=0, high=1)), 3, {"hidden_size": 4}


@case
def dynamic_quantize_lstm_both(d):
    feeds = lstm(d, 2, [2], d.i8(2, low=-9, high=9), lengths=np.array([5, 3], np.int32))
    return "DynamicQuantizeLSTM", feeds, 3, {"hidden_size": 4, "direction": "bidirectional"}


@case
def dynamic_quantize_lstm_columns(d):
    feeds = lstm(d, 2, [2, 16], d.i8(2, 16, low=0, high=1), p=d.f(2, 12, scale=0.3))
    return "DynamicQuantizeLSTM", feeds, 3, {"hidden_size": 4, "direction": "bidirectional"}


@case
def quantize_linear(d):
    feeds = {"x": d.f(2, 3, 4), "scale": d.scales(3), "zero": d.u8(3)}
    return "QuantizeLinear", feeds, 1, {"axis": 1}


@case
def quantize_linear_signed16(d):
    return "QuantizeLinear", {"x": d.f(2, 3), "scale": f32(0.0001), "zero": scalar(-7, np.int16)}, 1, {}


@case
def dequantize_linear(d):
    feeds = {"x": d.i8(2, 3, 4), "scale": d.scales(4), "zero": d.i8(4)}
    return "DequantizeLinear", feeds, 1, {"axis": -1}


@case
def dequantize_linear_wide(d):
    feeds = {"x": d.i32(2, 3, low=-5000, high=5000), "scale": f32(0.001), "zero": None}
    return "DequantizeLinear", feeds, 1, {}


@case
def gather_block_quantized(d):
    feeds = {"data": d.u8(6, 32), "indices": np.array([[4, 0], [5, 1]], np.int64), "scales": d.scales(6, 2),
             "zero_points": d.u8(6, 2)}
    return "GatherBlockQuantized", feeds, 1, {"block_size": 16, "bits": 8, "quantize_axis": 1, "gather_axis": 0}


@case
def gather_block_quantized4(d):
    feeds = {"data": d.u8(6, 16), "indices": np.array([4, 0], np.int64), "scales": d.scales(6, 2),
             "zero_points": d.u8(6, 1)}
    return "GatherBlockQuantized", feeds, 1, {"block_size": 16, "bits": 4, "quantize_axis": 1, "gather_axis": 0}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, make in CASES.items():
        op, feeds, outputs, attrs, *domain = make(Draw(name))
        try:
            model = build(name, op, feeds, outputs, attrs, *(domain or [MS]))
        except Exception as error:  # the operator's form has no CPU kernel: say so, it is no case
            print(f"{name}: {str(error).splitlines()[0][:200]}")
            continue
        onnx.save(model, FOLDER / f"{name}.onnx")
    print(f"{len(list(FOLDER.glob('*.onnx')))} cases")


if __name__ == "__main__":
    main()
