"""Measurements that are no evaluation of a checkpoint: each module is a command that writes one record, read by its namesake in
`siam.pages`."""
