"""localcloud: a cloud of our own on one machine, which speaks the Cloud TPU API and gives each worker a real host."""
