"""The Cloud TPU API as the runtime sees it: which slice a stack has now, and a login key put on it."""

from runtime.cloud.api import TpuApi
from runtime.cloud.slice import LiveSlice, LiveWorker

__all__ = ["LiveSlice", "LiveWorker", "TpuApi"]
