"""The planner: SliceShape x ModelConfig x engine -> LaunchPlan. Pure: no clock, no network, no files."""

from runtime.planner.plan import bind, plan_server
from runtime.planner.shape import slice_shape
from runtime.planner.types import LaunchPlan, ModelConfig, SliceShape, WorkerLaunch

__all__ = ["LaunchPlan", "ModelConfig", "SliceShape", "WorkerLaunch", "bind", "plan_server", "slice_shape"]
