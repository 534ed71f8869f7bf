# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Small configurations of many architectures of `transformers`, each exported in the forms that its kind has."""
from typing import NamedTuple


class Architecture(NamedTuple):
    """A model to export."""

    kind: str  # a key of FORMS
    config: dict = {}
    type: str = ""  # model_type where it is not the name
    model: str = ""  # class of `transformers` where it is not the Auto class of the kind
    image: tuple = (3, 32, 32)
    dynamic_image: bool = False  # height and width are dynamic, too
    samples: int = 1600  # of audio
    sizes: tuple = ()  # where those of the form do not fit
    example: dict = {}  # sizes of the example inputs, where those of the form do not fit


VOCABULARY = 100
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**TEXT, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
SEQ2SEQ = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
IMAGE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
AUDIO = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 32,
}
CLIP_TEXT = {**TEXT, "projection_dim": 16}

ARCHITECTURES = {
    # Encoders of text.
    "distilbert": Architecture("text", TEXT),
    "albert": Architecture("text", {**TEXT, "embedding_size": 16}),
    "electra": Architecture("text", {**TEXT, "embedding_size": 16}),
    "deberta": Architecture(
        "text",
        {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16, "type_vocab_size": 0},
    ),
    "deberta-v2": Architecture(
        "text",
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "conv_kernel_size": 3,
        },
    ),
    "mpnet": Architecture("text", TEXT),
    "xlm-roberta": Architecture("text", {**TEXT, "max_position_embeddings": 140, "type_vocab_size": 1}),
    "camembert": Architecture("text", {**TEXT, "max_position_embeddings": 140}),
    "modernbert": Architecture(
        "text", {**TEXT, "local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2}
    ),
    "roformer": Architecture("text", {**TEXT, "embedding_size": 16}),
    "rembert": Architecture("text", {**TEXT, "input_embedding_size": 16, "output_embedding_size": 16}),
    "esm": Architecture("text", {**TEXT, "position_embedding_type": "rotary", "mask_token_id": 3, "token_dropout": True}),
    "funnel": Architecture(
        "text",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [1, 1], "num_decoder_layers": 1},
    ),
    "fnet": Architecture("text", {**TEXT, "use_tpu_fourier_optimizations": False}),
    "longformer": Architecture("text", {**TEXT, "attention_window": [8, 8], "max_position_embeddings": 140}),
    "big_bird": Architecture("text", {**TEXT, "attention_type": "original_full"}),
    "nystromformer": Architecture("text", {**TEXT, "num_landmarks": 4, "segment_means_seq_len": 8}),
    "convbert": Architecture("text", {**TEXT, "embedding_size": 16, "conv_kernel_size": 3}),
    "squeezebert": Architecture("text", {**TEXT, "embedding_size": 32}),
    "mobilebert": Architecture(
        "text", {**TEXT, "embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2}
    ),
    "xlnet": Architecture("text", {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    "layoutlm": Architecture("layout", TEXT),
    "canine": Architecture("text", {**TEXT, "num_hash_buckets": 64, "local_transformer_stride": 16, "downsampling_rate": 2}),
    "nomic_bert": Architecture("text", TEXT),
    "eurobert": Architecture("text", GROUPED),
    # Decoders.
    "gpt_neox": Architecture("decoder", TEXT),
    "gptj": Architecture("decoder", {**TEXT, "rotary_dim": 4}),
    "gpt_neo": Architecture(
        "decoder",
        {**TEXT, "attention_types": [[["global", "local"], 1]], "window_size": 4},
    ),
    "gpt_bigcode": Architecture("decoder", {**TEXT, "multi_query": True}),
    "codegen": Architecture("decoder", {**TEXT, "rotary_dim": 4}),
    "opt": Architecture("decoder", {**TEXT, "ffn_dim": 64, "word_embed_proj_dim": 16}),
    "bloom": Architecture("decoder", TEXT),
    "mpt": Architecture("decoder", {"vocab_size": VOCABULARY, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 128}),
    "falcon": Architecture("decoder", {**TEXT, "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False}),
    "falcon_new": Architecture("decoder", {**GROUPED, "new_decoder_architecture": True, "num_kv_heads": 2}, type="falcon"),
    "falcon_alibi": Architecture("decoder", {**TEXT, "alibi": True, "multi_query": False}, type="falcon"),
    "phi": Architecture("decoder", {**TEXT, "partial_rotary_factor": 0.5}),
    "phi3": Architecture("decoder", {**GROUPED, "sliding_window": 6}),
    "gemma": Architecture("decoder", {**GROUPED, "num_key_value_heads": 1, "head_dim": 8}),
    "gemma2": Architecture("decoder", {**GROUPED, "head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gemma3_text": Architecture(
        "decoder",
        {
            **GROUPED,
            "head_dim": 8,
            "sliding_window": 6,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "stablelm": Architecture("decoder", {**GROUPED, "partial_rotary_factor": 0.25, "use_qkv_bias": True}),
    "starcoder2": Architecture("decoder", {**GROUPED, "sliding_window": 6}),
    "qwen3": Architecture("decoder", {**GROUPED, "head_dim": 8}),
    "olmo": Architecture("decoder", {**GROUPED, "clip_qkv": 4.0}),
    "olmo2": Architecture("decoder", GROUPED),
    "cohere": Architecture("decoder", {**GROUPED, "use_qk_norm": True}),
    "cohere2": Architecture("decoder", {**GROUPED, "sliding_window": 6}),
    "granite": Architecture("decoder", {**GROUPED, "logits_scaling": 2.0, "residual_multiplier": 0.5}),
    "smollm3": Architecture("decoder", GROUPED),
    "persimmon": Architecture("decoder", TEXT),
    "biogpt": Architecture("decoder", TEXT),
    "xglm": Architecture(
        "decoder", {"vocab_size": VOCABULARY, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 128}
    ),
    "ctrl": Architecture("decoder", {"vocab_size": VOCABULARY, "n_positions": 128, "n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4}),
    "openai-gpt": Architecture("decoder_nocache", {"vocab_size": VOCABULARY, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "helium": Architecture("decoder", {**GROUPED, "head_dim": 8}),
    "glm": Architecture("decoder", {**GROUPED, "head_dim": 8}),
    "nemotron": Architecture("decoder", {**GROUPED, "partial_rotary_factor": 0.5}),
    "exaone4": Architecture("decoder", {**GROUPED, "sliding_window": 6, "sliding_window_pattern": 2}),
    "bitnet": Architecture("decoder", GROUPED),
    "diffllama": Architecture("decoder", GROUPED),
    "mixtral": Architecture("decoder", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": Architecture("decoder", {**EXPERTS, "shared_expert_intermediate_size": 32, "decoder_sparse_step": 1}),
    "qwen3_moe": Architecture("decoder", {**EXPERTS, "head_dim": 8, "decoder_sparse_step": 1}),
    "olmoe": Architecture("decoder", EXPERTS),
    "phimoe": Architecture("decoder", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": Architecture("decoder", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "jetmoe": Architecture(
        "decoder", {**TEXT, "num_key_value_heads": 2, "kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "dbrx": Architecture(
        "decoder",
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 128,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
        },
    ),
    "gpt_oss": Architecture(
        "decoder", {**GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 6}
    ),
    "deepseek_v2": Architecture(
        "decoder",
        {
            **TEXT,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "head_dim": 8,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    "deepseek_v3": Architecture(
        "decoder",
        {
            **TEXT,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
        },
    ),
    "mamba": Architecture("decoder_nocache", {**TEXT, "state_size": 4}),
    "mamba2": Architecture(
        "decoder_nocache", {**TEXT, "state_size": 4, "num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 2, "chunk_size": 8}
    ),
    "rwkv": Architecture("decoder_nocache", {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 64}),
    "recurrent_gemma": Architecture("decoder_nocache", {**GROUPED, "lru_width": 32, "attention_window_size": 16, "num_hidden_layers": 3}),
    # Encoders and decoders of text.
    "t5": Architecture("seq2seq", T5),
    "t5_gated": Architecture("seq2seq", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, type="t5"),
    "mt5": Architecture("seq2seq", T5),
    "umt5": Architecture("seq2seq", T5),
    "longt5": Architecture("seq2seq", {**T5, "local_radius": 4, "global_block_size": 4}),
    "switch_transformers": Architecture("seq2seq", {**T5, "num_experts": 4, "expert_capacity": 64, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}),
    "bart": Architecture("seq2seq", SEQ2SEQ),
    "mbart": Architecture("seq2seq", SEQ2SEQ),
    "pegasus": Architecture("seq2seq", SEQ2SEQ),
    "m2m_100": Architecture("seq2seq", SEQ2SEQ),
    "marian": Architecture("seq2seq", SEQ2SEQ),
    "blenderbot": Architecture("seq2seq", SEQ2SEQ),
    "led": Architecture("seq2seq", {**SEQ2SEQ, "attention_window": 8, "max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 128}),
    "whisper": Architecture(
        "speech2text",
        {**SEQ2SEQ, "num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 128, "begin_suppress_tokens": None},
    ),
    # Vision.
    "vit": Architecture("image", IMAGE),
    "deit": Architecture("image", IMAGE),
    "beit": Architecture("image", {**IMAGE, "use_relative_position_bias": True, "use_mask_token": False}),
    "beit_shared": Architecture("image", {**IMAGE, "use_shared_relative_position_bias": True}, type="beit"),
    "data2vec-vision": Architecture("image", {**IMAGE, "use_relative_position_bias": True}),
    "dinov2": Architecture("image", IMAGE, dynamic_image=True, image=(3, 40, 48)),
    "dinov2_with_registers": Architecture("image", IMAGE),
    "dinov3_vit": Architecture("image", IMAGE, dynamic_image=True, image=(3, 40, 48)),
    "dinov3_convnext": Architecture("image", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, dynamic_image=True, image=(3, 64, 96)),
    "swin": Architecture(
        "image", {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    ),
    "swinv2": Architecture(
        "image", {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    ),
    "convnext": Architecture("image", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, dynamic_image=True, image=(3, 64, 96)),
    "convnextv2": Architecture("image", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, dynamic_image=True, image=(3, 64, 96)),
    "pvt": Architecture(
        "image",
        {"image_size": 64, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4], "sequence_reduction_ratios": [4, 2, 2, 1]},
        image=(3, 64, 64),
    ),
    "pvt_v2": Architecture(
        "image", {"image_size": 64, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}, image=(3, 64, 64)
    ),
    "segformer": Architecture(
        "image",
        {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 16},
        model="SegformerForSemanticSegmentation",
        image=(3, 64, 96),
        dynamic_image=True,
    ),
    "mobilevit": Architecture(
        "image",
        {"image_size": 64, "patch_size": 2, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]},
        image=(3, 64, 64),
    ),
    "mobilevitv2": Architecture("image", {"image_size": 64, "patch_size": 2, "width_multiplier": 0.125, "base_attn_unit_dims": [128, 192, 256]}, image=(3, 64, 64)),
    "levit": Architecture(
        "image", {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}, image=(3, 64, 64)
    ),
    "cvt": Architecture("image", {"embed_dim": [16, 24, 32], "num_heads": [1, 2, 4], "depth": [1, 1, 2]}, image=(3, 64, 64)),
    "poolformer": Architecture("image", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, image=(3, 64, 64)),
    "focalnet": Architecture("image", {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "hidden_sizes": [16, 32], "focal_levels": [2, 2], "focal_windows": [3, 3]}, image=(3, 64, 64)),
    "hiera": Architecture(
        "image", {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]}, image=(3, 64, 64)
    ),
    "vit_msn": Architecture("image", IMAGE),
    "ijepa": Architecture("image", IMAGE),
    "yolos": Architecture("image", {**IMAGE, "image_size": [32, 32], "num_detection_tokens": 5}, model="YolosForObjectDetection"),
    "detr": Architecture(
        "image",
        {
            **{k: v for k, v in SEQ2SEQ.items() if k.startswith(("d_model", "encoder", "decoder_"))},
            "num_queries": 6,
            "use_timm_backbone": False,
            "backbone": None,
            "use_pretrained_backbone": False,
            "backbone_config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic", "out_features": ["stage4"]},
        },
        model="DetrForObjectDetection",
        image=(3, 64, 96),
        dynamic_image=True,
    ),
    "rt_detr": Architecture(
        "image",
        {
            "d_model": 32,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [16, 16, 16],
            "feat_strides": [8, 16, 32],
            "encoder_ffn_dim": 32,
            "encoder_attention_heads": 2,
            "decoder_in_channels": [32, 32, 32],
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 32,
            "decoder_layers": 2,
            "num_queries": 10,
            "num_denoising": 0,
            "use_timm_backbone": False,
            "backbone_config": {"model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]},
        },
        model="RTDetrForObjectDetection",
        image=(3, 64, 64),
    ),
    "dpt": Architecture(
        "image",
        {**IMAGE, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8, "is_hybrid": False, "readout_type": "project"},
        model="DPTForDepthEstimation",
    ),
    "depth_anything": Architecture(
        "image",
        {
            "backbone_config": {"model_type": "dinov2", **IMAGE, "num_hidden_layers": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False, "patch_size": 14, "image_size": 42},
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
            "head_hidden_size": 8,
            "reassemble_hidden_size": 32,
            "patch_size": 14,
        },
        model="DepthAnythingForDepthEstimation",
        image=(3, 42, 42),
    ),
    "sam_vision_model": Architecture(
        "image", {"hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64, "patch_size": 8, "window_size": 3, "global_attn_indexes": [1], "num_pos_feats": 8}, image=(3, 64, 64)
    ),
    "siglip_vision_model": Architecture("image", IMAGE),
    "clip_vision_model": Architecture("image", IMAGE),
    "clip_text_model": Architecture("text", {**CLIP_TEXT, "eos_token_id": 99}),
    "siglip_text_model": Architecture("text", CLIP_TEXT, sizes=({"batch": 1, "sequence": 1}, {"batch": 3, "sequence": 33})),
    # Audio.
    "wav2vec2": Architecture("audio", AUDIO, model="Wav2Vec2ForCTC"),
    "wav2vec2_stable": Architecture("audio", {**AUDIO, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}, type="wav2vec2"),
    "hubert": Architecture("audio", AUDIO),
    "wavlm": Architecture("audio", {**AUDIO, "num_buckets": 32, "max_bucket_distance": 40}),
    "sew": Architecture("audio", {**AUDIO, "squeeze_factor": 2}),
    "sew-d": Architecture("audio", {**AUDIO, "squeeze_factor": 2, "position_buckets": 16, "max_position_embeddings": 64, "max_relative_positions": 64}),
    "unispeech-sat": Architecture("audio", AUDIO),
    "data2vec-audio": Architecture("audio", {**AUDIO, "conv_pos_kernel_size": 3}),
    "wav2vec2-conformer": Architecture("features", {**AUDIO, "position_embeddings_type": "relative"}, type="wav2vec2-conformer"),
    "audio-spectrogram-transformer": Architecture("spectrogram", {**IMAGE, "max_length": 64, "num_mel_bins": 32, "time_stride": 8, "frequency_stride": 8}),
    # Both.
    "clip": Architecture("image_text", {"text_config": {**CLIP_TEXT, "eos_token_id": 99}, "vision_config": IMAGE, "projection_dim": 16}),
    "siglip": Architecture("image_text", {"text_config": TEXT, "vision_config": IMAGE}),
    "blip": Architecture(
        "image_text",
        {"text_config": {**TEXT, "encoder_hidden_size": 32}, "vision_config": IMAGE, "projection_dim": 16, "image_text_hidden_size": 16},
    ),
    "vilt": Architecture("image_text", {**TEXT, **IMAGE, "vocab_size": VOCABULARY}),
    "llava": Architecture(
        "image_text",
        {
            "text_config": {"model_type": "llama", **GROUPED},
            "vision_config": {"model_type": "clip_vision_model", **IMAGE},
            "image_token_index": 99,
            "image_token_id": 99,
            "vision_feature_layer": -1,
        },
        model="LlavaForConditionalGeneration",
    ),
}
