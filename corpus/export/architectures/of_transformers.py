"""transformers: text encoders, decoders and both, vision, audio and models of two modalities. Two layers each."""

from torch import nn

from architectures import SIZES, TARGETS, Architecture, Input, ids, mask

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
TEXT = SMALL | {"vocab_size": 96, "max_position_embeddings": 64, "pad_token_id": 0}
# Ids of special tokens must lie within the small vocabulary.
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2}
PAIR = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
PAIR |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 96}
PAIR |= {"max_position_embeddings": 64, "pad_token_id": 0, "decoder_start_token_id": 2, "use_cache": False} | SPECIAL
T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 96, "use_cache": False}
SPEECH = SMALL | {"conv_dim": (32, 32, 32), "conv_stride": (5, 4, 4), "conv_kernel": (10, 8, 4)}
SPEECH |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_feat_extract_layers": 3}
SAMPLES = (Input("input_values", ("batch", 3200)),)


def _of(name: str, model: str, family: str, inputs: tuple[Input, ...], **options: object) -> Architecture:
    """`model` is a class of transformers; its configuration gets `options`."""

    def build() -> nn.Module:
        import transformers

        kind = getattr(transformers, model)
        config = kind.config_class(**options)
        return kind(config)

    return Architecture(name, "transformers", family, build, inputs)


def _encoder(name: str, model: str, **options: object) -> Architecture:
    return _of(name, model, "encoder", (ids(), mask()), **(TEXT | options))


def _decoder(name: str, model: str, **options: object) -> Architecture:
    return _of(name, model, "decoder", (ids(), mask()), **(TEXT | SPECIAL | {"use_cache": False} | options))


def _pair(name: str, model: str, **options: object) -> Architecture:
    inputs = (ids(), mask(), ids("decoder_input_ids", TARGETS))
    return _of(name, model, "encoder-decoder", inputs, **options)


def _vision(name: str, model: str, size: int = 64, **options: object) -> Architecture:
    inputs = (Input("pixel_values", ("batch", 3, size, size)),)
    return _of(name, model, "vit", inputs, **(SMALL | {"image_size": size} | options))


WIDE = {"vocab_size": 96, "pad_token_id": 0, "d_model": 64, "n_head": 4, "d_inner": 128}
STAGES = {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1]}
WINDOWS = {"image_size": 64, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
PIXELS = (Input("pixel_values", ("batch", 3, 64, 64)),)
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 128}
GQA = {"num_key_value_heads": 2}
PROPHET = {"num_encoder_layers": 2, "num_decoder_layers": 2, "num_encoder_attention_heads": 4, "vocab_size": 96}
PROPHET |= {"num_decoder_attention_heads": 4, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "use_cache": False}
PROPHET |= {"max_position_embeddings": 64, "pad_token_id": 0, "decoder_start_token_id": 2, "ngram": 2}
LED = {key: value for key, value in PAIR.items() if key != "max_position_embeddings"}
LED |= {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64, "attention_window": 4}
FSMT = PAIR | {"langs": ["en", "de"], "src_vocab_size": 96, "tgt_vocab_size": 96}
HIFIGAN = {"model_in_dim": 20, "upsample_initial_channel": 32, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8]}
DAC = {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "decoder_hidden_size": 32, "upsampling_ratios": [4, 2]}
DAC |= {"n_codebooks": 2, "codebook_size": 32, "codebook_dim": 4, "hidden_size": 32}
SERIES = {"num_input_channels": 3, "context_length": 64, "patch_length": 8, "patch_stride": 8, "prediction_length": 16}
MIXER = SERIES | {"d_model": 16, "num_layers": 2}
SERIES |= {"d_model": 32, "num_attention_heads": 4, "ffn_dim": 64, "num_hidden_layers": 2}

ARCHITECTURES = [
    _encoder("bert", "BertModel"),
    _encoder("roberta", "RobertaForMaskedLM"),
    _encoder("distilbert", "DistilBertModel", dim=64, n_layers=2, n_heads=4, hidden_dim=128),
    _encoder("albert", "AlbertModel", embedding_size=32),
    _encoder("electra", "ElectraModel", embedding_size=32),
    _encoder("deberta_v2", "DebertaV2Model", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8),
    _encoder("mpnet", "MPNetModel"),
    _encoder("modernbert", "ModernBertModel", **SPECIAL, cls_token_id=1, sep_token_id=2, local_attention=8),
    _encoder("convbert", "ConvBertModel", embedding_size=64),
    _encoder("mobilebert", "MobileBertModel", embedding_size=32, intra_bottleneck_size=32, true_hidden_size=32),
    _encoder("roformer", "RoFormerModel", embedding_size=64),
    _encoder("esm", "EsmModel", position_embedding_type="rotary", mask_token_id=3),
    _encoder("squeezebert", "SqueezeBertModel", embedding_size=64),
    _of("funnel", "FunnelModel", "encoder", (ids(), mask()), **WIDE, d_head=16, block_sizes=[1, 1]),
    _of("xlnet", "XLNetModel", "encoder", (ids(), mask()), **WIDE, n_layer=2),
    _decoder("gpt2", "GPT2LMHeadModel", **GPT2),
    _decoder("gpt_neo", "GPTNeoForCausalLM", num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]),
    _decoder("gpt_neox", "GPTNeoXForCausalLM"),
    _decoder("gptj", "GPTJForCausalLM", **GPT2, rotary_dim=8),
    _decoder("opt", "OPTForCausalLM", ffn_dim=128, word_embed_proj_dim=64),
    _decoder("bloom", "BloomForCausalLM", n_layer=2, n_head=4),
    _decoder("llama", "LlamaForCausalLM", **GQA),
    _decoder("mistral", "MistralForCausalLM", **GQA, sliding_window=6),
    _decoder("qwen2", "Qwen2ForCausalLM", **GQA),
    _decoder("qwen3", "Qwen3ForCausalLM", **GQA, head_dim=16),
    _decoder("gemma2", "Gemma2ForCausalLM", **GQA, head_dim=16, query_pre_attn_scalar=16, sliding_window=6),
    _decoder("phi", "PhiForCausalLM"),
    _decoder("phi3", "Phi3ForCausalLM", **GQA),
    _decoder("falcon", "FalconForCausalLM", new_decoder_architecture=True, num_kv_heads=2),
    _decoder("mpt", "MptForCausalLM", d_model=64, n_heads=4, n_layers=2, max_seq_len=64),
    _decoder("stablelm", "StableLmForCausalLM", **GQA),
    _decoder("olmo2", "Olmo2ForCausalLM", **GQA),
    _decoder("cohere", "CohereForCausalLM", **GQA),
    _decoder("granite", "GraniteForCausalLM", **GQA),
    _decoder("mixtral", "MixtralForCausalLM", **GQA, num_local_experts=4),
    _decoder("mamba", "MambaForCausalLM", state_size=8),
    _decoder("gpt_oss", "GptOssForCausalLM", **GQA, head_dim=16, num_local_experts=4, num_experts_per_tok=2),
    _pair("t5", "T5ForConditionalGeneration", **T5, decoder_start_token_id=0),
    _pair("umt5", "UMT5ForConditionalGeneration", **T5, decoder_start_token_id=0),
    _pair("bart", "BartForConditionalGeneration", **PAIR, forced_eos_token_id=2),
    _pair("pegasus", "PegasusForConditionalGeneration", **PAIR, forced_eos_token_id=2),
    _pair("marian", "MarianMTModel", **PAIR, forced_eos_token_id=2),
    _pair("m2m_100", "M2M100ForConditionalGeneration", **PAIR),
    _vision("vit_hf", "ViTModel", patch_size=16),
    _vision("beit_hf", "BeitModel", patch_size=16, use_relative_position_bias=True),
    _vision("dinov2", "Dinov2Model", patch_size=16, use_swiglu_ffn=True),
    _vision("dinov3", "DINOv3ViTModel", patch_size=16, num_register_tokens=2),
    _of("swin_hf", "SwinModel", "vit", PIXELS, **WINDOWS),
    _of("segformer", "SegformerForSemanticSegmentation", "vit", PIXELS, **STAGES),
    _vision("yolos", "YolosForObjectDetection", size=64, patch_size=16, image_size=[64, 64], num_detection_tokens=5),
    _vision("siglip_vision", "SiglipVisionModel", patch_size=16),
    _of(
        "clip_text",
        "CLIPTextModelWithProjection",
        "encoder",
        (ids(), mask()),
        **(TEXT | SPECIAL | {"max_position_embeddings": SIZES["seq"] + 21, "projection_dim": 32}),
    ),
    _of("wav2vec2", "Wav2Vec2Model", "audio", SAMPLES, **SPEECH),
    _of("wav2vec2_layer_norm", "Wav2Vec2Model", "audio", SAMPLES, **SPEECH, feat_extract_norm="layer"),
    _of("hubert", "HubertModel", "audio", SAMPLES, **SPEECH, do_stable_layer_norm=True),
    _of("wavlm", "WavLMModel", "audio", SAMPLES, **SPEECH),
    _of("sew", "SEWModel", "audio", SAMPLES, **SPEECH, squeeze_factor=2),
    _of(
        "whisper",
        "WhisperModel",
        "audio",
        (Input("input_features", ("batch", 20, 40)), ids("decoder_input_ids", TARGETS)),
        **(PAIR | {"num_mel_bins": 20, "max_source_positions": 20, "max_target_positions": 32}),
    ),
    _of(
        "audio_spectrogram_transformer",
        "ASTModel",
        "audio",
        (Input("input_values", ("batch", 64, 32)),),
        **SMALL,
        max_length=64,
        num_mel_bins=32,
    ),
    _of(
        "encodec", "EncodecModel", "audio", (Input("input_values", ("batch", 1, 1600)),), num_filters=8, hidden_size=32
    ),
    _encoder("camembert", "CamembertForTokenClassification"),
    _encoder("ernie", "ErnieModel", use_task_id=True),
    _encoder("nystromformer", "NystromformerModel", num_landmarks=4, segment_means_seq_len=4),
    _encoder("layoutlm", "LayoutLMModel"),
    _encoder("fnet", "FNetModel"),
    _encoder("megatron_bert", "MegatronBertModel"),
    _encoder("rembert", "RemBertModel", input_embedding_size=32),
    _encoder("xlm_roberta_xl", "XLMRobertaXLModel"),
    _decoder("olmo", "OlmoForCausalLM", **GQA),
    _decoder("gemma", "GemmaForCausalLM", **GQA, head_dim=16),
    _decoder("gemma3_text", "Gemma3ForCausalLM", **GQA, head_dim=16, query_pre_attn_scalar=16, sliding_window=6),
    _decoder("persimmon", "PersimmonForCausalLM"),
    _decoder("gpt_bigcode", "GPTBigCodeForCausalLM", **GPT2),
    _decoder("codegen", "CodeGenForCausalLM", **GPT2, rotary_dim=8),
    _decoder("xglm", "XGLMForCausalLM", d_model=64, num_layers=2, attention_heads=4, ffn_dim=128),
    _decoder("biogpt", "BioGptForCausalLM"),
    _decoder("starcoder2", "Starcoder2ForCausalLM", **GQA),
    _decoder("nemotron", "NemotronForCausalLM", **GQA),
    _decoder("glm", "GlmForCausalLM", **GQA, head_dim=16),
    _decoder("smollm3", "SmolLM3ForCausalLM", **GQA),
    _decoder("ctrl", "CTRLModel", n_embd=64, n_layer=2, n_head=4, n_positions=64, dff=128),
    _decoder("rwkv", "RwkvForCausalLM", attention_hidden_size=64, context_length=64),
    _decoder("mamba2", "Mamba2ForCausalLM", state_size=8, num_heads=8, head_dim=16, n_groups=1, chunk_size=8),
    _decoder("recurrent_gemma", "RecurrentGemmaForCausalLM", lru_width=64, attention_window_size=8),
    _pair("blenderbot", "BlenderbotForConditionalGeneration", **PAIR, forced_eos_token_id=2),
    _pair("prophetnet", "ProphetNetModel", hidden_size=64, **(PROPHET | SPECIAL)),
    _pair("led", "LEDModel", **LED),
    _pair("fsmt", "FSMTModel", **(FSMT | SPECIAL)),
    _vision("dinov2_registers", "Dinov2WithRegistersModel", patch_size=16, num_register_tokens=2),
    _vision("deit_hf", "DeiTForImageClassification", patch_size=16),
    _vision("data2vec_vision", "Data2VecVisionModel", patch_size=16, use_relative_position_bias=True),
    _vision("ijepa", "IJepaModel", patch_size=16),
    _vision("clip_vision", "CLIPVisionModel", patch_size=16),
    _of("poolformer_hf", "PoolFormerModel", "vit", PIXELS, **STAGES),
    _of("regnet_hf", "RegNetModel", "cnn", PIXELS, embedding_size=16, **STAGES),
    _of("pvt_hf", "PvtModel", "vit", PIXELS, image_size=64, num_attention_heads=[1, 2, 4, 4], **STAGES),
    _of("mobilevitv2", "MobileViTV2Model", "vit", PIXELS, image_size=64, n_attn_blocks=[1, 1, 1]),
    _of("swin2sr", "Swin2SRForImageSuperResolution", "vit", PIXELS, **WINDOWS, upscale=2),
    _of("focalnet_hf", "FocalNetModel", "vit", PIXELS, image_size=64, embed_dim=16, depths=[1, 1, 1, 1]),
    _of("superpoint", "SuperPointForKeypointDetection", "detection", PIXELS, encoder_hidden_sizes=[16, 16, 32, 32]),
    _of("vitdet", "VitDetModel", "vit", PIXELS, **SMALL, image_size=64, window_block_indices=[0], window_size=3),
    _of("unispeech", "UniSpeechModel", "audio", SAMPLES, **SPEECH),
    _of("data2vec_audio", "Data2VecAudioModel", "audio", SAMPLES, **SPEECH, mask_time_prob=0.0),
    _of("sew_d", "SEWDModel", "audio", SAMPLES, **SPEECH, squeeze_factor=2),
    _of("hifigan", "SpeechT5HifiGan", "audio", (Input("spectrogram", ("batch", "seq", 20)),), **HIFIGAN),
    _of("dac", "DacModel", "audio", (Input("input_values", ("batch", 1, 640)),), **DAC),
    _of("patchtst", "PatchTSTForPrediction", "encoder", (Input("past_values", ("batch", 64, 3)),), **SERIES),
    _of("patchtsmixer", "PatchTSMixerForPrediction", "encoder", (Input("past_values", ("batch", 64, 3)),), **MIXER),
]
