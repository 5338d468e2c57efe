"""The side that drives a running slice: facts, cloud, planner, transport, jobs and engines. Never imports pulumi."""
