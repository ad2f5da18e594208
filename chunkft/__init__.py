"""Full-parameter fine-tuning one chunk of the parameters at a time (arXiv 2605.21177).  Needs torch only."""

from chunkft.checkpointing import checkpoint
from chunkft.head import head_loss
from chunkft.optimizer import ChunkFT
from chunkft.partition import Slice
from chunkft.subtensor import release

__all__ = ["ChunkFT", "Slice", "checkpoint", "head_loss", "release"]
