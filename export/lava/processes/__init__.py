"""Our few Lava processes. Lava imports every file beside a process: nothing else may live here."""
