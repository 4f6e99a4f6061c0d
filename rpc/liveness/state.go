package liveness

// State of a node in somebody's eyes.
type State uint8

// States. Unknown is a node of which nothing was ever heard; Left is one that said goodbye.
const (
	Unknown State = iota
	Alive
	Suspect
	Dead
	Left
)

// String is the state's name.
func (s State) String() string {
	return [...]string{"unknown", "alive", "suspect", "dead", "left"}[min(s, Left)]
}

// doubted says that gossip has a reason to think that the node is not there.
func (s State) doubted() bool { return s == Suspect || s == Dead || s == Left }

// Change is what became of a node.
type Change uint8

// Changes. A node goes Suspected -> Dead -> Revived, or Suspected -> Revived; it never dies unsuspected or twice.
const (
	Suspected Change = iota + 1
	Died
	Revived
)

// String is the change's name.
func (c Change) String() string {
	return [...]string{"none", "suspected", "died", "revived"}[min(c, Revived)]
}

// Transition of one node.
type Transition struct {
	Node   string
	Change Change
}
