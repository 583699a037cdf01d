"""timm: what vision research tried, from plain residual networks to attention in every shape."""

from torch import nn

from architectures import Architecture, images


def _timm(name: str, family: str, size: int = 64, **options: object) -> Architecture:
    def build():  # noqa: ANN202
        import timm

        return timm.create_model(name, pretrained=False, num_classes=10, **options)

    return Architecture(name, "timm", family, build, images(size))


def _vit(name: str, size: int = 64, **options: object) -> Architecture:
    return _timm(name, "vit", size, img_size=size, **options)


def _volo() -> nn.Module:
    from timm.models.volo import VOLO

    return VOLO([1, 1, 1, 1], 64, num_classes=10, embed_dims=[32, 64, 64, 64], num_heads=[2, 4, 4, 4])


ARCHITECTURES = [
    _timm("resnetv2_18", "cnn"),
    _timm("legacy_seresnet18", "cnn"),
    _timm("skresnet18", "cnn"),
    _timm("resnest14d", "cnn"),
    _timm("ghostnetv2_100", "cnn"),
    _timm("mobileone_s0", "cnn"),
    _timm("repvgg_a0", "cnn"),
    _timm("mobilenetv4_conv_small_035", "cnn"),
    _timm("mixnet_s", "cnn"),
    _timm("tf_efficientnetv2_b0", "cnn"),
    _timm("nfnet_l0", "cnn"),
    _timm("dla46_c", "cnn"),
    _timm("hrnet_w18_small", "cnn"),
    _timm("cspresnet50", "cnn"),
    _timm("res2net50_26w_4s", "cnn", layers=[1, 1, 1, 1]),
    _timm("convmixer_768_32", "cnn"),
    _timm("convnextv2_atto", "cnn", depths=[1, 1, 1, 1]),
    _timm("inception_next_atto", "cnn"),
    _timm("focalnet_tiny_srf", "cnn"),
    _timm("mambaout_femto", "cnn", depths=[1, 1, 1, 1]),
    _timm("poolformerv2_s12", "cnn"),
    _timm("sequencer2d_s", "rnn", img_size=64, layers=[1, 1, 1, 1]),
    _vit("mixer_s32_224"),
    _vit("gmlp_ti16_224"),
    _vit("deit_tiny_distilled_patch16_224", depth=2),
    _vit("beit_base_patch16_224", depth=2, embed_dim=64, num_heads=4),
    _vit("cait_xxs24_224", depth=2),
    _vit("xcit_nano_12_p16_224", depth=2),
    _vit("convit_tiny", depth=2, local_up_to_layer=1),
    _vit("eva02_tiny_patch14_224", depth=2, size=56),
    _vit("vit_relpos_small_patch16_224", depth=2, embed_dim=64, num_heads=4),
    _vit("samvit_base_patch16", depth=2, embed_dim=64, num_heads=4, global_attn_indexes=(1,)),
    _vit("swinv2_tiny_window8_256", embed_dim=32, num_heads=(2, 4), depths=(2, 2), window_size=4),
    _vit("hiera_tiny_224", stages=(1, 1, 1, 1), embed_dim=32),
    Architecture("volo", "timm", "vit", _volo, images(64)),
    _timm("crossvit_9_240", "vit", size=240),
    _timm("pvt_v2_b0", "vit", depths=(1, 1, 1, 1)),
    _timm("twins_svt_small", "vit", img_size=64, depths=(1, 1, 1, 1)),
    _timm("davit_tiny", "vit", depths=(1, 1, 1, 1)),
    _timm("edgenext_xx_small", "vit"),
    _timm("mobilevit_xxs", "vit"),
    _timm("efficientformerv2_s0", "vit", size=224),
    _timm("levit_128s", "vit", size=224),
    _timm("tiny_vit_5m_224", "vit", size=224),
    _timm("efficientvit_b0", "vit"),
    _timm("fastvit_t8", "vit", layers=(1, 1, 1, 1)),
    _timm("coatnet_nano_rw_224", "vit", img_size=64),
    _timm("gcvit_xxtiny", "vit", img_size=64, window_ratio=(8, 8, 16, 32)),
]
