package wire

// RootRequest offers the key that wraps the cluster's keyring to a server that has none; nil asks only.
type RootRequest struct{ Secret []byte }

// RootReply says which root key the server has now, "" for none. Secret is the key, unless it is not to be handed out.
type RootReply struct {
	ID     string
	Secret []byte
}

// SealedReply says under which data key all is that the server has on its disk; "" while something is not, or is under an older one.
// Applied is the last entry of the log that its state has.
type SealedReply struct {
	Key     string
	Applied uint64
}
