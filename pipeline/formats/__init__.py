"""Masks in the formats of other tools: COCO, LabelMe, CVAT, YOLO, and PNG files in other layouts."""
