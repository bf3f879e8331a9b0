"""A run's configuration: YAML into frozen models, with errors that name the key.

name: demo
data:  {name: digits, size: [32, 32], classes: 2, ...}
model: {family: mfs, block: efs, widths: [8, 16, 24], ...}
train: {epochs: 10, ...}, or the name of a shipped schedule: paper-camvid
"""

from neuroseg.config.data import CamVidConfig, DataConfig, DigitsConfig
from neuroseg.config.data_section import AugmentConfig, DataSection, Inputs
from neuroseg.config.event_data import (
    Ddd17Config,
    DrivingSection,
    DsecConfig,
    EventSection,
    NMnistConfig,
    SyntheticEventsConfig,
)
from neuroseg.config.load import changed, dump_config, load_config, shipped_configs, shipped_schedules, validate
from neuroseg.config.models import DeepLabConfig, FcnConfig, KimConfig, MfsConfig, ModelConfig, ModelSection, UNetConfig
from neuroseg.config.schema import Config
from neuroseg.config.train import TrainConfig

__all__ = [
    "AugmentConfig",
    "CamVidConfig",
    "Config",
    "DataConfig",
    "DataSection",
    "Ddd17Config",
    "DeepLabConfig",
    "DigitsConfig",
    "DrivingSection",
    "DsecConfig",
    "EventSection",
    "FcnConfig",
    "Inputs",
    "KimConfig",
    "MfsConfig",
    "ModelConfig",
    "ModelSection",
    "NMnistConfig",
    "SyntheticEventsConfig",
    "TrainConfig",
    "UNetConfig",
    "changed",
    "dump_config",
    "load_config",
    "shipped_configs",
    "shipped_schedules",
    "validate",
]
