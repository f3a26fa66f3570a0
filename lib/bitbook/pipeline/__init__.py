"""The pipeline: one run = one notebook = one DVC stage."""

from __future__ import annotations

from bitbook.pipeline.layout import root
from bitbook.pipeline.run import Run, start

__all__ = ["Run", "root", "start"]
