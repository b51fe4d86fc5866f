"""What a recipe can name under Arch: backbones, necks, heads.

Backbones of timm are named `timm/<name>` and need no entry.
"""

from __future__ import annotations

from torch import nn

from lookalike.core.registry import Registry

backbones: Registry[nn.Module] = Registry("backbone")
necks: Registry[nn.Module] = Registry("neck")
heads: Registry[nn.Module] = Registry("head")
