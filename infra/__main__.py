"""Loads the stack's file, builds its slice, exports it."""

import pulumi

from infra.program import load_config, one_line_errors
from infra.slice import Slice, SliceArgs
from infra.zone import confirm_offer

with one_line_errors():
    config = load_config()
    offer = confirm_offer(config)
    slice_ = Slice("slice", SliceArgs.from_config(config, runtime_version=offer.runtime_version))
    pulumi.export("slice", slice_.summary)
