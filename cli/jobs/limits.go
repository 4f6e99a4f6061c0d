package jobs

import "time"

const (
	// fieldManager owns the fields that a job file sets.
	fieldManager = "peapod-job"
	// followInterval is how often a rollout is looked at; a glance costs one read a group.
	followInterval = 300 * time.Millisecond
	// warningsMax is how many warning events a failed rollout shows.
	warningsMax = 5
	// diffValueMax cuts long values in a plan.
	diffValueMax = 120
)
