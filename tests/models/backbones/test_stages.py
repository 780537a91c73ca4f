import pytest
import torch

from c3dhash.models.backbones import BACKBONES, build_backbone

UNDIVIDED = ("slowfast", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")
DIVIDED = ("c3d", "resnet3d10", "i3d", "i3d_r50", "slowonly", "r3d_18", "s3d", "tsn_resnet18", "tsm_mobilenet_v2",
           "tsm_efficientnet_b0", "tsm_convnext_tiny", "tsm_efficientnet_lite0")  # fmt: skip


@pytest.mark.parametrize("name", DIVIDED)
@torch.inference_mode()
def test_stages_that_are_run_in_two_parts_give_what_the_whole_does(name):
    torch.manual_seed(0)
    backbone = build_backbone(name, num_frames=8, size=64).eval()
    clips = torch.randn(2, 3, 8, 64, 64)
    features, num_stages = backbone(clips), len(backbone.stages())
    assert num_stages > 2
    for stage in range(1, num_stages):
        kept = backbone.run_stages(clips, last=stage)
        assert len(kept) == 2  # a row a clip
        torch.testing.assert_close(backbone.run_stages(kept.clone(), first=stage), features)


@pytest.mark.parametrize("name", DIVIDED)
def test_every_weight_is_in_one_stage(name):
    backbone = build_backbone(name, num_frames=8, size=64)
    in_stages = [id(p) for stage in backbone.stages() for module in stage.modules for p in module.parameters()]
    assert len(in_stages) == len(set(in_stages))
    left = {name for name, p in backbone.named_parameters() if id(p) not in set(in_stages)}
    assert all(".classifier." in name for name in left), left  # a normalisation behind the pooling


def test_the_other_backbones_are_one_stage():
    assert set(UNDIVIDED) <= BACKBONES.keys()
    for name in UNDIVIDED[:2]:
        assert len(build_backbone(name).stages()) == 1
