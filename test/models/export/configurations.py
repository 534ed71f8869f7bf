# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What describes an architecture to export, and what many of them share."""
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
    inputs: dict = {}  # of kind `named`: dimensions, and the bound of integers or None


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
VIDEO = {**IMAGE, "num_frames": 4}
HYBRID = {**GROUPED, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 8}
LATENT = {
    **TEXT,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
ROUTED = {
    **GROUPED,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
DETECTION = {
    **{k: v for k, v in SEQ2SEQ.items() if k.startswith(("d_model", "encoder", "decoder_"))},
    "num_queries": 6,
    "use_timm_backbone": False,
    "backbone": None,
    "use_pretrained_backbone": False,
    "backbone_config": {"model_type": "resnet", **RESNET, "out_features": ["stage4"]},
}
LONG = {**TEXT, "max_position_embeddings": 140}  # whose positions start after the padding's
FLAUBERT = {"vocab_size": VOCABULARY, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 128}
TOKENS = {"input_ids": (["batch", "sequence"], 95), "attention_mask": (["batch", "sequence"], None)}
