"""TSN: a 2D network on every frame, features averaged. tsm.py adds the order of the frames.

The 2D networks are torchvision's, without the last linear layer; a state dict has torchvision's names behind
`network.`, for TSN and for TSM. torchvision is imported when a network is built.

# Note [Channels last in 2D]
The 2D networks compute in channels_last. With one thread on a CPU with AVX512-BF16, 8 frames of 224 px took 0.74 to
0.96 of the time in fp32 (ConvNeXt: 1.1) and 0.54 to 0.93 in bf16.

# Note [Padding of TF-slim]
TensorFlow pads the even input of a 3 x 3 convolution of stride 2 at the right and at the bottom. torchvision pads all
sides, of which the stride uses the left and the top: its network on weights of TF-slim looks at other pixels, and at
fewer edges. That is the same network seen in a mirror: turn the kernels and the frames by 180 degrees, and
torchvision's padding is where TensorFlow's was, while the average over the picture does not notice. So the
kernels are turned when they are loaded, and `turned` says that frames must be, too.

# Note [Changes]
(Figures here are of heads with a weight decay of 1. 30 is better: Note [Heads of 2D networks] in training.optimization)
The average over the frames does not tell a still picture from a movement. Where heads are trained, features are the
average and behind it the mean absolute difference from frame to frame, number by number. Heads on frozen
ImageNet weights, 48 bits, folds of the training lists (mAP, standard errors 0.013 to 0.023):

                          JHMDB              UT-Interaction
    EfficientNet-Lite0    0.572 -> 0.587       0.692 -> 0.721
    MobileNetV2           0.551 -> 0.561       0.585 -> 0.658

On JHMDB the difference at the length of the average, or times 2 or 4, gave the same within these errors; so did, beside
it, differences of every place of the last map before the average over the picture, and of maps before it.

EfficientNet-Lite0 there, 16 frames, folds and crops of another script, two seeds, which differ by up to 0.03: 0.612,
accuracy 0.527. With the second half less the first beside it 0.625, but 0.479; with the largest value of the frames
0.617, 0.515; with the middle ninth of the picture 0.616, 0.507; with rows or columns of it 0.591, 0.444, and 0.600,
0.439. Optical flow (DIS, between neighbouring frames) beside it is worth more, and takes as long as the network:
histograms of it and of its derivatives, in 3 x 3 cells and three or five parts of the video, 0.638 to 0.648, accuracy
0.545 to 0.566, and in more cells or parts 0.614 to 0.635; eight pictures of it (hue is the direction) through the same
network, their mean feature, 0.643, 0.543 (three seeds). To train the last 1 x 1 convolution with the heads, 8 views, 40
epochs, gave 0.579 in three folds where the heads alone had 0.575 on 8 frames and 0.599 on 8 views of these.

Where a cell of the map before the last part (14 x 14) goes in the next frame can be had of the network itself, at
nearly no cost: shifts.py. Where heads alone are trained, histograms of it stand behind the changes, and a cell of the
last map counts in the mean by how far what it shows goes. Five folds, mAP and accuracy, standard deviations over
divisions and two seeds 0.01 to 0.02 (two divisions of JHMDB, or four; UT-Interaction three, by sequences):

                                        JHMDB          JHMDB          UT             UT
                                        8 frames       16 frames      8 frames       16 frames
    mean and changes                    0.578, 0.496   0.576, 0.505   0.800, 0.718   0.824, 0.742
    and histograms                      0.589, 0.527   0.603, 0.522   0.832, 0.770   0.862, 0.798
    and means by movement               0.616, 0.530   0.616, 0.528   0.842, 0.798   0.878, 0.847
    the same by the code below          0.610, 0.528   0.610, 0.522   0.842, 0.796   0.865, 0.815

(the third of JHMDB with 16 frames is of two divisions, where the second is 0.606, 0.517). Of histograms:
with bins as wide as a half-plane UT with 16 frames had 0.828, 0.784; with no shift of the camera 0.878, 0.810 there
and 0.594, 0.504 on JHMDB, with its median 0.869, 0.819 and 0.593, 0.504; of frames two or four apart, too, 0.822 to
0.840; half or twice as long 0.869 and 0.857. Of means, 8 frames, JHMDB and UT: squares of the shifts 0.597 and 0.856,
differences of the last map in the place of shifts 0.605 and 0.839, what stands still at 0.1 of the mean 0.616 and
0.844, at 1 0.598 and 0.844; in each frame as much 0.828 on UT; the plain mean beside it 0.806 there. Of 16 frames,
beside histograms: optical flow (DIS) in their place 0.618, 0.527 on JHMDB, but 0.817 to 0.830 on UT; roots of features
0.597 and 0.853; products of pairs of components over the cells 0.601 and 0.855, accuracy 0.467 on JHMDB; the mean of
four heads 0.593 and 0.846.

It takes 2 % of the network's time on 8 frames of 224 px, and nothing that could be measured on 16 (fp32, two cores).
I3D's heads on histograms of its maps, too, are better on one set and worse on the other: of 14 x 14, behind the blocks
3, carried past the stages and averaged over the clips of a video, JHMDB 0.743, 0.705 in the place of 0.730, 0.686 (two
divisions; half as long 0.754, 0.712), UT-Interaction 0.931, 0.899 in the place of 0.968, 0.939 (three; 0.946, 0.909).
Of the middle clip alone, 14 x 14 or 28 x 28, as much on JHMDB, and nothing lost or won on UT. Means by movement of its
last maps: 0.699 to 0.742 for 0.737 on JHMDB.

The softmax averaged in cells and parts in the place of histograms: 0.596 to 0.601, 0.503 to 0.513 on JHMDB, 16 frames;
maps of 28 x 28: 0.581, 0.499.
What I3D says of the videos that are trained on, as soft labels or as features foretold, makes it worse (0.525 to
0.571).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from c3dhash.models.backbones.base import Backbone, Stage
from c3dhash.models.backbones.shifts import NUM_SHIFTS, cell_shifts, moving_weights, shift_histograms
from c3dhash.records import Preprocessing

# Source: what torchvision's image weights were trained on (`weights.transforms()`), the same for all of them.
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The first layers of each part of torchvision's 2D networks, and of the whole.
_EDGES = {"mobilenet_v2": (0, 4, 7, 14), "efficientnet_b0": (0, 3, 4, 6), "convnext_tiny": (0, 2, 4, 6)}


class TSN(Backbone):
    """Map clips to the mean over their frames of a 2D network's feature: the input of its last linear layer.

    With `add_changes`, features are [B, 2 * feature_dim of the class]. With `add_motion`, cells that move count more in
    the mean, and NUM_SHIFTS numbers that say where they go stand behind, as long as all before: Note [Changes].

    Source: Wang et al., Temporal Segment Networks, ECCV 2016, section 3.1, with the average as consensus; here on
        features in place of class scores, which is the same to a linear class head. Initialisation: torchvision's.
    """

    architecture: str
    network: nn.Module
    clip_size = (8, 224, 224)
    preprocessing = IMAGENET
    kept_format = None  # [B, T, C, h, w]
    is_2d = True

    def __init__(self, *, num_frames: int, size: int) -> None:
        super().__init__()
        self.clip_size = (num_frames, size, size)
        self.network = self.build_network()
        self.to(memory_format=torch.channels_last)  # Note [Channels last in 2D]

    def add_changes(self) -> None:
        self.has_changes, self.feature_dim = True, 2 * type(self).feature_dim

    def add_motion(self) -> None:
        if self.has_changes and self.parts():
            self.has_motion, self.feature_dim = True, self.feature_dim + NUM_SHIFTS

    def build_network(self) -> nn.Module:
        """Build the 2D network of `architecture`, which maps frames [N, 3, H, W] to features [N, feature_dim]."""
        from torchvision.models import get_model

        network = get_model(self.architecture, weights=None)
        if hasattr(network, "fc"):
            network.fc = nn.Identity()
        else:
            network.classifier = network.classifier[:-1]
        without_head: nn.Module = network
        return without_head

    def parts(self) -> tuple[tuple[nn.Module, ...], ...]:
        """Divide the layers of the 2D network in front of its global pooling, where its pictures become smaller.

        Returns:
            The layers of each part; () for a network of which it is not known.
        """
        network = self.network
        if self.architecture in _EDGES:
            layers = tuple(network.get_submodule("features").children())
            edges = (*_EDGES[self.architecture], len(layers))
            return tuple(layers[first:last] for first, last in pairwise(edges))
        if self.architecture.startswith("resnet"):
            stem = (network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool", "layer1"))
            return tuple(stem), *((network.get_submodule(f"layer{number}"),) for number in (2, 3, 4))
        return ()

    def stages(self) -> tuple[Stage, ...]:
        parts = self.parts()
        if not parts:
            return (Stage(self._whole, (self,)),)
        last = len(parts) - 1
        return tuple(
            Stage(partial(self._run, part, is_first=number == 0, is_last=number == last), part)
            for number, part in enumerate(parts)
        )

    def _whole(self, clips: torch.Tensor) -> torch.Tensor:
        """Run a network that is not divided: [B, 3, T, H, W] -> features."""
        frames = self.turn_frames(clips).transpose(1, 2)  # [B, T, 3, H, W]
        return self._describe(self._run_frames((self.network,), frames), num_frames=frames.shape[1])

    def _run(self, part: tuple[nn.Module, ...], x: torch.Tensor, *, is_first: bool, is_last: bool) -> torch.Tensor:
        """Run some layers on every frame: clips, or [B, T, C, h, w] -> [B, T, C, h, w], or features."""
        if is_first:
            x = self.turn_frames(x).transpose(1, 2)  # [B, 3, T, H, W] -> [B, T, 3, H, W]
        num_frames, maps = x.shape[1], x
        x = self._run_frames(part, x)
        if not is_last:
            return x.reshape(-1, num_frames, *x.shape[1:])
        features = self._describe(self._finish(F.adaptive_avg_pool2d(x, 1)), num_frames=num_frames)
        if not self.has_motion:
            return features
        if num_frames == 1:
            return F.pad(features, (0, NUM_SHIFTS))
        shifts = cell_shifts(maps)
        dim = type(self).feature_dim
        mean = self._moving_mean(x, moving_weights(shifts, x.shape[-2:]))
        features = torch.cat((mean.to(features.dtype), features[:, dim:]), dim=1)
        histograms = shift_histograms(shifts) * features.norm(dim=1, keepdim=True)  # neither is longer than the other
        return torch.cat((features, histograms.to(features.dtype)), dim=1)

    def _moving_mean(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Average features over frames and cells, of which some count more: [B * T, C, h, w] -> [B, D]."""
        shares = weights.sum(dim=(2, 3)).flatten()  # of frames
        inside = weights.flatten(0, 1) / shares[:, None, None]
        frames = self._finish((x * inside[:, None]).sum(dim=(2, 3), keepdim=True).to(x.dtype)).flatten(1)
        return (frames * shares[:, None]).reshape(*weights.shape[:2], -1).sum(dim=1)

    def _finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """Run what is left of the class head, whose last linear layer is not: [N, C, 1, 1] -> [N, ...]."""
        classifier = getattr(self.network, "classifier", None)
        return classifier(pooled) if isinstance(classifier, nn.Module) else pooled

    def _run_frames(self, layers: tuple[nn.Module, ...], x: torch.Tensor) -> torch.Tensor:
        """Run layers on every frame: [B, T, C, h, w] -> [B * T, ...]."""
        frames = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.run_layers(layers, frames, num_frames=x.shape[1])

    def _describe(self, x: torch.Tensor, *, num_frames: int) -> torch.Tensor:
        """Turn features of frames, [B * T, D], into those of clips: the mean, and with `add_changes` the changes."""
        dtype = next(self.network.parameters()).dtype
        frames = x.reshape(-1, num_frames, type(self).feature_dim).to(dtype)
        mean = frames.mean(dim=1)
        if not self.has_changes:
            return mean
        if num_frames == 1:
            return torch.cat((mean, torch.zeros_like(mean)), dim=1)
        changes = (frames[:, 1:] - frames[:, :-1]).abs().mean(dim=1)
        return torch.cat((mean, changes), dim=1)

    def run_layers(self, layers: tuple[nn.Module, ...], frames: torch.Tensor, *, num_frames: int) -> torch.Tensor:
        """Run layers one after the other on frames, [B * num_frames, C, h, w]."""
        for layer in layers:
            frames = layer(frames)
        return frames

    def turn_frames(self, clips: torch.Tensor) -> torch.Tensor:
        """Turn frames in their plane, where the weights need it."""
        return clips


class TSNResNet18(TSN):
    """Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016."""

    name, architecture, feature_dim = "tsn_resnet18", "resnet18", 512


class TSNResNet50(TSN):
    """Source: He et al., CVPR 2016; the stride of a bottleneck is at its 3 x 3, as in torchvision."""

    name, architecture, feature_dim = "tsn_resnet50", "resnet50", 2048


class TSNMobileNetV2(TSN):
    """Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018."""

    name, architecture, feature_dim = "tsn_mobilenet_v2", "mobilenet_v2", 1280
    turned: torch.Tensor
    is_turned: bool | None = None  # what `turned` says, once the weights stay as they are

    def __init__(self, *, num_frames: int, size: int) -> None:
        super().__init__(num_frames=num_frames, size=size)
        self.register_buffer("turned", torch.zeros(()))  # 1 for weights of TF-slim: Note [Padding of TF-slim]

    def settle(self) -> None:
        """Decide whether frames are turned, so that those that are not cost nothing."""
        self.is_turned = bool(self.turned > 0)

    def turn_frames(self, clips: torch.Tensor) -> torch.Tensor:
        if self.is_turned is None:
            return torch.where(self.turned > 0, clips.flip(3, 4), clips)
        return clips.flip(3, 4) if self.is_turned else clips


class TSNEfficientNetB0(TSN):
    """Source: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019."""

    name, architecture, feature_dim = "tsn_efficientnet_b0", "efficientnet_b0", 1280


class TSNConvNeXtTiny(TSN):
    """Source: Liu et al., A ConvNet for the 2020s, CVPR 2022. Its poolings do not pad: 32 px are the least."""

    name, architecture, feature_dim = "tsn_convnext_tiny", "convnext_tiny", 768
    min_clip_size = (1, 32, 32)
