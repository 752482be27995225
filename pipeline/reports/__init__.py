"""Reports: one self-contained HTML page about folders of results and of sweeps."""
