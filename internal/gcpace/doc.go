// Package gcpace collects garbage less often while a process is busy and its heap is small.
//
// Go starts a collection when the heap has doubled. A server whose state is some ten megabytes then collects many times a second
// under load, for memory that nobody misses. Start lets such a heap grow up to a floor instead. A large heap keeps Go's own pace, so
// that a large state does not triple, and one that is hardly used gets less room than that. Some seconds after a burst there is one
// more collection, and what the burst took goes back to the system.
//
// It must not know: what the process does.
package gcpace
