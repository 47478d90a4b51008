"""`torch.compile` on chunks of steps, forward and backward, called along the sequence."""
