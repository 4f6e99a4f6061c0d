package wire

import "time"

// Methods that an agent calls on a server.
const (
	// MethodHeartbeat is a stream (request Heartbeats): the agent writes a Heartbeat every HeartbeatInterval, the server answers
	// each with a HeartbeatReply. Agents keep one to every server.
	MethodHeartbeat = "agent.Heartbeat"
	// MethodRegister announces the node (request Register, reply Registered). Idempotent.
	MethodRegister = "agent.Register"
	// MethodWatch is a stream: request WatchRequest, then the server writes Event after Event.
	MethodWatch = "agent.Watch"
	// MethodGet reads one object (request GetRequest, reply GetReply). A node may read only what its pods name.
	MethodGet = "agent.Get"
	// MethodWrite proposes ops (request WriteRequest, reply WriteReply). A node may write only its own
	// pods' statuses and final deletions, its Node object's status, and events.
	MethodWrite = "agent.Write"
	// MethodLease asks for a lease (request LeaseRequest, reply LeaseReply): a node asks that runs pods which must not run twice.
	MethodLease = "agent.Lease"
	// MethodAwaitTables answers when no living node's proxy goes by a table of services from before a revision (request AwaitTables,
	// reply Empty). It takes as long as that takes, within the call's deadline.
	MethodAwaitTables = "agent.AwaitTables"
	// MethodToken issues a service account token for a pod of the node that asks for one in its spec (request TokenRequest, reply TokenReply).
	MethodToken = "agent.Token"
)

// Methods between servers.
const (
	MethodPropose   = "server.Propose"   // WriteRequest -> WriteReply, by the leader
	MethodReadIndex = "server.ReadIndex" // ReadIndexRequest -> ReadIndexReply, by the leader
	MethodGone      = "server.Gone"      // GoneRequest -> GoneReply
	MethodAddServer = "server.AddServer" // AddServerRequest -> Empty, by the leader
	MethodGrant     = "server.Grant"     // LeaseRequest -> LeaseReply, by the leader
	MethodTerm      = "server.Term"      // TermRequest -> TermReply
	MethodRoot      = "server.Root"      // RootRequest -> RootReply
	MethodSealed    = "server.Sealed"    // Empty -> SealedReply
)

// MethodNodeHTTP is called by a server on an agent: the stream then carries HTTP/1.1 requests
// (logs, exec, attach, port-forward, stats) that the agent's handler serves.
const MethodNodeHTTP = "node.HTTP"

// Empty is a message without content.
type Empty struct{}

// Numbers are those of a fleet's nodes from First to Last.
type Numbers struct{ First, Last int }

// Heartbeats opens a stream of them. Nodes are the fleet's that live; a node's own agent names none.
type Heartbeats struct{ Nodes []Numbers }

// Heartbeat of an agent. Sequence counts up from 1. Table is the revision of the table of services by which the node's proxy goes,
// 0 before the first.
type Heartbeat struct{ Sequence, Table uint64 }

// HeartbeatAnswers is how many heartbeats share an answer while nothing changes.
const HeartbeatAnswers = 2

// HeartbeatReply tells the agent who leads and which servers there are.
type HeartbeatReply struct {
	Sequence uint64
	Leader   string // server name, "" if unknown
	Servers  []ServerAddress
	// LeaderContact says that this server has heard from a quorum-backed leader within the election timeout.
	LeaderContact bool
}

// ServerAddress is a server's name and its rpc address host:port.
type ServerAddress struct{ Name, Address string }

// Register carries the Node object (protobuf corev1.Node) as the agent would like it to be:
// labels, addresses, capacity, allocatable, nodeInfo. Conditions and podCIDR are the servers'.
type Register struct{ Node []byte }

// Registered is the cluster's answer.
type Registered struct {
	ServiceCIDR   string
	ClusterCIDR   string // all pods
	DNSAddress    string // the cluster DNS VIP
	ClusterDomain string
	Servers       []ServerAddress
	APIEndpoints  []string // host:port of every API server
	// ServiceCIDR6, ClusterCIDR6 and DNSAddress6 are "" in clusters of one family.
	ServiceCIDR6, ClusterCIDR6, DNSAddress6 string
}

// WatchRequest asks for objects: the node's own pods, all nodes, services, endpointslices, ingresses and their classes,
// and the Secrets with certificates of the ingresses that nodes serve.
// Resources are group resources as strings ("pods", "endpointslices.discovery.k8s.io"). A fleet asks for pods only, and for
// those of its Nodes; it does not hear of its pods' new statuses.
type WatchRequest struct {
	Resources []string
	Nodes     []Numbers
	// Since is a revision as of which the caller knows all that it asks for, from an earlier watch of any server; 0 if there is none.
	Since uint64
}

// RefusedWatch begins a server's denial of a watch; the resource that it does not serve to nodes follows. An agent reads it, since a server
// that is one version older knows less than its agents ask for.
const RefusedWatch = "a node may not watch "

// PodAddresses is what a node watches to hear where the pods of other nodes are, for network policies: their namespaces, labels, named
// ports and addresses as a Pod that has nothing else. It is told of them only while there are policies.
const PodAddresses = "pods/addresses"

// Event of a watch. First come all objects that exist (EventPut), then one EventSynced for
// all resources, then changes. A new watch starts over: what is not in it is gone. But if the server can tell what has happened since the
// revision that the caller knows, EventResumed comes first, then for all that is different its last change, in the order of revisions, then
// EventSynced, and nothing else is gone.
type Event struct {
	Type            EventType
	Resource        string
	Namespace, Name string
	UID             string
	Object          []byte // protobuf; nil but for EventPut
	Revision        uint64
}

// EventType of a watch.
type EventType uint8

// Types of events.
const (
	EventPut EventType = iota + 1
	EventDeleted
	EventSynced
	EventResumed
)

// GetRequest names an object. The answer is as of Index, or newer.
type GetRequest struct {
	Resource, Namespace, Name string
	Index                     uint64
}

// GetReply has the object as protobuf; Found is false if there is none (or the node may not see it: Denied).
type GetReply struct {
	Found, Denied bool
	Object        []byte
	Revision      uint64
}

// WriteRequest carries ops as encoded by ops.Encode.
type WriteRequest struct {
	Ops []byte
}

// WriteReply has results as encoded by ops.EncodeResults, and the log index at which they were applied.
// Error is set instead when nothing was proposed. NotLeader asks the caller to try Leader.
type WriteReply struct {
	Results   []byte
	Index     uint64
	Error     string
	NotLeader bool
	Leader    ServerAddress
}

// TokenRequest names the pod and the projection that the token is for. Audience is "" for the API itself.
type TokenRequest struct {
	Namespace, Pod, UID string
	Audience            string
	Seconds             int64
}

// TokenReply has the token as it goes into the file.
type TokenReply struct{ Token string }

// LeaseRequest asks the leader. Node is set by servers that pass the question on.
type LeaseRequest struct{ Node string }

// LeaseReply grants a lease of Length from when it was asked for; the next is to be asked for after Renew. A Length of 0 says
// that the cluster does without: what must not run twice is not replaced by itself. What was taken from the node before is
// in the state of Index.
type LeaseReply struct {
	Length, Renew time.Duration
	Index         uint64
}

// AwaitTables names the revision that the proxies are to have reached.
type AwaitTables struct{ Revision uint64 }

// TermRequest asks a server for raft's term.
type TermRequest struct{}

// TermReply is the term in which that server is: it has not voted for a leader of a later one.
type TermReply struct{ Term uint64 }

// ReadIndexRequest asks the leader for an index that is at least as new as every acknowledged write.
type ReadIndexRequest struct{}

// ReadIndexReply is confirmed by a quorum.
type ReadIndexReply struct {
	Index     uint64
	NotLeader bool
}

// GoneRequest asks a follower whether it, too, takes the leader for gone.
type GoneRequest struct{ Name string }

// GoneReply is that server's own view.
type GoneReply struct{ Gone bool }

// AddServerRequest adds a voter, or notes its new addresses (host:port).
type AddServerRequest struct{ Name, Address, API string }
