"""What a recipe can name under Arch: backbones, necks, heads.

Backbones of timm are named `timm/<name>` and need no entry. A neck may stand where a head does and a head
where a neck does, as in the reference, which keeps both in one list.
"""

from __future__ import annotations

from torch import nn

from lookalike.core.registry import Registry

backbones: Registry[nn.Module] = Registry(
    "backbone", beside="timm/<name> for any of timm's networks", listed_in="docs/backbones.md"
)
necks: Registry[nn.Module] = Registry("neck")
heads: Registry[nn.Module] = Registry("head")
necks.stand_ins, heads.stand_ins = (heads,), (necks,)
