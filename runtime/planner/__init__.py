"""The planner: SliceShape x ModelConfig x engine -> LaunchPlan. Pure: no clock, no network, no files."""
