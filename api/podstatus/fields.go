package podstatus

import "google.golang.org/protobuf/encoding/protowire"

// kind says how a value is written.
type kind byte

const (
	text   kind = iota + 1 // a string that is not empty
	moment                 // a metav1.Time of whole seconds
	number                 // an int32
)

// fields are those of a message, by number, whose values are not part of the shape: a value, or a message that has some.
type fields []field

type field struct {
	kind kind
	in   fields
}

func (f fields) get(n protowire.Number) field {
	if int(n) < len(f) {
		return f[n]
	}
	return field{}
}

// fieldsDepth is how deep messages lie in statusFields.
const fieldsDepth = 3

// Numbers are those of k8s.io/api/core/v1/generated.proto.
var (
	addressFields    = fields{1: {kind: text}}                                                                                // ip
	conditionFields  = fields{3: {kind: moment}, 4: {kind: moment}, 6: {kind: text}}                                          // lastProbeTime, lastTransitionTime, message
	waitingFields    = fields{2: {kind: text}}                                                                                // message
	runningFields    = fields{1: {kind: moment}}                                                                              // startedAt
	terminatedFields = fields{4: {kind: text}, 5: {kind: moment}, 6: {kind: moment}, 7: {kind: text}}                         // message, startedAt, finishedAt, containerID
	stateFields      = fields{1: {in: waitingFields}, 2: {in: runningFields}, 3: {in: terminatedFields}}                      // waiting, running, terminated
	containerFields  = fields{2: {in: stateFields}, 3: {in: stateFields}, 5: {kind: number}, 8: {kind: text}}                 // state, lastState, restartCount, containerID
	statusFields     = fields{2: {in: conditionFields}, 3: {kind: text}, 5: {kind: text}, 6: {kind: text}, 7: {kind: moment}, // conditions, message, hostIP, podIP, startTime
		8: {in: containerFields}, 10: {in: containerFields}, 11: {kind: text}, 12: {in: addressFields}, // containerStatuses, initContainerStatuses, nominatedNodeName, podIPs
		13: {in: containerFields}, 16: {in: addressFields}} // ephemeralContainerStatuses, hostIPs
)
