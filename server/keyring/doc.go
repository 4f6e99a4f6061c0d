// Package keyring seals what servers write to disk: entries of the log, and snapshots.
//
// Main flow: a Root is a key that is in no log; each server has it in a file. A Ring has the data keys, wrapped by the root, and is an entry of the
// replicated state. The newest of them seals; Seal and Open are for entries, NewWriter and NewReader for snapshots, which carry the ring
// under which they were written, so that whoever has the root key can read them.
//
// The cipher is XAES-256-GCM (xaes.go): its nonces of 192 bits may be drawn at random as often as anybody likes.
//
// It must not know: what is sealed, where files and rings are kept, who may have a key.
package keyring
