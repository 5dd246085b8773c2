"""Networks with everything needed to use them: found, built, loaded, recognised, filled anew."""
