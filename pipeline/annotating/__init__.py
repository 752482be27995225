"""Making masks by hand: boxes, polygons, brush and clicks."""
