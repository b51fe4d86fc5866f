"""What a recipe can name under Arch: backbones, necks, heads.

Backbones of timm are named `timm/<name>` and need no entry.
"""

from __future__ import annotations

from torch import nn

from lookalike.core.registry import Registry

backbones: Registry[nn.Module] = Registry("backbone", beside="timm/<name> for any of timm's networks")
necks: Registry[nn.Module] = Registry("neck")
heads: Registry[nn.Module] = Registry("head")
