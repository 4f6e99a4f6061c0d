package lab

import "time"

const (
	// DefaultName is the lab that commands mean unless told otherwise.
	DefaultName = "default"
	// stateRoot holds a directory a lab.
	stateRoot = "/var/lib/peapod-lab"
	// serversMax and clientsMax are what the addresses .11 to .20 and .21 to .98 have room for.
	serversMax = 9
	clientsMax = 78
	// simNodesMax bounds --sim-nodes to what one process has been seen to carry.
	simNodesMax = 20000
	// nameBytesMax keeps names of namespaces, cgroups and sockets within the kernel's bounds.
	nameBytesMax = 24
	// dirBytesMax leaves room for "/client78/data/supervisor/sock" in a socket's address.
	dirBytesMax = 70
	// subnets is how many labs one machine can hold: 10.201.0.0/24 to 10.201.249.0/24.
	subnets = 250

	// readyTimeout is how long Up waits for the slowest node by default.
	readyTimeout = 60 * time.Second
	// readyPoll is how often a condition of a starting cluster is looked at.
	readyPoll = 25 * time.Millisecond
	// nodesPoll is how often the list of nodes is fetched while some are missing.
	nodesPoll = 60 * time.Millisecond
	// listTimeout bounds one list of all nodes, which may be tens of thousands.
	listTimeout = 30 * time.Second
	// askTimeout bounds one request to a starting server.
	askTimeout = 3 * time.Second
	// killTimeout is how long a killed cgroup may take to become empty.
	killTimeout = 20 * time.Second
	// freezeTimeout is how long a cgroup may take to freeze.
	freezeTimeout = 3 * time.Second
	// stopTimeout is how long an agent has to end after SIGTERM before it is killed.
	stopTimeout = 10 * time.Second
	// cgroupPoll is how often the kernel is asked whether it is done with a cgroup.
	cgroupPoll = 2 * time.Millisecond
	// lockTimeout is how long a command waits for another one that changes the same lab.
	lockTimeout = 15 * time.Second
	// logTail is how many lines of a log a failure shows.
	logTail = 12
)
