"""The module by which `lava.utils.loihi.is_installed` recognises Intel's extension."""
