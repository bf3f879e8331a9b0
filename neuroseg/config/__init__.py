"""A run's configuration: YAML into frozen models, with errors that name the key.

name: demo
data:  {name: digits, size: [32, 32], classes: 2, ...}
model: {block: efs, widths: [8, 16, 24], ...}
train: {epochs: 10, ...}, or the name of a shipped schedule: paper-camvid
"""

from neuroseg.config.load import dump_config, load_config, shipped_configs, shipped_schedules, validate
from neuroseg.config.schema import (
    AugmentConfig,
    CamVidConfig,
    Config,
    DataConfig,
    DigitsConfig,
    ModelConfig,
    TrainConfig,
)

__all__ = [
    "AugmentConfig",
    "CamVidConfig",
    "Config",
    "DataConfig",
    "DigitsConfig",
    "ModelConfig",
    "TrainConfig",
    "dump_config",
    "load_config",
    "shipped_configs",
    "shipped_schedules",
    "validate",
]
