package api

// SimulatedLabel is "true" on nodes that run nothing: their pods only say that they do.
const SimulatedLabel = "peapod.io/sim"
