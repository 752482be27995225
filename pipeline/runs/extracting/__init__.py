"""Runs of stage 1: videos and backbones on devices, in one or several processes."""
