# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Architectures of images, sound, series, and of these with text."""
from configurations import (
    AUDIO,
    Architecture,
    CLIP_TEXT,
    DETECTION,
    GROUPED,
    IMAGE,
    LONG,
    RESNET,
    SEQ2SEQ,
    TEXT,
    TOKENS,
    VIDEO,
    VOCABULARY,
)

MEDIA = {
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
    "siglip_text_model": Architecture(
        "text", CLIP_TEXT, model="SiglipTextModel", sizes=({"batch": 1, "sequence": 1}, {"batch": 3, "sequence": 33})
    ),
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
    # More.
    "vit_mae": Architecture(
        "image",
        {
            **IMAGE,
            "mask_ratio": 0.0,
            "decoder_num_hidden_layers": 1,
            "decoder_hidden_size": 16,
            "decoder_num_attention_heads": 4,
            "decoder_intermediate_size": 32,
        },
    ),
    "swin2sr": Architecture(
        "image",
        {
            "image_size": 16,
            "patch_size": 1,
            "embed_dim": 16,
            "depths": [2],
            "num_heads": [2],
            "window_size": 4,
            "upscale": 2,
            "num_channels": 3,
        },
        model="Swin2SRForImageSuperResolution",
        image=(3, 16, 16),
    ),
    "vitdet": Architecture(
        "image", {**IMAGE, "window_size": 2, "window_block_indices": [0], "use_relative_position_embeddings": True}
    ),
    "resnet": Architecture(
        "image", RESNET, model="AutoModelForImageClassification", image=(3, 64, 96), dynamic_image=True
    ),
    "regnet": Architecture(
        "image",
        {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "groups_width": 4},
        image=(3, 64, 96),
        dynamic_image=True,
    ),
    "bit": Architecture(
        "image",
        {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_groups": 4},
        image=(3, 64, 64),
    ),
    "mobilenet_v2": Architecture("image", {"depth_multiplier": 0.25, "image_size": 64}, image=(3, 64, 64)),
    "swiftformer": Architecture(
        "image", {"image_size": 64, "embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}, image=(3, 64, 64)
    ),
    "glpn": Architecture(
        "image",
        {
            "hidden_sizes": [8, 16, 16, 32],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 16,
        },
        model="GLPNForDepthEstimation",
        image=(3, 64, 64),
    ),
    "table-transformer": Architecture(
        "image", DETECTION, model="TableTransformerForObjectDetection", image=(3, 64, 64)
    ),
    "conditional_detr": Architecture(
        "image", DETECTION, model="ConditionalDetrForObjectDetection", image=(3, 64, 64)
    ),
    "deformable_detr": Architecture(
        "image",
        {
            **DETECTION,
            "backbone_config": {"model_type": "resnet", **RESNET, "out_features": ["stage2", "stage3", "stage4"]},
        },
        model="DeformableDetrForObjectDetection",
        image=(3, 64, 64),
    ),
    "upernet": Architecture(
        "image",
        {
            "backbone_config": {
                "model_type": "convnext",
                "hidden_sizes": [8, 16, 16, 32],
                "depths": [1, 1, 1, 1],
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            "hidden_size": 16,
            "auxiliary_in_channels": 16,
            "auxiliary_channels": 8,
            "num_labels": 5,
        },
        model="UperNetForSemanticSegmentation",
        image=(3, 64, 64),
    ),
    "vitpose": Architecture(
        "image",
        {
            "backbone_config": {
                "model_type": "vitpose_backbone",
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": [64, 48],
                "patch_size": [16, 16],
                "out_features": ["stage2"],
            },
            "num_labels": 5,
        },
        model="VitPoseForPoseEstimation",
        image=(3, 64, 48),
    ),
    "aimv2_vision_model": Architecture("image", IMAGE),
    "donut-swin": Architecture(
        "image", {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
    ),
    "timesformer": Architecture("named", VIDEO, inputs={"pixel_values": (["batch", 4, 3, 32, 32], None)}),
    "videomae": Architecture(
        "named", {**VIDEO, "tubelet_size": 2}, inputs={"pixel_values": (["batch", 4, 3, 32, 32], None)}
    ),
    "vivit": Architecture(
        "named", {**VIDEO, "tubelet_size": [2, 8, 8]}, inputs={"pixel_values": (["batch", 4, 3, 32, 32], None)}
    ),
    "unispeech": Architecture("audio", AUDIO),
    "wav2vec2-bert": Architecture(
        "named",
        {**AUDIO, "feature_projection_input_dim": 16},
        inputs={"input_features": (["batch", "frames", 16], None)},
    ),
    "encodec": Architecture(
        "named",
        {
            "hidden_size": 16,
            "num_filters": 4,
            "upsampling_ratios": [4, 2],
            "codebook_size": 16,
            "codebook_dim": 16,
            "num_lstm_layers": 1,
            "target_bandwidths": [24.0],
        },
        inputs={"input_values": (["batch", 1, "samples"], None)},
    ),
    "speecht5_hifigan": Architecture(
        "named",
        {
            "model_in_dim": 8,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 4],
            "upsample_kernel_sizes": [8, 8],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
        },
        model="SpeechT5HifiGan",
        inputs={"spectrogram": (["batch", "frames", 8], None)},
    ),
    "clipseg": Architecture(
        "image_text",
        {
            "text_config": {**CLIP_TEXT, "eos_token_id": 99},
            "vision_config": IMAGE,
            "projection_dim": 16,
            "extract_layers": [0, 1],
            "reduce_dim": 16,
            "decoder_num_attention_heads": 4,
            "decoder_intermediate_size": 32,
        },
        model="CLIPSegForImageSegmentation",
    ),
    "altclip": Architecture(
        "image_text", {"text_config": {**LONG, "project_dim": 16}, "vision_config": IMAGE, "projection_dim": 16}
    ),
    "chinese_clip": Architecture("image_text", {"text_config": TEXT, "vision_config": IMAGE, "projection_dim": 16}),
    "owlvit": Architecture(
        "image_text",
        {
            "text_config": {**CLIP_TEXT, "projection_dim": 32},
            "vision_config": {**IMAGE, "projection_dim": 32},
            "projection_dim": 32,
        },
        model="OwlViTForObjectDetection",
    ),
    "xclip": Architecture(
        "named",
        {
            "text_config": {**CLIP_TEXT, "projection_dim": 32, "eos_token_id": 99},
            "vision_config": {
                **VIDEO,
                "mit_hidden_size": 32,
                "mit_num_hidden_layers": 1,
                "mit_num_attention_heads": 4,
                "mit_intermediate_size": 64,
            },
            "projection_dim": 32,
        },
        inputs={**TOKENS, "pixel_values": (["batch", 4, 3, 32, 32], None)},
    ),
    "groupvit": Architecture(
        "image_text",
        {
            "text_config": {**CLIP_TEXT, "eos_token_id": 99},
            "vision_config": {**IMAGE, "depths": [1, 1], "num_group_tokens": [4, 0], "num_output_groups": [4, 2]},
            "projection_dim": 16,
            "projection_intermediate_dim": 32,
        },
    ),
    "git": Architecture("image_text", {**TEXT, "vision_config": IMAGE}, model="GitForCausalLM"),
    "blip-2": Architecture(
        "image_text",
        {
            "vision_config": IMAGE,
            "qformer_config": {**TEXT, "encoder_hidden_size": 32},
            "text_config": {"model_type": "opt", **TEXT, "ffn_dim": 64, "word_embed_proj_dim": 32},
            "num_query_tokens": 16,
            "image_token_index": 99,
            "image_token_id": 99,
        },
        model="Blip2ForConditionalGeneration",
    ),
    "paligemma": Architecture(
        "image_text",
        {
            "text_config": {"model_type": "gemma", **GROUPED, "head_dim": 8},
            "vision_config": {"model_type": "siglip_vision_model", **IMAGE},
            "image_token_index": 99,
            "image_token_id": 99,
            "projection_dim": 32,
        },
        model="PaliGemmaForConditionalGeneration",
    ),
    "gemma3": Architecture(
        "image_text",
        {
            "text_config": {**GROUPED, "head_dim": 8, "sliding_window": 6},
            "vision_config": IMAGE,
            "mm_tokens_per_image": 16,
            "image_token_index": 99,
            "image_token_id": 99,
        },
        model="Gemma3ForConditionalGeneration",
    ),
    "flava": Architecture(
        "image_text",
        {
            "text_config": TEXT,
            "image_config": IMAGE,
            "multimodal_config": {
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 4,
                "intermediate_size": 64,
            },
            "hidden_size": 32,
            "projection_dim": 16,
        },
    ),
    "layoutlmv3": Architecture(
        "named",
        {
            **LONG,
            "input_size": 32,
            "patch_size": 8,
            "coordinate_size": 4,
            "shape_size": 8,
            "rel_pos_bins": 8,
            "max_rel_pos": 32,
            "rel_2d_pos_bins": 8,
            "max_rel_2d_pos": 32,
        },
        inputs={**TOKENS, "bbox": (["batch", "sequence", 4], 6), "pixel_values": (["batch", 3, 32, 32], None)},
    ),
    "vision-encoder-decoder": Architecture(
        "named",
        {
            "encoder": {"model_type": "vit", **IMAGE},
            "decoder": {"model_type": "gpt2", **TEXT, "add_cross_attention": True, "is_decoder": True},
        },
        model="VisionEncoderDecoderModel",
        inputs={"pixel_values": (["batch", 3, 32, 32], None), "decoder_input_ids": (["batch", "target_sequence"], 95)},
    ),
    "patchtst": Architecture(
        "named",
        {
            "num_input_channels": 3,
            "context_length": 16,
            "patch_length": 4,
            "patch_stride": 4,
            "d_model": 16,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "ffn_dim": 32,
            "prediction_length": 4,
        },
        model="PatchTSTForPrediction",
        inputs={"past_values": (["batch", 16, 3], None)},
    ),
}
