"""What kiosks propose: envelopes judged one by one, posted set by set, answered with one receipt an epoch."""
