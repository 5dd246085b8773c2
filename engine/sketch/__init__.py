"""FilterSketch: a layer's filters are replaced by fewer ones that sketch them."""
