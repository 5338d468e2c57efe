"""Facts about TPUs: data files with a source column (``data/``), loaded once, and what follows from them.

Tables are for planning before anything exists; a running slice is described by the API, never by a table.
"""

from runtime.facts.accelerators import AcceleratorType, Family, accelerator_type, accelerator_types, families, family
from runtime.facts.runtimes import choose_runtime, runtime_preferences
from runtime.facts.zones import Price, accelerator_types_in, price, runtime_versions_in, zones, zones_with

__all__ = [
    "AcceleratorType",
    "Family",
    "Price",
    "accelerator_type",
    "accelerator_types",
    "accelerator_types_in",
    "choose_runtime",
    "families",
    "family",
    "price",
    "runtime_preferences",
    "runtime_versions_in",
    "zones",
    "zones_with",
]
