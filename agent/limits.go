package agent

import "time"

const (
	// leaseTimeout bounds one question for a lease: two more fit into what is left of the shortest one. leasePause is between
	// questions that failed.
	leaseTimeout = time.Second
	leasePause   = 200 * time.Millisecond
	// backoffFirst doubles up to backoffMax; it is forgotten after backoffReset of running.
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
	backoffReset = 10 * time.Minute

	// configRetryMax bounds the wait before a missing ConfigMap, a full disk and their like are tried again.
	configRetryFirst = 500 * time.Millisecond
	configRetryMax   = 4 * time.Second

	// forcedGrace is what a pod gets that the cluster has forgotten already.
	forcedGrace = 2 * time.Second
	// hookExtra is left for TERM when a preStop hook used up the whole grace period.
	hookExtra = 2 * time.Second
	// defaultGrace holds for pods that do not say.
	defaultGrace = 30 * time.Second

	// pullErrorShown is how long ErrImagePull is shown before ImagePullBackOff.
	pullErrorShown = 2 * time.Second

	// statusHold is how long the status of a pod on its way up waits for a better one.
	statusHold = 100 * time.Millisecond
	// writeRetryFirst doubles up to writeRetryMax while the servers cannot be reached.
	writeRetryFirst = 50 * time.Millisecond
	writeRetryMax   = 2 * time.Second
	// rowsPerWrite bounds one batch of statuses, near the size of a log entry: what is larger holds up the entries behind it.
	rowsPerWrite = 300

	// volumeRefresh is the period after which ConfigMap, Secret and projected volumes are read again.
	volumeRefresh = 45 * time.Second
	// evictionGrace is what a pod gets that the node ends for want of something. Its end is waited for as long as
	// evictionPatience, looking every evictionLook.
	evictionGrace    = time.Second
	evictionPatience = 30 * time.Second
	evictionLook     = 100 * time.Millisecond
	// diskWatchEvery is how often pods with limits of what they may keep on disk are measured.
	diskWatchEvery = 10 * time.Second

	// resizeAskSoon is the wait while the agent does not know yet what all of its pods have, resizeAskAgain the one before a resize is
	// asked for again that had no room: it gets its turn without that. One that could not be carried out waits resizeRetryFirst,
	// doubling up to resizeRetryMax.
	resizeAskSoon    = 50 * time.Millisecond
	resizeAskAgain   = 10 * time.Minute
	resizeRetryFirst = 500 * time.Millisecond
	resizeRetryMax   = 10 * time.Second

	// volumeEndRetryFirst doubles up to volumeEndRetryMax while a volume's directory cannot be removed.
	volumeEndRetryFirst = time.Second
	volumeEndRetryMax   = time.Minute
	// hookTimeout bounds a postStart hook and the requests of HTTP hooks.
	hookTimeout = 2 * time.Minute

	// terminationMessageMax is what Kubernetes keeps of a termination message, in bytes.
	terminationMessageMax = 4096
	// startsAtOnce bounds sandboxes and containers being started at the same time: more are not faster.
	startsAtOnce = 8

	// eventsBurst and eventsPerSecond bound the events of a node; eventFlush gathers them.
	eventsBurst     = 100
	eventsPerSecond = 5
	eventFlush      = 500 * time.Millisecond
	// eventsKept is how many distinct events are remembered for counting repeats.
	eventsKept = 1024
	eventTTL   = time.Hour
)
