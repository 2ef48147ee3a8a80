"""`from siam._torchvision import torchvision`, on every build of torch.

torchvision registers its C++ operators only where they match the build of torch. Where they do not (a
CPU-only torch beside the ordinary torchvision), its import stops at the first mention of `torchvision::nms`.
Declaring the two schemas it looks for is enough for its datasets, transforms and models.
"""

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    # Module level: the schemas last only as long as this object.
    schemas = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
