"""torchvision: convolutional networks old and new, its transformers, segmentation, video and detection."""

from torch import nn

from architectures import Architecture, Input, images


def _model(name: str, **options: object) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, **options)


def _image(name: str, family: str, size: int = 64, **options: object) -> Architecture:
    options = {"num_classes": 10} | options
    return Architecture(name, "torchvision", family, lambda: _model(name, **options), images(size))


def _resnet(bottleneck: bool, **options: object) -> nn.Module:
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    return ResNet(Bottleneck if bottleneck else BasicBlock, [1, 1, 1, 1], num_classes=10, **options)


def _densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=12, block_config=(2, 3, 2), num_init_features=16, num_classes=10)


def _swin(second: bool) -> nn.Module:
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    options = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2} if second else {}
    return SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], num_classes=10, **options)


def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(64, 16, 2, 4, 64, 128, num_classes=10)


def _convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 2)], num_classes=10)


def _maxvit() -> nn.Module:
    from torchvision.models import MaxVit

    return MaxVit((64, 64), 32, 4, [32, 64], [1, 1], 16, 0.0, num_classes=10)


def _video(name: str, frames: int = 8, size: int = 32) -> Architecture:
    clip = (Input("video", ("batch", 3, frames, size, size)),)
    return Architecture(name, "torchvision", "video", lambda: _model(name, num_classes=10), clip)


def _segmentation(name: str) -> Architecture:
    options = {"num_classes": 5, "weights_backbone": None}
    return Architecture(name, "torchvision", "segmentation", lambda: _model(name, **options), images(64))


class Detector(nn.Module):
    """Detectors take a list of images and answer with a list of dictionaries."""

    def __init__(self, name: str, **options: object) -> None:
        super().__init__()
        self.detector = _model(name, weights_backbone=None, num_classes=5, **options)

    def forward(self, image):  # noqa: ANN001, ANN201
        found = self.detector([image[0]])
        return tuple(found[0][key] for key in ("boxes", "scores", "labels"))


def _detector(name: str, size: int, **options: object) -> Architecture:
    image = (Input("image", (1, 3, size, size)),)
    return Architecture(name, "torchvision", "detection", lambda: Detector(name, **options), image)


ARCHITECTURES = [
    _image("squeezenet1_1", "cnn"),
    Architecture("resnet_basic", "torchvision", "cnn", lambda: _resnet(False), images()),
    Architecture("resnext", "torchvision", "cnn", lambda: _resnet(True, groups=8, width_per_group=8), images()),
    Architecture("densenet", "torchvision", "cnn", _densenet, images()),
    _image("googlenet", "cnn", init_weights=False, aux_logits=False),
    _image("inception_v3", "cnn", size=96, init_weights=False, aux_logits=False),
    _image("shufflenet_v2_x0_5", "cnn"),
    _image("mobilenet_v2", "cnn", width_mult=0.35),
    _image("mobilenet_v3_small", "cnn", width_mult=0.5),
    _image("mnasnet0_5", "cnn"),
    _image("efficientnet_b0", "cnn"),
    _image("regnet_y_400mf", "cnn"),
    Architecture("convnext", "torchvision", "cnn", _convnext, images()),
    Architecture("vit", "torchvision", "vit", _vit, images()),
    Architecture("swin", "torchvision", "vit", lambda: _swin(False), images()),
    Architecture("swin_v2", "torchvision", "vit", lambda: _swin(True), images()),
    Architecture("maxvit", "torchvision", "vit", _maxvit, images()),
    _segmentation("deeplabv3_mobilenet_v3_large"),
    _segmentation("lraspp_mobilenet_v3_large"),
    _video("r3d_18", frames=4, size=32),
    _detector("ssdlite320_mobilenet_v3_large", 320),
    _detector("fasterrcnn_mobilenet_v3_large_320_fpn", 128, min_size=128, max_size=128),
]
